"""Tiny models with their known answers, as rows. Tests are the columns: see ``test_zoo.py``.

A row states what must hold and leaves the rest open: ``classes`` are exact for the layers they name, ``frozen``
and ``kinds`` are exact for the whole model when they are given, codes are present or absent. Random weights come
from a fixed seed and are generic; of inputs only shapes and integers count. Sources: "trial" and "trap" are the
design's table and list, "P3" is row 3 of the fixtures from users, "F5" a fact.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from lockstep.errors import (
    ControlFlowError,
    MissingRuleError,
    NonFiniteError,
    UsageError,
)

Classes = tuple[tuple[int, ...], ...]
Built = tuple[nn.Module, Any]
LOCKING = ("LS001", "LS002", "LS003", "LS004", "LS005")


@dataclass(frozen=True)
class Case:
    """One row. ``build()`` gives ``(model, inputs)``; ``kwargs`` may be a function of the model."""

    name: str
    build: Callable[[], Built]
    kwargs: dict[str, Any] | Callable[[nn.Module], dict[str, Any]] = field(default_factory=dict)
    classes: dict[str, Classes] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)
    locked: tuple[tuple[str, str | tuple[str, ...], tuple[int, ...]], ...] = ()
    kinds: frozenset[str] | None = None
    frozen: dict[str, int] | None = None
    unread: dict[str, int] = field(default_factory=dict)  # entries the example never reaches
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    error: type[Exception] | None = None
    phrases: tuple[str, ...] = ()
    trainer: bool = True  # the float64 oracle may judge it, too
    steps: int = 4  # ... after so many steps
    marks: tuple[str, ...] = ()

    def make(self) -> tuple[nn.Module, Any, dict[str, Any]]:
        torch.manual_seed(0)
        model, inputs = self.build()
        return model, inputs, self.kwargs(model) if callable(self.kwargs) else dict(self.kwargs)


# Nothing locked, nothing frozen; ``LS006`` and ``LS009`` may still inform.
HEALTHY: dict[str, Any] = {"kinds": frozenset(), "frozen": {}, "absent": LOCKING}
# Nothing locked; what is frozen is stated by the row.
FREE: dict[str, Any] = {"kinds": frozenset(), "absent": ("LS001", "LS002", "LS003", "LS005")}
# Not a word.
CLEAN: dict[str, Any] = {**HEALTHY, "absent": (*LOCKING, "LS006", "LS007", "LS008", "LS009")}


def alone(width: int) -> Classes:
    return tuple((unit,) for unit in range(width))


def together(width: int) -> Classes:
    return (tuple(range(width)),)


def pair(width: int, a: int = 0, b: int = 1) -> Classes:
    return tuple((a, b) if u == a else (u,) for u in range(width) if u != b)


def data(*shape: int) -> torch.Tensor:
    return torch.randn(*shape)


# -- builders: dense nets -------------------------------------------------------------------------


@torch.no_grad()
def linear(weight: Any, bias: Any = None) -> nn.Linear:
    weight = torch.as_tensor(weight, dtype=torch.float32)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.copy_(weight)
    if bias is not None:
        layer.bias.copy_(torch.as_tensor(bias, dtype=torch.float32))
    return layer


def stack(*layers: nn.Module, act: Callable[[], nn.Module] = nn.Tanh, batch: int = 6) -> Built:
    """``layers`` with ``act`` between, and inputs that fit."""
    parts: list[nn.Module] = []
    for layer in layers:
        parts += [layer, act()]
    return nn.Sequential(*parts[:-1]), data(batch, layers[0].in_features)


def mlp(*widths: int, act: Callable[[], nn.Module] = nn.Tanh, bias: bool = True) -> Built:
    pairs = itertools.pairwise(widths)
    return stack(*(nn.Linear(i, o, bias=bias) for i, o in pairs), act=act)


def course(
    incoming: bool, outgoing: bool, biases: tuple[float, float] | None = None
) -> Callable[[], Built]:
    """The 2-2-1 net: w1 = w3 and w2 = w4 if ``incoming``, w5 = w6 if ``outgoing``."""

    def build() -> Built:
        w1 = [[0.5, -0.25], [0.5, -0.25] if incoming else [0.75, 0.125]]
        w2 = [[0.5, 0.5 if outgoing else -0.25]]
        return stack(
            linear(w1, biases), linear(w2, None if biases is None else [0.25]), act=nn.Sigmoid
        )

    return build


@torch.no_grad()
def fill(built: Built, value: float) -> Built:
    for p in built[0].parameters():
        p.fill_(value)
    return built


@torch.no_grad()
def tie_in(layer: nn.Module, a: int = 0, b: int = 1) -> None:
    """Unit ``b`` gets the incoming weights of ``a``: along axis 0 of every parameter."""
    for p in layer.parameters():
        p[b] = p[a]


@torch.no_grad()
def tie_out(layer: nn.Module, a: int = 0, b: int = 1) -> None:
    layer.weight[:, b] = layer.weight[:, a]


def tied(built: Built, first: int = 0, second: int = 2, a: int = 0, b: int = 1) -> Built:
    tie_in(built[0][first], a, b)
    tie_out(built[0][second], a, b)
    return built


def twin(act: Callable[[], nn.Module], hidden: int = 4) -> Callable[[], Built]:
    return lambda: tied(mlp(3, hidden, 2, act=act))


@torch.no_grad()
def related(act: Callable[[], nn.Module], inn: float, out: float) -> Built:
    """4-8-2; unit 1 is unit 0 with incoming weights (and bias) times ``inn``, outgoing times ``out``."""
    model, x = mlp(4, 8, 2, act=act)
    model[0].weight[1], model[0].bias[1] = inn * model[0].weight[0], inn * model[0].bias[0]
    model[2].weight[:, 1] = out * model[2].weight[:, 0]
    return model, x


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(x)


ODD: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "cube": lambda z: z**3,
    "softsign": F.softsign,
    "hardtanh": F.hardtanh,
    "clamp": lambda z: z.clamp(-1, 1),
    "tanhshrink": F.tanhshrink,
    "atan": torch.atan,
    "erf": torch.erf,
    "z / (1 + z^2)": lambda z: z / (1 + z * z),
    "sign log": lambda z: z.sign() * torch.log1p(z.abs()),
}
EVEN: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "abs": torch.abs,
    "square": torch.square,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "exp(-z^2)": lambda z: torch.exp(-z * z),
    "z tanh z": lambda z: z * torch.tanh(z),
    "max(z, -z)": lambda z: torch.maximum(z, -z),
}


class Function(nn.Module):
    """An activation from a function."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def identity_between(outgoing: list[float]) -> Callable[[], Built]:
    """3-2-2-1 tanh, W1 rows equal, W2 = I."""
    return lambda: stack(linear([[1, -2, 0.5]] * 2), linear([[1, 0], [0, 1]]), linear([outgoing]))


def waking() -> Built:
    """Twins whose outgoing weights differ, two layers below two zero layers, with biases."""
    model, x = mlp(3, 4, 3, 3, 2)
    tie_in(model[0])
    for layer in (model[4], model[6]):
        nn.init.zeros_(layer.weight)
    return model, x


# F5, all over 64: equal block sums, six distinct rows, no automorphism.
BALANCED_WEIGHTS = (
    [[16, -32, 8, 24]] * 3 + [[-24, 8, 32, -16]] * 3,
    [
        [34, -20, -8, 64, -29, -38],
        [-11, -11, 28, -50, 1, 46],
        [-17, 37, -14, -17, 25, -11],
        [13, -5, 4, 19, -56, 25],
        [-8, 37, -17, -35, 25, -2],
        [7, -20, 25, 4, 19, -35],
    ],
    [[24] * 3 + [-16] * 3, [8] * 3 + [32] * 3],
)
BALANCED_BIASES = ([8] * 3 + [-8] * 3, [4] * 3 + [-12] * 3, [0, 0])


def balanced() -> Built:
    """A balanced lock of blocks of three in both hidden layers of 4-6-6-2."""
    pairs = zip(BALANCED_WEIGHTS, BALANCED_BIASES, strict=True)
    return stack(*(linear(torch.tensor(w) / 64, torch.tensor(b) / 64) for w, b in pairs))


def magic_square() -> Built:
    """A balanced block all of whose entries differ: the pattern of the parameters never changes at all."""
    return stack(
        linear([[0.11, -0.23]] * 3),
        linear(torch.tensor([[8, 1, 6], [3, 5, 7], [4, 9, 2]]) / 16),
        linear([[0.31] * 3, [0.47] * 3]),
    )


def nearly_balanced() -> Built:
    """F6: a 3x3 block centred in floating point; its row sums differ in the last bits."""
    model, x = mlp(3, 3, 3, 2)
    model, x = model.double(), x.double()
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.bias.fill_(0.25)
        model[0].weight[1:] = model[0].weight[0]
        model[4].weight[:, 1:] = model[4].weight[:, :1]
        block = torch.randn(3, 3, dtype=torch.float64)
        for _ in range(3):
            block = block - block.mean(0, keepdim=True) - block.mean(1, keepdim=True) + block.mean()
        model[2].weight.copy_(0.5 + block)
    return model, x


def one_sided() -> Built:
    """F7: incoming classes and outgoing classes intersected would say {0, 1}."""
    return stack(
        linear([[0.25, -0.5, 0.25], [0.25, -0.5, 0.25], [0.5, 0.25, -0.25]], [0.25, 0.25, 0]),
        linear([[1, 0, 0.75], [0, 1, -0.25]], [0.25, -0.5]),
        linear([[0.75, 0.75]], [0]),
    )


def one_sided_scaled() -> Built:
    """F7: unit 1 is unit 0 doubled, outgoing tripled: only a scale-blind comparison calls them equal."""
    w, b = torch.tensor([0.5, -0.25, 1.0]), 0.25
    return stack(linear(torch.stack([w, 2 * w]), [b, 2 * b]), linear([[0.5, 1.5]], [0]))


@torch.no_grad()
def cloned() -> Built:
    """F3: every hidden unit of a 5-3-3-2 net twice, outgoing weights halved."""
    small, x = mlp(5, 3, 3, 2)
    big, _ = mlp(5, 6, 6, 2)
    twice = torch.arange(3).repeat_interleave(2)
    for k, rows, columns in ((0, twice, None), (2, twice, twice), (4, None, twice)):
        w, b = small[k].weight, small[k].bias
        w, b = (w, b) if rows is None else (w[rows], b[rows])
        big[k].weight.copy_(w if columns is None else w[:, columns] / 2)
        big[k].bias.copy_(b)
    return big, x


@torch.no_grad()
def widened(first: float, second: float) -> Built:
    """P10: 4-3-2 tanh, unit 0 copied as unit 3, its outgoing weights split in two parts."""
    model, x = mlp(4, 4, 2)
    tie_in(model[0], 0, 3)
    out = model[2].weight[:, 0].clone()
    model[2].weight[:, 0], model[2].weight[:, 3] = first * out, second * out
    return model, x


def xnor(last: float) -> Built:
    """F21: 2-4-1 sigmoid, everything -1, outgoing -1.25, -1.25, -1.25, ``last``."""
    return stack(
        linear([[-1, -1]] * 4, [-1] * 4), linear([[-1.25] * 3 + [last]], [-1]), act=nn.Sigmoid
    )


def shards(second_tied: bool) -> Callable[[], Built]:
    """P9: two tensor-parallel shards drawn from one seed."""

    def build() -> Built:
        model, x = mlp(6, 8, 3, act=nn.GELU)
        with torch.no_grad():
            model[0].weight[4:], model[0].bias[4:] = model[0].weight[:4], model[0].bias[:4]
            if second_tied:
                model[2].weight[:, 4:] = model[2].weight[:, :4]
        return model, x

    return build


def partial_identity() -> Built:
    """F36, small: 4-4-8-8-2 ReLU, no bias, partial identities, zero head: half of each wide layer is dead."""
    return stack(
        linear(torch.eye(4)), linear(torch.eye(8, 4)), linear(torch.eye(8)), linear(torch.zeros(2, 8)),
        act=nn.ReLU,
    )  # fmt: skip


# -- builders: other architectures ----------------------------------------------------------------


class Recurrent(nn.Module):
    """A recurrent layer named ``kind`` and a linear head on all its outputs."""

    def __init__(self, kind: str, *args: int, outputs: int = 2, **settings: Any) -> None:
        super().__init__()
        layer = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind](
            *args, batch_first=True, **settings
        )
        self.kind = kind
        self.add_module(kind, layer)
        size = (layer.proj_size or layer.hidden_size) * (2 if layer.bidirectional else 1)
        self.head = nn.Linear(size, outputs)

    def forward(self, x):
        return self.head(getattr(self, self.kind)(x)[0])


