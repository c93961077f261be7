"""Features that all start equal train once anything breaks the tie.

Networks whose features all start equal are said to train if the kernels are not deterministic, or with 1 % dropout
[blumenfeld2020]; their tables were not read, so no accuracy is quoted. Here on digits, 64-32-32-10 ReLU, hidden layers
constant: without noise each hidden layer is one unit for ever, with dropout .01 its units come apart and the network
learns like any other.
Run: python -m examples.papers.equal_features [folder for the figure]
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import lockstep

from .data import digits
from .table import Row, above, axes, below, main, same, save

EVERY = 250


def network(dropout: float) -> nn.Sequential:
    """All weights of a layer equal, their size kept from layer to layer; the read-out starts from zero."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(64, 32), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(32, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 10),
    ).double()  # fmt: skip
    with torch.no_grad():
        for layer, size in ((net[0], 1 / 64), (net[3], 1 / 32), (net[6], 0.0)):
            layer.weight.fill_(size)
            layer.bias.zero_()
    return net


def course(dropout: float, steps: int) -> tuple[list[int], list[float], nn.Sequential]:
    """Different units of the second hidden layer, and accuracy on the digits kept back, every 250 steps."""
    net = network(dropout)
    x, y = digits()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    (x, y), (held, truth) = (x[order[:1500]], y[order[:1500]]), (x[order[1500:]], y[order[1500:]])
    adam = torch.optim.Adam(net.parameters(), lr=2e-3)
    distinct, right = [], []
    for part in range(steps // EVERY + 1):
        if part:
            lockstep.train(net, x, y, loss=F.cross_entropy, optimizer=adam, steps=EVERY, batch_size=100,
                           seed=part, record_every=EVERY, progress=False)  # fmt: skip
        net.eval()
        with torch.no_grad():
            rows = torch.cat([net[3].weight, net[3].bias[:, None]], 1)
            distinct.append(len(torch.unique(rows.round(decimals=9), dim=0)))
            right.append(float((net(held).argmax(1) == truth).double().mean()))
        net.train()
    return distinct, right, net


def reproduce(folder: Path, steps: int = 3000) -> list[Row]:
    x, _ = digits()
    figure, plot = axes("Equal features on digits", "step", "accuracy, digits kept back")
    rows = []
    for dropout in (0.0, 0.01):
        report = lockstep.audit(network(dropout), x[:8])
        codes = {finding.code for finding in report.findings}
        distinct, right, _ = course(dropout, steps)
        plot.plot([EVERY * n for n in range(len(right))], right, label=f"dropout {dropout:g}")
        what = f"dropout {dropout:g}" if dropout else "no noise"
        code = "LS008" if dropout else "LS001"
        rows.append(same(f"{what}: finding {code}", True, code in codes, "derived"))
        if dropout:
            rows += [
                same(f"{what}: different units of 32 after {steps} steps", 32, distinct[-1], "derived"),
                above(f"{what}: accuracy after {steps} steps", 0.9, right[-1], "measured"),
            ]  # fmt: skip
        else:
            rows += [
                same(f"{what}: different units of 32 after {steps} steps", 1, distinct[-1], "derived"),
                below(f"{what}: accuracy after {steps} steps", 0.5, right[-1], "measured"),
            ]  # fmt: skip
    plot.legend(fontsize=7)
    save(figure, folder, "equal_features")
    return rows


if __name__ == "__main__":
    main(reproduce)
