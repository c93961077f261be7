"""How fast a duplicated unit separates, predicted and measured.

At a critical point one matrix decides about a duplicated unit [fukumizu2000]; away from it the product of the matrices
I - lr H_t along training does. On digits, 64-8-10 tanh, one unit doubled: the forecast and our own training agree, and
what a difference grows by depends on its direction.
Run: python -m examples.papers.digits_pair [folder for the figure]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lockstep

from .data import digits
from .table import Row, axes, main, near, save, shown

STATED = {100: 1.001, 500: 1.087, 1000: 1.305, 2000: 2.010}
START = "the random start of the earlier run could not be rebuilt from its description, so this is another network."
PAIR = [("0", (0, 8))]
GD = partial(torch.optim.SGD, lr=0.5)


def images() -> tuple[Tensor, Tensor]:
    """Digits with a column of ones."""
    x, y = digits()
    return torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1), y


def pair() -> nn.Sequential:
    """64-8-10 after 300 steps of gradient descent, then unit 0 twice (0 and 8), its outgoing weight halved."""
    rng = np.random.default_rng(0)
    small = nn.Sequential(
        nn.Linear(65, 8, bias=False), nn.Tanh(), nn.Linear(8, 10, bias=False)
    ).double()
    with torch.no_grad():
        small[0].weight.copy_(torch.tensor(rng.standard_normal((8, 65)) / 8))
        small[2].weight.copy_(torch.tensor(rng.standard_normal((10, 8)) / 8**0.5))
    lockstep.train(small, *images(), loss=F.cross_entropy, optimizer=GD, steps=300, progress=False)
    net = nn.Sequential(
        nn.Linear(65, 9, bias=False), nn.Tanh(), nn.Linear(9, 10, bias=False)
    ).double()
    with torch.no_grad():
        net[0].weight.copy_(small[0].weight[[*range(8), 0]])
        net[2].weight.copy_(small[2].weight[:, [*range(8), 0]])
        net[2].weight[:, [0, 8]] /= 2
    return net


def difference(row: Tensor, column: Tensor) -> Tensor:
    """Half the difference of the pair: incoming rows (…, 9, 65), outgoing columns (…, 10, 9)."""
    return torch.cat([row[..., 0, :] - row[..., 8, :], column[..., 0] - column[..., 8]], -1) / 2


def displacement(net: nn.Sequential, seed: int) -> dict[str, Tensor]:
    """A random direction of length 1 for one copy, its opposite for the other."""
    delta = torch.tensor(np.random.default_rng(seed).standard_normal(75))
    delta /= delta.norm()
    start = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    for unit, sign in ((0, 1), (8, -1)):
        start["0.weight"][unit] = sign * delta[:65]
        start["2.weight"][:, unit] = sign * delta[65:]
    return start


def gains(net: nn.Sequential, start: dict[str, Tensor], size: float, steps: int) -> list[float]:
    """|difference| after each of ``steps`` steps over the first, measured in training."""
    with torch.no_grad():
        for name, p in net.named_parameters():
            p += size * start[name]
    history = lockstep.train(
        net, *images(), loss=F.cross_entropy, optimizer=GD, steps=steps, progress=False
    )
    seen = difference(history.parameter("0.weight"), history.parameter("2.weight")).norm(dim=1)
    return [float(d / seen[0]) for d in seen]


def reproduce(folder: Path, steps: int = 2000) -> list[Row]:
    net, (x, y) = pair(), images()
    with torch.no_grad():
        loss = float(F.cross_entropy(net(x), y))
    rows = [near("loss after 300 steps", 0.1317, loss, off=5e-5, kind="measured").because(START)]
    start = displacement(net, 1)
    seen = lockstep.forecast(
        net, x, y, loss=F.cross_entropy, optimizer=GD, steps=steps, groups=PAIR, start=start
    )["0"]
    predicted = [1.0, *np.exp(seen.log_growth)]
    figure, plot = axes("A duplicated unit, 64-8-10 on digits", "step", "gain of the difference")
    plot.plot(predicted, "k--", label="forecast")
    measured = gains(pair(), start, 1e-4, steps)
    plot.plot(measured, alpha=0.6, label="measured, size 1e-4")
    plot.legend(fontsize=7)
    save(figure, folder, "digits_pair")
    for at, stated in STATED.items():
        if at <= steps:
            rows += [
                near(f"gain at step {at}, forecast beside our own training", measured[at], predicted[at],
                     rel=1e-3, kind="derived"),
                Row(f"gain at step {at}, another random direction", shown(stated), shown(predicted[at]),
                    "direction", None, "measured"),
            ]  # fmt: skip
    return rows


if __name__ == "__main__":
    main(reproduce)