@torch.no_grad()
def constant_lstm(random_head: bool, inputs: int = 4, hidden: int = 5) -> Built:
    """F10, P3: equal incoming weights in every gate."""
    model = Recurrent("lstm", inputs, hidden)
    for name, p in model.named_parameters():
        if name.startswith("lstm"):
            p.fill_(0.5 if "hh" in name else 0.1)
        elif not random_head:
            p.fill_(0.1)
    model.lstm.weight_ih_l0.copy_(torch.arange(1, inputs + 1) / 10)
    return model, data(4, 3, inputs)


@torch.no_grad()
def twin_recurrent(kind: str, **settings: Any) -> Built:
    """Units 0 and 1 of layer l0 (both directions): equal rows in every gate, equal columns wherever they feed."""
    model = Recurrent(kind, 3, 4, **settings)
    layer = getattr(model, kind)
    directions = ["", "_reverse"] if layer.bidirectional else [""]
    for name, p in layer.named_parameters():
        if "_l0" in name:
            for gate in p.chunk(len(p) // 4):
                gate[1] = gate[0]
        if "hh_l0" in name and p.dim() == 2:
            p[:, 1] = p[:, 0]
    above = (
        [getattr(layer, f"weight_ih_l1{d}") for d in directions]
        if layer.num_layers > 1
        else [model.head.weight]
    )
    for weight in above:
        for start in range(0, weight.shape[1], 4):
            weight[:, start + 1] = weight[:, start]
    return model, data(4, 3, 3)


class Cells(nn.Module):
    def __init__(self, kind: type[nn.RNNCellBase]) -> None:
        super().__init__()
        self.cell, self.head = kind(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


@torch.no_grad()
def twin_cells(kind: type[nn.RNNCellBase]) -> Built:
    model = Cells(kind)
    for name, p in model.cell.named_parameters():
        for gate in p.chunk(len(p) // 4):
            gate[1] = gate[0]
        if name == "weight_hh":
            p[:, 1] = p[:, 0]
    tie_out(model.head)
    return model, data(4, 3, 3)


CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
CONV_T = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
SIDE = {1: 8, 2: 6, 3: 5}


def conv(
    dim: int, *middle: nn.Module, first: nn.Module | None = None, twins: bool = True, side: int = 0
) -> Built:
    """A convolution "0" with 4 channels, ``middle``, a 1x1 convolution; channels 0 and 1 are tied."""
    first = CONV[dim](2, 4, 3) if first is None else first
    last = CONV[dim](4, 3, 1)
    if twins:
        with torch.no_grad():
            if isinstance(first, tuple(CONV_T.values())):
                first.weight[:, 1] = first.weight[:, 0]
                first.bias[1] = first.bias[0]
            else:
                tie_in(first)
        tie_out(last)
    side = side or SIDE[dim]
    return nn.Sequential(first, *middle, last), data(4, first.in_channels, *[side] * dim)


def constant_cnn() -> Built:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)
    )
    return fill((model, data(4, 1, 6, 6)), 0.1)


def normed(norm: nn.Module, bias: bool = True, train: bool = True) -> Built:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=bias), norm, nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)
    )
    return model.train(train), data(4, 2, 5, 5)


class Attention(nn.Module):
    """Attention written out: ``rotary`` of each head's dimensions are rotated by position."""

    def __init__(
        self,
        width: int = 8,
        heads: int = 2,
        *,
        causal: str = "",
        rotary: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=bias) for _ in range(4))
        self.heads, self.causal, self.rotary = heads, causal, rotary
        self.register_buffer("mask", torch.full((5, 5), -math.inf).triu(1))

    def turn(self, x):
        half = self.rotary // 2
        angle = torch.arange(x.shape[-2])[:, None] / 10.0 ** torch.arange(half)
        a, b, rest = x.split([half, half, x.shape[-1] - 2 * half], dim=-1)
        cos, sin = angle.cos(), angle.sin()
        return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], dim=-1)

    def forward(self, x):
        q, k, v = (
            f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        if self.rotary:
            q, k = self.turn(q), self.turn(k)
        if self.causal == "sdpa":
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
            if self.causal == "fill":
                upper = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
                scores = scores.masked_fill(upper, -math.inf)
            if self.causal == "buffer":
                scores = scores + self.mask
            if self.causal == "finite":
                scores = scores + torch.full(scores.shape[-2:], -1e9).triu(1)
            mixed = scores.softmax(-1) @ v
        return self.o(mixed.transpose(1, 2).flatten(-2))


def attention(*args: Any, **settings: Any) -> Built:
    return Attention(*args, **settings), data(4, 5, 8)


@torch.no_grad()
def one_projection() -> Built:
    """P4: one attention with Wq = Wk = Wv."""
    model, x = attention()
    for layer in (model.k, model.v):
        layer.load_state_dict(model.q.state_dict())
    return model, x


class Mha(nn.Module):
    def __init__(self, width: int = 8, heads: int = 2, **settings: Any) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True, **settings)

    def forward(self, x, context=None, mask=None):
        context = x if context is None else context
        return self.attn(x, context, context, attn_mask=mask, need_weights=False)[0]


def mha(*args: Any, **settings: Any) -> Built:
    return Mha(*args, **settings), data(4, 5, 8)


@torch.no_grad()
def twin_heads(outgoing: bool) -> Built:
    """F8: 16 wide, 4 heads; heads 0 and 1 equal in q, k, v, and in the output projection or not."""
    model = Mha(16, 4)
    for p in (model.attn.in_proj_weight, model.attn.in_proj_bias):
        for part in p.chunk(3):
            part[4:8] = part[:4]
    if outgoing:
        model.attn.out_proj.weight[:, 4:8] = model.attn.out_proj.weight[:, :4]
    return model, data(4, 5, 16)


def copied_layers() -> Built:
    """F12, P1: a ``TransformerEncoder`` deep-copies its layer."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), data(4, 5, 16)


class Branches(nn.Module):
    """P4: two dense layers with equal kernels and zero biases, added or concatenated."""

    def __init__(self, added: bool) -> None:
        super().__init__()
        self.added = added
        self.left, self.right = nn.Linear(4, 5), nn.Linear(4, 5)
        nn.init.zeros_(self.left.bias)
        self.right.load_state_dict(self.left.state_dict())
        self.head = nn.Linear(5 if added else 10, 2)

    def forward(self, x):
        left, right = torch.tanh(self.left(x)), torch.tanh(self.right(x))
        return self.head(left + right if self.added else torch.cat([left, right], -1))


def branch_groups(model: nn.Module) -> dict[str, Any]:
    """One param group a branch: an optimizer may then treat equal branches differently."""
    return {
        "optimizer": torch.optim.SGD(
            [
                {"params": model.left.parameters(), "lr": 0.1},
                {"params": model.right.parameters(), "lr": 0.2},
                {"params": model.head.parameters(), "lr": 0.1},
            ]
        )
    }


class Ensemble(nn.Module):
    """Deep-copied members; their mean is the output, or all of them are."""

    def __init__(self, mean: bool) -> None:
        super().__init__()
        first = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        self.members = nn.ModuleList([first, copy.deepcopy(first), copy.deepcopy(first)])
        self.mean = mean

    def forward(self, x):
        outputs = torch.stack([member(x) for member in self.members])
        return outputs.mean(0) if self.mean else outputs


class Vmapped(nn.Module):
    """An ensemble in the style of ``torch.func``: stacked parameters, one call under ``vmap``."""

    def __init__(self, equal: bool) -> None:
        super().__init__()
        self.w1, self.w2 = nn.Parameter(torch.randn(3, 4, 2)), nn.Parameter(torch.randn(3, 2, 4))
        if equal:
            with torch.no_grad():
                self.w1[1:], self.w2[1:] = self.w1[0], self.w2[0]

    def forward(self, x):
        def member(w1, w2):
            return torch.tanh(x @ w1.mT) @ w2.mT

        return torch.func.vmap(member)(self.w1, self.w2).mean(0)


class Bare(nn.Module):
    """Two networks of bare parameters with equal values, added; they are read with equal scalars, or not."""

    def __init__(self, equal: bool) -> None:
        super().__init__()
        w, u = torch.randn(4, 3), torch.randn(2, 4)
        self.w = nn.ParameterList([w, w.clone()])
        self.u = nn.ParameterList([u, u.clone()])
        self.a = nn.Parameter(torch.tensor(0.5))
        self.b = nn.Parameter(torch.tensor(0.5 if equal else 0.75))

    def forward(self, x):
        left, right = (torch.tanh(x @ w.T) @ u.T for w, u in zip(self.w, self.u, strict=True))
        return self.a * left + self.b * right


class Empty(nn.Module):
    """Twins beside layers and parameters that have no entries."""

    def __init__(self) -> None:
        super().__init__()
        self.body, _ = tied(mlp(3, 4, 2))
        # Given, not drawn: PyTorch warns that there is nothing to draw.
        self.inn, self.out = linear(torch.zeros(1, 3), [0.0]), linear(torch.zeros(2, 1))
        for layer, i, o in ((self.inn, 3, 0), (self.out, 0, 2)):
            layer.weight = nn.Parameter(torch.zeros(o, i))
        self.inn.bias = nn.Parameter(torch.zeros(0))
        self.none, self.thin = nn.Parameter(torch.zeros(0)), nn.Parameter(torch.zeros(2, 0))

    def forward(self, x):
        return self.body(x) + self.out(torch.tanh(self.inn(x))) + self.thin.sum(1)


@torch.no_grad()
def masked_gradient() -> Built:
    """The gradient of one row is masked by a hook, as for rows of a table that are to stay."""
    model, x = mlp(3, 4, 2)
    model[0].weight.register_hook(lambda g: g * torch.tensor([[0.0], [1], [1], [1]]).to(g))
    return model, x


class Siblings(nn.Module):
    """Two fresh LayerNorms: equal constants, in parallel or not; nothing else is tied."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.how = nn.Linear(4, 6), how
        self.left, self.right = nn.LayerNorm(6), nn.LayerNorm(6)
        self.head = nn.Linear(12 if how == "joined" else 6, 2)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        if self.how == "series":
            return self.head(torch.tanh(self.right(torch.tanh(self.left(h)))))
        parts = [self.left(h), self.right(h)]
        return self.head(sum(parts) if self.how == "added" else torch.cat(parts, -1))


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return torch.tanh(self.gain * x)


class Adapters(nn.Module):
    """Blocks in series that differ, each with two equal, constant adapters in parallel."""

    def __init__(self, equal: bool) -> None:
        super().__init__()

        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner, self.left, self.right = nn.Linear(4, 4), Scale(), Scale()

            def forward(self, x):
                x = self.inner(x)
                return x + self.left(x) + (self.right(x) if equal else 2 * self.right(x))

        self.blocks = nn.Sequential(Block(), Block())

    def forward(self, x):
        return self.blocks(x)


class Adapter(nn.Module):
    """W + BA with W fixed. ``rows`` of A are random, the others zero; B is zero."""

    def __init__(self, rows: int, equal: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 8), requires_grad=False)
        a = torch.randn(4, 8)
        a[rows:] = 0
        self.A = nn.Parameter(a[:1].repeat(4, 1) if equal else a)
        self.B = nn.Parameter(torch.zeros(6, 4))

    def forward(self, x):
        return F.linear(x, self.weight) + F.linear(F.linear(x, self.A), self.B)


class Mixture(nn.Module):
    """F15, P7: the log-density of a mixture whose components all start at one point."""

    def __init__(self) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.full((4, 5), 0.3))
        self.logits = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        distance = (x[:, None] - self.mu).square().sum(-1)
        return torch.logsumexp(self.logits.log_softmax(0) - distance / 2, dim=-1)


class Routed(nn.Module):
    """F13, P8: deep-copied experts behind a top-k softmax router with renormalised weights."""

    def __init__(self, k: int, router_zero: bool) -> None:
        super().__init__()
        first = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.experts = nn.ModuleList([copy.deepcopy(first) for _ in range(4)])
        self.router, self.k = nn.Linear(8, 4, bias=False), k
        if router_zero:
            nn.init.zeros_(self.router.weight)

    def forward(self, x):
        weight, chosen = self.router(x).softmax(-1).topk(self.k, dim=-1)
        weight = weight / weight.sum(-1, keepdim=True)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            token, slot = (chosen == number).nonzero(as_tuple=True)
            out = out.index_add(0, token, weight[token, slot, None] * expert(x[token]))
        return out


