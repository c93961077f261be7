"""Expert copies separate through the router, or never.

Sparse upcycling [komatsuzaki2022] starts all experts of a layer as copies and adds a new router. Measured here: a
random router separates them; a router that starts at zero never does, and is itself frozen.
Run: python -m examples.papers.experts [folder for the figure]
"""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lockstep

from .table import Row, above, axes, below, main, same, save


class Routed(nn.Module):
    """Four copies of one expert 8-16-8 behind a softmax router; each token takes its top k, weights rescaled."""

    def __init__(self, k: int, zero: bool) -> None:
        super().__init__()
        expert = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.experts = nn.ModuleList(copy.deepcopy(expert) for _ in range(4))
        self.router = nn.Linear(8, 4, bias=False)
        self.k = k
        if zero:
            nn.init.zeros_(self.router.weight)

    def forward(self, x: Tensor) -> Tensor:
        share, chosen = self.router(x).softmax(-1).topk(self.k, dim=-1)
        share = share / share.sum(-1, keepdim=True)
        gates = torch.zeros(len(x), 4, dtype=x.dtype).scatter(1, chosen, share)
        return sum(gates[:, [i]] * expert(x) for i, expert in enumerate(self.experts))


def gap(net: Routed, i: int, j: int) -> float:
    pairs = zip(net.experts[i].parameters(), net.experts[j].parameters(), strict=True)
    return max(float((p - q).detach().abs().max()) for p, q in pairs)


def one(k: int, zero: bool) -> tuple[list[Row], list[float]]:
    torch.manual_seed(0)
    net, x = Routed(k, zero).double(), torch.randn(64, 8, dtype=torch.float64)
    report = lockstep.audit(net, x)
    locked = [len(g.units) for g in report.locked if g.kind == "module"]
    frozen = [entry.parameter for entry in report.frozen]
    before = copy.deepcopy(net)
    adam = partial(torch.optim.Adam, lr=1e-2)
    lockstep.train(net, x, x.sin(), loss=F.mse_loss, optimizer=adam, steps=50, progress=False)
    served = [
        i
        for i in range(4)
        if not torch.equal(net.experts[i][0].weight, before.experts[i][0].weight)
    ]
    apart = [gap(net, i, j) for i in range(4) for j in range(i)]
    name = f"{'zero' if zero else 'random'} router, k = {k}"
    if not zero:
        return [
            same(f"{name}: experts locked", 0, sum(locked), "measured"),
            above(f"{name}: smallest gap after 50 steps", 0.1, min(apart), "measured"),
        ], apart
    equal = max(gap(net, i, j) for i in served for j in served)
    return [
        same(f"{name}: experts locked to one another", k, sum(locked), "measured"),
        same(f"{name}: frozen", "router.weight", ", ".join(frozen), "measured"),
        same(f"{name}: experts that were trained", k, len(served), "measured"),
        below(f"{name}: gap among these after 50 steps", 0, equal, "measured"),
    ], apart


def reproduce(folder: Path) -> list[Row]:
    rows, bars = [], {}
    for k, zero in ((4, False), (2, False), (4, True), (2, True)):
        more, apart = one(k, zero)
        rows += more
        untrained = "\n(two untrained)" if zero and k == 2 else ""
        bars[f"{'zero' if zero else 'random'}, k = {k}{untrained}"] = apart
    figure, plot = axes("Gaps of 6 pairs of experts, 50 steps of Adam", "router", "gap")
    for place, apart in enumerate(bars.values()):
        plot.plot([place] * len(apart), apart, "o", alpha=0.5)
    plot.set_xticks(range(len(bars)), list(bars))
    save(figure, folder, "experts")
    return rows


if __name__ == "__main__":
    main(reproduce)
