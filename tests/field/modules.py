"""Every module of ``torch.nn``, as rows: how to build it, what it takes, what an audit must say.

Float inputs are generic, integers are meant. ``frozen`` counts entries that provably never move in this very
network ({} where the row says nothing), ``error`` holds words of the refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class Row:
    """One model. ``frozen``: parameter -> count, exact; ``error``: a refusal."""

    name: str
    build: Callable[[], tuple[nn.Module, Any]]
    frozen: dict[str, int] = field(default_factory=dict)
    error: tuple[str, ...] = ()
    slow: bool = False


def data(*shape: int) -> Tensor:
    return torch.randn(*shape)


def ids(high: int, *shape: int) -> Tensor:
    """Integers that reach every row: 0, 1, ..., high - 1, 0, 1, ..."""
    count = int(torch.Size(shape).numel())
    return (torch.arange(count) % high).reshape(shape)


class Call(nn.Module):
    """Parts and what to do with them: ``run(self, *inputs)``."""

    def __init__(self, run: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = run

    def forward(self, *inputs: Any) -> Any:
        return self.run(self, *inputs)


def on(module: nn.Module, *shape: int) -> Callable[[], tuple[nn.Module, Any]]:
    """A module alone."""
    return lambda: (module, data(*shape))


def after(
    make: Callable[[], nn.Module], n: int, size: int = 6, channels: int = 4
) -> Callable[[], Any]:
    """Convolution, the module, convolution: gradients must come through it."""
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[n - 1]

    def build() -> tuple[nn.Module, Any]:
        return nn.Sequential(conv(2, channels, 3, padding=1), make()), data(4, 2, *[size] * n)

    return build


def between(
    make: Callable[[], nn.Module], width: int = 4, out: int | None = None
) -> Callable[[], Any]:
    """Linear, the module, Linear."""

    def build() -> tuple[nn.Module, Any]:
        return (
            nn.Sequential(nn.Linear(3, width), make(), nn.Linear(out or width, 2)),
            data(6, 3),
        )

    return build


def losing(
    make: Callable[[], Any], target: Callable[[], Any], *shape: int, head: Any = None
) -> Callable[[], Any]:
    """A net that ends in a loss module."""

    def build() -> tuple[nn.Module, Any]:
        body = nn.Linear(shape[-1], shape[-1])
        parts = {"body": body, "loss": make()}
        goal = target()
        return Call(
            lambda m, x: m.loss(*((head or (lambda y: (y,)))(m.body(x))), *goal), **parts
        ), data(*shape)

    return build


def conv(kind: Any, n: int, *, size: int = 6, **settings: Any) -> Callable[[], Any]:
    def build() -> tuple[nn.Module, Any]:
        return nn.Sequential(kind(4, 4, 3, **settings), nn.Tanh(), nn.Flatten(1)), data(
            4, 4, *[size] * n
        )

    return build


Add = Callable[..., None]


def _linear_and_convolution(add: Add) -> None:
    add("Identity", between(nn.Identity))
    add("Linear", between(nn.Tanh))
    add(
        "Bilinear",
        lambda: (Call(lambda m, x, y: m.b(x, y), b=nn.Bilinear(3, 4, 5)), (data(6, 3), data(6, 4))),
    )
    for n in (1, 2, 3):
        c, t = (
            (nn.Conv1d, nn.Conv2d, nn.Conv3d)[n - 1],
            (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[n - 1],
        )
        size = 6 if n < 3 else 4
        add(f"Conv{n}d", conv(c, n, size=size))
        add(f"Conv{n}d groups", conv(c, n, size=size, groups=2, stride=2))
        add(f"Conv{n}d depthwise", conv(c, n, size=size, groups=4, bias=False))
        add(f"Conv{n}d dilated", conv(c, n, size=size, dilation=2, padding=2))
        add(f"Conv{n}d same", conv(c, n, size=size, padding="same"))
        for mode in ("reflect", "replicate", "circular"):
            add(f"Conv{n}d {mode}", conv(c, n, size=size, padding=1, padding_mode=mode))
        add(f"ConvTranspose{n}d", conv(t, n, size=3))
        add(
            f"ConvTranspose{n}d groups",
            conv(t, n, size=3, groups=2, stride=2, output_padding=1, padding=1),
        )
        add(f"ConvTranspose{n}d dilated", conv(t, n, size=3, dilation=2))


def _norms(add: Add) -> None:
    for n in (1, 2, 3):
        bn = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[n - 1]
        inorm = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[n - 1]
        size = 6 if n < 3 else 3
        add(f"BatchNorm{n}d", after(lambda bn=bn: bn(4), n, size), frozen={"0.bias": 4})
        add(
            f"BatchNorm{n}d eval",
            lambda bn=bn, n=n, size=size: _eval(after(lambda: bn(4), n, size)),
        )
        add(
            f"BatchNorm{n}d no stats",
            after(lambda bn=bn: bn(4, track_running_stats=False), n, size),
            frozen={"0.bias": 4},
        )
        add(
            f"BatchNorm{n}d plain",
            after(lambda bn=bn: bn(4, affine=False), n, size),
            frozen={"0.bias": 4},
        )
        add(f"InstanceNorm{n}d", after(lambda i=inorm: i(4), n, size), frozen={"0.bias": 4})
        add(
            f"InstanceNorm{n}d affine",
            after(lambda i=inorm: i(4, affine=True, track_running_stats=True), n, size),
            frozen={"0.bias": 4},
        )
        add(
            f"InstanceNorm{n}d eval",
            lambda i=inorm, n=n, size=size: _eval(
                after(lambda: i(4, track_running_stats=True), n, size)
            ),
        )
    add("BatchNorm1d flat", between(lambda: nn.BatchNorm1d(4)), frozen={"0.bias": 4})
    add(
        "BatchNorm1d momentum None",
        between(lambda: nn.BatchNorm1d(4, momentum=None)),
        frozen={"0.bias": 4},
    )
    add("SyncBatchNorm", after(lambda: nn.SyncBatchNorm(4), 2), frozen={"0.bias": 4})
    add("GroupNorm", after(lambda: nn.GroupNorm(2, 4), 2))
    add("GroupNorm plain", after(lambda: nn.GroupNorm(2, 4, affine=False), 2))
    add("GroupNorm instance", after(lambda: nn.GroupNorm(4, 4), 2), frozen={"0.bias": 4})
    add("LayerNorm", between(lambda: nn.LayerNorm(4)))
    add("LayerNorm 2 axes", after(lambda: nn.LayerNorm([6, 6]), 2), frozen={"0.bias": 4})
    add("LayerNorm plain", between(lambda: nn.LayerNorm(4, elementwise_affine=False)))
    add("LayerNorm no bias", between(lambda: nn.LayerNorm(4, bias=False)))
    add("RMSNorm", between(lambda: nn.RMSNorm(4)))
    add("RMSNorm plain", between(lambda: nn.RMSNorm(4, elementwise_affine=False)))
    add("LocalResponseNorm", after(lambda: nn.LocalResponseNorm(2), 2))
    add("CrossMapLRN2d", after(lambda: nn.CrossMapLRN2d(3), 2), error=("resize_as",))


def _recurrent(add: Add) -> None:
    for kind in (nn.RNN, nn.LSTM, nn.GRU):
        k = kind.__name__
        add(k, lambda kind=kind: (kind(3, 4, batch_first=True), data(4, 5, 3)))
        add(f"{k} stacked", lambda kind=kind: (kind(3, 4, 2, bidirectional=True), data(5, 4, 3)))
        add(f"{k} dropout", lambda kind=kind: (kind(3, 4, 2, dropout=0.5), data(5, 4, 3)))
        add(f"{k} no bias", lambda kind=kind: (kind(3, 4, bias=False), data(5, 4, 3)))
        add(f"{k} unbatched", lambda kind=kind: (kind(3, 4), data(5, 3)))
        add(
            f"{k} packed",
            lambda kind=kind: (Call(_packed, rnn=kind(3, 4, 2, bidirectional=True)), data(5, 4, 3)),
        )
        add(
            f"{k} packed unsorted",
            lambda kind=kind: (Call(_packed_unsorted, rnn=kind(3, 4)), data(5, 4, 3)),
        )
    add("RNN relu", lambda: (nn.RNN(3, 4, nonlinearity="relu"), data(5, 4, 3)))
    add(
        "LSTM projected", lambda: (nn.LSTM(3, 4, 2, proj_size=2, bidirectional=True), data(5, 4, 3))
    )
    add("LSTM states", lambda: (nn.LSTM(3, 4), (data(5, 4, 3), (data(1, 4, 4), data(1, 4, 4)))))
    add("RNNCell", lambda: (nn.RNNCell(3, 4), data(4, 3)), frozen={"weight_hh": 16})
    add("RNNCell states", lambda: (nn.RNNCell(3, 4), (data(4, 3), data(4, 4))))
    add("RNNCell relu", lambda: (nn.RNNCell(3, 4, nonlinearity="relu"), (data(4, 3), data(4, 4))))
    add("LSTMCell", lambda: (nn.LSTMCell(3, 4), (data(4, 3), (data(4, 4), data(4, 4)))))
    add("GRUCell", lambda: (nn.GRUCell(3, 4), (data(4, 3), data(4, 4))))


def _attention(add: Add) -> None:
    def mha(**settings: Any) -> nn.Module:
        return nn.MultiheadAttention(8, 2, batch_first=True, **settings)

    square = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
    add("MultiheadAttention", lambda: _attend(mha()), frozen={"a.in_proj_bias": 8})
    add(
        "MultiheadAttention no weights",
        lambda: _attend(mha(), need_weights=False),
        frozen={"a.in_proj_bias": 8},
    )
    add(
        "MultiheadAttention per head",
        lambda: _attend(mha(), average_attn_weights=False),
        frozen={"a.in_proj_bias": 8},
    )
    add("MultiheadAttention no bias", lambda: _attend(mha(bias=False)))
    add("MultiheadAttention bias_kv", lambda: _attend(mha(add_bias_kv=True)))
    add("MultiheadAttention zero", lambda: _attend(mha(add_zero_attn=True)))
    add(
        "MultiheadAttention kdim",
        lambda: _cross(nn.MultiheadAttention(8, 2, kdim=3, vdim=5)),
        frozen={"a.in_proj_bias": 8},
    )
    add(
        "MultiheadAttention bool mask",
        lambda: _attend(mha(), attn_mask=square),
        frozen={"a.in_proj_bias": 8},
    )
    add(
        "MultiheadAttention float mask",
        lambda: _attend(mha(), attn_mask=torch.zeros(5, 5).masked_fill(square, -torch.inf)),
        frozen={"a.in_proj_bias": 8},
    )
    add(
        "MultiheadAttention causal",
        lambda: _attend(mha(), attn_mask=square, is_causal=True, need_weights=False),
        frozen={"a.in_proj_bias": 8},
    )
    add(
        "MultiheadAttention padding",
        lambda: _attend(mha(), key_padding_mask=torch.arange(5).expand(4, 5) >= 4),
        frozen={"a.in_proj_bias": 8},
    )
    add(
        "MultiheadAttention both masks",
        lambda: _attend(
            mha(add_bias_kv=True, add_zero_attn=True, dropout=0.1),
            attn_mask=square,
            key_padding_mask=torch.arange(5).expand(4, 5) >= 4,
        ),
    )
    add(
        "TransformerEncoder",
        lambda: (
            nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), 2),
            data(4, 5, 8),
        ),
        frozen={"layers.0.self_attn.in_proj_bias": 8, "layers.1.self_attn.in_proj_bias": 8},
    )
    add(
        "TransformerEncoder norm first",
        lambda: (
            nn.TransformerEncoderLayer(8, 2, 8, norm_first=True, activation="gelu"),
            data(5, 4, 8),
        ),
        frozen={"self_attn.in_proj_bias": 8},
    )
    add(
        "TransformerDecoderLayer",
        lambda: (nn.TransformerDecoderLayer(8, 2, 8), (data(5, 4, 8), data(3, 4, 8))),
        frozen={"self_attn.in_proj_bias": 8, "multihead_attn.in_proj_bias": 8},
    )
    add(
        "Transformer",
        lambda: (
            Call(
                lambda m, x, y: m.t(
                    x,
                    y,
                    tgt_mask=nn.Transformer.generate_square_subsequent_mask(5),
                    tgt_is_causal=True,
                ),
                t=nn.Transformer(8, 2, 1, 1, 8),
            ),
            (data(5, 4, 8), data(5, 4, 8)),
        ),
        frozen={
            "t.encoder.layers.0.self_attn.in_proj_bias": 8,
            "t.decoder.layers.0.self_attn.in_proj_bias": 8,
            "t.decoder.layers.0.multihead_attn.in_proj_bias": 8,
        },
    )


def _embeddings(add: Add) -> None:
    for label, settings in {
        "": {},
        " padding": {"padding_idx": 0},
        " max_norm": {"max_norm": 1.0},
        " by frequency": {"scale_grad_by_freq": True},
        " sparse": {"sparse": True},
    }.items():
        add(
            f"Embedding{label}",
            lambda s=settings: (
                nn.Sequential(nn.Embedding(5, 4, **s), nn.Linear(4, 2)),
                ids(5, 4, 5),
            ),
            frozen={"0.weight": 4} if "padding" in label else {},
        )
    for mode in ("sum", "mean", "max"):
        add(
            f"EmbeddingBag {mode}",
            lambda mode=mode: (nn.EmbeddingBag(5, 4, mode=mode), ids(5, 20, 3)),
        )
        add(
            f"EmbeddingBag {mode} offsets",
            lambda mode=mode: (
                nn.EmbeddingBag(5, 4, mode=mode),
                (ids(5, 60), torch.arange(0, 60, 4)),
            ),
        )
    add(
        "EmbeddingBag weights",
        lambda: (
            Call(
                lambda m, i: m.e(i, per_sample_weights=m.w.expand(4, -1)),
                e=nn.EmbeddingBag(5, 4, mode="sum"),
                w=nn.Parameter(data(5)),
            ),
            ids(5, 4, 5),
        ),
    )
    add(
        "EmbeddingBag last",
        lambda: (
            nn.EmbeddingBag(5, 4, mode="mean", include_last_offset=True, padding_idx=0),
            (ids(5, 20), torch.arange(0, 21, 4)),
        ),
        frozen={"weight": 4},
    )
    add(
        "EmbeddingBag sparse",
        lambda: (nn.EmbeddingBag(5, 4, mode="sum", sparse=True), ids(5, 4, 5)),
    )


def _pooling(add: Add) -> None:
    for n in (1, 2, 3):
        size = 6 if n < 3 else 4
        for kind in ("MaxPool", "AvgPool", "LPPool"):
            cls = getattr(nn, f"{kind}{n}d")
            args = (2, 2) if kind == "LPPool" else (2,)
            add(f"{kind}{n}d", after(lambda c=cls, a=args: c(*a), n, size))
            add(
                f"{kind}{n}d ceil",
                after(lambda c=cls, a=args: c(*a, stride=3, ceil_mode=True), n, size),
            )
        add(
            f"MaxPool{n}d overlapping",
            after(lambda n=n: getattr(nn, f"MaxPool{n}d")(3, 1, 1, dilation=1), n, size),
        )
        add(
            f"AvgPool{n}d padding",
            after(
                lambda n=n: getattr(nn, f"AvgPool{n}d")(3, 2, 1, count_include_pad=False), n, size
            ),
        )
        add(
            f"MaxUnpool{n}d",
            lambda n=n, size=size: (
                Call(
                    _unpool,
                    conv=getattr(nn, f"Conv{n}d")(2, 4, 3, padding=1),
                    pool=getattr(nn, f"MaxPool{n}d")(2, return_indices=True),
                    un=getattr(nn, f"MaxUnpool{n}d")(2),
                ),
                data(4, 2, *[size] * n),
            ),
        )
        for kind in ("AdaptiveMaxPool", "AdaptiveAvgPool"):
            cls = getattr(nn, f"{kind}{n}d")
            add(f"{kind}{n}d", after(lambda c=cls: c(3), n, size))
            add(f"{kind}{n}d 1", after(lambda c=cls: c(1), n, size))
    add("FractionalMaxPool2d", after(lambda: nn.FractionalMaxPool2d(2, output_size=3), 2))
    add("FractionalMaxPool3d", after(lambda: nn.FractionalMaxPool3d(2, output_size=2), 3, 4))


def _padding_and_shapes(add: Add) -> None:
    for n in (1, 2, 3):
        size = 6 if n < 3 else 4
        for kind in ("ReflectionPad", "ReplicationPad", "CircularPad", "ZeroPad", "ConstantPad"):
            cls = getattr(nn, f"{kind}{n}d")
            add(
                f"{kind}{n}d",
                after(lambda c=cls, k=kind: c(1, 2.5) if k == "ConstantPad" else c(1), n, size),
            )
    add("PixelShuffle", after(lambda: nn.PixelShuffle(2), 2))
    add("PixelUnshuffle", after(lambda: nn.PixelUnshuffle(2), 2))
    add("ChannelShuffle", after(lambda: nn.ChannelShuffle(2), 2))
    add("Flatten", after(nn.Flatten, 2))
    add("Unflatten", between(lambda: nn.Unflatten(1, (2, 2)), 4, 2))
    add("Unfold", after(lambda: nn.Unfold(2, padding=1, stride=2), 2))
    add("Fold", lambda: (nn.Sequential(nn.Conv1d(3, 8, 1), nn.Fold((4, 4), 2)), data(4, 3, 9)))
    for mode, n in (
        ("nearest", 1),
        ("nearest", 2),
        ("nearest", 3),
        ("nearest-exact", 2),
        ("linear", 1),
        ("bilinear", 2),
        ("bicubic", 2),
        ("trilinear", 3),
        ("area", 2),
    ):
        size = 4 if n < 3 else 3
        add(
            f"interpolate {mode} {n}d up",
            lambda mode=mode, n=n, size=size: _resize(n, size, size=[size * 2 + 1] * n, mode=mode),
        )
        add(
            f"interpolate {mode} {n}d down",
            lambda mode=mode, n=n, size=size: _resize(n, 2 * size, size=[size] * n, mode=mode),
        )
        add(
            f"interpolate {mode} {n}d factor",
            lambda mode=mode, n=n, size=size: _resize(n, size, scale_factor=1.6, mode=mode),
        )
        if "linear" in mode or mode == "bicubic":
            add(
                f"interpolate {mode} {n}d corners",
                lambda mode=mode, n=n, size=size: _resize(
                    n, size, size=[size * 2] * n, mode=mode, align_corners=True
                ),
            )
        if mode in ("bilinear", "bicubic"):
            add(
                f"interpolate {mode} antialias",
                lambda mode=mode: _resize(2, 6, size=[3, 4], mode=mode, antialias=True),
            )
    add("Upsample", after(lambda: nn.Upsample(scale_factor=2, mode="bilinear"), 2, 3))
    add("UpsamplingNearest2d", after(lambda: nn.UpsamplingNearest2d(scale_factor=2), 2, 3))
    for mode in ("bilinear", "nearest", "bicubic"):
        for padding in ("zeros", "border", "reflection"):
            add(
                f"grid_sample {mode} {padding}",
                lambda m=mode, p=padding: _sampled(m, p, False),
                frozen={"grid.weight": 6 * 8, "grid.bias": 6} if mode == "nearest" else {},
            )
    add("grid_sample constant grid", lambda: _sampled("bilinear", "zeros", True))
    add("grid_sample 3d", lambda: _sampled3d())


def _activations(add: Add) -> None:
    for kind in (
        nn.ReLU,
        nn.ReLU6,
        nn.LeakyReLU,
        nn.ELU,
        nn.SELU,
        nn.CELU,
        nn.GELU,
        nn.SiLU,
        nn.Mish,
        nn.Sigmoid,
        nn.Tanh,
        nn.LogSigmoid,
        nn.Softplus,
        nn.Softsign,
        nn.Tanhshrink,
        nn.Softshrink,
        nn.Hardshrink,
        nn.Hardtanh,
        nn.Hardswish,
        nn.Hardsigmoid,
        nn.PReLU,
        nn.RReLU,
        nn.Softmax,
        nn.Softmin,
        nn.LogSoftmax,
    ):
        args = {"dim": -1} if "oftm" in kind.__name__ else {}
        add(kind.__name__, between(lambda k=kind, a=args: k(**a)))
    add("PReLU channels", between(lambda: nn.PReLU(4)))
    add("GELU tanh", between(lambda: nn.GELU("tanh")))
    add("Hardtanh lopsided", between(lambda: nn.Hardtanh(-0.5, 2)))
    add("Threshold", between(lambda: nn.Threshold(0.1, 20)))
    add("GLU", between(nn.GLU, 4, 2))
    add("Softmax2d", after(nn.Softmax2d, 2))
    add(
        "in-place",
        lambda: (
            nn.Sequential(
                nn.Linear(3, 4),
                nn.ReLU(True),
                nn.Linear(4, 4),
                nn.ELU(inplace=True),
                nn.Linear(4, 4),
                nn.LeakyReLU(0.1, True),
                nn.Linear(4, 4),
                nn.Hardtanh(inplace=True),
                nn.Linear(4, 4),
                nn.SiLU(True),
                nn.Linear(4, 4),
                nn.Threshold(0.1, 3.0, True),
                nn.Linear(4, 4),
                nn.Hardswish(True),
                nn.Linear(4, 4),
                nn.Mish(True),
                nn.Linear(4, 4),
                nn.RReLU(inplace=True),
                nn.Linear(4, 2),
            ),
            data(6, 3),
        ),
    )
    add(
        "AdaptiveLogSoftmaxWithLoss",
        lambda: (
            Call(
                lambda m, x, y: m.a(m.body(x), y).loss,
                a=nn.AdaptiveLogSoftmaxWithLoss(6, 9, [3, 6], div_value=2.0),
                body=nn.Linear(3, 6),
            ),
            (data(9, 3), ids(9, 9)),
        ),
    )


def _noise(add: Add) -> None:
    for kind in (nn.Dropout, nn.AlphaDropout, nn.FeatureAlphaDropout):
        add(kind.__name__, between(lambda k=kind: k(0.3)))
        add(f"{kind.__name__} eval", lambda k=kind: _eval(between(lambda: k(0.3))))
    for n in (1, 2, 3):
        add(f"Dropout{n}d", after(lambda n=n: getattr(nn, f"Dropout{n}d")(0.3), n, 4))


def _distances_and_losses(add: Add) -> None:
    add(
        "CosineSimilarity",
        lambda: (
            Call(lambda m, x, y: m.d(m.body(x), y), d=nn.CosineSimilarity(), body=nn.Linear(3, 4)),
            (data(6, 3), data(6, 4)),
        ),
    )
    add(
        "PairwiseDistance",
        lambda: (
            Call(lambda m, x, y: m.d(m.body(x), y), d=nn.PairwiseDistance(), body=nn.Linear(3, 4)),
            (data(6, 3), data(6, 4)),
        ),
    )
    add(
        "PairwiseDistance 1",
        lambda: (
            Call(
                lambda m, x, y: m.d(m.body(x), y), d=nn.PairwiseDistance(1.0), body=nn.Linear(3, 4)
            ),
            (data(6, 3), data(6, 4)),
        ),
    )
    add(
        "cdist",
        lambda: (
            Call(lambda m, x, y: torch.cdist(m.body(x), y), body=nn.Linear(3, 4)),
            (data(6, 3), data(5, 4)),
        ),
    )
    add(
        "pdist",
        lambda: (Call(lambda m, x: torch.pdist(m.body(x)), body=nn.Linear(3, 4)), data(6, 3)),
        frozen={"body.bias": 4},
    )
    floats, label = (lambda: (data(6, 4),)), (lambda: (ids(4, 6),))
    for red in ("mean", "sum", "none"):
        add(f"L1Loss {red}", losing(lambda r=red: nn.L1Loss(reduction=r), floats, 6, 4))
        add(f"MSELoss {red}", losing(lambda r=red: nn.MSELoss(reduction=r), floats, 6, 4))
        add(f"SmoothL1Loss {red}", losing(lambda r=red: nn.SmoothL1Loss(reduction=r), floats, 6, 4))
        add(
            f"HuberLoss {red}",
            losing(lambda r=red: nn.HuberLoss(reduction=r, delta=0.5), floats, 6, 4),
        )
        add(
            f"CrossEntropyLoss {red}",
            losing(lambda r=red: nn.CrossEntropyLoss(reduction=r), label, 6, 4),
        )
        add(f"NLLLoss {red}", losing(lambda r=red: nn.NLLLoss(reduction=r), label, 6, 4))
        add(
            f"BCELoss {red}",
            losing(
                lambda r=red: nn.BCELoss(reduction=r),
                lambda: (data(6, 4).sigmoid(),),
                6,
                4,
                head=lambda y: (y.sigmoid(),),
            ),
        )
        add(
            f"BCEWithLogitsLoss {red}",
            losing(lambda r=red: nn.BCEWithLogitsLoss(reduction=r), floats, 6, 4),
        )
        add(
            f"KLDivLoss {red}",
            losing(
                lambda r=red: nn.KLDivLoss(reduction=r),
                lambda: (data(6, 4).softmax(-1),),
                6,
                4,
                head=lambda y: (y.log_softmax(-1),),
            ),
        )
    add(
        "CrossEntropyLoss smoothing",
        losing(lambda: nn.CrossEntropyLoss(label_smoothing=0.1), label, 6, 4),
    )
    add(
        "CrossEntropyLoss weight",
        losing(
            lambda: nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2, 3, 0.5]), ignore_index=3),
            label,
            6,
            4,
        ),
    )
    add(
        "CrossEntropyLoss weight smoothing",
        losing(
            lambda: nn.CrossEntropyLoss(
                weight=torch.tensor([1.0, 2, 3, 0.5]), label_smoothing=0.1, ignore_index=1
            ),
            label,
            6,
            4,
        ),
    )
    add(
        "CrossEntropyLoss soft",
        losing(nn.CrossEntropyLoss, lambda: (data(6, 4).softmax(-1),), 6, 4),
    )
    add(
        "CrossEntropyLoss soft smoothing",
        losing(
            lambda: nn.CrossEntropyLoss(label_smoothing=0.1, weight=torch.tensor([1.0, 2, 3, 0.5])),
            lambda: (data(6, 4).softmax(-1),),
            6,
            4,
        ),
    )
    if hasattr(nn, "LinearCrossEntropyLoss"):  # since 2.13
        add(
            "LinearCrossEntropyLoss",
            lambda: (
                Call(
                    lambda m, x: m.loss(m.body(x), ids(4, 6)),
                    body=nn.Linear(3, 5),
                    loss=nn.LinearCrossEntropyLoss(5, 4),
                ),
                data(6, 3),
            ),
        )
    add(
        "CrossEntropyLoss 2d",
        lambda: (
            Call(
                lambda m, x: m.loss(m.conv(x), ids(4, 4, 6, 6)),
                conv=nn.Conv2d(2, 4, 3, padding=1),
                loss=nn.CrossEntropyLoss(ignore_index=2),
            ),
            data(4, 2, 6, 6),
        ),
    )
    add(
        "NLLLoss 2d",
        lambda: (
            Call(
                lambda m, x: m.loss(m.conv(x), ids(4, 4, 6, 6)),
                conv=nn.Conv2d(2, 4, 3, padding=1),
                loss=nn.NLLLoss(weight=torch.tensor([1.0, 2, 3, 0.5])),
            ),
            data(4, 2, 6, 6),
        ),
    )
    add(
        "KLDivLoss log",
        losing(
            lambda: nn.KLDivLoss(log_target=True, reduction="batchmean"),
            lambda: (data(6, 4).log_softmax(-1),),
            6,
            4,
            head=lambda y: (y.log_softmax(-1),),
        ),
    )
    add(
        "BCEWithLogitsLoss pos_weight",
        losing(
            lambda: nn.BCEWithLogitsLoss(
                weight=torch.tensor([1.0, 2, 3, 4]), pos_weight=torch.tensor([1.0, 2, 3, 0.5])
            ),
            floats,
            6,
            4,
        ),
    )
    add(
        "BCELoss weight",
        losing(
            lambda: nn.BCELoss(weight=torch.tensor([1.0, 2, 3, 4])),
            lambda: (data(6, 4).sigmoid(),),
            6,
            4,
            head=lambda y: (y.sigmoid(),),
        ),
    )
    add(
        "PoissonNLLLoss",
        losing(lambda: nn.PoissonNLLLoss(full=True), lambda: (data(6, 4).abs(),), 6, 4),
    )
    add(
        "PoissonNLLLoss no log",
        losing(lambda: nn.PoissonNLLLoss(log_input=False), lambda: (data(6, 4).abs(),), 6, 4),
    )
    add(
        "GaussianNLLLoss",
        losing(
            nn.GaussianNLLLoss, lambda: (data(6, 4).abs(),), 6, 4, head=lambda y: (y, y.tanh() + 2)
        ),
    )
    add(
        "MarginRankingLoss",
        losing(nn.MarginRankingLoss, lambda: (data(6, 4), data(6, 4).sign()), 6, 4),
    )
    add("HingeEmbeddingLoss", losing(nn.HingeEmbeddingLoss, lambda: (data(6, 4).sign(),), 6, 4))
    add("SoftMarginLoss", losing(nn.SoftMarginLoss, lambda: (data(6, 4).sign(),), 6, 4))
    add("MultiMarginLoss", losing(nn.MultiMarginLoss, label, 6, 4))
    add(
        "MultiMarginLoss weight",
        losing(lambda: nn.MultiMarginLoss(p=2, weight=torch.tensor([1.0, 2, 3, 4])), label, 6, 4),
    )
    add(
        "MultiLabelMarginLoss",
        losing(
            nn.MultiLabelMarginLoss,
            lambda: (torch.tensor([[1, 3, -1, 0]]).expand(6, 4).contiguous(),),
            6,
            4,
        ),
    )
    add(
        "MultiLabelSoftMarginLoss",
        losing(nn.MultiLabelSoftMarginLoss, lambda: ((data(6, 4) > 0).float(),), 6, 4),
    )
    add(
        "CosineEmbeddingLoss",
        losing(
            nn.CosineEmbeddingLoss, lambda: (data(6, 4), torch.tensor([1, -1, 1, -1, 1, -1])), 6, 4
        ),
    )
    add("TripletMarginLoss", losing(nn.TripletMarginLoss, lambda: (data(6, 4), data(6, 4)), 6, 4))
    add(
        "TripletMarginLoss swap",
        losing(lambda: nn.TripletMarginLoss(swap=True), lambda: (data(6, 4), data(6, 4)), 6, 4),
    )
    add(
        "TripletMarginWithDistanceLoss",
        losing(lambda: nn.TripletMarginWithDistanceLoss(), lambda: (data(6, 4), data(6, 4)), 6, 4),
    )
    add(
        "CTCLoss",
        losing(
            nn.CTCLoss,
            lambda: (torch.tensor([[1, 2], [2, 3]]), torch.tensor([6, 6]), torch.tensor([2, 2])),
            6,
            2,
            4,
            head=lambda y: (y.log_softmax(-1),),
        ),
        error=("ctc_loss",),
    )


def _parametrizations(add: Add) -> None:
    add(
        "weight_norm",
        lambda: (
            nn.Sequential(
                parametrizations.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2)
            ),
            data(6, 3),
        ),
    )
    add(
        "weight_norm conv",
        lambda: (
            nn.Sequential(parametrizations.weight_norm(nn.Conv1d(3, 4, 3), dim=None), nn.Tanh()),
            data(6, 3, 5),
        ),
    )
    add(
        "weight_norm old",
        lambda: (
            nn.Sequential(_quiet(weight_norm, nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2)),
            data(6, 3),
        ),
    )
    add(
        "spectral_norm",
        lambda: (
            nn.Sequential(
                parametrizations.spectral_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2)
            ),
            data(6, 3),
        ),
    )
    add(
        "spectral_norm eval",
        lambda: (
            nn.Sequential(
                parametrizations.spectral_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2)
            ).eval(),
            data(6, 3),
        ),
    )
    add(
        "spectral_norm old",
        lambda: (
            nn.Sequential(_quiet(spectral_norm, nn.Conv2d(3, 4, 2)), nn.Tanh()),
            data(6, 3, 3, 3),
        ),
    )
    add(
        "spectral_norm old eval",
        lambda: (
            nn.Sequential(
                _quiet(spectral_norm, nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2)
            ).eval(),
            data(6, 3),
        ),
    )
    for how in ("matrix_exp", "cayley", "householder"):
        add(
            f"orthogonal {how}",
            lambda how=how: (
                nn.Sequential(
                    parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map=how),
                    nn.Tanh(),
                    nn.Linear(4, 2),
                ),
                data(6, 4),
            ),
            error=("linalg" if how != "cayley" else "solve",),
        )


def _ways_of_writing_models(add: Add) -> None:
    for reentrant in (True, False):
        add(
            f"checkpoint {reentrant}",
            lambda r=reentrant: (
                Call(
                    lambda m, x: m.c(checkpoint(lambda y: m.b(y).tanh(), m.a(x), use_reentrant=r)),
                    a=nn.Linear(3, 4),
                    b=nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)),
                    c=nn.Linear(4, 2),
                ),
                data(6, 3),
            ),
        )
    add(
        "functional_call",
        lambda: (
            Call(
                lambda m, x: torch.func.functional_call(
                    m.a, {n: 2 * p for n, p in m.a.named_parameters()}, (x,)
                ),
                a=nn.Linear(3, 4),
            ),
            data(6, 3),
        ),
    )
    add("vmap ensemble", lambda: _ensemble())
    add(
        "func.grad",
        lambda: (
            Call(lambda m, x: torch.func.grad(lambda y: m.a(y).tanh().sum())(x), a=nn.Linear(3, 4)),
            data(6, 3),
        ),
    )
    add(
        "func.jvp",
        lambda: (
            Call(
                lambda m, x: torch.func.jvp(lambda y: m.a(y).tanh(), (x,), (torch.ones_like(x),))[
                    1
                ],
                a=nn.Linear(3, 4),
            ),
            data(6, 3),
        ),
    )
    add(
        "autograd.grad",
        lambda: (Call(_energy, a=nn.Linear(3, 4), b=nn.Linear(4, 1)), data(6, 3)),
        frozen={"b.bias": 1},
    )
    add(
        "einsum",
        lambda: (
            Call(
                lambda m, x: torch.einsum("bi,hij,bj->bh", x, m.w, x), w=nn.Parameter(data(4, 3, 3))
            ),
            data(6, 3),
        ),
    )
    for how in ("amax", "amin", "prod", "mean", "sum"):
        add(
            f"scatter_reduce {how}",
            lambda how=how: (
                Call(
                    lambda m, x: torch.zeros(6, 3).scatter_reduce(
                        1, ids(3, 6, 4), m.a(x), how, include_self=how != "prod"
                    ),
                    a=nn.Linear(3, 4),
                ),
                data(6, 3),
            ),
        )
    for how in ("amax", "amin", "prod", "mean"):
        add(
            f"index_reduce {how}",
            lambda how=how: (
                Call(
                    lambda m, x: torch.ones(6, 3).index_reduce(1, ids(3, 4), m.a(x), how),
                    a=nn.Linear(3, 4),
                ),
                data(6, 3),
            ),
        )
    add(
        "cummax",
        lambda: (
            Call(
                lambda m, x: torch.cummax(m.a(x), 0)[0] + torch.cummin(m.a(x), 1)[0],
                a=nn.Linear(3, 4),
            ),
            data(6, 3),
        ),
    )
    add(
        "logcumsumexp",
        lambda: (Call(lambda m, x: torch.logcumsumexp(m.a(x), 0), a=nn.Linear(3, 4)), data(6, 3)),
        error=("logcumsumexp", "instead"),
    )
    for name, run in {
        "det": lambda w: torch.linalg.det(w),
        "inv": lambda w: torch.linalg.inv(w),
        "solve": lambda w: torch.linalg.solve(w, w),
        "cholesky": lambda w: torch.linalg.cholesky(w @ w.T),
        "svd": lambda w: torch.linalg.svd(w)[0],
        "qr": lambda w: torch.linalg.qr(w)[0],
        "eigh": lambda w: torch.linalg.eigh(w)[0],
        "pinv": lambda w: torch.linalg.pinv(w),
        "matrix_exp": lambda w: torch.linalg.matrix_exp(w),
    }.items():
        add(
            f"linalg {name}",
            lambda run=run: (
                Call(lambda m, x: x @ run(m.w), w=nn.Parameter(data(3, 3))),
                data(6, 3),
            ),
            error=("linalg",),
        )
    add(
        "fft",
        lambda: (Call(lambda m, x: torch.fft.fft(m.a(x)).real, a=nn.Linear(3, 4)), data(6, 3)),
    )
    add(
        "rfft",
        lambda: (
            Call(lambda m, x: torch.fft.irfft(torch.fft.rfft(m.a(x))), a=nn.Linear(3, 4)),
            data(6, 3),
        ),
    )
    add(
        "view_as_complex",
        lambda: (
            Call(
                lambda m, x: torch.view_as_real(torch.view_as_complex(m.a(x).view(6, 2, 2)) * 1j),
                a=nn.Linear(3, 4),
            ),
            data(6, 3),
        ),
    )
    add(
        "polar",
        lambda: (
            Call(lambda m, x: torch.view_as_real(torch.polar(m.a(x), m.a(x))), a=nn.Linear(3, 4)),
            data(6, 3),
        ),
    )
    add(
        "complex tanh",
        lambda: (
            Call(lambda m, x: torch.tanh(torch.complex(m.a(x), x)).abs(), a=nn.Linear(3, 3)),
            data(6, 3),
        ),
        error=("tanh", "complex", "two real"),
    )


def rows() -> list[Row]:
    """All of them, family by family."""
    out: list[Row] = []

    def add(name: str, build: Callable[[], Any], **more: Any) -> None:
        out.append(Row(name, build, slow=_slow(name), **more))

    for family in (
        _linear_and_convolution,
        _norms,
        _recurrent,
        _attention,
        _embeddings,
        _pooling,
        _padding_and_shapes,
        _activations,
        _noise,
        _distances_and_losses,
        _parametrizations,
        _ways_of_writing_models,
    ):
        family(add)
    return out


def _slow(name: str) -> bool:
    """Large models, and what test_ops.py shows to be exact in one and three dimensions as in two."""
    families = ("Conv", "Pad", "Pool", "Norm", "interpolate", "Unpool")
    again = (
        ("1d" in name or "3d" in name)
        and any(f in name for f in families)
        and len(name.split()) > 1
    )
    return again or name.startswith("Transformer") or "unsorted" in name


def _eval(build: Callable[[], Any]) -> tuple[nn.Module, Any]:
    model, inputs = build()
    return model.eval(), inputs


def _quiet(norm: Any, module: nn.Module) -> nn.Module:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return norm(module)


def _packed(m: Any, x: Tensor) -> Any:
    packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 4, 2, 1]))
    return nn.utils.rnn.pad_packed_sequence(m.rnn(packed)[0])[0]


def _packed_unsorted(m: Any, x: Tensor) -> Any:
    packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([2, 4, 5, 1]), enforce_sorted=False)
    return m.rnn(packed)[1]


def _attend(attention: nn.Module, **settings: Any) -> tuple[nn.Module, Any]:
    return Call(lambda m, x: m.a(x, x, x, **settings), a=attention), data(4, 5, 8)


def _cross(attention: nn.Module) -> tuple[nn.Module, Any]:
    return Call(lambda m, q, k, v: m.a(q, k, v), a=attention), (
        data(5, 4, 8),
        data(6, 4, 3),
        data(6, 4, 5),
    )


def _unpool(m: Any, x: Tensor) -> Tensor:
    y = m.conv(x)
    return m.un(*m.pool(y), output_size=y.shape)


def _resize(n: int, side: int, **settings: Any) -> tuple[nn.Module, Any]:
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[n - 1](2, 3, 1)
    return Call(lambda m, x: nn.functional.interpolate(m.conv(x), **settings), conv=conv), data(
        4, 2, *[side] * n
    )


def _sampled(mode: str, padding: str, constant: bool) -> tuple[nn.Module, Any]:
    def run(m: Any, x: Tensor) -> Tensor:
        if constant:
            theta = torch.tensor([[0.5, 0, 0], [0, -0.5, 0.25]]).expand(4, 2, 3)
        else:
            theta = m.grid(x.flatten(1)).view(4, 2, 3)
        grid = nn.functional.affine_grid(theta, [4, 3, 3, 3], align_corners=False)
        return nn.functional.grid_sample(m.conv(x), grid, mode, padding, align_corners=False)

    return Call(
        run, conv=nn.Conv2d(2, 3, 1), grid=nn.Linear(8, 6) if not constant else nn.Identity()
    ), data(4, 2, 2, 2)


def _sampled3d() -> tuple[nn.Module, Any]:
    def run(m: Any, x: Tensor) -> Tensor:
        theta = m.grid(x.flatten(1)).view(4, 3, 4)
        grid = nn.functional.affine_grid(theta, [4, 3, 2, 2, 2], align_corners=True)
        return nn.functional.grid_sample(m.conv(x), grid, align_corners=True)

    return Call(run, conv=nn.Conv3d(2, 3, 1), grid=nn.Linear(16, 12)), data(4, 2, 2, 2, 2)


def _ensemble() -> tuple[nn.Module, Any]:
    class Ensemble(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            members = [nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) for _ in range(3)]
            stacked, _ = torch.func.stack_module_state(members)
            self.stacked = nn.ParameterDict(
                {n.replace(".", "_"): nn.Parameter(p.detach()) for n, p in stacked.items()}
            )
            self.names = list(stacked)
            self.base = [members[0].to("meta")]

        def forward(self, x: Tensor) -> Tensor:
            state = {n: self.stacked[n.replace(".", "_")] for n in self.names}
            return torch.vmap(
                lambda s, y: torch.func.functional_call(self.base[0], s, (y,)), (0, None)
            )(state, x)

    return Ensemble(), data(6, 3)


def _energy(m: Any, x: Tensor) -> Tensor:
    """The gradient with respect to the input, as physics-informed models take it."""
    y = x.detach().clone().requires_grad_()
    return torch.autograd.grad(m.b(m.a(y).tanh()).sum(), y, create_graph=True)[0]


ROWS = rows()