def routed(k: int, router_zero: bool) -> Callable[[], Built]:
    return lambda: (Routed(k, router_zero), data(64, 8))


class Shared(nn.Module):
    """One layer called twice in series: tied weights are one module, not a copied one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.layer(torch.tanh(self.layer(x)))))


class Autoencoder(nn.Module):
    """The decoder is the transposed encoder: equal incoming weights are equal outgoing weights."""

    def __init__(self, equal: bool) -> None:
        super().__init__()
        self.W, self.c = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.zeros(6))
        if equal:
            with torch.no_grad():
                self.W[1] = self.W[0]

    def forward(self, x):
        return torch.tanh(x @ self.W.t()) @ self.W + self.c


class Einsum(nn.Module):
    """Raw parameters and ``einsum``; rows 0 and 1 of W1 equal, the columns of W2 they feed equal or not."""

    def __init__(self, outgoing: bool) -> None:
        super().__init__()
        self.W1, self.W2 = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(2, 4))
        with torch.no_grad():
            self.W1[1] = self.W1[0]
            if outgoing:
                self.W2[:, 1] = self.W2[:, 0]

    def forward(self, x):
        return torch.einsum("nu,ou->no", torch.tanh(torch.einsum("ni,ui->nu", x, self.W1)), self.W2)


class Tokens(nn.Module):
    """P11: rows 6, 7, 8 of the embedding and of the head are equal."""

    def __init__(self, tied_head: bool) -> None:
        super().__init__()
        self.embed, self.inner, self.head = nn.Embedding(9, 6), nn.Linear(6, 6), nn.Linear(6, 9)
        with torch.no_grad():
            self.embed.weight[7:], self.head.weight[7:] = self.embed.weight[6], self.head.weight[6]
            self.head.bias[7:] = self.head.bias[6]
        if tied_head:
            self.head.weight = self.embed.weight

    def forward(self, ids):
        return self.head(torch.tanh(self.inner(self.embed(ids))))


def tokens(tied_head: bool, *used: int) -> Callable[[], Built]:
    ids = torch.tensor([[0, 1, 2, 3, 4, 5, *used]] * 4)
    return lambda: (Tokens(tied_head), ids)


@torch.no_grad()
def twin_embedding(bag: str = "") -> Built:
    """Dimensions 0 and 1 equal in every row, and where they feed."""
    embed = nn.EmbeddingBag(7, 4, mode=bag) if bag else nn.Embedding(7, 4)
    embed.weight[:, 1] = embed.weight[:, 0]
    head = nn.Linear(4, 2)
    tie_out(head)
    return nn.Sequential(embed, nn.Tanh(), head), torch.arange(28).reshape(4, 7) % 7


class Shifted(nn.Module):
    """Scores plus one common scalar ``c``, which a softmax does not see."""

    def __init__(self, softmax: bool) -> None:
        super().__init__()
        self.layer, self.c, self.softmax = nn.Linear(3, 4), nn.Parameter(torch.ones(1)), softmax

    def forward(self, x):
        scores = self.layer(x) + self.c
        return scores.softmax(-1) if self.softmax else scores


class Largest(nn.Module):
    """Distances to codes in the largest coordinate: whose gradient goes to that coordinate."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.codes = nn.Linear(3, 4), nn.Parameter(torch.randn(5, 4))

    def forward(self, x):
        return torch.cdist(self.layer(x), self.codes, p=math.inf)


class Masked(nn.Module):
    """ReLU written with ``where`` and a comparison."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 48), nn.Linear(48, 3)

    def forward(self, x):
        h = self.a(x)
        return self.b(torch.where(h > 0, h, torch.zeros_like(h)))


class Keeping(nn.Module):
    """A state from call to call: ``how`` it is kept. As it starts, ``late`` gets no gradient; later it does."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.late, self.head = (
            nn.Linear(3, 4),
            nn.Linear(4, 4, bias=False),
            nn.Linear(4, 2),
        )
        tie_in(self.first)
        tie_out(self.head)
        with torch.no_grad():
            self.late.weight[1] = self.late.weight[0]
            self.late.weight[:, 1] = self.late.weight[:, 0]
        self.how, self.calls, self.state = how, 0, None
        self.register_buffer("average", torch.zeros(4))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        h = torch.tanh(self.first(x))
        kept = torch.zeros_like(h) if self.state is None else self.state
        if self.how == "hidden state":
            h = torch.tanh(h + self.late(kept))
            self.state = h.detach()
        if self.how == "average":
            h = h + self.late(self.average) * h
            self.average = 0.9 * self.average + 0.1 * h.detach().mean(0)
        if self.how == "count":
            h = h + (self.count / 100).clamp(max=1) * self.late(h)
            self.count = self.count + 1
        if self.how == "attribute":
            h = h + min(self.calls / 100, 1.0) * self.late(h)
            self.calls += 1
        return self.head(h)


class Compared(nn.Module):
    """``head`` hears of ``h`` and ``g`` only through a comparison."""

    def __init__(self, compare: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2, bias=False)
        self.rest, self.compare = nn.Linear(4, 2), compare

    def forward(self, x):
        h, g = self.a(x), self.b(x)
        return self.head(self.compare(h, g).to(x.dtype)) + self.rest(torch.tanh(h) * torch.tanh(g))


COMPARED: dict[str, Callable[..., torch.Tensor]] = {
    "relu == 0": lambda h, g: F.relu(h) == 0,
    "relu != 0": lambda h, g: F.relu(h) != 0,
    "relu as a boolean": lambda h, g: F.relu(h).bool(),
    "clamp == its bound": lambda h, g: h.clamp(0, 0.25) == 0.25,
    "hardtanh == its bound": lambda h, g: F.hardtanh(h, -0.25, 0.25) == -0.25,
    "maximum == one": lambda h, g: torch.maximum(h, g) == h,
    "elu == itself": lambda h, g: F.elu(h) == h,
    "sum of relus == 0": lambda h, g: (F.relu(h) + F.relu(g)) == 0,
    "rounded == 1": lambda h, g: h.round() == 1,
    "second largest": lambda h, g: h.topk(2, -1)[0][:, 1:] == h,
    "not relu": lambda h, g: torch.logical_not(F.relu(h)),
    "number of zeros": lambda h, g: torch.count_nonzero(F.relu(h), -1)[:, None].expand(-1, 4),
}
NEVER: dict[str, Callable[..., torch.Tensor]] = {
    "tanh == 0": lambda h, g: torch.tanh(h) == 0,
    "relu == inf": lambda h, g: F.relu(h) == math.inf,
    "relu is nan": lambda h, g: torch.isnan(F.relu(h)),
    "relu differs from itself": lambda h, g: F.relu(h) != F.relu(h),
}


class Noisy(nn.Module):
    def forward(self, x):
        return x + 0.1 * torch.randn_like(x)


class Residual(nn.Module):
    """Two residual blocks whose last layers may start at zero; equal incoming weights in the second."""

    def __init__(self, zero: bool) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(*s) for s in ((4, 6), (6, 4), (4, 6), (6, 4)))
        tie_in(self.c)
        if zero:
            nn.init.zeros_(self.b.weight)
            nn.init.zeros_(self.d.weight)

    def forward(self, x):
        x = x + self.b(torch.tanh(self.a(x)))
        return x + self.d(torch.tanh(self.c(x)))


class Difference(nn.Module):
    """f(x) - f(y): the last bias cancels."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(3, 4), nn.Linear(4, 2)
        tie_in(self.inner)
        tie_out(self.head)

    def forward(self, x, y):
        return self.head(torch.tanh(self.inner(x))) - self.head(torch.tanh(self.inner(y)))


class Reduced(nn.Module):
    """Equal units reduced to one number: symmetric in the units, or with a tie rule."""

    def __init__(self, reduce: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer, self.reduce = nn.Linear(3, 4), reduce
        nn.init.constant_(self.layer.weight, 0.3)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x):
        return self.reduce(torch.tanh(self.layer(x)))


class Winners(nn.Module):
    """Only the ``k`` largest of ``width`` units pass. The others are waiting, not frozen."""

    def __init__(self, width: int, k: int) -> None:
        super().__init__()
        self.layer, self.head, self.k = nn.Linear(3, width), nn.Linear(width, 2), k

    def forward(self, x):
        value, index = self.layer(x).topk(self.k, -1)
        return self.head(torch.zeros(len(x), self.layer.out_features).scatter(-1, index, value))


class Chosen(nn.Module):
    """Of 32 units some pass on; ``choose`` says how that is written."""

    def __init__(self, choose: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer, self.head, self.choose = nn.Linear(3, 32), nn.Linear(32, 2), choose

    def forward(self, x):
        return self.head(self.choose(self.layer(x)))


def one_hot(h: torch.Tensor) -> torch.Tensor:
    return F.one_hot(h.argmax(-1), 32).to(h.dtype)


def top_two(h: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(h, dtype=torch.bool).scatter(-1, h.topk(2, -1)[1], True)


CHOICES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "one_hot of argmax": lambda h: h * one_hot(h),
    "straight through": lambda h: (one_hot(h) - h.softmax(-1)).detach() + h.softmax(-1),
    "one_hot of argmin, integers": lambda h: h * F.one_hot(h.argmin(-1), 32),
    "where arange == argmax": lambda h: torch.where(torch.arange(32) == h.argmax(-1, True), h, 0.0),
    "mask scattered": lambda h: h * top_two(h).to(h.dtype),
    "mask filled": lambda h: h.masked_fill(~top_two(h), 0.0),
    "mask of -inf": lambda h: h.masked_fill(~top_two(h), -math.inf).softmax(-1),
    "threshold": lambda h: h * (h >= h.topk(2, -1)[0][:, -1:]),
    "sorted, cut off": lambda h: F.pad(h.sort(-1, descending=True)[0][:, :2], (0, 30)),
    "argsort, gathered": lambda h: F.pad(h.gather(-1, h.argsort(-1)[:, :3]), (0, 29)),
    "median": lambda h: h - h.median(-1, True)[0].expand(-1, 32),
    "kth value": lambda h: h.kthvalue(5, -1, True)[0].expand(-1, 32),
    "counted": lambda h: h * torch.bincount(h.argmax(-1), minlength=32),
    "capacity": lambda h: h * ((one_hot(h).cumsum(0) * one_hot(h)) == 1),
}


def unfolded(weights: Callable[[list[int]], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Weights of the tokens' mean, by lengths that Python code reads."""

    def mean(q, k, v, lengths):
        return (v * weights(lengths.tolist())[..., None]).sum(1)

    return mean


