"""Random small networks beyond dense ones, with twins planted in some and in others not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
import zoo
from hypothesis import strategies as st
from torch import nn

# All smooth: a ReLU unit can be dead on every input, which training sees and the algebra does not.
SMOOTH = (nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.Softplus, nn.Mish)


class Gated(nn.Module):
    """A gated feed-forward block with a residual connection."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up, self.gate = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.down, self.norm = nn.Linear(hidden, width), nn.LayerNorm(width)

    def forward(self, x):
        return x + self.down(F.silu(self.gate(self.norm(x))) * self.up(self.norm(x)))


class Mixed(nn.Module):
    """A softmax-weighted mixture of experts, all of them in use."""

    def __init__(self, experts: int, router_zero: bool) -> None:
        super().__init__()
        self.router = nn.Linear(3, experts, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) for _ in range(experts)
        )
        if router_zero:
            nn.init.zeros_(self.router.weight)

    def forward(self, x):
        weight = self.router(x).softmax(-1)
        return sum(weight[:, k, None] * expert(x) for k, expert in enumerate(self.experts))


class Normed(nn.Module):
    """Pre-norm attention block, one or two heads."""

    def __init__(self, heads: int, causal: bool) -> None:
        super().__init__()
        self.norm, self.attn = nn.LayerNorm(8), nn.MultiheadAttention(8, heads, batch_first=True)
        self.causal = causal

    def forward(self, x):
        h = self.norm(x)
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if self.causal else None
        return x + self.attn(h, h, h, attn_mask=mask, need_weights=False)[0]


@torch.no_grad()
def conv(rng: random.Random) -> zoo.Built:
    dim, act = rng.choice([1, 2]), rng.choice(SMOOTH)
    groups, bias = rng.choice([1, 1, 2]), rng.random() < 0.7
    first = zoo.CONV[dim](
        2, 4, rng.choice([1, 2, 3]), groups=groups, bias=bias, padding=rng.choice([0, 1])
    )
    norm = rng.choice([nn.Identity, nn.Identity, nn.GroupNorm, nn.LayerNorm])
    middle: list[nn.Module] = [act()]
    if norm is nn.GroupNorm:
        middle.insert(0, nn.GroupNorm(rng.choice([1, 2]), 4))
    if rng.random() < 0.5:
        middle.append((nn.AvgPool1d if dim == 1 else nn.AvgPool2d)(2))
    last = zoo.CONV[dim](4, 3, 1)
    a, b = rng.choice([(0, 1), (0, 2), (2, 3)])
    if rng.random() < 0.8:
        zoo.tie_in(first, a, b)
    if rng.random() < 0.8:
        zoo.tie_out(last, a, b)
    return nn.Sequential(first, *middle, last), torch.zeros(4, 2, *[5] * dim)


def recurrent(rng: random.Random) -> zoo.Built:
    kind = rng.choice(["rnn", "lstm", "gru"])
    settings: dict[str, Any] = {
        "bidirectional": rng.random() < 0.4,
        "num_layers": rng.choice([1, 1, 2]),
        "bias": rng.random() < 0.7,
    }
    if rng.random() < 0.3:
        return zoo.Recurrent(kind, 3, 4, **settings), torch.zeros(4, 3, 3)
    model, x = zoo.twin_recurrent(kind, **settings)
    if rng.random() < 0.4:
        with torch.no_grad():
            weight = rng.choice([p for p in model.parameters() if p.dim() == 2])
            weight[rng.randrange(len(weight)), 0] += 0.5
    return model, x


def attention(rng: random.Random) -> zoo.Built:
    heads = rng.choice([1, 2])
    model = Normed(heads, rng.random() < 0.5)
    attn, half = model.attn, 4
    with torch.no_grad():
        if heads == 2 and rng.random() < 0.7:
            for p in (attn.in_proj_weight, attn.in_proj_bias):
                for piece in p.chunk(3):
                    piece[half:] = piece[:half]
            if rng.random() < 0.6:
                attn.out_proj.weight[:, half:] = attn.out_proj.weight[:, :half]
    return model, torch.zeros(4, 4, 8)


def gated(rng: random.Random) -> zoo.Built:
    model = Gated(4, 5)
    if rng.random() < 0.8:
        zoo.tie_in(model.up, 1, 3)
        zoo.tie_in(model.gate, 1, 3)
    if rng.random() < 0.8:
        zoo.tie_out(model.down, 1, 3)
    return model, torch.zeros(6, 4)


def routed(rng: random.Random) -> zoo.Built:
    model = Mixed(3, rng.random() < 0.5)
    if rng.random() < 0.7:
        model.experts[2].load_state_dict(model.experts[0].state_dict())
        if rng.random() < 0.5:
            with torch.no_grad():
                model.router.weight[2] = model.router.weight[0]
    if rng.random() < 0.4:
        zoo.tied((model.experts[1], None))
    return model, torch.zeros(6, 3)


def embedded(rng: random.Random) -> zoo.Built:
    embed, head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
    if rng.random() < 0.5:
        with torch.no_grad():
            embed.weight[:, 1] = embed.weight[:, 0]
        if rng.random() < 0.7:
            zoo.tie_out(head)
    if rng.random() < 0.4:
        head.weight = embed.weight
    ids = torch.tensor([[rng.randrange(6) for _ in range(5)] for _ in range(4)])
    ids[0] = torch.arange(5)
    ids[1, 0] = 5
    return nn.Sequential(embed, rng.choice(SMOOTH)(), head), ids


FAMILIES: dict[str, Callable[[random.Random], zoo.Built]] = {
    "conv": conv,
    "recurrent": recurrent,
    "attention": attention,
    "gated": gated,
    "routed": routed,
    "embedded": embedded,
}


def make(family: str, seed: int) -> zoo.Built:
    torch.manual_seed(seed)
    return FAMILIES[family](random.Random(seed))


seeds = st.integers(0, 10**6)
