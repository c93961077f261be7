"""How many ways there are to be redundant.

A network wider than needed contains the smaller one in G(r, m) affine subspaces of critical points and T(r, m) of zero
loss [simsek2021]. The formulas are counted out here, unit by unit; and every subspace of a small case is built and
merged back to the smaller network.
Run: python -m examples.papers.redundancy [folder for the figure]
"""

from __future__ import annotations

from itertools import product
from math import comb
from pathlib import Path

import torch
from torch import nn

import lockstep

from .table import Row, axes, below, main, same, save

G = {(2, 3): 6, (2, 4): 14, (2, 5): 30, (3, 4): 36, (3, 5): 150, (4, 5): 240}
T = {(1, 2): 3, (1, 3): 10, (2, 3): 12, (2, 4): 62, (3, 4): 60, (3, 5): 450}


def copies(r: int, m: int) -> list[tuple[int, ...]]:
    """All ways to make m units copies of r, each of which has at least one copy."""
    return [ways for ways in product(range(r), repeat=m) if len(set(ways)) == r]


def partitions(items: int) -> int:
    """The number of partitions of a set."""
    if items == 0:
        return 1
    return sum(comb(items - 1, k) * partitions(k) for k in range(items))


def zero_loss(r: int, m: int) -> int:
    """Some units are copies; the others fall into groups whose outgoing weights cancel."""
    return sum(comb(m, u) * len(copies(r, m - u)) * partitions(u) for u in range(m - r + 1))


def merged(ways: tuple[int, ...], r: int) -> tuple[int, float]:
    """The width after merging a network made of copies, and the change of its function."""
    torch.manual_seed(0)
    small = nn.Sequential(nn.Linear(3, r), nn.Tanh(), nn.Linear(r, 1)).double()
    m = len(ways)
    net = nn.Sequential(nn.Linear(3, m), nn.Tanh(), nn.Linear(m, 1)).double()
    x = torch.randn(32, 3, dtype=torch.float64)
    with torch.no_grad():
        net[0].weight.copy_(small[0].weight[list(ways)])
        net[0].bias.copy_(small[0].bias[list(ways)])
        for k, unit in enumerate(ways):
            net[2].weight[0, k] = small[2].weight[0, unit] / ways.count(unit)
        net[2].bias.copy_(small[2].bias)
        before = net(x)
        lockstep.merge(net, x).apply()
        return net[0].out_features, float((net(x) - before).abs().max())


def reproduce(folder: Path) -> list[Row]:
    rows = [same(f"G{key}", stated, len(copies(*key))) for key, stated in G.items()]
    rows += [same(f"T{key}", stated, zero_loss(*key)) for key, stated in T.items()]
    back = [merged(ways, 2) for ways in copies(2, 3)]
    widths = {width for width, _ in back}
    rows.append(same("width of every subspace of G(2, 3) after merging", "2",
                     ", ".join(map(str, sorted(widths))), "derived"))  # fmt: skip
    rows.append(
        below(
            "change of the function by merging", 1e-14, max(change for _, change in back), "derived"
        )
    )
    figure, plot = axes("Subspaces of redundant networks, r = 2", "width m", "number", log=True)
    widths_shown = range(3, 8)
    plot.plot(
        widths_shown, [len(copies(2, m)) for m in widths_shown], "o-", label="G, critical points"
    )
    plot.plot(widths_shown, [zero_loss(2, m) for m in widths_shown], "o-", label="T, zero loss")
    plot.set_xticks(widths_shown)
    plot.legend(fontsize=7)
    save(figure, folder, "redundancy")
    return rows


if __name__ == "__main__":
    main(reproduce)