def attended(shares: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[..., Any]:
    """The first token attends to those of its sequence; ``shares(scores, behind)`` are 0 for the others."""

    def attention(q, k, v, lengths):
        behind = (torch.arange(5) >= lengths[:, None])[:, None].expand(-1, 5, -1)
        return (shares(q @ k.mT / 2, behind) @ v)[:, 0]

    return attention


def written(lengths: list[int]) -> torch.Tensor:
    mask = torch.zeros(len(lengths), 5)
    for row, n in enumerate(lengths):
        mask[row, :n] = 1
    return mask


PADDED: dict[str, Callable[..., torch.Tensor]] = {
    "masked_fill": attended(lambda s, behind: s.masked_fill(behind, -math.inf).softmax(-1)),
    "lowest float": attended(
        lambda s, behind: (s + behind.to(s.dtype) * torch.finfo(s.dtype).min).softmax(-1)
    ),
    "where": attended(lambda s, behind: torch.where(behind, -1e9, s).softmax(-1)),
    "log_softmax": attended(
        lambda s, behind: s.masked_fill(behind, -math.inf).log_softmax(-1).exp()
    ),
    "scaled_dot_product": lambda q, k, v, lengths: F.scaled_dot_product_attention(
        q, k, v, attn_mask=(torch.arange(5) < lengths[:, None])[:, None].expand(-1, 5, -1)
    )[:, 0],
    "loop": unfolded(written),
    "pad": unfolded(lambda ns: torch.stack([F.pad(torch.ones(n), (0, 5 - n)) for n in ns])),
    "cat": unfolded(
        lambda ns: torch.stack([torch.cat([torch.ones(n), torch.zeros(5 - n)]) for n in ns])
    ),
}


class Padded(nn.Module):
    """Sequences of 5, 3 and 4 tokens; those behind the end are no part of the output on this example."""

    def __init__(self, join: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.tokens, self.join, self.head = nn.Embedding(20, 4), join, nn.Linear(4, 3)

    def forward(self, ids, lengths):
        x = self.tokens(ids)
        return self.head(self.join(x.tanh(), x.sin(), x, lengths))


class Nothing(nn.Module):
    """A layer takes in zeros that ``forward`` makes, whatever the example: its weight never learns."""

    def __init__(self, make: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.tokens, self.layer, self.make = nn.Embedding(5, 4), nn.Linear(4, 4), make

    def forward(self, ids):
        x = self.tokens(ids)
        return torch.tanh(self.layer(self.make(x)) + x)


class Maxout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 32)

    def forward(self, x):
        return self.layer(x).amax(-1, keepdim=True)


class Codebook(nn.Module):
    """The nearest code replaces the encoding, with a straight-through gradient and a codebook loss."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.codes, self.decode = nn.Linear(3, 4), nn.Embedding(16, 4), nn.Linear(4, 3)

    def forward(self, x):
        z = self.encode(x)
        distance = (z[:, None] - self.codes.weight).square().sum(-1)
        code = self.codes(distance.argmin(-1))
        return self.decode(z + (code - z).detach()), (code - z.detach()).square().mean()


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(3, 4), nn.Linear(4, 2)
        tie_in(self.inner)

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x)).detach())


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(3, 2), nn.Linear(3, 4)

    def forward(self, x):
        return self.used(x)


def filled(model: nn.Module, value: float, *shape: int) -> Callable[[], Built]:
    """All parameters but those of norms at one value."""

    def build() -> Built:
        with torch.no_grad():
            for name, p in model.named_parameters():
                if "norm" not in name:
                    p.fill_(value)
        return copy.deepcopy(model), data(*shape)

    return build


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Linear(4, 2)
        tie_in(self.body[0])
        tie_out(self.head)

    def forward(self, x):
        return self.head(checkpoint(self.body, x, use_reentrant=False))


class Grouped(nn.Module):
    """Grouped-query attention: 4 query heads share 2 key-value heads; query heads 0 and 1 are equal."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, n, bias=False) for n in (8, 4, 4, 8))
        with torch.no_grad():
            self.q.weight[2:4] = self.q.weight[:2]
            self.o.weight[:, 2:4] = self.o.weight[:, :2]

    def forward(self, x):
        q = self.q(x).unflatten(-1, (4, 2)).transpose(1, 2)
        k, v = (f(x).unflatten(-1, (2, 2)).transpose(1, 2) for f in (self.k, self.v))
        k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)
        return self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))


def untrained_features() -> Built:
    """Equal incoming weights that cannot train, unequal outgoing weights that can."""
    model, x = mlp(3, 4, 2)
    tie_in(model[0])
    model[0].requires_grad_(False)
    return model, x


def silent_feature() -> Built:
    model, x = mlp(3, 4, 2)
    x[:, 0] = 0
    return model, x


def same_values_in_series() -> Built:
    """P6."""
    model, x = mlp(5, 5, 5, act=nn.ReLU)
    model[2].load_state_dict(model[0].state_dict())
    return model, x


def equal_outputs() -> Built:
    model, x = mlp(3, 4, 2)
    tie_in(model[2])
    return model, x


def parametrized(wrap: Callable[[nn.Module], nn.Module], twins: bool) -> Built:
    model, x = mlp(3, 4, 2)
    if twins:
        tied((model, x))
    wrap(model[0])
    return model, x


def glu_twins() -> Built:
    """Units 0 and 1 of the values, 4 and 5 of the gates."""
    first, last = nn.Linear(3, 8), nn.Linear(4, 2)
    tie_in(first)
    tie_in(first, 4, 5)
    tie_out(last)
    return nn.Sequential(first, nn.GLU(), last), data(6, 3)


class RotaryByComplex(Attention):
    """Pairs of dimensions as complex numbers times the unit circle, kept as a buffer; heads 0 and 1 are equal."""

    def __init__(self) -> None:
        super().__init__(bias=False, rotary=4)
        angle = torch.outer(torch.arange(5.0), torch.tensor([1.0, 0.1]))
        self.register_buffer("circle", torch.polar(torch.ones(5, 2), angle))
        with torch.no_grad():
            for projection in (self.q, self.k, self.v):
                projection.weight[4:] = projection.weight[:4]
            self.o.weight[:, 4:] = self.o.weight[:, :4]

    def turn(self, x):
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * self.circle).flatten(-2)


class Spectral(nn.Module):
    """A Fourier layer: the two lowest frequencies of each channel times complex weights; channels 0 and 1 are equal.

    Of real numbers the lowest frequency is real, and only the real part of its product counts: half of its weights
    are frozen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inn, self.out = nn.Linear(3, 4), nn.Linear(4, 2)
        self.filter = nn.Parameter(torch.randn(4, 2, 2))
        tie_in(self.inn)
        tie_out(self.out)
        with torch.no_grad():
            self.filter[1] = self.filter[0]

    def forward(self, x):
        h = torch.fft.rfft(self.inn(x).transpose(1, 2))
        kept = torch.zeros_like(h)
        kept[..., :2] = h[..., :2] * torch.view_as_complex(self.filter)
        return self.out(torch.tanh(torch.fft.irfft(kept, n=x.shape[1]).transpose(1, 2)))


@torch.no_grad()
def bilinear_twins() -> Built:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair, self.head = nn.Bilinear(3, 2, 4), nn.Linear(4, 2)
            tie_in(self.pair)
            tie_out(self.head)

        def forward(self, x, y):
            return self.head(torch.tanh(self.pair(x, y)))

    return Model(), (data(6, 3), data(6, 2))


def close_to_zero(x: torch.Tensor) -> torch.Tensor:
    return torch.where(torch.isclose(x, torch.zeros_like(x), atol=0.5), x, 2 * x)


def masked_in_place(x: torch.Tensor) -> torch.Tensor:
    """Predicates written into booleans and integers that forward() made, through views."""
    keep = torch.zeros(x.shape, dtype=torch.bool)
    rows = keep[1:]
    rows |= x[1:] > 0.2
    keep &= x < 0.7
    count = torch.ones(x.shape, dtype=torch.int64)
    count += (x > 0).long()
    return torch.where(keep, x, -0.3 * x) * count


def set_where_positive(x: torch.Tensor) -> torch.Tensor:
    y = x * x
    y[x > 0] = 0.5
    return y + x


def largest_neighbour(x: torch.Tensor) -> torch.Tensor:
    """A maximum over the edges of a graph, from a start at minus infinity; node 0 has no edge but its own."""
    to = torch.arange(len(x)).div(2, rounding_mode="floor")[:, None].expand_as(x)
    start = x.new_full(x.shape, -torch.inf)
    start[len(x) // 2 :] = 0.0
    return start.scatter_reduce(0, to, x, "amax")


def checked_arguments(x: torch.Tensor) -> torch.Tensor:
    """``torch.distributions`` asks whether every scale is positive."""
    return torch.distributions.Normal(x, F.softplus(x)).log_prob(0.3 * x)


def quantized(x: torch.Tensor) -> torch.Tensor:
    by_row = x.detach().abs().amax(1) / 127
    zero = torch.zeros(len(x), dtype=torch.int32)
    fine = torch.fake_quantize_per_tensor_affine(x, 0.01, 0, -128, 127)
    return fine + torch.fake_quantize_per_channel_affine(x, by_row.float(), zero, 0, -128, 127)


# -- builders: what must be refused ---------------------------------------------------------------


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        h = self.layer(x)
        if h.sum() > 0:
            return h
        return -h


class Reading(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        h = self.layer(x)
        scale = float(h.mean())
        return h * scale


class Raising(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        raise ValueError("my own check failed")


@torch.library.custom_op("zoo::mystery", mutates_args=())
def mystery(x: torch.Tensor) -> torch.Tensor:
    return x * torch.linalg.vector_norm(x)


mystery.register_fake(torch.empty_like)
mystery.register_autograd(lambda context, grad: grad)


class Mysterious(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 2), CallsMystery())

    def forward(self, x):
        return self.inner(x)


class CallsMystery(nn.Module):
    def forward(self, x):
        return mystery(x)


def broken(index: int, name: str, value: float, *parts: nn.Module) -> Built:
    model = nn.Sequential(*parts)
    with torch.no_grad():
        getattr(model[index], name).view(-1)[0] = value
    return model, data(4, 3)


# -- rows -----------------------------------------------------------------------------------------


def updates(name: str, build: Callable[[], Built], **expect: Any) -> Iterator[Case]:
    """The same expectation under both updates."""
    for update in ("any", "additive"):
        yield Case(f"{name} [{update}]", build, kwargs={"update": update}, **expect)


TWIN: dict[str, Any] = {
    "classes": {"0": pair(4)},
    "locked": (("twin", "0", (0, 1)),),
    "kinds": frozenset({"twin"}),
    "present": ("LS001",),
    "absent": ("LS002", "LS003", "LS005"),
}

DENSE = [
    Case("course random", course(False, False), **CLEAN, classes={"0": alone(2)}),
    Case("course outgoing equal", course(False, True), **CLEAN, classes={"0": alone(2)}),
    Case("course incoming equal", course(True, False), present=("LS006",), classes={"0": alone(2)}, **HEALTHY),
    Case("course biases differ", course(True, True, (0.25, 0.5)), classes={"0": alone(2)}, **CLEAN),
    *updates("course tied", course(True, True), classes={"0": ((0, 1),)}, frozen={},
             locked=(("twin", "0", (0, 1)),), kinds=frozenset({"twin"}), present=("LS001",)),
    *updates("course tied with biases", course(True, True, (0.25, 0.25)), classes={"0": ((0, 1),)},
             frozen={}, locked=(("twin", "0", (0, 1)),), kinds=frozenset({"twin"}), present=("LS001",)),
    *updates("trial W2 = I, W3 = [1 1]", identity_between([1, 1]), frozen={}, present=("LS001",),
             classes={"0": ((0, 1),), "2": ((0, 1),)}, kinds=frozenset({"twin"})),
    *updates("trial W2 = I, W3 = [2 1]", identity_between([2, 1]),
             classes={"0": alone(2), "2": alone(2)}, present=("LS006",), **HEALTHY),
    *updates("trial constant MLP, P2", lambda: fill(mlp(4, 6, 6, 2), 0.1), frozen={}, present=("LS001",),
             classes={"0": together(6), "2": together(6), "4": alone(2)}, widths={"0": 1, "2": 1}),
    *(Case(f"trial zero MLP {act.__name__}", lambda act=act: fill(mlp(4, 3, 2, act=act), 0.0),
           classes={"0": together(3), "2": alone(2)}, present=("LS004",),
           frozen={"0.weight": 12, "0.bias": 3, "2.weight": 6}) for act in (nn.Tanh, nn.ReLU)),
    Case("F10 zero MLP sigmoid", lambda: fill(mlp(4, 3, 2, act=nn.Sigmoid), 0.0), frozen={},
         classes={"0": together(3), "2": alone(2)}, present=("LS001",), absent=("LS004",)),
    Case("trap where, random mask", lambda: (Masked(), data(6, 8)), **CLEAN, classes={"a": alone(48)}),
    Case("trap relu, wide", lambda: mlp(8, 64, 64, 3, act=nn.ReLU), **CLEAN,
         classes={"0": alone(64), "2": alone(64)}, trainer=False),
    *updates("trap zero layers wake", waking, classes={"0": alone(4)}, **HEALTHY),
    Case("F5 balanced, additive", balanced, {"update": "additive"}, frozen={},
         classes={"0": ((0, 1, 2), (3, 4, 5)), "2": ((0, 1, 2), (3, 4, 5)), "4": alone(2)},
         locked=(("balanced", "2", (0, 1, 2)), ("balanced", "2", (3, 4, 5))), present=("LS005",)),
    Case("F5 balanced, any", balanced, {"update": "any"}, present=("LS006",),
         classes={"0": alone(6), "2": alone(6)}, **HEALTHY),
    Case("magic square, additive", magic_square, {"update": "additive"}, frozen={}, present=("LS005",),
         classes={"0": together(3), "2": together(3)}, locked=(("balanced", "2", (0, 1, 2)),)),
    Case("magic square, any", magic_square, {"update": "any"}, classes={"0": alone(3), "2": alone(3)}, **HEALTHY),
    Case("F6 nearly balanced", nearly_balanced, {"update": "additive"},
         classes={"0": alone(3), "2": alone(3)}, trainer=False, **HEALTHY),
    *updates("F7 one-sided tests", one_sided, classes={"0": alone(3), "2": alone(2)}, present=("LS006",), **HEALTHY),
    *updates("F7 scale-blind tests", one_sided_scaled, classes={"0": alone(2)}, **HEALTHY),
    *updates("F3 cloned twice", cloned, frozen={}, kinds=frozenset({"twin"}), present=("LS001",),
             classes={"0": ((0, 1), (2, 3), (4, 5)), "2": ((0, 1), (2, 3), (4, 5))}),
    Case("F21 XNOR", lambda: xnor(-0.25), classes={"0": ((0, 1, 2), (3,))}, present=("LS001",)),
    Case("F21 XNOR all equal", lambda: xnor(-1.25), classes={"0": together(4)}, present=("LS001",)),
    Case("F36 partial identity", partial_identity, present=("LS004",),
         classes={"2": ((0,), (1,), (2,), (3,), (4, 5, 6, 7))},
         frozen={"2.weight": 16, "4.weight": 48, "6.weight": 8}, steps=5),
    Case("P9 shards", shards(True), present=("LS001",), widths={"0": 4}, frozen={},
         classes={"0": ((0, 4), (1, 5), (2, 6), (3, 7))}),
    Case("P9 shards, second layer random", shards(False), present=("LS006",), classes={"0": alone(8)}, **HEALTHY),
    Case("P10 widened in halves", lambda: widened(0.5, 0.5), classes={"0": pair(4, 0, 3)},
         locked=(("twin", "0", (0, 3)),), present=("LS001",), frozen={}),
    Case("P10 widened in thirds", lambda: widened(1 / 3, 2 / 3), classes={"0": alone(4)}, present=("LS006",),
         **HEALTHY),
    Case("F34 a plus and minus pair", lambda: widened(1, -1), classes={"0": alone(4)}, present=("LS006",), **HEALTHY),
    Case("P12 equal columns", lambda: stack(linear([[0.5, 0.5], [0.25, 0.25], [-1, -1]], [0.1, 0.2, 0.3]),
         linear([[0.5, -0.25, 0.75]], [0])), **CLEAN, classes={"0": alone(3)}),
    Case("P6 equal values in series", same_values_in_series, {"loss": torch.sum}, present=("LS007",),
         classes={"0": alone(5), "2": alone(5)}, **HEALTHY),
    Case("equal output rows, any loss", equal_outputs, classes={"2": alone(2)}, present=("LS006",), **HEALTHY),
    Case("equal output rows, loss sees their sum", equal_outputs, {"loss": torch.sum},
         classes={"0": alone(4), "2": ((0, 1),)}, present=("LS001",)),
    Case("untrained equal rows", untrained_features, classes={"0": pair(4)}, present=("LS001",), frozen={}),
    Case("silent feature, any data", silent_feature, {"data": "any"}, **CLEAN),
    Case("silent feature, given data", silent_feature, {"data": "given"}, present=("LS004",),
         frozen={"0.weight": 4}, trainer=False),
]  # fmt: skip

GRADES = [
    *updates("F4 twin", lambda: related(nn.Tanh, 1, 1), classes={"0": pair(8)}, present=("LS001",),
             locked=(("twin", "0", (0, 1)),), kinds=frozenset({"twin"}), frozen={}),
    *(case for act in (nn.Tanh, Sine) for case in updates(
        f"F4 mirror {act.__name__}", lambda act=act: related(act, -1, -1), frozen={},
        locked=(("mirror", "0", (0, 1)),), kinds=frozenset({"mirror"}), present=("LS002",), absent=("LS001",))),
    *(Case(f"mirror through {'odd' if out < 0 else 'even'} {name}", lambda f=f, out=out: related(
        lambda: Function(f), -1, out), frozen={}, locked=(("mirror", "0", (0, 1)),), present=("LS002",))
      for table, out in ((ODD, -1), (EVEN, 1)) for name, f in table.items()),
    *(Case(f"no mirror through {'odd' if out > 0 else 'even'} {name}", lambda f=f, out=out: related(
        lambda: Function(f), -1, out), classes={"0": alone(8)}, **HEALTHY)
      for table, out in ((ODD, 1), (EVEN, -1)) for name, f in table.items()),
    Case("F4 tanh (-w, +o)", lambda: related(nn.Tanh, -1, 1), classes={"0": alone(8)}, **HEALTHY),
    Case("F4 sigmoid (-w, -o)", lambda: related(nn.Sigmoid, -1, -1), classes={"0": alone(8)}, **HEALTHY),
    Case("F4 GELU (-w, -o)", lambda: related(nn.GELU, -1, -1), classes={"0": alone(8)}, **HEALTHY),
    Case("F4 relu (2w, o/2)", lambda: related(nn.ReLU, 2, 0.5), classes={"0": alone(8)}, **HEALTHY),
    Case("F4 relu proportional: a documented limit", lambda: related(nn.ReLU, 2, 2),
         classes={"0": alone(8)}, trainer=False, **HEALTHY),
    Case("F16 outgoing ratio 2", lambda: related(nn.Tanh, 1, 2), classes={"0": alone(8)}, present=("LS006",),
         **HEALTHY),
]  # fmt: skip


def optimizer_case(name: str, make: Callable[..., Any], survives: bool) -> Case:
    classes = ((0, 1, 2), (3, 4, 5)) if survives else alone(6)
    return Case(
        f"F5 balanced under {name}",
        balanced,
        {"optimizer": make},
        classes={"0": classes, "2": classes},
        present=("LS005",) if survives else (),
        absent=("LS004",) if survives else LOCKING,
        trainer=False,
    )


def adam_with_state(factor: float) -> Callable[[nn.Module], dict[str, Any]]:
    """An Adam that has taken steps; the second moment of unit 1's weights is ``factor`` times that of unit 0."""

    def kwargs(model: nn.Module) -> dict[str, Any]:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for p in model.parameters():
            moments = {"exp_avg": torch.full_like(p, 0.5), "exp_avg_sq": torch.full_like(p, 0.25)}
            optimizer.state[p] = {"step": torch.tensor(5.0), **moments}
        optimizer.state[model[0].weight]["exp_avg_sq"][1] *= factor
        return {"optimizer": optimizer}

    return kwargs


