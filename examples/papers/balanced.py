"""Equal block sums lock units, even where no permutation does.

Units in one block of an equitable partition stay equal under SGD [joudaki2025]; its first version leaves open
whether momentum, Adam or decay break the lock. They do not, unless an L2 or L1 term passes through a nonlinear
update: there the weights of a block have to be equal, not only their sums.
Run: python -m examples.papers.balanced [folder for the figure]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lockstep

from .data import dense, digits, spread
from .table import NOTHING, Row, above, axes, below, main, same, save

THREES = [[0, 1, 2], [3, 4, 5]]
W1 = [[16, -32, 8, 24]] * 3 + [[-24, 8, 32, -16]] * 3
W2 = [
    [34, -20, -8, 64, -29, -38],
    [-11, -11, 28, -50, 1, 46],
    [-17, 37, -14, -17, 25, -11],
    [13, -5, 4, 19, -56, 25],
    [-8, 37, -17, -35, 25, -2],
    [7, -20, 25, 4, 19, -35],
]
W3 = [[24, 24, 24, -16, -16, -16], [8, 8, 8, 32, 32, 32]]
BIASES = [[8] * 3 + [-8] * 3, [4] * 3 + [-12] * 3, [0, 0]]

SGD, ADAM = torch.optim.SGD, torch.optim.Adam
UPDATES = {  # name: (optimizer, L1 penalty, whether the lock survives)
    "SGD": (partial(SGD, lr=0.05), 0.0, True),
    "SGD + L2": (partial(SGD, lr=0.05, weight_decay=1e-2), 0.0, True),
    "momentum + L2": (partial(SGD, lr=0.02, momentum=0.9, weight_decay=1e-2), 0.0, True),
    "Adam": (partial(ADAM, lr=0.01), 0.0, True),
    "AdamW": (partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1), 0.0, True),
    "RMSprop": (partial(torch.optim.RMSprop, lr=0.001), 0.0, True),
    "Adam + L2": (partial(ADAM, lr=0.01, weight_decay=1e-2), 0.0, False),
    "Adagrad + L2": (partial(torch.optim.Adagrad, lr=0.01, weight_decay=1e-2), 0.0, False),
    "SGD + L1": (partial(SGD, lr=0.05), 1e-2, False),
}
CLONED = {  # on digits, units cloned twice or three times: (optimizer, whether blocks of three survive)
    "SGD": (partial(SGD, lr=0.05), True),
    "SGD + L2 1e-3": (partial(SGD, lr=0.05, weight_decay=1e-3), True),
    "momentum + L2 1e-3": (partial(SGD, lr=0.01, momentum=0.9, weight_decay=1e-3), True),
    "Adam": (partial(ADAM, lr=0.002), True),
    "AdamW, decay 1e-2": (partial(torch.optim.AdamW, lr=0.002, weight_decay=1e-2), True),
    "Adam + L2 1e-3": (partial(ADAM, lr=0.002, weight_decay=1e-3), False),
}


def network() -> nn.Sequential:
    """4-6-6-2: equal row and column sums in every block of W2, six distinct rows, no automorphism."""
    return dense([W1, W2, W3], BIASES, 64)


def waves() -> tuple[Tensor, Tensor]:
    n = torch.arange(1, 65, dtype=torch.float64)
    x = torch.stack([n.sin(), (2 * n).cos(), (3 * n + 1).sin(), (5 * n + 2).cos()], dim=1)
    return x, torch.stack([x.sum(1).sin(), (x[:, 0] - x[:, 3]).cos()], dim=1)


def gaps(name: str, steps: int = 10) -> list[float]:
    """Largest activation difference inside a block of either hidden layer, after 0 to ``steps`` updates."""
    make, penalty, _ = UPDATES[name]
    net, (x, y) = network(), waves()

    def loss(output: Tensor, target: Tensor) -> Tensor:
        decay = sum(p.abs().sum() for p in net.parameters()) if penalty else 0.0
        return F.mse_loss(output, target) + penalty * decay

    seen = [gap(net, x)]
    optimizer = make(net.parameters())
    for _ in range(steps):
        lockstep.train(net, x, y, loss=loss, optimizer=optimizer, steps=1, progress=False)
        seen.append(gap(net, x))
    return seen


def gap(net: nn.Sequential, x: Tensor) -> float:
    with torch.no_grad():
        return max(spread(net[:depth](x).T, THREES) for depth in (2, 4))


@cache
def trained(width: int) -> nn.Sequential:
    """64-width-width-10 after 400 steps on digits."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(64, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 10)
    ).double()
    for layer in (net[0], net[2], net[4]):
        nn.init.normal_(layer.weight, std=(2 / layer.in_features) ** 0.5)
        nn.init.zeros_(layer.bias)
    batches(net, partial(SGD, lr=0.05), 400)
    return net


