"""Widening by copies: equal halves stay twins for ever.

Net2Net [chen2015] copies a unit and shares out its outgoing weight, and adds noise; a port without the noise trusts
rounding to break the tie [net2nettorch]. Measured here, 4-3-2 tanh, one unit copied: equal halves never separate,
thirds do, slowly under Adam, and a pair of opposite sign at once.
Run: python -m examples.papers.widening [folder for the figure]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import lockstep

from .data import regression
from .table import NOTHING, Row, above, axes, below, factor, main, same, save

RULES = {
    "SGD .05": partial(torch.optim.SGD, lr=0.05),
    "Adam .01": partial(torch.optim.Adam, lr=0.01),
}
STREAM = "start and sample of the earlier run were not kept; once separate, Adam moves each weight by up to .01 a step."
THIRDS = {"SGD .05": (1.8e-3, 9.6e-2), "Adam .01": (8.3e-9, 4.2e-2)}  # gap after 1 and 100 steps


def reproduce(folder: Path) -> list[Row]:
    rows = []
    x, y = regression(4, 2)
    figure, plot = axes(
        "Unit 0 and its copy, 4-3-2 widened to 4-4-2", "step", "gap of rows", log=True, zero=True
    )
    for split, name in (("halves", "halves"), ((1 / 3, 2 / 3), "thirds"), ("opposite", "opposite")):
        for rule, make in RULES.items():
            torch.manual_seed(0)
            net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
            before = net(x).detach()
            lockstep.widen(net, x, "0", units=[0], split=split).apply()
            change = float((net(x) - before).detach().abs().max())
            width = lockstep.audit(net, x).layers["0"].effective_width
            history = lockstep.train(
                net, x, y, loss=F.mse_loss, optimizer=make, steps=100, progress=False
            )
            weight = history.parameter("0.weight")
            gap = (weight[:, 0] - weight[:, 1]).abs().amax(1)
            plot.plot(gap.clamp(min=NOTHING), label=f"{name}, {rule}")
            if rule == "SGD .05":
                rows.append(below(f"{name}: change of the function", 1e-15, change, "measured"))
                rows.append(
                    same(
                        f"{name}: classes of 4 units",
                        3 if name == "halves" else 4,
                        width,
                        "measured",
                    )
                )
            if name == "halves":
                rows.append(
                    below(f"halves: gap after 100 steps, {rule}", 0, float(gap[100]), "measured")
                )
            elif name == "thirds":
                rows += [
                    factor(
                        f"thirds: gap after {k} steps, {rule}", size, float(gap[k]), 10, "measured"
                    ).because(STREAM)
                    for k, size in zip((1, 100), THIRDS[rule], strict=True)
                ]
            else:
                rows.append(
                    above(f"opposite: gap after 1 step, {rule}", 1e-4, float(gap[1]), "measured")
                )
    plot.legend(fontsize=6)
    save(figure, folder, "widening")
    return rows


if __name__ == "__main__":
    main(reproduce)