_part = functools.partial
OPTIMIZERS = [
    optimizer_case("SGD", _part(torch.optim.SGD, lr=0.1), True),
    optimizer_case("SGD with L2", _part(torch.optim.SGD, lr=0.1, weight_decay=0.01), True),
    optimizer_case("momentum with L2", _part(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01), True),
    optimizer_case("Adam", _part(torch.optim.Adam, lr=0.1), True),
    optimizer_case("AdamW", _part(torch.optim.AdamW, lr=0.1, weight_decay=0.1), True),
    optimizer_case("RMSprop", _part(torch.optim.RMSprop, lr=0.1), True),
    optimizer_case("Adam with coupled L2", _part(torch.optim.Adam, lr=0.1, weight_decay=0.01), False),
    optimizer_case("Adagrad with L2", _part(torch.optim.Adagrad, lr=0.1, weight_decay=0.01), False),
    optimizer_case("RMSprop with L2", _part(torch.optim.RMSprop, lr=0.1, weight_decay=0.01), False),
    Case("F8 twins, equal state", twin(nn.Tanh), adam_with_state(1.0), **TWIN),
    Case("F8 twins, unequal state", twin(nn.Tanh), adam_with_state(4.0), classes={"0": alone(4)},
         trainer=False, **FREE),
    Case("branches in one param group", lambda: (Branches(True), data(6, 4)),
         {"optimizer": _part(torch.optim.SGD, lr=0.1)}, present=("LS003",), trainer=False),
    Case("branches in two param groups", lambda: (Branches(True), data(6, 4)), branch_groups,
         absent=("LS003",), trainer=False),
]  # fmt: skip

CROSS = {"loss": F.cross_entropy, "targets": torch.tensor([0, 1, 2, 3, 0, 1])}
LOSSES = [
    Case("shift, any loss", lambda: (Shifted(False), data(6, 3)), **CLEAN),
    Case("shift under softmax", lambda: (Shifted(True), data(6, 3)), frozen={"c": 1}, present=("LS004",), **FREE),
    Case("shift under cross entropy", lambda: (Shifted(False), data(6, 3)), CROSS, frozen={"c": 1},
         present=("LS004",), trainer=False, **FREE),
    *(Case(f"loss {name}", lambda: mlp(3, 5, 4), {"loss": loss, "targets": targets}, **CLEAN, trainer=False)
      for name, loss, targets in (
          ("cross entropy", F.cross_entropy, CROSS["targets"]),
          ("mse", F.mse_loss, torch.zeros(6, 4)),
          ("bce with logits", F.binary_cross_entropy_with_logits, torch.ones(6, 4)),
          ("nll", lambda out, y: F.nll_loss(out.log_softmax(-1), y), CROSS["targets"]),
          ("huber", F.huber_loss, torch.zeros(6, 4)),
          ("smooth l1", F.smooth_l1_loss, torch.zeros(6, 4)))),
    Case("twins under cross entropy", lambda: tied(mlp(3, 4, 4)), CROSS, trainer=False, **TWIN),
]  # fmt: skip

SAVED: dict[str, Any] = {"present": ("LS008",), "absent": ("LS001", "LS002", "LS003", "LS005")}


def dropped(noise: Callable[[], nn.Module], train: bool) -> Callable[[], Built]:
    def build() -> Built:
        model = nn.Sequential(
            nn.Linear(4, 6),
            nn.Tanh(),
            noise(),
            nn.Linear(6, 6),
            nn.Tanh(),
            noise(),
            nn.Linear(6, 2),
        )
        return fill((model.train(train), data(6, 4)), 0.1)

    return build


NOISE = [
    Case("P2 constant with dropout, train", dropped(lambda: nn.Dropout(0.2), True),
         classes={"0": alone(6), "3": alone(6)}, **SAVED),
    Case("P2 constant with dropout, eval", dropped(lambda: nn.Dropout(0.2), False),
         classes={"0": together(6), "3": together(6)}, present=("LS001",), absent=("LS008",)),
    Case("alpha dropout", dropped(lambda: nn.AlphaDropout(0.2), True), classes={"0": alone(6)}, **SAVED),
    Case("added noise", dropped(Noisy, True), classes={"0": alone(6)}, **SAVED),
    Case("noise on the inputs only", lambda: (nn.Sequential(nn.Dropout(0.3), *tied(mlp(3, 4, 2))[0]), data(6, 3)),
         classes={"1": pair(4)}, present=("LS001",)),
    *(Case(f"channel dropout {dim}d", lambda dim=dim, kind=kind: conv(dim, nn.Tanh(), kind(0.3)),
           classes={"0": alone(4)}, **SAVED)
      for dim, kind in ((1, nn.Dropout1d), (2, nn.Dropout2d), (3, nn.Dropout3d))),
    Case("feature alpha dropout", lambda: conv(2, nn.Tanh(), nn.FeatureAlphaDropout(0.3)),
         classes={"0": alone(4)}, **SAVED),
    Case("randomised leaky relu, train", twin(nn.RReLU), classes={"0": alone(4)}, **SAVED),
    Case("randomised leaky relu, eval", lambda: (twin(nn.RReLU)()[0].eval(), data(6, 3)), **TWIN),
]  # fmt: skip

