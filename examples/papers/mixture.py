"""A lock that rounding leaves: equal components of a mixture.

No paper: measured here. Components of a Gaussian mixture that start equal are one class for ever in exact arithmetic,
and the lock is unstable: floating point escapes after about ln(size / unit roundoff) divided by the growth rate.
Run: python -m examples.papers.mixture [folder for the figure]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import lockstep

from .table import NOTHING, Row, above, axes, below, main, same, save


class Mixture(nn.Module):
    """The log density of four unit Gaussians in five dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.full((4, 5), 0.3))
        self.logits = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        distance = ((x[:, None] - self.mu) ** 2).sum(-1) / 2
        return torch.logsumexp(self.logits.log_softmax(0) - distance, 1)


def unlikely(output: Tensor, _: Tensor) -> Tensor:
    return -output.mean()


RULES = {
    "SGD .05": (partial(torch.optim.SGD, lr=0.05), 300, 1000),
    "Adam .05": (partial(torch.optim.Adam, lr=0.05), 2, 50),
}


def reproduce(folder: Path) -> list[Row]:
    torch.manual_seed(0)
    x = 2 * torch.randn(32, 5, dtype=torch.float64)
    report = lockstep.audit(Mixture().double(), x)
    frozen = {entry.parameter: entry.count for entry in report.frozen}
    rows = [
        same("classes of 4 components", 1, report.layers["mu"].effective_width, "measured"),
        same("frozen entries of the logits", 4, frozen.get("logits", 0), "measured"),
    ]
    figure, plot = axes(
        "Four equal components, float64", "step", "gap of the means", log=True, zero=True
    )
    for name, (make, early, late) in RULES.items():
        seen = lockstep.forecast(
            Mixture().double(), x, x, loss=unlikely, optimizer=make, steps=late, groups=[("mu", range(4))]
        )  # fmt: skip
        rows.append(same(f"{name}: forecast", "separates", seen["mu"].verdict, "derived"))
        net = Mixture().double()
        history = lockstep.train(
            net, x, x, loss=unlikely, optimizer=make, steps=2 * late, progress=False
        )
        mu = history.parameter("mu")
        gap = (mu - mu[:, :1]).abs().flatten(1).amax(1)
        plot.plot(gap.clamp(min=NOTHING), label=name)
        rows.append(below(f"{name}: gap at step {early}", 1e-6, float(gap[early]), "measured"))
        rows.append(
            above(
                f"{name}: gap at step {2 * late}, rounding has escaped",
                0.1,
                float(gap[-1]),
                "measured",
            )
        )
    plot.legend(fontsize=7)
    save(figure, folder, "mixture")
    return rows


if __name__ == "__main__":
    main(reproduce)
