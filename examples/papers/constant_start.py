"""Zero and constant starts.

No paper: measured here. From zeros a tanh or ReLU network learns its output bias and nothing else; from any constant
each hidden layer stays one unit wide, in dense and recurrent layers alike, until noise such as dropout tells its
units apart. Related: a start from equal features that trains because something breaks the tie [blumenfeld2020].
Run: python -m examples.papers.constant_start [folder for the figure]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lockstep

from .data import regression, spread
from .table import NOTHING, Row, axes, below, factor, main, same, save

SGD = torch.optim.SGD
TARGETS = "set by how far the two targets differ, and those of the earlier run were not kept; not 0 is the point."


def filled(net: nn.Module, value: float) -> nn.Module:
    for p in net.parameters():
        nn.init.constant_(p, value)
    return net.double()


def trained(net: nn.Module, x: Tensor, y: Tensor, lr: float, steps: int) -> lockstep.History:
    sgd = partial(SGD, lr=lr)
    return lockstep.train(net, x, y, loss=F.mse_loss, optimizer=sgd, steps=steps, progress=False)


def from_zero() -> list[Row]:
    rows = []
    x, y = regression(4, 2)
    for act in (nn.Tanh, nn.ReLU, nn.Sigmoid):
        net = filled(nn.Sequential(nn.Linear(4, 3), act(), nn.Linear(3, 2)), 0.0)
        frozen = {entry.parameter for entry in lockstep.audit(net, x).frozen}
        trained(net, x, y, 0.1, 100)
        moved = {name for name, p in net.named_parameters() if p.detach().any()}
        expected = "all" if act is nn.Sigmoid else "2.bias"
        everything = {name for name, _ in net.named_parameters()}
        what = "all" if moved == everything else ", ".join(sorted(moved))
        rows.append(
            same(f"zero start, {act.__name__}: parameters that move", expected, what, "measured")
        )
        rows.append(
            same(f"zero start, {act.__name__}: frozen says the audit", "the others",
                 "the others" if frozen == everything - moved else str(sorted(frozen)), "measured")
        )  # fmt: skip
    rows.append(below("zero start, Sigmoid: gap of the hidden rows", 0,
                      spread(net[0].weight, [[0, 1, 2]]), "measured"))  # fmt: skip
    return rows


class Recurrent(nn.Module):
    """LSTM 4-5 and a linear head on its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def recurrent() -> list[Row]:
    torch.manual_seed(0)
    x, y = torch.randn(32, 6, 4, dtype=torch.float64), torch.randn(32, 2, dtype=torch.float64)
    rows = []
    for random in (False, True):
        net = filled(Recurrent(), 0.1)
        if random:
            net.head = nn.Linear(5, 2).double()
        width = lockstep.audit(net, x).layers["lstm[l0]"].effective_width
        what = "random" if random else "constant"
        rows.append(
            same(f"LSTM, {what} head: classes of 5 units", 5 if random else 1, width, "measured")
        )
        trained(net, x, y, 0.05, 3)
        gap = spread(net.lstm.weight_ih_l0[:5], [list(range(5))])
        rows.append(
            factor("LSTM, random head: gap after 3 steps", 9.8e-3, gap, 10, "measured")
            if random
            else below("LSTM, constant head: gap after 3 steps", 0, gap, "measured")
        )
    return rows


def reproduce(folder: Path) -> list[Row]:
    x, y = regression(4, 2)
    figure, plot = axes("Constant start, 4-6-6-2 tanh", "step", "gap of rows", log=True, zero=True)
    net = filled(
        nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2)), 0.1
    )
    report = lockstep.audit(net, x)
    rows = from_zero()
    found = ", ".join(str(report.layers[layer].effective_width) for layer in ("0", "2"))
    rows.append(same("constant .1: classes of the hidden layers", "1, 1", found, "measured"))
    history = trained(net, x, y, 0.05, 50)
    for layer, name in (("0", "hidden"), ("4", "output")):
        weight = history.parameter(f"{layer}.weight")
        plot.plot((weight - weight[:, :1]).abs().flatten(1).amax(1).clamp(min=NOTHING), label=name)
    rows.append(below("constant .1: gap of hidden rows after 50 steps", 1e-14,
                      spread(net[0].weight, [list(range(6))]), "measured"))  # fmt: skip
    rows.append(factor("constant .1: gap of the output rows", 0.28, spread(net[4].weight, [[0, 1]]), 3,
                       "measured").because(TARGETS))  # fmt: skip
    across = spread(net[0].weight.T, [[0, 1, 2, 3]])
    rows.append(
        factor("constant .1: gap of weights from different inputs", 0.10, across, 3, "measured")
    )
    noisy = filled(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 2)), 0.1)
    codes = {finding.code for finding in lockstep.audit(noisy, x).findings}
    rows.append(
        same("with dropout .2: finding LS008 (saved by noise)", True, "LS008" in codes, "measured")
    )
    noise = trained(noisy, x, y, 0.05, 50).parameter("0.weight")
    gap = (noise - noise[:, :1]).abs().flatten(1).amax(1)
    rows.append(factor("with dropout .2: gap after 3 steps", 3.1e-3, float(gap[3]), 10, "measured"))
    plot.plot(gap.clamp(min=NOTHING), label="hidden, dropout .2")
    plot.legend(fontsize=7)
    save(figure, folder, "constant_start")
    return rows + recurrent()


if __name__ == "__main__":
    main(reproduce)