MODULES_LOCKED: dict[str, Any] = {"kinds": frozenset({"module"}), "present": ("LS003",)}
STRUCTURE = [
    *updates("trial constant CNN", constant_cnn, classes={"0": together(4), "2": together(6), "5": alone(2)},
             widths={"0": 1, "2": 1}, present=("LS001",), frozen={}),
    Case("trial constant LSTM", lambda: constant_lstm(False), classes={"lstm[l0]": together(5), "head": alone(2)},
         present=("LS001",), frozen={}),
    Case("F10 constant LSTM, random head", lambda: constant_lstm(True), classes={"lstm[l0]": alone(5)},
         present=("LS006",), **HEALTHY),
    Case("P3 LSTM 3-2, constant head", lambda: constant_lstm(False, 3, 2), classes={"lstm[l0]": ((0, 1),)},
         present=("LS001",)),
    Case("P3 LSTM 3-2, default head", lambda: constant_lstm(True, 3, 2), classes={"lstm[l0]": alone(2)},
         present=("LS006",), **HEALTHY),
    Case("trial conv, batch norm", lambda: normed(nn.BatchNorm2d(4)), frozen={"0.bias": 4}, present=("LS004",),
         **FREE),
    Case("trial conv, instance norm", lambda: normed(nn.InstanceNorm2d(4)), frozen={"0.bias": 4},
         present=("LS004",), **FREE),
    Case("conv, instance norm, eval", lambda: normed(nn.InstanceNorm2d(4), train=False), frozen={"0.bias": 4},
         present=("LS004",), **FREE),
    Case("conv, batch norm, eval", lambda: normed(nn.BatchNorm2d(4), train=False), **CLEAN),
    Case("conv without bias, batch norm", lambda: normed(nn.BatchNorm2d(4), bias=False), **CLEAN),
    Case("conv, group norm", lambda: normed(nn.GroupNorm(2, 4)), **CLEAN),
    Case("conv, layer norm", lambda: normed(nn.LayerNorm([4, 3, 3])), **CLEAN),
    *(Case(f"F11 attention {name}".strip(), lambda s=s: attention(**s), frozen={"k.bias": 8},
         present=("LS004",), **FREE)
      for name, s in (("", {}), ("causal sdpa", {"causal": "sdpa"}), ("causal -inf", {"causal": "fill"}),
                      ("causal -1e9", {"causal": "finite"}), ("causal buffer", {"causal": "buffer"}))),
    Case("trap rotary, half of each head", lambda: attention(rotary=2), frozen={"k.bias": 4},
         present=("LS004",), **FREE),
    Case("trap rotary, all of each head", lambda: attention(rotary=4), **CLEAN),
    Case("attention without bias", lambda: attention(bias=False), **CLEAN),
    Case("P4 Wq = Wk = Wv", one_projection, classes={n: alone(8) for n in "qkvo"}, frozen={"k.bias": 8}, **FREE),
    Case("F11 multi-head attention", mha, frozen={"attn.in_proj_bias": 8}, present=("LS004",),
         classes={"attn[q]": alone(8), "attn[heads]": alone(2)}, **FREE),
    Case("multi-head attention, float mask", lambda: (Mha(), (data(4, 5, 8), data(4, 3, 8),
         torch.tensor([[0, 0, -math.inf]] * 5))), frozen={"attn.in_proj_bias": 8}, **FREE),
    Case("multi-head attention, other widths", lambda: (Mha(kdim=6, vdim=6), (data(4, 5, 8), data(4, 3, 6))),
         frozen={"attn.in_proj_bias": 8}, **FREE),
    Case("trap add_bias_kv", lambda: mha(add_bias_kv=True), **HEALTHY),
    Case("trap add_zero_attn", lambda: mha(add_zero_attn=True), **HEALTHY),
    Case("F8 twin heads", lambda: twin_heads(True), present=("LS003",), frozen={"attn.in_proj_bias": 16},
         classes={"attn[heads]": ((0, 1), (2,), (3,))}, widths={"attn[q]": 12, "attn[v]": 12}),
    Case("F8 twin heads, outgoing differ", lambda: twin_heads(False), classes={"attn[heads]": alone(4)},
         frozen={"attn.in_proj_bias": 16}, **FREE),
    Case("twin grouped-query heads", lambda: (Grouped(), data(4, 5, 8)), frozen={},
         classes={"q": ((0, 2), (1, 3), (4,), (5,), (6,), (7,)), "k": alone(4), "v": alone(4)}),
    Case("F12 P1 copied layers", copied_layers, present=("LS004", "LS007"),
         frozen={f"layers.{k}.self_attn.in_proj_bias": 16 for k in range(3)}, steps=3, **FREE),
    Case("P4 branches added", lambda: (Branches(True), data(6, 4)), frozen={}, **MODULES_LOCKED,
         classes={"left": alone(5), "right": alone(5)}, locked=(("module", ("left", "right"), (0, 1)),)),
    Case("P4 branches concatenated", lambda: (Branches(False), data(6, 4)), present=("LS006",), **HEALTHY),
    Case("ensemble, mean", lambda: (Ensemble(True), data(6, 3)), frozen={}, **MODULES_LOCKED),
    Case("ensemble, stacked", lambda: (Ensemble(False), data(6, 3)), **HEALTHY),
    Case("vmapped ensemble, mean", lambda: (Vmapped(True), data(6, 2)), frozen={},
         classes={"w1": together(3), "w2": together(3)}),
    Case("vmapped ensemble, random", lambda: (Vmapped(False), data(6, 2)), classes={"w1": alone(3)}, **HEALTHY),
    Case("bare parameters side by side", lambda: (Bare(True), data(6, 3)), frozen={}, **MODULES_LOCKED,
         locked=(("module", ("w.0", "w.1"), (0, 1)), ("module", ("u.0", "u.1"), (0, 1)), ("module", ("a", "b"), (0, 1)))),
    Case("bare parameters, read differently", lambda: (Bare(False), data(6, 3)), **CLEAN),
    Case("layers without entries", lambda: (Empty(), data(6, 3)), frozen={}, kinds=frozenset({"twin"}),
         classes={"body.0": pair(4)}, trainer=False),
    Case("a mask of gradients freezes", masked_gradient, frozen={"0.weight": 3}, absent=("LS009",), trainer=False),
    Case("scores of a categorical distribution", lambda: (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(),
         Function(lambda z: torch.distributions.Categorical(logits=z, validate_args=False).logits)), data(4, 5, 3)),
         frozen={"2.bias": 1}, **FREE),
    Case("F14 P5 A = B = 0", lambda: (Adapter(0), data(6, 8)), frozen={"A": 32, "B": 24}, present=("LS004",)),
    Case("F14 P5 two rows of A", lambda: (Adapter(2), data(6, 8)), frozen={"A": 16, "B": 12}, present=("LS004",)),
    Case("F14 B = 0, A random", lambda: (Adapter(4), data(6, 8)), classes={"A": alone(4)}, **HEALTHY),
    Case("F14 B = 0, rows of A equal", lambda: (Adapter(4, equal=True), data(6, 8)), classes={"A": together(4)},
         frozen={}),
    Case("F15 P7 mixture", lambda: (Mixture(), data(32, 5)), classes={"mu": together(4)}, frozen={"logits": 4},
         present=("LS001", "LS004")),
    Case("P8 random router, k = 2", routed(2, False), trainer=False, **HEALTHY),
    Case("P8 random router, k = 4", routed(4, False), trainer=False, **HEALTHY),
    Case("P8 zero router, k = 4", routed(4, True), trainer=False, frozen={"router.weight": 32},
         present=("LS003", "LS004"), absent=("LS009",)),
    Case("P8 zero router, k = 2", routed(2, True), trainer=False, frozen={"router.weight": 32},
         present=("LS003", "LS004", "LS009")),
    *(Case(f"state from call to call: {how}", lambda how=how: (Keeping(how), data(6, 3)),
           classes={"first": pair(4), "late": pair(4)}, frozen={}, present=("LS001",), absent=("LS004",))
      for how in ("hidden state", "average", "count", "attribute")),
    *(Case(f"equality {name}", lambda compare=compare: (Compared(compare), data(64, 3)), **CLEAN)
      for name, compare in COMPARED.items()),
    *(Case(f"never {name}", lambda compare=compare: (Compared(compare), data(12, 3)), frozen={"head.weight": 8},
           classes={"head": ((0, 1),)}) for name, compare in NEVER.items()),
    Case("largest distance", lambda: (Largest(), data(256, 3)), **CLEAN),
    Case("fresh norms side by side, added", lambda: (Siblings("added"), data(6, 4)), frozen={}, **MODULES_LOCKED,
         locked=(("module", ("left", "right"), (0, 1)),)),
    Case("fresh norms side by side, concatenated", lambda: (Siblings("joined"), data(6, 4)), **HEALTHY),
    Case("fresh norms in series", lambda: (Siblings("series"), data(6, 4)), **HEALTHY),
    Case("constant adapters side by side, added", lambda: (Adapters(True), data(6, 4)), frozen={}, **MODULES_LOCKED,
         locked=(("module", ("blocks.0.left", "blocks.0.right"), (0, 1)),
                 ("module", ("blocks.1.left", "blocks.1.right"), (0, 1)))),
    Case("constant adapters side by side, one scaled", lambda: (Adapters(False), data(6, 4)), **HEALTHY),
    Case("one layer used twice", lambda: (Shared(), data(6, 4)), **CLEAN, classes={"layer": alone(4)}),
    Case("trap tied autoencoder", lambda: (Autoencoder(True), data(6, 6)), classes={"W": pair(4)}, frozen={},
         present=("LS001",)),
    Case("tied autoencoder, random", lambda: (Autoencoder(False), data(6, 6)), classes={"W": alone(4)}, **HEALTHY),
    Case("einsum twins", lambda: (Einsum(True), data(6, 3)), classes={"W1": pair(4)}, present=("LS001",), frozen={}),
    Case("einsum, incoming equal", lambda: (Einsum(False), data(6, 3)), classes={"W1": alone(4)}, **HEALTHY),
    Case("P11 equal tokens used", tokens(False, 6, 7, 8), classes={"embed": alone(6), "head": alone(9)}, **HEALTHY),
    Case("P11 equal tokens unused", tokens(False), present=("LS009",), trainer=False, **HEALTHY),
    Case("P11 equal tokens unused, tied", tokens(True), **HEALTHY),
    Case("P11 equal tokens used, tied", tokens(True, 6, 7), **HEALTHY),
    Case("twin embedding dimensions", twin_embedding, classes={"0": pair(4)}, present=("LS001",), frozen={}),
    *(Case(f"twin embedding bag {mode}", lambda mode=mode: twin_embedding(mode), classes={"0": pair(4)},
           present=("LS001",), frozen={}, trainer=mode != "max") for mode in ("sum", "mean", "max")),
    *updates("residual, zero last layers", lambda: (Residual(True), data(6, 4)), classes={"a": alone(6),
         "c": pair(6)},
             frozen={}, present=("LS001",)),
    *updates("residual", lambda: (Residual(False), data(6, 4)), classes={"a": alone(6), "c": alone(6)},
             present=("LS006",), **HEALTHY),
    Case("difference of two passes", lambda: (Difference(), (data(6, 3), data(6, 3))), classes={"inner": pair(4)},
         frozen={"head.bias": 2}, present=("LS001", "LS004")),
    *(Case(f"equal units, {name}", lambda f=f: (Reduced(f), data(6, 3)), classes={"layer": together(4)}, frozen={},
           present=("LS001",)) for name, f in (
        ("mean", lambda z: z.mean(-1)), ("product", lambda z: z.prod(-1)), ("amax", lambda z: z.amax(-1)),
        ("logsumexp", lambda z: z.logsumexp(-1)))),
    Case("equal units, max with indices", lambda: (Reduced(lambda z: z.max(-1).values), data(6, 3)),
         classes={"layer": alone(4)}, present=("LS006",), trainer=False, **HEALTHY),
    Case("equal units, detached", lambda: (Detached(), data(6, 3)), classes={"inner": pair(4)},
         frozen={"inner.weight": 12, "inner.bias": 4}, present=("LS001", "LS004")),
    *(Case(f"not chosen is not frozen: {name}", lambda make=make: (make(), data(4, 3)), trainer=False, **HEALTHY)
      for name, make in (("k winners", lambda: Winners(32, 2)), ("maxout", Maxout), ("nearest code", Codebook),
                          *((name, lambda choose=choose: Chosen(choose)) for name, choose in CHOICES.items()))),
    *(Case(f"behind the end is not frozen: {name}", lambda join=join: (Padded(join),
         (torch.arange(15).view(3, 5), torch.tensor([5, 3, 4]))), unread={"tokens.weight": 32}, present=("LS009",),
         **HEALTHY) for name, join in PADDED.items()),
    *(Case(f"constant zeros are frozen: {name}", lambda make=make: (Nothing(make), torch.arange(6).view(2, 3) % 5),
         frozen={"layer.weight": 16}, present=("LS004",), kinds=frozenset())
      for name, make in (("zeros_like", torch.zeros_like), ("zeros", lambda x: torch.zeros(3, 4, dtype=x.dtype)),
                         ("new_zeros", lambda x: x.new_zeros(2, 3, 4)), ("reshaped", lambda x: torch.zeros(12, dtype=x.dtype).view(3, 4)))),
    Case("a constant mask is frozen", lambda: (Chosen(lambda h: h * torch.tensor([1.0, 0.0]).repeat(16).to(h.dtype)),
         data(4, 3)), frozen={"layer.weight": 48, "layer.bias": 16, "head.weight": 32}),
    Case("an unused layer", lambda: (Unused(), data(6, 3)), present=("LS009",), trainer=False, **HEALTHY),
    Case("zero LSTM", filled(Recurrent("lstm", 3, 4), 0.0, 4, 3, 3), classes={"lstm[l0]": together(4)},
         frozen={"lstm.weight_ih_l0": 48, "lstm.weight_hh_l0": 64, "lstm.bias_ih_l0": 16, "lstm.bias_hh_l0": 16,
                 "head.weight": 8}, present=("LS004",)),
    Case("constant stacked LSTM", filled(Recurrent("lstm", 3, 4, num_layers=2, bidirectional=True), 0.1, 4, 3, 3),
         classes={f"lstm[l{layer}{way}]": together(4) for layer in (0, 1) for way in ("", "_reverse")}, frozen={}),
    Case("zero CNN", filled(nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 3, 3), nn.Tanh(), nn.Flatten(),
         nn.Linear(12, 2)), 0.0, 4, 2, 6, 6), classes={"0": together(4), "2": together(3), "5": alone(2)},
         frozen={"0.weight": 72, "0.bias": 4, "2.weight": 108, "2.bias": 3, "5.weight": 24}, present=("LS004",)),
    Case("constant encoder layer", filled(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True,
         activation="gelu"), 0.1, 4, 5, 8), frozen={"self_attn.in_proj_bias": 8}, present=("LS001", "LS003", "LS004"),
         classes={"self_attn[q]": together(8), "self_attn[heads]": ((0, 1),), "linear1": together(16),
                  "linear2": alone(8)}),
    Case("bilinear twins", bilinear_twins, classes={"pair": pair(4)}, present=("LS001",), frozen={}),
    Case("checkpointed twins", lambda: (Checkpointed(), data(6, 3)), classes={"body.0": pair(4)}, present=("LS001",)),
    Case("weight norm twins", lambda: parametrized(parametrizations.weight_norm, True), classes={"0": pair(4)},
         present=("LS001",), frozen={}),
    Case("weight norm, random", lambda: parametrized(parametrizations.weight_norm, False),
         classes={"0": alone(4)}, **HEALTHY),
    Case("spectral norm, random", lambda: parametrized(parametrizations.spectral_norm, False), **HEALTHY),
    Case("rotary by complex numbers", lambda: (RotaryByComplex(), data(4, 5, 8)), classes={"q": ((0, 4), (1, 5),
         (2, 6), (3, 7)), "v": ((0, 4), (1, 5), (2, 6), (3, 7))}, locked=(("twin", "[heads]", (0, 1)),), frozen={}),
    Case("Fourier layer", lambda: (Spectral(), data(4, 5, 3)), classes={"inn": pair(4), "filter": pair(4)},
         frozen={"filter": 4}),
]  # fmt: skip

