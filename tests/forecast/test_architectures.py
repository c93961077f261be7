"""Convolutions, recurrent units, heads, experts, mirrors, balanced blocks: growth against ordinary training."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lockstep import forecast

Row = tuple[nn.Module, Tensor, Tensor, Any]
SGD, ADAM = partial(torch.optim.SGD, lr=0.05, momentum=0.5), partial(torch.optim.Adam, lr=0.01)


def conv() -> Row:
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.GELU(), nn.Conv2d(3, 2, 3), nn.Flatten()
    )
    return net, torch.randn(6, 1, 6, 6), torch.randn(6, 8), [("0", (0, 2))]


class Recurrent(nn.Module):
    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.inner, self.head = kind(2, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x)[0])


def lstm() -> Row:
    return Recurrent(nn.LSTM), torch.randn(5, 3, 2), torch.randn(5, 3, 1), [("inner[l0]", (1, 2))]


def gru() -> Row:
    return Recurrent(nn.GRU), torch.randn(5, 3, 2), torch.randn(5, 3, 1), [("inner[l0]", (0, 1, 3))]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attn(x, x, x)[0])


def heads() -> Row:
    return Attention(), torch.randn(5, 3, 8), torch.randn(5, 3, 1), [("attn[heads]", (0, 1))]


class Experts(nn.Module):
    """Three equal experts behind a softmax router that knows them apart by nothing."""

    def __init__(self) -> None:
        super().__init__()
        one = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
        self.experts = nn.ModuleList(copy.deepcopy(one) for _ in range(3))
        self.router = nn.Linear(4, 3, bias=False)
        nn.init.zeros_(self.router.weight)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.router(x).softmax(-1)
        return sum(gate[:, k : k + 1] * expert(x) for k, expert in enumerate(self.experts))


def experts() -> Row:
    return Experts(), torch.randn(12, 4), torch.randn(12, 2), None


def mirror() -> Row:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].weight[1], net[0].bias[1], net[2].weight[:, 1] = (
            -net[0].weight[0],
            -net[0].bias[0],
            -net[2].weight[:, 0],
        )
    return net, torch.randn(20, 3), torch.randn(20, 2), None


def adjacent() -> Row:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    return net, torch.randn(20, 3), torch.randn(20, 2), [("0", (0, 1)), ("2", (1, 2))]


def behind_a_norm() -> Row:
    net = nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6), nn.SiLU(), nn.Linear(6, 2))
    return net, torch.randn(20, 3), torch.randn(20, 2), [("0", (1, 4))]


def grouped_norm() -> Row:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2)
    )
    return net, torch.randn(6, 1, 4, 4), torch.randn(6, 2), [("0", (0, 1))]


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x))


def encoder() -> Row:
    return Encoder(), torch.randn(5, 4, 8), torch.randn(5, 4, 2), [("layer.linear1", (2, 7))]


class TiedEmbedding(nn.Module):
    """One matrix reads and writes; two of its columns are equal, and so is what lies between."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.inner = nn.Embedding(7, 6), nn.Linear(6, 6)
        self.out = nn.Linear(6, 7, bias=False)
        self.out.weight = self.table.weight
        with torch.no_grad():
            self.table.weight[:, 1] = self.table.weight[:, 0]
            self.inner.weight[:, 1] = self.inner.weight[:, 0]
            self.inner.weight[1], self.inner.bias[1] = self.inner.weight[0], self.inner.bias[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.inner(self.table(x))))


def embedding() -> Row:
    return TiedEmbedding(), torch.randint(0, 7, (6, 5)), torch.randn(6, 5, 7), None


def balanced() -> Row:
    """FACTS F5: equal block sums, no two rows alike; locked under additive updates."""
    w = [[34, -20, -8, 64, -29, -38], [-11, -11, 28, -50, 1, 46], [-17, 37, -14, -17, 25, -11]]
    w += [[13, -5, 4, 19, -56, 25], [-8, 37, -17, -35, 25, -2], [7, -20, 25, 4, 19, -35]]
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    values = [[[16, -32, 8, 24]] * 3 + [[-24, 8, 32, -16]] * 3, [8] * 3 + [-8] * 3, w]
    values += [[4] * 3 + [-12] * 3, [[24] * 3 + [-16] * 3, [8] * 3 + [32] * 3], [0, 0]]
    with torch.no_grad():
        for p, value in zip(net.parameters(), values, strict=True):
            p.copy_(torch.tensor(value) / 64)
    return net, torch.randn(20, 4), torch.randn(20, 2), None


@pytest.mark.parametrize("make", [SGD, ADAM], ids=["momentum", "Adam"])
@pytest.mark.parametrize(
    "row",
    [
        conv,
        lstm,
        gru,
        heads,
        experts,
        mirror,
        adjacent,
        behind_a_norm,
        grouped_norm,
        encoder,
        embedding,
        balanced,
    ],
    ids=lambda r: r.__name__,
)
def test_growth_along_the_fastest_direction(row: Callable[[], Row], make: Any) -> None:
    """A run displaced by +eps and one by -eps: half their distance is the difference, whatever is tied."""
    torch.manual_seed(1)
    net, x, y, groups = row()
    if row in (experts, grouped_norm):
        # Where a gradient is exactly 0, Adam's response is linear below its eps only.
        make = SGD
    net, y, steps, eps = net.double(), y.double(), 25, 1e-6
    x = x.double() if x.is_floating_point() else x
    one = forecast(net, x, y, loss=F.mse_loss, optimizer=make, steps=2, groups=groups).groups[0]
    tied = copy.deepcopy(net)
    if groups:  # the point from which it was forecast: nearly equal units on their mean
        from lockstep.forecast.predict import parsed, prepared
        from lockstep.symbolic.passes import Example
        from lockstep.symbolic.subject import quarters, subject_of

        with quarters():
            case = prepared(subject_of(net), Example(x), parsed(subject_of(net), groups), make, 0)
        for name, p in tied.named_parameters():
            p.data.copy_(case.values[name])
    found = forecast(
        tied, x, y, loss=F.mse_loss, optimizer=make, steps=steps, groups=groups, start=one.direction
    )
    ends = []
    for sign in (1, -1):
        twin = copy.deepcopy(tied)
        with torch.no_grad():
            for name, p in twin.named_parameters():
                if name in one.direction:
                    p.add_(one.direction[name], alpha=sign * eps)
        optimizer = make(twin.parameters())
        for _ in range(steps):
            optimizer.zero_grad()
            F.mse_loss(twin(x), y).backward()
            optimizer.step()
        ends.append(torch.cat([p.detach().reshape(-1) for p in twin.parameters()]))
    seen = float((ends[0] - ends[1]).norm()) / 2 / eps
    assert math.exp(found.groups[0].log_growth[-1]) == pytest.approx(seen, rel=1e-3)


def test_dimensions() -> None:
    """Counted by hand: incoming, bias, outgoing of each pair; a frozen bias before a norm takes no part."""
    torch.manual_seed(1)
    expected = {
        conv: 9 + 2 + 18,
        heads: 3 * 32 + 8 + 32,
        experts: 2 * (4 * 5 + 5 + 5 * 2 + 2) + 3 * 4,  # of a router at rest at zero every entry
        mirror: 3 + 1 + 2,
    }
    for row, dimension in expected.items():
        net, x, y, groups = row()
        found = forecast(net, x, y, loss=F.mse_loss, optimizer=SGD, steps=1, groups=groups)
        assert [g.dimension for g in found.groups] == [dimension], row.__name__
