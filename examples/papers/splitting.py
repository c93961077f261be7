"""The best direction to split a unit along.

Moving two equal halves of a unit by ±ε along an eigenvector changes the loss by ε² times its eigenvalue, to second
order [liu2019]. Measured here on the duplicated unit of the digits network: the lowest eigenvector of the whole
transverse Hessian, outgoing weights included, gives the most; most random directions raise the loss.
Run: python -m examples.papers.splitting [folder for the figure]
"""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F

import lockstep

from .digits_pair import START, images, pair
from .table import Row, axes, main, near, save

LOWEST = -0.013582
STATED = {0.1: 0.943, 0.03: 0.9948, 0.01: 0.9994}


def split(size: float, direction: str, seed: int = 0) -> tuple[float, float]:
    """The predicted and the measured change of the loss."""
    x, y = images()
    plan = lockstep.untie(
        pair(), x, loss=F.cross_entropy, targets=y, direction=direction, size=size, relative=False, seed=seed
    )  # fmt: skip
    measured = plan.apply().measured
    return measured["loss change predicted"], measured["loss change measured"]


def reproduce(folder: Path) -> list[Row]:
    rows, ratios = [], {}
    for size, stated in STATED.items():
        predicted, measured = split(size, "fastest")
        ratios[size] = measured / predicted
        if size == 0.01:
            rows.append(near("lowest eigenvalue of the transverse Hessian", LOWEST, predicted / size**2,
                             rel=1e-3, kind="measured").because(START))  # fmt: skip
        rows.append(near(f"loss change, measured over predicted, ε = {size:g}", stated, ratios[size],
                         rel=0.01, kind="measured"))  # fmt: skip
    changes = [split(0.03, "random", seed)[1] for seed in range(20)]
    lower = sum(change < 0 for change in changes)
    what = "share of random directions that lower the loss"
    rows.append(near(what, 0.07, lower / 20, off=0.1, kind="measured"))
    figure, plot = axes(
        "Splitting a unit of the digits network, ε = 0.03", "direction", "change of the loss"
    )
    plot.plot(range(20), changes, "o", label="random")
    plot.set_xticks(range(0, 20, 5))
    plot.axhline(split(0.03, "fastest")[1], color="k", ls="--", label="lowest eigenvector")
    plot.legend(fontsize=7)
    save(figure, folder, "splitting")
    return rows


if __name__ == "__main__":
    main(reproduce)