ACTIVATIONS = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid,
    nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Softshrink, nn.Softsign,
    nn.Tanh, nn.Tanhshrink,
)  # fmt: skip
TWIN_CHANNELS: dict[str, Any] = {
    "classes": {"0": pair(4)},
    "locked": (("twin", "0", (0, 1)),),
    "present": ("LS001",),
    "absent": ("LS002", "LS003", "LS005"),
}
RECURRENT = (
    ("rnn", {}, ("l0",)),
    ("rnn", {"nonlinearity": "relu"}, ("l0",)),
    ("lstm", {}, ("l0",)),
    ("gru", {}, ("l0",)),
    ("gru", {"bias": False}, ("l0",)),
    ("lstm", {"num_layers": 2}, ("l0",)),
    ("lstm", {"bidirectional": True}, ("l0", "l0_reverse")),
    ("gru", {"num_layers": 2, "bidirectional": True}, ("l0", "l0_reverse")),
)
MODULES = [
    *(Case(f"twins under {act.__name__}", twin(act), trainer=act not in (nn.Hardshrink, nn.Softshrink,
         nn.ReLU), **TWIN)
      for act in ACTIVATIONS),
    Case("twins under GELU tanh", twin(lambda: nn.GELU("tanh")), **TWIN),
    *(Case(f"twins under {function.__name__}", twin(lambda function=function: Function(function)),
           trainer=function is not quantized, **TWIN)
      for function in (close_to_zero, masked_in_place, set_where_positive, largest_neighbour, checked_arguments,
                       quantized)),
    Case("twins under PReLU a unit", twin(lambda: nn.PReLU(4)), **TWIN),
    Case("twins under Threshold", twin(lambda: nn.Threshold(0.1, 20.0)), trainer=False, **TWIN),
    *(Case(f"twins under {act.__name__}", twin(lambda act=act: act(dim=-1)), **TWIN)
      for act in (nn.Softmax, nn.Softmin, nn.LogSoftmax)),
    Case("twins under GLU", glu_twins, classes={"0": ((0, 1), (2,), (3,), (4, 5), (6,), (7,))}, present=("LS001",)),
    Case("random linear, normed", lambda: (nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6), nn.Tanh(),
         nn.Linear(6, 2)), data(6, 3)), **CLEAN),
    *(Case(f"twins, {type(norm).__name__}", lambda norm=norm: (nn.Sequential(
        *tied(mlp(3, 4, 2))[0][:1], copy.deepcopy(norm), nn.Tanh(), tied(mlp(3, 4, 2))[0][2]), data(6, 3)),
        classes={"0": pair(4)}, present=("LS001",))
      for norm in (nn.LayerNorm(4), nn.RMSNorm(4), nn.BatchNorm1d(4), nn.GroupNorm(2, 4))),
    Case("linear, batch norm", lambda: (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(),
         nn.Linear(4, 2)), data(6, 3)), frozen={"0.bias": 4}, present=("LS004",), **FREE),
    *(Case(f"twin channels conv {dim}d", lambda dim=dim: conv(dim, nn.Tanh()), **TWIN_CHANNELS, frozen={})
      for dim in (1, 2, 3)),
    *(Case(f"random conv {dim}d", lambda dim=dim: conv(dim, nn.Tanh(), twins=False), **CLEAN) for dim in (1, 2, 3)),
    *(Case(f"twin channels conv transpose {dim}d", lambda dim=dim: conv(
        dim, nn.Tanh(), first=CONV_T[dim](2, 4, 3, stride=2, output_padding=1), side=3), **TWIN_CHANNELS)
      for dim in (1, 2, 3)),
    *(Case(f"twin channels conv {name}", lambda s=s: conv(2, nn.Tanh(), first=nn.Conv2d(4, 4, 3, **s)),
         **TWIN_CHANNELS)
      for name, s in (("stride", {"stride": 2}), ("padding", {"padding": 1}), ("dilation", {"dilation": 2}),
                      ("circular", {"padding": 1, "padding_mode": "circular"}),
                      ("reflect", {"padding": 1, "padding_mode": "reflect"}), ("same", {"padding": "same"}),
                      ("groups", {"groups": 2}))),
    Case("depthwise twins", lambda: conv(2, nn.Tanh(), first=nn.Conv2d(4, 4, 3, groups=4)), classes={"0": alone(4)},
         **HEALTHY),
    *(Case(f"twin channels {name}", lambda dim=dim, make=make: conv(dim, make()), **TWIN_CHANNELS)
      for name, dim, make in (
          ("batch norm 1d", 1, lambda: nn.BatchNorm1d(4)), ("batch norm 2d", 2, lambda: nn.BatchNorm2d(4)),
          ("batch norm 3d", 3, lambda: nn.BatchNorm3d(4)), ("instance norm 1d", 1, lambda: nn.InstanceNorm1d(4)),
          ("instance norm 2d", 2, lambda: nn.InstanceNorm2d(4, affine=True)),
          ("instance norm 3d", 3, lambda: nn.InstanceNorm3d(4)), ("group norm", 2, lambda: nn.GroupNorm(1, 4)),
          ("local response norm", 2, lambda: nn.LocalResponseNorm(7)), ("softmax 2d", 2, nn.Softmax2d),
          ("max pool 1d", 1, lambda: nn.MaxPool1d(2)), ("max pool 2d", 2, lambda: nn.MaxPool2d(2)),
          ("max pool 3d", 3, lambda: nn.MaxPool3d(2)), ("avg pool 1d", 1, lambda: nn.AvgPool1d(2)),
          ("avg pool 2d", 2, lambda: nn.AvgPool2d(2, padding=1)), ("avg pool 3d", 3, lambda: nn.AvgPool3d(2)),
          ("adaptive avg 1d", 1, lambda: nn.AdaptiveAvgPool1d(3)), ("adaptive avg 2d", 2,
               lambda: nn.AdaptiveAvgPool2d(1)),
          ("adaptive avg 3d", 3, lambda: nn.AdaptiveAvgPool3d(2)), ("adaptive max 1d", 1,
               lambda: nn.AdaptiveMaxPool1d(3)),
          ("adaptive max 2d", 2, lambda: nn.AdaptiveMaxPool2d(2)), ("adaptive max 3d", 3,
               lambda: nn.AdaptiveMaxPool3d(2)),
          ("lp pool 1d", 1, lambda: nn.LPPool1d(2, 2)), ("lp pool 2d", 2, lambda: nn.LPPool2d(2, 2)),
          ("reflection pad", 2, lambda: nn.ReflectionPad2d(1)), ("replication pad", 2,
               lambda: nn.ReplicationPad2d(1)),
          ("zero pad", 2, lambda: nn.ZeroPad2d(1)), ("constant pad", 1, lambda: nn.ConstantPad1d(1, 0.5)),
          ("circular pad", 2, lambda: nn.CircularPad2d(1)), ("replication pad 3d", 3, lambda: nn.ReplicationPad3d(1)),
          ("upsample nearest", 2, lambda: nn.Upsample(scale_factor=2)),
          ("upsample linear", 1, lambda: nn.Upsample(scale_factor=2, mode="linear")),
          ("upsample bilinear", 2, lambda: nn.Upsample(scale_factor=2, mode="bilinear")),
          ("upsample corners", 2, lambda: nn.Upsample(size=7, mode="bilinear", align_corners=True)),
          ("upsample bicubic", 2, lambda: nn.Upsample(scale_factor=2, mode="bicubic")),
          ("upsample trilinear", 3, lambda: nn.Upsample(scale_factor=2, mode="trilinear")),
          ("identity", 2, nn.Identity))),
    Case("fractional max pool", lambda: conv(2, nn.FractionalMaxPool2d(2, output_size=2), twins=False),
         trainer=False, **HEALTHY),
    Case("pixel shuffle", lambda: (nn.Sequential(nn.Conv2d(2, 8, 3), nn.PixelShuffle(2), nn.Tanh(),
         nn.PixelUnshuffle(2),
         nn.ChannelShuffle(2), nn.Conv2d(8, 2, 1)), data(4, 2, 5, 5)), **CLEAN),
    Case("unfold and fold", lambda: conv(2, nn.Unfold(2), nn.Tanh(), nn.Fold((4, 4), 2)), **TWIN_CHANNELS),
    Case("flatten and unflatten", lambda: (nn.Sequential(nn.Linear(3, 6), nn.Unflatten(1, (2, 3)), nn.Tanh(),
         nn.Flatten(), nn.Linear(6, 2)), data(6, 3)), **CLEAN),
    *(Case(f"twins {kind} {settings}", lambda kind=kind, settings=settings: twin_recurrent(kind, **settings),
           classes={f"{kind}[{d}]": pair(4) for d in where}, present=("LS001",), frozen={},
           trainer="nonlinearity" not in settings)
      for kind, settings, where in RECURRENT),
    *(Case(f"random {kind} {settings}", lambda kind=kind, settings=settings: (Recurrent(kind, 3, 4, **settings),
           data(4, 3, 3)), classes={f"{kind}[{d}]": alone(4) for d in where}, trainer="nonlinearity" not in settings,
           **HEALTHY) for kind, settings, where in RECURRENT),
    Case("lstm with projections", lambda: (Recurrent("lstm", 3, 5, proj_size=2), data(4, 3, 3)), trainer=False,
         **HEALTHY),
    *(Case(f"twins {kind.__name__}", lambda kind=kind: twin_cells(kind), classes={"cell": pair(4)},
           present=("LS001",), frozen={}) for kind in (nn.RNNCell, nn.LSTMCell, nn.GRUCell)),
    Case("transformer", lambda: (nn.Transformer(8, 2, 1, 1, 16, dropout=0.0, batch_first=True),
         (data(4, 5, 8), data(4, 3, 8))), present=("LS004",), trainer=True, steps=3, **FREE,
         frozen={"encoder.layers.0.self_attn.in_proj_bias": 8, "decoder.layers.0.self_attn.in_proj_bias": 8,
                 "decoder.layers.0.multihead_attn.in_proj_bias": 8}),
    Case("transformer, norm first", lambda: (nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True,
         norm_first=True, activation="gelu"), data(4, 5, 8)), frozen={"self_attn.in_proj_bias": 8}, **FREE),
]  # fmt: skip

