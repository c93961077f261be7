"""Residual streams: norms that count channels, embeddings that are the output layer too, whole groups of channels."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from lockstep import merge, widen

IDS = torch.arange(24).reshape(4, 6) % 9
PAIRS = ((0, 1), (2, 3), (4, 5))
UNEVEN = ((0, 1, 2), (3, 4))


class Written(nn.Module):
    """An RMSNorm in plain Python."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = nn.Parameter(torch.rand(width) + 0.5), 1e-2

    def forward(self, x):
        size = x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon
        return self.weight * (x * torch.rsqrt(size))


class Cast(Written):
    """As of Llama: in float32 whatever the model is in."""

    def forward(self, x):
        return super().forward(x.float()).to(x.dtype)


NORMS = {
    "cast": Cast,
    "LayerNorm": lambda d: nn.LayerNorm(d, eps=1e-2),
    "RMSNorm": lambda d: nn.RMSNorm(d, eps=1e-2),
    "written": Written,
    "none": lambda d: nn.Identity(),
}


class Stream(nn.Module):
    """One block of a transformer without attention; ``tied``: the embedding is the output layer."""

    def __init__(self, norm: str, tied: bool, after: nn.Module | None = None) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 6)
        self.first, self.last = NORMS[norm](6), NORMS[norm](6)
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 6)
        self.after = nn.Identity() if after is None else after
        self.head = nn.Linear(6, 9, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, ids):
        x = self.embed(ids)
        x = x + self.down(torch.tanh(self.up(self.first(x))))
        return self.head(self.after(self.last(x)))


def locked(model: nn.Module, width: int, classes) -> nn.Module:
    """Weights averaged over the permutations of each class along every axis of this width."""
    with torch.no_grad():
        for p in model.double().parameters():
            for axis in (a for a in range(p.dim()) if p.shape[a] == width):
                for members in classes:
                    rows = p.movedim(axis, 0)
                    rows[list(members)] = rows[list(members)].mean(0, keepdim=True)
    return model


def train(models, x, steps: int, make, clip=None) -> None:
    optimizers = [make(m) for m in models]
    for _ in range(steps):
        for n, (m, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            optimizer.zero_grad()
            out = m(x)
            wave = torch.sin(torch.arange(out.numel()).reshape(out.shape).double())
            (out - wave).square().mean().backward()
            if clip:
                clip[n]()
            optimizer.step()


@pytest.mark.parametrize(
    "norm, tied, classes, after",
    [
        ("LayerNorm", True, PAIRS, None),
        ("RMSNorm", True, UNEVEN, None),
        ("none", True, UNEVEN, None),
        ("written", False, UNEVEN, nn.Tanh()),
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in [
                ("RMSNorm", True, PAIRS, None),
                ("written", True, UNEVEN, None),
                ("written", False, PAIRS, None),
                ("LayerNorm", False, PAIRS, nn.Tanh()),
                ("RMSNorm", False, UNEVEN, nn.Tanh()),
            ]
        ),
    ],
)
def test_channels_of_a_stream_are_merged_and_training_follows(norm, tied, classes, after) -> None:
    big = locked(Stream(norm, tied, after), 6, classes)
    small = copy.deepcopy(big)
    made = [torch.optim.Adam(m.parameters(), lr=3e-3) for m in (big, small)]
    plan = merge(small, IDS)
    receipt = plan.apply(optimizer=made[1])
    assert not plan.refused and receipt.after.locked == ()
    assert small.embed.weight.shape == (9, 6 - sum(len(c) - 1 for c in classes))
    assert (small.head.weight is small.embed.weight) == tied
    receipt.follow(made[1])
    train((big, small), IDS, 100, lambda m: made[m is small])
    assert float((big(IDS) - small(IDS)).abs().max().detach()) <= 1e-9


def test_a_norm_may_insist_on_float32() -> None:
    model = locked(Stream("cast", True), 6, UNEVEN)
    plan = merge(model, IDS)
    assert plan.apply().function.kept and not plan.refused


@pytest.mark.parametrize(
    "norm, tied, classes, after, reason",
    [
        ("LayerNorm", True, UNEVEN, None, "neither a gain and shift in front"),
        ("LayerNorm", False, UNEVEN, None, "first, last takes a mean over all channels"),
        ("none", True, PAIRS, nn.Tanh(), "because of a nonlinearity in between"),
    ],
)
def test_what_no_scale_repairs_is_refused(norm, tied, classes, after, reason) -> None:
    plan = merge(locked(Stream(norm, tied, after), 6, classes), IDS)
    assert plan.empty and reason in plan.refused[0].reason


