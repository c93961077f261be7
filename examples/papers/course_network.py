"""The 2-2-1 network of the course, in numbers.

No paper: exact arithmetic on one sample, x = (1, 2), y = 1, sigmoid units without bias, J = (a3 - y)²/2. Every
gradient is a chain of factors; those of w1 and w3 differ by w6 : w5 alone, and with w5 = w6 not at all.
Run: python -m examples.papers.course_network [folder for the figure]
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import lockstep

from .table import Row, axes, main, near, same, save

STATED = {  # w6: gradients of w1 … w6
    1.0: (-0.0087381694, -0.0174763388, -0.0174763388, -0.0349526777, -0.0349526777, -0.0349526777),
    0.5: (-0.0110904323, -0.0221808647, -0.0110904323, -0.0221808647, -0.0443617293, -0.0443617293),
}
X, Y = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[1.0]]).double()


def network(w6: float) -> nn.Sequential:
    net = nn.Sequential(
        nn.Linear(2, 2, bias=False), nn.Sigmoid(), nn.Linear(2, 1, bias=False), nn.Sigmoid()
    ).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[0.5, -0.25]] * 2))
        net[2].weight.copy_(torch.tensor([[0.5, w6]]))
    return net


def half_square(output: Tensor, target: Tensor) -> Tensor:
    return ((output - target) ** 2).sum() / 2


def reproduce(folder: Path) -> list[Row]:
    rows, names = [], [f"w{k}" for k in range(1, 7)]
    figure, plot = axes("Gradients of the 2-2-1 network", "weight", "|dJ/dw|")
    for shift, (w6, stated) in enumerate(STATED.items()):
        net = network(w6)
        found = [float(lockstep.explain(net, X, Y, half_square, name).gradient) for name in names]
        rows += [
            near(f"dJ/d{name}, w5 = 0.5, w6 = {w6}", s, f, off=1e-10, kind="derived")
            for name, s, f in zip(names, stated, found, strict=True)
        ]
        places = [k + 0.4 * shift for k in range(6)]
        plot.bar(places, [abs(f) for f in found], width=0.38, label=f"w6 = {w6}")
        side = lockstep.compare(net, X, Y, half_square, "w1", "w3")
        different = ", ".join(f"{p.a.symbol} : {p.b.symbol}" for p in side.differ) or "none"
        rows.append(
            same(f"factors that differ between w1 and w3, w6 = {w6}",
                 "dz3/da1 : dz3/da2" if w6 == 1.0 else "none", different, "derived")
        )  # fmt: skip
    plot.set_xticks([k + 0.2 for k in range(6)], names)
    plot.legend(fontsize=7)
    save(figure, folder, "course_network")
    return rows


if __name__ == "__main__":
    main(reproduce)