REFUSED = [
    Case("branch on a value", lambda: (Branching(), data(4, 3)), error=ControlFlowError,
         phrases=("if h.sum() > 0", "zoo.py")),
    Case("value read into Python", lambda: (Reading(), data(4, 3)), error=ControlFlowError,
         phrases=("float(h.mean())", "zoo.py")),
    Case("op without a rule", lambda: (Mysterious(), data(4, 3)), error=MissingRuleError,
         phrases=("zoo::mystery", "inner.1", "return mystery(x)", "rule")),
    Case("nan weight", lambda: broken(0, "weight", math.nan, nn.Linear(3, 2)), error=NonFiniteError,
          phrases=("0.weight", "NaN")),
    Case("infinite weight", lambda: broken(0, "bias", math.inf, nn.Linear(3, 2)), error=NonFiniteError,
         phrases=("0.bias", "infinit")),
    Case("nan buffer", lambda: broken(1, "running_var", math.nan, nn.Linear(3, 2), nn.BatchNorm1d(2)),
         error=NonFiniteError, phrases=("1.running_var", "NaN")),
    Case("shapes that do not fit", lambda: (mlp(3, 4, 2)[0], data(4, 5)), error=UsageError,
         phrases=("mat1 and mat2", "4, 5")),
    Case("class out of range", lambda: (nn.Linear(3, 2), data(4, 3)), {"loss": F.cross_entropy, "targets": torch.tensor([0, 1, 7, 1])},
         error=UsageError, phrases=("the loss failed on the example", "Target 7 is out of bounds")),
    Case("token out of range", lambda: (nn.Embedding(5, 2), torch.tensor([[1, 9]])), error=UsageError,
         phrases=("range",)),
    Case("user's own exception", lambda: (Raising(), data(4, 3)), error=UsageError,
         phrases=("ValueError", "my own check failed")),
    Case("whole numbers only", lambda: (nn.Sequential(nn.Linear(3, 2), Function(lambda x: x.argmax(-1))), data(4, 3)),
         error=UsageError, phrases=("int64", "logits")),
    Case("nothing returned", lambda: (nn.Sequential(nn.Linear(3, 2), Function(lambda x: None)), data(4, 3)),
         error=UsageError, phrases=("returned None", "no float tensor")),
    Case("lazy module", lambda: (nn.Sequential(nn.LazyLinear(2)), data(4, 3)), error=UsageError,
         phrases=("0.weight", "run the model once")),
    Case("meta device", lambda: (nn.Linear(3, 2, device="meta"), data(4, 3)), error=UsageError,
         phrases=("weight, bias", "to_empty")),
    Case("no inputs", lambda: (Branching(), None), error=UsageError, phrases=("input",)),
    Case("not a module", lambda: ("hello", None), error=UsageError, phrases=("Module",)),
    Case("unknown update", lambda: mlp(3, 2), {"update": "all"}, error=UsageError, phrases=("'all'", "any",
         "additive")),
]  # fmt: skip

ROWS: list[Case] = [
    *DENSE, *GRADES, *OPTIMIZERS, *LOSSES, *NOISE, *STRUCTURE, *MODULES, *REFUSED,
]  # fmt: skip

# -- Hugging Face models, tiny, from their configs ------------------------------------------------

_DEPTH = {"num_hidden_layers": 2, "num_attention_heads": 2}
_BERT = {
    **_DEPTH,
    "hidden_size": 8,
    "intermediate_size": 12,
    "vocab_size": 11,
    "max_position_embeddings": 12,
}
_LLAMA = {**_BERT, "num_key_value_heads": 1, "head_dim": 4, "pad_token_id": 0}
_VIT = {**_DEPTH, "hidden_size": 8, "intermediate_size": 12, "image_size": 8, "patch_size": 4}
_BART = {
    "vocab_size": 11, "d_model": 8, "max_position_embeddings": 12, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_ffn_dim": 12, "decoder_ffn_dim": 12, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
}  # fmt: skip
_MOE = {**_LLAMA, "num_experts_per_tok": 2}


def tokens_in(length: int = 6) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.arange(4 * length).reshape(4, length) % 9 + 2}


def image_in(side: int = 8) -> dict[str, torch.Tensor]:
    return {"pixel_values": data(4, 3, side, side)}


def hugging_face(
    kind: str, make_inputs: Callable[[], dict[str, torch.Tensor]], settings: dict[str, Any]
) -> Built:
    """A model of the family ``kind`` from its config alone; nothing is downloaded. In eval mode, without cache."""
    import transformers

    config = transformers.AutoConfig.for_model(kind, **settings)
    model = transformers.AutoModel.from_config(config).eval()
    return model, make_inputs()


def family(
    kind: str,
    make_inputs: Callable[[], dict[str, torch.Tensor]],
    settings: dict[str, Any],
    frozen: dict[str, int] | None = None,
    unread: dict[str, int] | None = None,
    trainer: bool = True,
) -> Case:
    return Case(
        f"hf {kind}",
        lambda: hugging_face(kind, make_inputs, settings),
        kinds=frozenset(),
        frozen=frozen or {},
        unread=unread or {},
        present=(("LS004",) if frozen else ()) + (("LS009",) if unread else ()),
        absent=("LS001", "LS002", "LS003", "LS005", *(() if frozen else ("LS004",))),
        trainer=trainer,
        steps=3,
        marks=("extras",),
    )


def each(pattern: str, count: int, layers: int = 2) -> dict[str, int]:
    return {pattern.format(layer): count for layer in range(layers)}


# 4 x 6 tokens with ids 2 to 10 leave two rows of the vocabulary of 11 out, and six positions of 12.
_UNREAD = {
    "word_embeddings.weight": 16,
    "position_embeddings.weight": 48,
    "token_type_embeddings.weight": 8,
}
_UNREAD_BERT = {f"embeddings.{name}": count for name, count in _UNREAD.items()}
_UNREAD_SMALL = {name: count * 6 // 8 for name, count in _UNREAD_BERT.items()}
_GPT2 = {"vocab_size": 11, "n_positions": 12, "n_embd": 8, "n_layer": 2, "n_head": 2}
_FALCON = {"vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
_QWEN = {name: value for name, value in _LLAMA.items() if name != "head_dim"}
_CLIP = {
    "text_config": {**_BERT, "eos_token_id": 10, "bos_token_id": 1, "pad_token_id": 0},
    "vision_config": _VIT,
    "projection_dim": 5,
}
_WHISPER = {
    **_BART, "num_mel_bins": 4, "max_source_positions": 12, "max_target_positions": 12, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    "suppress_tokens": None, "begin_suppress_tokens": None,
}  # fmt: skip


def decoder_in(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {**inputs, "decoder_input_ids": tokens_in(4)["input_ids"]}


HUGGING_FACE: list[Case] = [
    family("bert", tokens_in, _BERT, each("encoder.layer.{}.attention.self.key.bias", 8), _UNREAD_BERT),
    family("roberta", tokens_in, _BERT, each("encoder.layer.{}.attention.self.key.bias", 8), _UNREAD_BERT),
    family("distilbert", tokens_in, {"vocab_size": 11, "max_position_embeddings": 12, "n_layers": 2, "n_heads": 2,
           "dim": 8, "hidden_dim": 12}, each("transformer.layer.{}.attention.k_lin.bias", 8),
           {k: v for k, v in _UNREAD_BERT.items() if "type" not in k}),
    family("albert", tokens_in, {**_BERT, "embedding_size": 6},
           {"encoder.albert_layer_groups.0.albert_layers.0.attention.key.bias": 8}, _UNREAD_SMALL),
    family("electra", tokens_in, {**_BERT, "embedding_size": 6},
           each("encoder.layer.{}.attention.self.key.bias", 8), _UNREAD_SMALL),
    family("deberta-v2", tokens_in, {**_BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"],
           "position_buckets": 4, "norm_rel_ebd": "layer_norm", "share_att_key": True,
                "position_biased_input": False},
           {}, {"embeddings.word_embeddings.weight": 16, "encoder.rel_embeddings.weight": 8}),
    family("gpt2", tokens_in, _GPT2, each("h.{}.attn.c_attn.bias", 8), {"wte.weight": 16, "wpe.weight": 48}),
    family("gpt_neox", tokens_in, {**_BERT, "rotary_pct": 0.5},
           each("layers.{}.attention.query_key_value.bias", 4), {"embed_in.weight": 16}),
    family("gptj", tokens_in, {**_GPT2, "rotary_dim": 2}, {}, {"wte.weight": 16}),
    family("llama", tokens_in, _LLAMA, {}, {"embed_tokens.weight": 16}),
    family("mistral", tokens_in, _LLAMA, {}, {"embed_tokens.weight": 16}),
    family("mixtral", tokens_in, {**_LLAMA, "num_local_experts": 3, "num_experts_per_tok": 2}, {},
           {"embed_tokens.weight": 16}, trainer=False),
    family("qwen2", tokens_in, _QWEN, {}, {"embed_tokens.weight": 16}),
    family("qwen2_moe", tokens_in, {**_QWEN, "num_experts": 3, "moe_intermediate_size": 5,
           "shared_expert_intermediate_size": 7, "num_experts_per_tok": 2}, {}, {"embed_tokens.weight": 16},
                trainer=False),
    family("gemma", tokens_in, _LLAMA, {}, {"embed_tokens.weight": 16}),
    family("phi", tokens_in, {**_BERT, "partial_rotary_factor": 0.5, "num_key_value_heads": 2},
           each("layers.{}.self_attn.k_proj.bias", 4), {"embed_tokens.weight": 16}),
    family("falcon", tokens_in, _FALCON, {}, {"word_embeddings.weight": 16}),
    family("opt", tokens_in, {**_FALCON, "ffn_dim": 12, "max_position_embeddings": 12, "word_embed_proj_dim": 8},
           each("decoder.layers.{}.self_attn.k_proj.bias", 8),
           {"decoder.embed_tokens.weight": 16, "decoder.embed_positions.weight": 64}),
    family("bloom", tokens_in, {"vocab_size": 11, "hidden_size": 8, "n_layer": 2, "n_head": 2},
           each("h.{}.self_attention.query_key_value.bias", 8), {"word_embeddings.weight": 16}),
    family("t5", lambda: decoder_in(tokens_in()), {"vocab_size": 11, "d_model": 8, "d_kv": 4, "d_ff": 12,
           "num_layers": 1, "num_heads": 2, "relative_attention_num_buckets": 4}, {},
           {"shared.weight": 16, "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": 2,
            "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": 2}),
    family("bart", tokens_in, _BART, {f"{place}.k_proj.bias": 8 for place in (
           "encoder.layers.0.self_attn", "decoder.layers.0.self_attn", "decoder.layers.0.encoder_attn")},
           {"shared.weight": 16, "encoder.embed_positions.weight": 64, "decoder.embed_positions.weight": 64}),
    family("mamba", tokens_in, {"vocab_size": 11, "hidden_size": 6, "state_size": 3, "num_hidden_layers": 2,
           "time_step_rank": 2, "expand": 2}, {}, {"embeddings.weight": 12}, trainer=False),
    family("vit", image_in, _VIT, each("layers.{}.attention.k_proj.bias", 8)),
    family("deit", image_in, _VIT, each("layers.{}.attention.k_proj.bias", 8)),
    family("convnext", lambda: image_in(16), {"num_stages": 2, "hidden_sizes": [4, 6], "depths": [1, 1],
           "patch_size": 2, "image_size": 16}, trainer=False),
    family("resnet", lambda: image_in(32), {"embedding_size": 4, "hidden_sizes": [4, 6], "depths": [1, 1],
           "layer_type": "basic"}, trainer=False),
    family("swin", image_in, {"image_size": 8, "patch_size": 2, "embed_dim": 4, "depths": [2, 1], "num_heads": [1, 2],
           "window_size": 2}, {"encoder.layers.0.blocks.0.attention.k_proj.bias": 4,
           "encoder.layers.0.blocks.1.attention.k_proj.bias": 4,
                "encoder.layers.1.blocks.0.attention.k_proj.bias": 8}),
    family("whisper", lambda: decoder_in({"input_features": data(4, 4, 24)}), _WHISPER, {},
           {"decoder.embed_tokens.weight": 16, "decoder.embed_positions.weight": 64}),
    family("clip", lambda: {**tokens_in(), **image_in()}, _CLIP,
           {**each("text_model.encoder.layers.{}.self_attn.k_proj.bias", 8),
            **each("vision_model.encoder.layers.{}.self_attn.k_proj.bias", 8)},
           {"text_model.embeddings.token_embedding.weight": 16,
                "text_model.embeddings.position_embedding.weight": 48}),
    family("wav2vec2", lambda: {"input_values": data(4, 200)}, {**_BERT, "conv_dim": [4, 4], "conv_stride": [5, 2],
           "conv_kernel": [10, 3], "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
           "apply_spec_augment": False}, each("encoder.layers.{}.attention.k_proj.bias", 8),
                {"masked_spec_embed": 8}),
]  # fmt: skip
