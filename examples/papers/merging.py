"""Merging units that are nearly alike, without training.

Published for MNIST, 784-500-500-500-10, one epoch: collapsing similar units keeps 96.55, 96.33, 82.10 and 22.81 of
96.78 % with 66.4, 49.7, 9.9 and .56 % of the parameters [fibrations2026]. MNIST is not here: ours is 64-200-200-200-10
on digits, after as many updates, and what is compared is the accuracy that is lost. Units that are equal merge without
loss [prabhakar2021] [ressi2022].
Run: python -m examples.papers.merging [folder for the figure]
"""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lockstep

from .data import digits
from .table import Row, axes, below, main, same, save

PUBLISHED = {66.4: 96.55, 49.7: 96.33, 9.9: 82.10, 0.56: 22.81}  # % of the parameters: accuracy
WHOLE = 96.78
WITHIN = (0.02, 0.1, 0.3, 0.5)


def split() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """1200 digits to learn from, the others to judge by; float32."""
    x, y = digits()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[order].float(), y[order]
    return x[:1200], y[:1200], x[1200:], y[1200:]


def network(width: int, steps: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs in (64, width, width):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(width, 10))
    x, y, _, _ = split()
    adam = partial(torch.optim.Adam, lr=1e-3)
    lockstep.train(net, x, y, loss=F.cross_entropy, optimizer=adam, steps=steps, batch_size=100,
                   record_every=steps, progress=False)  # fmt: skip
    return net


def accuracy(net: nn.Module) -> float:
    _, _, x, y = split()
    with torch.no_grad():
        return 100 * float((net(x).argmax(1) == y).double().mean())


def size(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def merged(net: nn.Sequential, within: float) -> tuple[float, float]:
    """% of the parameters that are left, and the accuracy."""
    small = copy.deepcopy(net)
    lockstep.merge(small, split()[0][:400], within=within).apply()
    return 100 * size(small) / size(net), accuracy(small)


def cloned() -> tuple[lockstep.Receipt, int]:
    """64-32-32-10 with every hidden unit twice, merged again; and how many units are left."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)
    ).double()
    x = split()[0].double()
    for layer in ("0", "2"):
        lockstep.widen(net, x[:64], layer, to=64, split="halves").apply()
    receipt = lockstep.merge(net, x[:64]).apply()
    return receipt, net[0].out_features + net[2].out_features


def reproduce(folder: Path, width: int = 200, steps: int = 600) -> list[Row]:
    net = network(width, steps)
    whole = accuracy(net)
    curve = [(100.0, whole), *(merged(net, within) for within in WITHIN)]
    figure, plot = axes("Merged without training", "% of the parameters", "accuracy lost, points")
    plot.set_xscale("log")
    for points, marker, name in (
        (curve, "o-", "ours, digits"),
        ([(100.0, WHOLE), *PUBLISHED.items()], "s--", "published, MNIST"),
    ):
        plot.plot(
            [kept for kept, _ in points],
            [points[0][1] - right for _, right in points],
            marker,
            label=name,
        )
    plot.legend(fontsize=7)
    save(figure, folder, "merging")
    rows = []
    for kept, right in PUBLISHED.items():
        ours, left = max((right, left) for left, right in curve if left <= kept)
        rows.append(Row(f"{kept} % of the parameters: accuracy lost, points", f"{WHOLE - right:.2f}",
                        f"{whole - ours:.2f} with {left:.3g} %", "1 more at most",
                        whole - ours <= WHOLE - right + 1))  # fmt: skip
    receipt, units = cloned()
    return [
        *rows,
        same("every hidden unit of 64-32-32-10 twice: units after merging", 64, units, "derived"),
        below("change of its outputs by merging", 1e-12, receipt.function.largest, "derived"),
    ]


if __name__ == "__main__":
    main(reproduce)
