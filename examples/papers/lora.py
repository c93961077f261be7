"""Which starts of a low-rank update ever reach their rank.

One of the two factors must start away from zero, say the maintainers of LoRA [lora98]. Measured here, W + BA with 6 x 8
and rank 4: both zero, nothing ever moves; equal rows of A, rank one for ever.
Run: python -m examples.papers.lora [folder for the figure]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lockstep

from .table import NOTHING, Row, axes, main, same, save

STARTS = {  # name: (rows of A that are not zero, whether these are equal, rank for ever)
    "A = B = 0": (0, False, 0),
    "rows of A equal": (4, True, 1),
    "A random": (4, False, 4),
    "two rows of A random, two zero": (2, False, 2),
}


class Adapter(nn.Module):
    """A frozen linear map (6, 8) plus B A of rank 4, B = 0."""

    def __init__(self, rows: int, equal: bool) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(6, 8), requires_grad=False)
        start = torch.zeros(4, 8)
        start[:rows] = torch.randn(1 if equal else rows, 8) if rows else 0.0
        self.A, self.B = nn.Parameter(start), nn.Parameter(torch.zeros(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.W + self.B @ self.A).T


def reproduce(folder: Path) -> list[Row]:
    rows = []
    figure, plot = axes(
        "Singular values of BA after 200 steps of Adam",
        "component",
        "singular value",
        log=True,
        zero=True,
    )
    for name, (live, equal, rank) in STARTS.items():
        torch.manual_seed(0)
        net, x = Adapter(live, equal).double(), torch.randn(32, 8, dtype=torch.float64)
        frozen = {entry.parameter: entry.count for entry in lockstep.audit(net, x).frozen}
        y = torch.sin(x @ torch.randn(8, 6, dtype=torch.float64))
        adam = partial(torch.optim.Adam, lr=1e-2)
        lockstep.train(net, x, y, loss=F.mse_loss, optimizer=adam, steps=200, progress=False)
        with torch.no_grad():
            product = net.B @ net.A
            plot.plot(
                range(1, 5), torch.linalg.svdvals(product)[:4].clamp(min=NOTHING), "o-", label=name
            )
            found = int(torch.linalg.matrix_rank(product, rtol=1e-9))
        rows.append(same(f"{name}: rank of BA after 200 steps", rank, found, "measured"))
        rows.append(
            same(f"{name}: frozen entries of A, B", f"{8 * (4 - live)}, {6 * (4 - live)}",
                 f"{frozen.get('A', 0)}, {frozen.get('B', 0)}", "measured")
        )  # fmt: skip
    plot.set_xticks(range(1, 5))
    plot.legend(fontsize=7)
    save(figure, folder, "lora")
    return rows


if __name__ == "__main__":
    main(reproduce)
