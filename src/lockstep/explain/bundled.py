"""What the commands use when no TARGET is given: the 2-2-1 network and two-feature data sets.

The coffee data imitate a roasting log: temperature and duration decide whether a batch is good. They
are made up here with a fixed seed (the idea of the set: Ng's Machine Learning Specialization).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lockstep.errors import UsageError

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}


def course_network(
    activation: str = "sigmoid",
    *,
    bias: bool = True,
    weights: Sequence[float] | None = None,
    seed: int = 0,
) -> nn.Sequential:
    """2 features, 2 hidden units, 1 sigmoid output, in float64; ``weights`` are w1 … w6.

    >>> course_network(weights=(1, 2, 3, 4, 5, 6))[2].weight.tolist()
    [[5.0, 6.0]]
    """
    if activation not in ACTIVATIONS:
        raise UsageError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hidden, out = nn.Linear(2, 2, bias=bias), nn.Linear(2, 1, bias=bias)
    net = nn.Sequential(hidden, ACTIVATIONS[activation](), out, nn.Sigmoid()).double()
    if weights is not None:
        if len(weights) != 6:
            raise UsageError(f"a 2-2-1 network has six weights w1 … w6, got {len(weights)}.")
        values = torch.tensor(weights, dtype=torch.float64)
        with torch.no_grad():
            hidden.weight.copy_(values[:4].reshape(2, 2))
            out.weight.copy_(values[4:].reshape(1, 2))
    return net


def coffee(samples: int = 200, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """``x`` (N, 2): temperature and duration, standardised; ``y`` (N, 1): 1 for a good roast.

    Good roasts lie in a triangle: hot enough, long enough, and not both too hot and too long.

    >>> x, y = coffee()
    >>> tuple(x.shape), tuple(y.shape)
    ((200, 2), (200, 1))
    """
    generator = torch.Generator().manual_seed(seed)
    degrees = 150 + 135 * torch.rand(samples, generator=generator, dtype=torch.float64)
    minutes = 11.5 + 4 * torch.rand(samples, generator=generator, dtype=torch.float64)
    good = (degrees > 175) & (minutes > 12) & (minutes < 21 - 3 * degrees / 100)
    x = torch.stack([degrees, minutes], 1)
    x = (x - x.mean(0)) / x.std(0)
    return x, good.double().reshape(-1, 1)