def batches(net: nn.Sequential, make: Callable[..., torch.optim.Optimizer], steps: int) -> None:
    """Batches of 50 of the first 1500 digits."""
    x, y = digits()
    lockstep.train(net, x[:1500], y[:1500], loss=F.cross_entropy, optimizer=make, steps=steps, batch_size=50,
                   record_every=steps, progress=False)  # fmt: skip


def cloned(width: int, times: int, uneven: float) -> tuple[nn.Sequential, list[list[int]]]:
    """Every hidden unit ``times`` times; blocks of the middle layer made unequal, their sums kept."""
    small, wide = trained(width), width * times
    copies = torch.arange(width).repeat_interleave(times)
    net = nn.Sequential(
        nn.Linear(64, wide), nn.Tanh(), nn.Linear(wide, wide), nn.Tanh(), nn.Linear(wide, 10)
    ).double()
    noise = uneven * torch.randn(width, times, width, times, dtype=torch.float64)
    noise -= noise.mean(1, keepdim=True)
    noise -= noise.mean(3, keepdim=True)
    with torch.no_grad():
        net[0].weight.copy_(small[0].weight[copies])
        net[0].bias.copy_(small[0].bias[copies])
        net[2].weight.copy_(small[2].weight[copies][:, copies] / times + noise.reshape(wide, wide))
        net[2].bias.copy_(small[2].bias[copies])
        net[4].weight.copy_(small[4].weight[:, copies] / times)
        net[4].bias.copy_(small[4].bias)
    return net, [list(range(k, k + times)) for k in range(0, wide, times)]


def on_digits(name: str, steps: int, width: int = 12, times: int = 3, uneven: float = 0.2) -> float:
    """Largest activation difference among clones after ``steps`` batches."""
    torch.manual_seed(1)
    net, groups = cloned(width, times, uneven)
    batches(net, CLONED[name][0], steps)
    x, _ = digits()
    with torch.no_grad():
        return max(spread(net[:depth](x[:1500]).T, groups) for depth in (2, 4))


def reproduce(folder: Path, steps: int = 2000) -> list[Row]:
    net, (x, _) = network(), waves()
    additive = lockstep.audit(net, x, update="additive")
    kinds = {(g.kind, g.where, g.units) for g in additive.locked}
    blocks = {("balanced", layer, tuple(b)) for layer in ("0", "2") for b in THREES}
    rows = [
        same("locks of the integer network, update additive", "4 balanced blocks of 3",
             "4 balanced blocks of 3" if kinds == blocks else str(sorted(kinds)), "measured"),
        same("locks of the integer network, any update", 0,
             len(lockstep.audit(net, x, update="any").locked), "measured"),
    ]  # fmt: skip
    figure, plot = axes(
        "A balanced lock, 4-6-6-2", "step", "gap inside a block", log=True, zero=True
    )
    for name, (_, _, survives) in UPDATES.items():
        seen = gaps(name)
        plot.plot([max(s, NOTHING) for s in seen], label=name, ls="-" if survives else "--")
        judge, limit = (below, 1e-14) if survives else (above, 1e-3)
        rows.append(judge(f"gap after 10 steps, {name}", limit, seen[-1], "measured"))
    plot.legend(fontsize=6, ncols=2)
    save(figure, folder, "balanced")
    for name, (_, survives) in CLONED.items():
        judge, limit = (below, 1e-12) if survives else (above, 1e-3)
        what = "digits, every unit cloned 3 times, unequal blocks: gap after"
        rows += [
            judge(f"{what} {n} step{'s' * (n > 1)}, {name}", limit, on_digits(name, n), "measured")
            for n in ((steps,) if survives else (1, steps))
        ]
    rows += [
        below(f"digits, every unit cloned twice: gap after {steps} steps, {name}", 0,
              on_digits(name, steps, width=16, times=2, uneven=0.0), "measured")
        for name in CLONED
    ]  # fmt: skip
    return rows


if __name__ == "__main__":
    main(reproduce)
