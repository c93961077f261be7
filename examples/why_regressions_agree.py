"""Many linear regressions on the same X agree; many units of one network do not.

A linear regression is convex with one optimum, so every start ends there. The units of a network share
one loss: it is not convex, its optima come in permuted copies, and each unit fits what the others leave.
Run: python examples/why_regressions_agree.py [folder for the figure]
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lockstep.explain import train

COUNT = 6


def data() -> tuple[Tensor, Tensor]:
    """200 points of two features; y is not linear in them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    return x, (x[:, :1] * 1.5 - x[:, 1:]).tanh() + 0.5 * x[:, :1]


def regressions() -> Tensor:
    """Weights over time of separate regressions from different starts, shape (R, COUNT, 2)."""
    x, y = data()
    runs = []
    for seed in range(COUNT):
        torch.manual_seed(seed)
        line = nn.Linear(2, 1).double()
        sgd = partial(torch.optim.SGD, lr=0.1)
        runs.append(train(line, x, y, loss=F.mse_loss, optimizer=sgd, steps=400, progress=False))
    return torch.stack([run.parameter("weight")[:, 0] for run in runs], 1)


def units() -> Tensor:
    """Incoming weights over time of the hidden units of one network, shape (R, COUNT, 2)."""
    x, y = data()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, COUNT), nn.Tanh(), nn.Linear(COUNT, 1)).double()
    sgd = partial(torch.optim.SGD, lr=0.1)
    history = train(net, x, y, loss=F.mse_loss, optimizer=sgd, steps=400, progress=False)
    return history.parameter("0.weight")


def spread(weights: Tensor) -> Tensor:
    """Largest distance between two of the COUNT weight vectors, at each record."""
    return torch.cdist(weights, weights).amax((1, 2))


def main(folder: Path) -> None:
    found = {"separate regressions": regressions(), "units of one network": units()}
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for axis, (name, weights) in zip(axes[:2], found.items(), strict=True):
        apart = spread(weights)
        print(
            f"{name}: largest distance {apart[0]:.3f} at the start, {apart[-1]:.2g} after 400 steps"
        )
        for k in range(COUNT):
            axis.plot(weights[:, k, 0], weights[:, k, 1], linewidth=1.5)
            axis.plot(*weights[-1, k], "o", color="black", markersize=4)
        axis.set(title=f"{name}: paths to the dots", xlabel="weight of x1", ylabel="weight of x2")
        axes[2].plot(apart, label=name)
    axes[2].set(yscale="log", title="largest distance between two", xlabel="step")
    axes[2].legend()
    figure.savefig(folder / "regressions_agree.png", dpi=80)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("."))
