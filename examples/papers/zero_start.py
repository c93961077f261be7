"""Zeros and ones: the identity caps the rank, a Hadamard matrix does not.

A deterministic start of zeros and ones [zhao2021]. With partial identities alone, what a wide layer learns has at most
as many dimensions as the input; Hadamard mixing where the width grows lifts that limit. Reproduced on digits,
64-64-128-128-10 ReLU without biases.
Run: python -m examples.papers.zero_start [folder for the figure]
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lockstep

from .data import digits
from .table import Row, above, axes, main, near, same, save

PARTIAL = {100: 55, 1000: 57, 3000: 58}


def hadamard(order: int) -> Tensor:
    """The Hadamard matrix (2^order, 2^order), entries ±1."""
    h = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(order):
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    return h


def network(mixed: bool) -> nn.Sequential:
    sizes = (64, 64, 128, 128, 10)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layer = nn.Linear(inputs, outputs, bias=False).double()
        with torch.no_grad():
            layer.weight.copy_(torch.eye(outputs, inputs))
            if mixed and outputs > inputs:
                layer.weight.copy_(hadamard(7)[:outputs, :inputs] / 8)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def rank(change: Tensor) -> int:
    return int(torch.linalg.matrix_rank(change, rtol=1e-6))


def reproduce(folder: Path) -> list[Row]:
    x, y = digits()
    rows = []
    figure, plot = axes("Rank of what the third layer has learnt", "step", "rank of W3 - I")
    for mixed in (False, True):
        net = network(mixed)
        sgd = torch.optim.SGD(net.parameters(), lr=0.1)
        if not mixed:
            width = lockstep.audit(net, x[:8]).layers["2"].effective_width
            rows.append(
                same("partial identity: classes of the 128 units of layer 2", 65, width, "derived")
            )
        ranks, done = {}, 0
        for at in PARTIAL:
            lockstep.train(net, x, y, loss=F.cross_entropy, optimizer=sgd, steps=at - done, batch_size=64,
                           seed=at, record_every=at, progress=False)  # fmt: skip
            done = at
            with torch.no_grad():
                ranks[at] = rank(net[4].weight - torch.eye(128))
        with torch.no_grad():
            right = float((net(x).argmax(1) == y).double().mean())
        plot.plot(
            list(ranks),
            list(ranks.values()),
            "o-",
            label="Hadamard" if mixed else "partial identity",
        )
        name = "Hadamard" if mixed else "partial identity"
        if mixed:
            rows.append(above("Hadamard: rank of W3 - I at step 3000, inputs 64", 64, ranks[3000]))
            rows.append(
                near(
                    "Hadamard: rank of W3 - I at step 3000", 72, ranks[3000], off=8, kind="measured"
                )
            )
        else:
            rows.append(
                same(
                    "partial identity: rank at most 64 at every step",
                    True,
                    max(ranks.values()) <= 64,
                )
            )
            rows += [
                near(
                    f"partial identity: rank of W3 - I at step {at}",
                    stated,
                    ranks[at],
                    off=3,
                    kind="measured",
                )
                for at, stated in PARTIAL.items()
            ]
        rows.append(
            near(f"{name}: accuracy on the training digits", 1.0, right, off=1e-3, kind="measured")
        )
    plot.axhline(64, color="k", lw=0.5)
    plot.legend(fontsize=7)
    save(figure, folder, "zero_start")
    return rows


if __name__ == "__main__":
    main(reproduce)
