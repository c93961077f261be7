"""Addition modulo 97 from equal hidden units.

A control experiment [clawrxiv2026], not peer reviewed: 16 hidden units with one common incoming weight. With equal
read-out columns they stay one unit for ever; a random read-out pulls them apart over hundreds of epochs.
The source's batch size is not known; 256 here. Its counts of epochs to breaking are not reproduced.
Run: python -m examples.papers.mod97 [folder for the figure]
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lockstep

from .table import Row, axes, below, main, near, same, save

COSINES = {0: 1.0, 100: 0.922, 200: 0.760, 300: 0.589, 400: 0.444}
EPOCH = 30  # batches of 256 in 80 % of the pairs


def sums() -> tuple[Tensor, Tensor]:
    """80 % of all pairs as two one-hot vectors (7527, 194), and their sums modulo 97."""
    pairs = torch.tensor(list(itertools.product(range(97), repeat=2)))
    pairs = pairs[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))[:7527]]
    return torch.cat([F.one_hot(pairs[:, k], 97) for k in range(2)], 1).double(), pairs.sum(1) % 97


def network(equal: bool) -> nn.Sequential:
    net = nn.Sequential(nn.Linear(194, 16), nn.ReLU(), nn.Linear(16, 97)).double()
    read_out = (2 * torch.rand(97, 16, generator=torch.Generator().manual_seed(1)) - 1) / 4
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net[0].weight.fill_(194**-0.5)
        net[2].weight.copy_(read_out[:, :1].expand(97, 16) if equal else read_out)
    return net


def watched(equal: bool, epochs: int) -> lockstep.Watch:
    net, (x, y) = network(equal), sums()
    sgd = partial(torch.optim.SGD, lr=0.1)
    with lockstep.watch(net, every=EPOCH * 10, activations=False) as seen:
        lockstep.train(net, x, y, loss=F.cross_entropy, optimizer=sgd, steps=EPOCH * epochs, batch_size=256,
                       record_every=EPOCH * epochs, progress=False)  # fmt: skip
    return seen


def reproduce(folder: Path, epochs: int = 400) -> list[Row]:
    x, _ = sums()
    widths = [
        lockstep.audit(network(equal), x[:8]).layers["0"].effective_width for equal in (True, False)
    ]
    locked = watched(True, 50)
    rows = [
        same("equal read-out: classes of 16 units", 1, widths[0], "measured"),
        same("random read-out: classes of 16 units", 16, widths[1], "measured"),
        near(
            "equal read-out: mean cosine after 50 epochs", 1.0, locked["0"][-1]["cosine"], off=1e-12
        ),
        same(
            "equal read-out: different units after 50 epochs",
            1,
            locked["0"][-1]["distinct"],
            "measured",
        ),
        below(
            "equal read-out: distance of the nearest units",
            0,
            locked["0"][-1]["nearest"],
            "measured",
        ),
    ]
    course = watched(False, epochs).column("0", "cosine")
    rows += [
        near(
            f"random read-out: mean cosine after {at} epochs",
            stated,
            course[EPOCH * at],
            off=0.05,
            kind="measured",
        )
        for at, stated in COSINES.items()
        if at <= epochs
    ]
    figure, plot = axes("Addition mod 97, 16 hidden units", "epoch", "mean cosine of rows")
    plot.plot([s / EPOCH for s in course], list(course.values()), label="random read-out")
    equal = locked.column("0", "cosine")
    plot.plot([s / EPOCH for s in equal], list(equal.values()), label="equal read-out")
    plot.legend(fontsize=7)
    save(figure, folder, "mod97")
    return rows


if __name__ == "__main__":
    main(reproduce)
