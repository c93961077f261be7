"""What recording costs: ``train`` against the loop that one would write; and ``explain`` of one weight."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lockstep import explain, train

STEPS = 300
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": partial(torch.optim.SGD, lr=0.1),
    "Adam": partial(torch.optim.Adam, lr=0.01),
}


def network(widths: tuple[int, ...]) -> nn.Sequential:
    """Dense layers of these widths, tanh between them."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def data(inputs: int, outputs: int, samples: int = 200) -> tuple[Tensor, Tensor]:
    """Standard normal inputs, targets between 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(samples, inputs, generator=generator), torch.rand(
        samples, outputs, generator=generator
    )


def plain(widths: tuple[int, ...], optimizer: str) -> float:
    """The loop without a record; the last loss."""
    model, (x, y) = network(widths), data(widths[0], widths[-1])
    made = OPTIMIZERS[optimizer](model.parameters())
    loss = torch.zeros(())
    for _ in range(STEPS):
        made.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        made.step()
    return loss.item()


def recorded(widths: tuple[int, ...], optimizer: str) -> float:
    """The same with every weight kept at every step; the same last loss, bit for bit."""
    model, (x, y) = network(widths), data(widths[0], widths[-1])
    history = train(
        model, x, y, loss=F.mse_loss, optimizer=OPTIMIZERS[optimizer], steps=STEPS, progress=False
    )
    return float(history.losses[-2])


def explained(widths: tuple[int, ...] = (256, 256, 256, 256, 256, 1)) -> None:
    """One weight of the first layer, in a network of four hidden layers."""
    x, y = data(widths[0], widths[-1], 32)
    str(explain(network(widths), x, y, F.mse_loss, "0.weight[3,5]"))
