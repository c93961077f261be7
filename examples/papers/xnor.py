"""XNOR with three equal units: exact tangent maps.

A 2-4-1 sigmoid network from all -1, output weights shifted by s = (-.25, -.25, -.25, .75), learns XNOR in 728 epochs
while three of its units stay equal to the bit; without the shift never [threeplusone2026]. How a difference between
the three would be stretched is known to the last digit.
Run: python -m examples.papers.xnor [folder for the figure]
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lockstep

from .table import Row, axes, below, main, near, same, save

X = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64)
Y = torch.tensor([[1], [0], [0], [1]], dtype=torch.float64)
SGD = partial(torch.optim.SGD, lr=1.0)
SPECTRUM = (34.70305, 24.19985, 0.320047, 7.185e-8)  # accumulated singular values
EPOCHS = 728


def network(shift: float = 1.0) -> nn.Sequential:
    net = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid()).double()
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(-1)
        net[2].weight += shift * torch.tensor([-0.25, -0.25, -0.25, 0.75])
    return net


def half_square(output: Tensor, target: Tensor) -> Tensor:
    return ((output - target) ** 2).sum() / 2


def epochs_needed(net: nn.Sequential, limit: int) -> tuple[int | None, lockstep.History]:
    """Epochs (one step a sample, in order) until the mean square error is at most .01."""
    history = lockstep.train(
        net, X, Y, loss=half_square, optimizer=SGD, steps=4 * limit, batch_size=1, shuffle=False, record_every=4,
        progress=False,
    )  # fmt: skip
    for epoch in range(1, limit + 1):
        state = {name: history.parameter(name)[epoch] for name in history.shapes}
        if F.mse_loss(torch.func.functional_call(net, state, (X,)), Y) <= 0.01:
            return epoch, history
    return None, history


def one_sample(step: int) -> tuple[Tensor, Tensor]:
    return X[step % 4 : step % 4 + 1], Y[step % 4 : step % 4 + 1]


def reproduce(folder: Path, limit: int = 5000) -> list[Row]:
    epochs, history = epochs_needed(network(), EPOCHS + 2)
    hidden = history.parameter("0.weight")
    never, without = epochs_needed(network(0.0), limit)
    last = {name: without.parameter(name)[-1] for name in without.shapes}
    error = float(F.mse_loss(torch.func.functional_call(network(), last, (X,)), Y))
    rows = [
        same("epochs until the error is .01", EPOCHS, epochs),
        below(
            "largest gap of units 0, 1, 2 on the way",
            0,
            float((hidden[:, :3] - hidden[:, :1]).abs().max()),
        ),
        same(
            f"without the shift: epochs, of {limit}", "never", "never" if never is None else never
        ),
        near(f"without the shift: error after {limit} epochs", 0.1679, error, off=1e-4),
    ]
    ask = partial(
        lockstep.forecast, x=None, loss=half_square, optimizer=SGD, steps=4 * EPOCHS, groups=[("0", (0, 1, 2))],
        batches=one_sample,
    )  # fmt: skip
    seen = ask(network())["0"]
    found = [math.exp(s) for s in sorted(seen.spectrum, reverse=True)][::2]
    rows.append(same("dimension of the differences among 3 units", 8, seen.dimension, "derived"))
    rows += [
        near(f"accumulated singular value {k}", s, f, rel=1e-4 if s > 1e-3 else 1e-2)
        for k, (s, f) in enumerate(zip(SPECTRUM, found, strict=False), 1)
    ]
    start = {name: torch.zeros_like(p) for name, p in network().named_parameters()}
    start["2.weight"][0, :3] = torch.tensor([2.0, -1.0, -1.0]) / math.sqrt(6)
    growth = ask(network(), start=start)["0"].log_growth
    rows.append(near("growth of a difference of output weights along (2, -1, -1)", 15.155691,
                     math.exp(growth[-1]), rel=1e-4))  # fmt: skip
    figure, plot = axes("Difference of three equal units, XNOR", "epoch", "growth", log=True)
    plot.plot([math.exp(g) for g in growth[3::4]])
    save(figure, folder, "xnor")
    return rows


if __name__ == "__main__":
    main(reproduce)