@pytest.mark.parametrize(
    "norm, tied, units",
    [
        ("LayerNorm", True, range(6)),
        ("RMSNorm", True, [1, 4]),
        pytest.param("written", False, [1, 4], marks=pytest.mark.slow),
        pytest.param("none", True, [2], marks=pytest.mark.slow),
    ],
)
def test_a_stream_gets_wider_and_merges_back(norm, tied, units) -> None:
    model = Stream(norm, tied).double()
    with torch.no_grad():
        for p in (*model.first.parameters(), *model.last.parameters()):
            p.add_(torch.rand_like(p))
    before = copy.deepcopy(model.state_dict())
    receipt = widen(model, IDS, "embed", units=list(units), split="halves").apply()
    assert not receipt.plan.refused, receipt
    assert receipt.function.kept and model.embed.embedding_dim == 6 + len(units)
    merge(model, IDS).apply()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=1e-12, atol=1e-14)
    norms = [m for m in (model.first, model.last) if norm != "none"]
    found = [m.variance_epsilon if norm == "written" else m.eps for m in norms]
    assert all(math.isclose(eps, 1e-2) for eps in found)


def test_a_stream_that_a_layernorm_averages_gets_no_single_channel() -> None:
    plan = widen(Stream("LayerNorm", False), IDS, "embed", units=[1])
    assert plan.empty and "takes a mean over all channels" in plan.refused[0].reason


class Groups(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.n = nn.Conv2d(2, 6, 3), nn.GroupNorm(3, 6)
        self.g, self.m = nn.Conv2d(6, 12, 3, groups=3), nn.GroupNorm(3, 12, affine=False)
        self.h = nn.Linear(12, 2)

    def forward(self, x):
        x = torch.relu(self.n(self.a(x)))
        return self.h(torch.relu(self.m(self.g(x))).mean((2, 3)))


def whole(model: Groups, group: int, other: int) -> None:
    """A group of channels made the copy of another, through both layers."""
    a, b = (slice(2 * g, 2 * g + 2) for g in (group, other))
    c, d = (slice(4 * g, 4 * g + 4) for g in (group, other))
    with torch.no_grad():
        for p in (*model.a.parameters(), *model.n.parameters()):
            p[b] = p[a]
        for p in model.g.parameters():
            p[d] = p[c]
        model.h.weight[:, d] = model.h.weight[:, c]


def each(model: Groups) -> None:
    """In every group the second channel is the first."""
    with torch.no_grad():
        for p in (*model.a.parameters(), *model.n.parameters()):
            p[1::2] = p[0::2]
        model.g.weight[:, 1] = model.g.weight[:, 0]


def one(model: Groups) -> None:
    """In the first group alone."""
    with torch.no_grad():
        for p in (*model.a.parameters(), *model.n.parameters()):
            p[1] = p[0]
        model.g.weight[:4, 1] = model.g.weight[:4, 0]


@pytest.mark.parametrize(
    "tie, sizes",
    [
        (lambda m: whole(m, 0, 1), (2, 4, 2, 8)),
        pytest.param(
            lambda m: (whole(m, 2, 0), whole(m, 2, 1)), (1, 2, 1, 4), marks=pytest.mark.slow
        ),
        pytest.param(each, (3, 3, 3, 12), marks=pytest.mark.slow),
    ],
    ids=["one group goes", "two groups go", "one of each group"],
)
def test_whole_groups_go_or_as_many_of_each(tie, sizes) -> None:
    model, x = Groups(), torch.randn(5, 2, 6, 6)
    tie(model)
    want, before = model(x).detach(), copy.deepcopy(model.state_dict())
    plan = merge(model, x)
    receipt = plan.apply()
    assert not plan.refused and receipt.after.locked == ()
    found = (model.n.num_groups, model.n.num_channels, model.g.groups, model.m.num_channels)
    assert found == sizes
    torch.testing.assert_close(model(x).detach(), want, rtol=1e-4, atol=1e-6)
    receipt.undo()
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_one_channel_of_one_group_stays() -> None:
    model, x = Groups(), torch.randn(5, 2, 6, 6)
    one(model)
    plan = merge(model, x)
    assert plan.empty and "grouped convolution" in plan.refused[0].reason


@pytest.mark.parametrize("norm_type", [2.0, 1.0, math.inf])
def test_clipping_by_the_norm_follows(norm_type) -> None:
    big = locked(Stream("RMSNorm", True), 6, UNEVEN)
    small = copy.deepcopy(big)
    made = [torch.optim.SGD(m.parameters(), lr=0.2, momentum=0.9) for m in (big, small)]
    following = merge(small, IDS).apply(optimizer=made[1]).follow(made[1])
    norms: list[list[float]] = [[], []]
    clip = [
        lambda: norms[0].append(float(nn.utils.clip_grad_norm_(big.parameters(), 0.05, norm_type))),
        lambda: norms[1].append(float(following.clip_grad_norm_(0.05, norm_type))),
    ]
    train((big, small), IDS, 30, lambda m: made[m is small], clip)
    torch.testing.assert_close(*map(torch.tensor, norms), rtol=1e-9, atol=0)
    assert max(norms[0]) > 0.05
    assert float((big(IDS) - small(IDS)).abs().max().detach()) <= 1e-9
