"""Classes by incoming and by outgoing weights, intersected, are not enough.

Published code [fibrations2026] colours units by their incoming and by their outgoing weights and intersects the two.
On this integer network that leaves units 0 and 1 of the first layer in one class, yet their gradients differ:
only joint refinement, in both directions at once, says "for ever".
Run: python -m examples.papers.one_sided [folder for the figure]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lockstep

from .data import dense, spread
from .table import Row, axes, below, main, near, same, save


def network() -> nn.Sequential:
    weights = [[[1, -2, 1], [1, -2, 1], [2, 1, -1]], [[4, 0, 3], [0, 4, -1]], [[3, 3]]]
    return dense(weights, [[1, 1, 0], [1, -2], [0]], 4)


def waves() -> tuple[Tensor, Tensor]:
    n = torch.arange(1, 65, dtype=torch.float64)
    x = torch.stack([n.sin(), (2 * n).cos(), (3 * n + 1).sin()], dim=1)
    return x, x.sum(1, keepdim=True).sin()


def reproduce(folder: Path) -> list[Row]:
    net, (x, y) = network(), waves()
    report = lockstep.audit(net, x)
    reason = report.reason("0", 0, 1)
    ahead = spread(net[:2](x).T, [[0, 1]])
    loss = F.mse_loss(net(x), y)
    loss.backward()
    slope = spread(net[0].weight.grad, [[0, 1]])
    history = lockstep.train(
        net, x, y, loss=F.mse_loss, optimizer=partial(torch.optim.SGD, lr=0.05), steps=100, progress=False
    )  # fmt: skip
    row = history.parameter("0.weight")
    gap = (row[:, 0] - row[:, 1]).abs().amax(1)
    figure, plot = axes("Units 0 and 1, equal incoming weights", "step", "gap of their weights")
    plot.plot(gap)
    save(figure, folder, "one_sided")
    return [
        same("classes of layer 1, joint refinement", 3, report.layers["0"].effective_width, "measured"),
        same("verdict on units 0 and 1", "separates", reason.verdict, "measured"),
        same("at step", 1, reason.step, "measured"),
        same("finding LS006 (equal now, will separate)", True,
             "LS006" in {f.code for f in report.findings}, "measured"),
        below("activation gap before training", 0, ahead, "measured"),
        near("loss before training", 0.690579904331, loss.item(), off=1e-11, kind="measured"),
        near("gap of the two gradient rows", 0.0990147892, slope, off=1e-9, kind="measured"),
        near("weight gap after 1 step of SGD .05", 0.00495074, float(gap[1]), rel=1e-4, kind="measured"),
        near("weight gap after 100 steps", 0.09297, float(gap[100]), rel=1e-3, kind="measured"),
    ]  # fmt: skip


if __name__ == "__main__":
    main(reproduce)
