"""Unequal outgoing weights can leave almost no gap under Adam.

Copies with unequal outgoing weights separate [wang2023], but how fast depends on the optimizer: their gradients are
parallel, and Adam and sign updates remove the scale. A pair of opposite sign [gromo] is apart at once. Measured here:
4-8-2 tanh, units 0 and 1 with equal incoming rows and outgoing weights in ratio r.
Run: python -m examples.papers.hidden_by_adam [folder for the figure]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import lockstep

from .data import regression
from .table import NOTHING, Row, axes, below, factor, main, same, save

RULES = {
    "SGD .05": partial(torch.optim.SGD, lr=0.05),
    "Adam .01": partial(torch.optim.Adam, lr=0.01),
    "sign (Rprop .01)": partial(torch.optim.Rprop, lr=0.01),
}
STATED = {  # r: gap after one step of each rule
    2.0: (7.9e-3, 9.5e-10, 0.0),
    1.1: (6.8e-4, 2.2e-10, 0.0),
    0.5: (3.0e-3, 3.0e-9, 0.0),
    -1.0: (9.5e-3, 2.0e-2, 2.0e-2),
}
SCALE = (
    "Adam's gap is epsilon over the size of the gradient, which is smaller on this sample: SGD's gap, proportional to "
    "it, is smaller by about the same factor."
)
EPSILONS = {1e-16: 5.6e-17, 1e-8: 9.5e-10, 1e-3: 9.2e-5}


def network(ratio: float) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    with torch.no_grad():
        net[0].weight[1], net[0].bias[1] = net[0].weight[0], net[0].bias[0]
        net[2].weight[:, 1] = ratio * net[2].weight[:, 0]
    return net


def gaps(ratio: float, rule: partial, steps: int) -> list[float]:
    x, y = regression(4, 2)
    history = lockstep.train(
        network(ratio), x, y, loss=F.mse_loss, optimizer=rule, steps=steps, progress=False
    )
    rows = history.parameter("0.weight")
    return [float(gap) for gap in (rows[:, 0] - rows[:, 1]).abs().amax(1)]


def reproduce(folder: Path) -> list[Row]:
    rows = []
    figure, plot = axes(
        "Equal incoming rows, outgoing ratio 2", "step", "gap of rows", log=True, zero=True
    )
    for ratio, stated in STATED.items():
        report = lockstep.audit(network(ratio), regression(4, 2)[0])
        verdict = report.reason("0", 0, 1).verdict
        rows.append(same(f"r = {ratio:g}: verdict", "separates", verdict, "measured"))
        for (name, rule), size in zip(RULES.items(), stated, strict=True):
            seen = gaps(ratio, rule, 10 if ratio == 2 else 1)
            what = f"r = {ratio:g}: gap after 1 step, {name}"
            rows.append(
                factor(what, size, seen[1], 10, "measured").because(SCALE)
                if size
                else below(what, 0, seen[1], "measured")
            )
            if ratio == 2:
                plot.plot([max(s, NOTHING) for s in seen], "o-", label=name)
    for eps, size in EPSILONS.items():
        adam = partial(torch.optim.Adam, lr=0.01, eps=eps)
        rows.append(factor(f"r = 2: gap after 1 step, Adam with epsilon {eps:g}", size,
                           gaps(2.0, adam, 1)[1], 20, "measured"))  # fmt: skip
    plot.legend(fontsize=7)
    save(figure, folder, "hidden_by_adam")
    return rows


if __name__ == "__main__":
    main(reproduce)
