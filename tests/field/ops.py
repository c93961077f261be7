"""Ring and linear operations as rows: what must be exact modulo p, forward and backward."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from field.reference import Op
from torch import Tensor

aten = torch.ops.aten
EVEN = 5040  # divisible by every window length below
INDEX = torch.tensor([[0, 2, 1, 0], [1, 1, 0, 2], [2, 0, 0, 1]])
BALANCED = torch.arange(12).view(3, 4) % 3  # every row four times
FEW = torch.tensor([2, 0, 2])
MASK = torch.tensor(
    [[True, False, True, True], [False, False, True, False], [True, True, False, True]]
)
M = (3, 4)
ROWS = torch.tensor([[1, -1, 1, 1], [2, 2, -2, 2], [0, 4, 0, 0]])  # whole norms


def _in_place(run: object) -> object:
    """A fresh tensor that ``run`` may write to."""
    return lambda x, *rest: run(x * 1, *rest)  # type: ignore[operator]


def _viewed(x: Tensor, y: Tensor) -> Tensor:
    z = x * 1
    z[:, 0] = y[:, 1]
    z.view(-1)[3] = 7
    z.t()[1:3].add_(y.t()[1:3])
    z[1].mul_(2)
    return z


RING = [
    Op("add", torch.add, (M, M)),
    Op("add alpha", lambda a, b: torch.add(a, b, alpha=-2.5), (M, M)),
    Op("add broadcast", lambda a, b: a + b, (M, (4,))),
    Op("add scalar", lambda a: a + 0.375, (M,)),
    Op("sub alpha", lambda a, b: torch.sub(a, b, alpha=3), (M, M)),
    Op("rsub", lambda a: 2.5 - a, (M,)),
    Op("rsub alpha", lambda a, b: torch.rsub(a, b, alpha=2), (M, M)),
    Op("mul", torch.mul, (M, (3, 1))),
    Op("mul scalar", lambda a: a * -0.375, (M,)),
    Op("mul bool", lambda a: a * MASK, (M,)),
    Op("div scalar", lambda a: a / 4, (M,)),
    Op("neg", torch.neg, (M,)),
    Op("square", torch.square, (M,)),
    Op("pow 0", lambda a: a**0 + a, (M,)),
    Op("pow 3", lambda a: a**3, (M,)),
    Op("pow 7", lambda a: a**7, (M,)),
    Op("pow tensor exponent", lambda a: torch.pow(a, torch.tensor(2.0)), (M,)),
    Op("addcmul", lambda a, b, c: torch.addcmul(a, b, c, value=-0.5), (M, M, M)),
    Op("lerp", lambda a, b: torch.lerp(a, b, 0.25), (M, M)),
    Op("lerp tensor", torch.lerp, (M, M, M)),
    Op("where", lambda a, b: torch.where(MASK, a, b), (M, M)),
    Op("masked_fill", lambda a: a.masked_fill(MASK, 2.5), (M,)),
    Op("masked_fill tensor", lambda a, b: a.masked_fill(MASK, b), (M, ())),
    Op("cumsum", lambda a: a.cumsum(1), (M,)),
    Op("cumprod", lambda a: a.cumprod(1), (M,)),
    Op("float_power", lambda a: torch.float_power(a, 2), (M,)),
    Op("hypot free polynomial", lambda a, b: (a + 2 * b) * (a - b) - a * 0.75, (M, M)),
]

LINEAR = [
    Op("mm", torch.mm, (M, (4, 2))),
    Op("bmm", torch.bmm, ((2, 3, 4), (2, 4, 2))),
    Op("matmul broadcast", torch.matmul, ((2, 1, 3, 4), (3, 4, 2))),
    Op("addmm", lambda c, a, b: torch.addmm(c, a, b, beta=0.5, alpha=-2), ((3, 2), M, (4, 2))),
    Op("addmm row", torch.addmm, ((2,), M, (4, 2))),
    Op(
        "baddbmm",
        lambda c, a, b: torch.baddbmm(c, a, b, beta=2, alpha=3),
        ((2, 3, 2), (2, 3, 4), (2, 4, 2)),
    ),
    Op(
        "addbmm",
        lambda c, a, b: torch.addbmm(c, a, b, beta=2, alpha=3),
        ((3, 2), (2, 3, 4), (2, 4, 2)),
    ),
    Op("mv", torch.mv, (M, (4,))),
    Op("addmv", lambda c, a, x: torch.addmv(c, a, x, beta=2, alpha=-1), ((3,), M, (4,))),
    Op("dot", torch.dot, ((4,), (4,))),
    Op("addr", lambda c, a, b: torch.addr(c, a, b, beta=2, alpha=3), (M, (3,), (4,))),
    Op("outer", torch.outer, ((3,), (4,))),
    Op("kron", torch.kron, ((2, 3), (3, 2))),
    Op("einsum", lambda a, b: torch.einsum("bij,bkj->bik", a, b), ((2, 3, 4), (2, 5, 4))),
    Op("einsum trace", lambda a: torch.einsum("ii->i", a), ((3, 3),)),
    Op("tensordot", lambda a, b: torch.tensordot(a, b, dims=2), ((2, 3, 4), (3, 4, 2))),
    Op("linear", F.linear, ((2, 3, 4), (5, 4), (5,))),
    Op("bilinear", F.bilinear, ((3, 2), (3, 4), (5, 2, 4), (5,))),
    Op("trace", torch.trace, ((3, 3),)),
    Op("cross", lambda a, b: torch.linalg.cross(a, b), ((4, 3), (4, 3))),
    Op("matrix_power", lambda a: torch.linalg.matrix_power(a, 3), ((3, 3),)),
]

REDUCTIONS = [
    Op("sum", torch.sum, (M,)),
    Op("sum dims", lambda a: a.sum((0, -1), keepdim=True), ((2, 3, 4),)),
    Op("mean", torch.mean, (M,), multiple=12),
    Op("mean dim", lambda a: a.mean(1), (M,)),
    Op("var", lambda a: a.var(1), ((3, 5),), multiple=5),
    Op("var biased", lambda a: a.var(0, unbiased=False, keepdim=True), ((4, 3),)),
    Op("var correction", lambda a: torch.var(a, dim=(0, 1), correction=4), (M,), multiple=12),
    Op("var_mean", lambda a: torch.var_mean(a, 1), ((3, 5),), multiple=5),
    Op("prod", torch.prod, ((2, 3),)),
    Op("prod dim", lambda a: a.prod(1, keepdim=True), (M,)),
    Op("nansum", torch.nansum, (M,)),
    Op("norm 0", lambda a: torch.linalg.vector_norm(a, 0, dim=1), (M,)),
    Op("count_nonzero", lambda a: torch.count_nonzero(a, 1), (M,), gradient=False),
    Op("cov", torch.cov, (M,), multiple=12),
]

MOVES = [
    Op(
        "views",
        lambda a: a.view(2, 6).t().unsqueeze(0).expand(2, 6, 2).permute(2, 0, 1).flatten(1),
        (M,),
    ),
    Op("slices", lambda a: a[1:, ::2] + a[:2, 1::2], (M,)),
    Op("index", lambda a: a[FEW, torch.tensor([1, 1, 3])], (M,)),
    Op("index mixed", lambda a: a[:, FEW, None], (M,)),
    Op("index mask", lambda a: a[MASK], (M,)),
    Op("index_select", lambda a: a.index_select(1, FEW), (M,)),
    Op("gather", lambda a: a.gather(0, INDEX), (M,)),
    Op("take", lambda a: a.take(torch.tensor([0, 5, 5, 11])), (M,)),
    Op("take_along_dim", lambda a: torch.take_along_dim(a, INDEX, 0), (M,)),
    Op("cat", lambda a, b: torch.cat([a, b, torch.ones(1, 4, dtype=a.dtype)]), (M, M)),
    Op("stack", lambda a, b: torch.stack([a, b], 1), (M, M)),
    Op("split", lambda a: [x.sum(0) * n for n, x in enumerate(a.split([1, 2]), 1)], (M,)),
    Op("unbind", lambda a: sum(n * x for n, x in enumerate(a.unbind(1))), (M,)),
    Op("flip roll rot90", lambda a: a.flip(1).roll(1, 0) + torch.rot90(a, 2), (M,)),
    Op("repeat", lambda a: a.repeat(2, 1, 3), (M,)),
    Op("repeat_interleave", lambda a: a.repeat_interleave(FEW, 0), (M,)),
    Op("tril triu", lambda a: a.tril() * 3 + a.triu(1), (M,)),
    Op("diagonal", lambda a: a.diagonal(1) * 2, (M,)),
    Op("diag_embed", torch.diag_embed, (M,)),
    Op("unfold view", lambda a: a.unfold(1, 2, 1) * 3, (M,)),
    Op("as_strided", lambda a: a.as_strided((3, 2), (4, 1), 1) * 2, (M,)),
    Op("masked_select", lambda a: a.masked_select(MASK), (M,)),
    Op("masked_scatter", lambda a, b: a.masked_scatter(MASK, b), (M, M)),
    Op("index_copy", lambda a, b: a.index_copy(1, torch.tensor([3, 0]), b), (M, (3, 2))),
    Op("index_fill", lambda a: a.index_fill(1, FEW, 2.5), (M,)),
    Op("index_add", lambda a, b: a.index_add(1, FEW, b, alpha=-2), (M, (3, 3))),
    Op("index_put", lambda a, b: a.index_put((FEW[:2], FEW[1:]), b), (M, (2,))),
    Op(
        "index_put whole dimension",
        lambda a, b: torch.ops.aten.index_put(a, [None, FEW], b, True),
        (M, (3, 3)),
    ),
    Op("index_put accumulate", lambda a, b: a.index_put((FEW,), b, accumulate=True), (M, (3, 4))),
    Op(
        "put",
        lambda a, b: a.put(torch.tensor([0, 5, 5, 11]), b, accumulate=True),
        (M, (4,)),
        gradient=False,
    ),
    Op("scatter", lambda a, b: a.scatter(0, INDEX[:1], b), (M, (1, 4))),
    Op("scatter value", lambda a: a.scatter(0, INDEX[:1], 2.5), (M,)),
    Op(
        "scatter add mode",
        lambda a, b: a.scatter(0, INDEX, b, reduce="add"),
        (M, M),
        gradient=False,
    ),
    Op(
        "scatter multiply",
        lambda a, b: a.scatter(0, INDEX, b, reduce="multiply"),
        (M, M),
        gradient=False,
    ),
    Op("scatter_add", lambda a, b: a.scatter_add(0, INDEX, b), (M, M)),
    *(
        Op(
            f"scatter_reduce {how} {own}",
            lambda a, b, how=how, own=own: a.scatter_reduce(0, INDEX, b, how, include_self=own),
            (M, M),
            multiple=12 if how == "mean" else 1,
        )
        for how in ("sum", "mean", "prod")
        for own in (True, False)
    ),
    *(
        Op(
            f"index_reduce {how} {own}",
            lambda a, b, how=how, own=own: a.index_reduce(1, FEW, b, how, include_self=own),
            (M, (3, 3)),
            multiple=12 if how == "mean" else 1,
        )
        for how in ("mean", "prod")
        for own in (True, False)
    ),
    Op("select_scatter", lambda a, b: a.select_scatter(b, 1, 2), (M, (3,))),
    Op("slice_scatter", lambda a, b: a.slice_scatter(b, 1, 1, 4, 2), (M, (3, 2))),
    Op("diagonal_scatter", lambda a, b: a.diagonal_scatter(b), (M, (3,))),
    Op("pixel_shuffle", lambda a: F.pixel_shuffle(a, 2) * 2, ((1, 8, 2, 3),)),
    Op("pixel_unshuffle", lambda a: F.pixel_unshuffle(a, 2) * 2, ((1, 2, 4, 6),)),
    Op("channel_shuffle", lambda a: F.channel_shuffle(a, 2) * 2, ((1, 4, 2, 3),)),
    Op("unfold", lambda a: F.unfold(a, 2, padding=1, stride=2, dilation=1), ((2, 2, 4, 5),)),
    Op("fold", lambda a: F.fold(a, (4, 5), 2), ((2, 8, 12),)),
    Op("embedding", lambda w: F.embedding(INDEX, w), ((3, 2),)),
    Op("embedding padding", lambda w: F.embedding(INDEX, w, padding_idx=0), ((3, 2),)),
    Op(
        "embedding by frequency",
        lambda w: F.embedding(BALANCED, w, scale_grad_by_freq=True),
        ((3, 2),),
    ),
    *(
        Op(
            f"bag {mode}",
            lambda w, mode=mode: F.embedding_bag(INDEX, w, mode=mode, padding_idx=1),
            ((3, 2),),
            multiple=12,
        )
        for mode in ("sum", "mean")
    ),
    Op(
        "bag offsets",
        lambda w: F.embedding_bag(INDEX.view(-1), w, torch.tensor([0, 0, 5]), mode="sum"),
        ((3, 2),),
    ),
    Op(
        "bag by frequency",
        lambda w: F.embedding_bag(BALANCED, w, mode="sum", scale_grad_by_freq=True),
        ((3, 2),),
    ),
    Op(
        "bag weights",
        lambda w, s: F.embedding_bag(INDEX, w, mode="sum", per_sample_weights=s),
        ((3, 2), M),
    ),
]

IN_PLACE = [
    Op("views written to", _viewed, (M, M)),
    Op("add_ on a transpose", _in_place(lambda x, y: x.t().add_(y.t()).t() * 2), (M, M)),
    Op("mul_ chain", _in_place(lambda x, y: x.mul_(y).sub_(1).div_(2).neg_()), (M, M)),
    Op("copy_", _in_place(lambda x, y: x[1:].copy_(y[:2]) + x[:2]), (M, M)),
    Op("masked_fill_", _in_place(lambda x: x.masked_fill_(MASK, 3.5)), (M,)),
    Op("index_put_", _in_place(lambda x, y: x.index_put_((FEW,), y[:3], accumulate=True)), (M, M)),
    Op("setitem mask", _in_place(lambda x: x.__setitem__(MASK, 2.0) or x), (M,)),
    Op("setitem rows", _in_place(lambda x, y: x.__setitem__(FEW[:2], y[:2]) or x), (M, M)),
    Op("zero_ a part", _in_place(lambda x: (x[0].zero_(), x)[1]), (M,)),
    Op("fill_", _in_place(lambda x, y: (x[0].fill_(2.5), x[1].fill_(y[0, 0]), x)[2]), (M, M)),
    Op("addmm_", _in_place(lambda x, a, b: x.addmm_(a, b)), ((3, 2), M, (4, 2))),
    Op("scatter_add_", _in_place(lambda x, y: x.scatter_add_(0, INDEX, y)), (M, M)),
    Op("cumsum_", _in_place(lambda x: x.cumsum_(0)), (M,)),
    Op(
        "transpose_",
        _in_place(lambda x: x.transpose_(0, 1) * torch.arange(12.0, dtype=x.dtype).view(4, 3)),
        (M,),
    ),
    Op("squeeze_ unsqueeze_", _in_place(lambda x: x.unsqueeze_(0).squeeze_(0).add_(1)), (M,)),
    Op(
        "out",
        lambda x, y: torch.add(x, y, out=torch.empty(3, 4, dtype=x.dtype)),
        (M, M),
        gradient=False,
    ),
    Op(
        "out of a mean",
        lambda x: torch.mean(x, 1, out=torch.empty(3, dtype=x.dtype)),
        (M,),
        gradient=False,
    ),
    Op(
        "a constant becomes symbolic",
        lambda x: (z := torch.zeros(3, 4, dtype=x.dtype), z[1].add_(x[0]), z * x)[2],
        (M,),
    ),
    Op(
        "views of a constant follow",
        lambda x: (z := torch.ones(3, 4, dtype=x.dtype), v := z.t(), z.copy_(x), v * 2)[3],
        (M,),
    ),
]


def _conv(n: int, **settings: object) -> object:
    return lambda x, w, b: getattr(F, f"conv{n}d")(x, w, b, **settings)


def _deconv(n: int, **settings: object) -> object:
    return lambda x, w, b: getattr(F, f"conv_transpose{n}d")(x, w, b, **settings)


CONVOLUTIONS = [
    Op("conv1d", _conv(1), ((2, 3, 5), (4, 3, 2), (4,))),
    Op("conv1d groups", _conv(1, groups=2, stride=2, padding=1), ((2, 4, 5), (6, 2, 2), (6,))),
    Op("conv2d", _conv(2, padding=1, dilation=2), ((2, 3, 5, 4), (4, 3, 2, 2), (4,))),
    Op("conv2d depthwise", _conv(2, groups=3, stride=(2, 1)), ((2, 3, 5, 4), (6, 1, 2, 2), (6,))),
    Op("conv3d", _conv(3, padding="same"), ((2, 2, 3, 3, 2), (3, 2, 2, 2, 2), (3,))),
    Op("conv_transpose1d", _deconv(1, stride=2, output_padding=1), ((2, 3, 4), (3, 4, 2), (4,))),
    Op(
        "conv_transpose2d",
        _deconv(2, groups=2, padding=1, dilation=2),
        ((2, 4, 3, 4), (4, 3, 2, 2), (6,)),
    ),
    Op("conv_transpose3d", _deconv(3, stride=2), ((2, 2, 2, 2, 2), (2, 3, 2, 2, 2), (3,))),
    Op("conv2d unbatched", _conv(2), ((3, 5, 4), (4, 3, 2, 2), (4,))),
]

POOLS = [
    *(
        Op(
            f"avg_pool{n}d",
            lambda x, n=n: getattr(F, f"avg_pool{n}d")(x, 2, 1),
            ((2, 3, *[4] * n),),
            multiple=8,
        )
        for n in (1, 2, 3)
    ),
    Op(
        "avg_pool2d padded",
        lambda x: F.avg_pool2d(x, (3, 2), 2, (1, 0), ceil_mode=True),
        ((2, 3, 5, 5),),
        multiple=EVEN,
    ),
    Op(
        "avg_pool2d inside",
        lambda x: F.avg_pool2d(x, 3, 2, 1, True, False),
        ((2, 3, 5, 5),),
        multiple=EVEN,
    ),
    Op(
        "avg_pool2d divisor",
        lambda x: F.avg_pool2d(x, 3, divisor_override=7),
        ((2, 3, 5, 5),),
        multiple=7,
    ),
    Op(
        "avg_pool3d inside",
        lambda x: F.avg_pool3d(x, 3, 2, 1, True, False),
        ((1, 2, 4, 4, 4),),
        multiple=3 * EVEN,
    ),
    *(
        Op(
            f"adaptive_avg_pool{n}d",
            lambda x, n=n: getattr(F, f"adaptive_avg_pool{n}d")(x, 3),
            ((2, 3, *[5, 4, 3][:n]),),
            multiple=EVEN,
        )
        for n in (1, 2, 3)
    ),
    Op(
        "max_unpool2d",
        lambda x: F.max_unpool2d(x, torch.tensor([[[[0, 3], [10, 13]]]]), 2),
        ((1, 1, 2, 2),),
    ),
    Op(
        "max_unpool3d",
        lambda x: F.max_unpool3d(x, torch.tensor([[[[[5]]]]]), 2),
        ((1, 1, 1, 1, 1),),
    ),
]

PADS = [
    *(
        Op(
            f"pad {mode} {n}d",
            lambda x, n=n, mode=mode: F.pad(x, [1, 2] * n, mode),
            ((2, 3, *[4] * n),),
        )
        for mode in ("reflect", "replicate", "circular", "constant")
        for n in (1, 2, 3)
    ),
    Op("pad constant value", lambda x: F.pad(x, (1, -1, 0, 2), value=2.5), ((2, 3, 4),)),
]


def _resize(mode: str, n: int, **settings: object) -> object:
    return lambda x: F.interpolate(x, mode=mode, **settings)  # type: ignore[arg-type]


RESIZES = [
    *(
        Op(f"nearest {n}d", _resize("nearest", n, size=[5] * n), ((2, 2, *[3] * n),))
        for n in (1, 2, 3)
    ),
    *(
        Op(f"nearest-exact {n}d", _resize("nearest-exact", n, size=[2] * n), ((2, 2, *[3] * n),))
        for n in (1, 2, 3)
    ),
    Op("linear resize", _resize("linear", 1, scale_factor=2), ((2, 3, 4),)),
    Op("linear corners", _resize("linear", 1, size=7, align_corners=True), ((2, 3, 4),)),
    Op("linear one", _resize("linear", 1, size=1, align_corners=True), ((2, 3, 4),)),
    Op("bilinear up", _resize("bilinear", 2, scale_factor=4), ((2, 3, 2, 3),)),
    Op("bilinear down", _resize("bilinear", 2, size=(2, 1)), ((2, 3, 4, 4),)),
    Op(
        "bilinear corners", _resize("bilinear", 2, size=(5, 3), align_corners=True), ((2, 3, 3, 5),)
    ),
    Op("trilinear", _resize("trilinear", 3, scale_factor=2), ((1, 2, 2, 3, 2),)),
    Op("bicubic up", _resize("bicubic", 2, scale_factor=2), ((2, 2, 3, 4),)),
    Op("bicubic down", _resize("bicubic", 2, size=(2, 2)), ((2, 2, 4, 8),)),
    Op("bicubic corners", _resize("bicubic", 2, size=(5, 3), align_corners=True), ((2, 2, 3, 5),)),
    Op("area", _resize("area", 2, size=(2, 3)), ((2, 2, 5, 4),), multiple=EVEN),
]

N8 = (2, 4)  # samples and classes, powers of two
LOSSES = [
    Op("mse mean", F.mse_loss, (N8, N8)),
    Op("mse sum", lambda x, y: F.mse_loss(x, y, reduction="sum"), (N8, N8)),
    Op("mse none", lambda x, y: F.mse_loss(x, y, reduction="none"), (N8, N8)),
    Op("nll", F.nll_loss, (N8,), (torch.tensor([3, 1]),)),
    Op("nll ignore", lambda x, t: F.nll_loss(x, t, ignore_index=1), (N8,), (torch.tensor([3, 1]),)),
    Op(
        "nll weight",
        lambda x, t: F.nll_loss(x, t, weight=torch.tensor([1.0, 3, 2, 5], dtype=x.dtype)),
        (N8,),
        (torch.tensor([3, 1]),),
    ),
    Op("nll sum", lambda x, t: F.nll_loss(x, t, reduction="sum"), (N8,), (torch.tensor([3, 1]),)),
    Op("nll none", lambda x, t: F.nll_loss(x, t, reduction="none"), (N8,), (torch.tensor([3, 1]),)),
    Op("nll single", F.nll_loss, ((4,),), (torch.tensor(2),)),
    Op(
        "nll 2d",
        lambda x, t: F.nll_loss(x, t, ignore_index=0),
        ((2, 3, 2, 2),),
        (torch.tensor([[[1, 2], [0, 1]], [[0, 2], [2, 0]]]),),
        multiple=5,
    ),
]

KERNELS = [
    # backward formulas that are polynomials in what was saved, on whole numbers that no forward pass would give
    Op("tanh_backward", aten.tanh_backward, (M, M), gradient=False),
    Op("sigmoid_backward", aten.sigmoid_backward, (M, M), gradient=False),
    Op(
        "softmax backward",
        lambda g, o: aten._softmax_backward_data(g, o, 1, g.dtype),
        (M, M),
        gradient=False,
    ),
    Op(
        "max pool backward",
        lambda g, x, i: aten.max_pool2d_with_indices_backward(
            g, x, [2, 2], [1, 1], [0, 0], [1, 1], False, i
        ),
        ((1, 1, 2, 2), (1, 1, 3, 3)),
        (torch.tensor([[[[4, 4], [4, 8]]]]),),
        gradient=False,
    ),
    Op(
        "adaptive max pool backward",
        aten.adaptive_max_pool2d_backward,
        ((1, 1, 2, 2), (1, 1, 3, 3)),
        (torch.tensor([[[[4, 4], [4, 8]]]]),),
        gradient=False,
    ),
    Op(
        "cdist backward",
        lambda g, a, b: aten._cdist_backward(
            g, a, b, 2.0, torch.tensor([[1.0, 2.0], [4.0, 0.0], [0.5, 1.0]], dtype=g.dtype)
        ),
        ((3, 2), (3, 4), (2, 4)),
        gradient=False,
    ),
    Op(
        "layer norm backward",
        lambda g, x, w, b: aten.native_layer_norm_backward(
            g, x, [4], x[:, :1] * 2, x[:, 1:2] + 1, w, b, [True, True, True]
        ),
        (M, M, (4,), (4,)),
        gradient=False,
    ),
    Op(
        "group norm backward",
        lambda g, x, m, r, w: aten.native_group_norm_backward(
            g, x, m, r, w, 2, 4, 4, 2, [True, True, True]
        ),
        ((2, 4, 2, 2), (2, 4, 2, 2), (2, 2), (2, 2), (4,)),
        gradient=False,
    ),
    Op(
        "batch norm backward",
        lambda g, x, w, m, r: aten.native_batch_norm_backward(
            g, x, w, None, None, m, r, True, 1e-5, [True, True, True]
        ),
        ((2, 3, 4), (2, 3, 4), (3,), (3,), (3,)),
        gradient=False,
    ),
    Op(
        "weight norm backward",
        lambda g, s: aten._weight_norm_interface_backward(
            g, ROWS.to(g.dtype), s, ROWS.to(g.dtype).norm(dim=1, keepdim=True), 0
        ),
        ((3, 4), (3, 1)),
        gradient=False,
    ),
]


def _pair(a: Tensor, b: Tensor) -> Tensor:
    return torch.complex(a, b)


def _real(z: Tensor) -> Tensor:
    return torch.view_as_real(z)


def _filtered(x: Tensor, w: Tensor, v: Tensor) -> Tensor:
    """As in Fourier layers: the lower frequencies times weights, the others 0."""
    h = torch.fft.rfft(x)
    out = torch.zeros_like(h)
    out[:, :2] = h[:, :2] * _pair(w, v)
    return torch.fft.irfft(out * 4, n=4)


def _overwritten(a: Tensor, b: Tensor) -> Tensor:
    z = _pair(a, b) * 1
    z[1:].mul_(2 - 1j)
    torch.view_as_real(z)[0, :, 1] = a[2]
    z[0, 0] = z[2, 1].conj()
    return _real(z)


# Four roots of unity are whole numbers.
COMPLEX = [
    Op("complex mul", lambda a, b: _real(_pair(a, b) * _pair(b, a) * (1 + 2j)), (M, M)),
    Op("complex and real", lambda a, b: _real(_pair(a, b) * a - 3j * b + 2 - a), (M, M)),
    Op("complex pow", lambda a, b: _real(_pair(a, b) ** 3), (M, M)),
    Op("complex div scalar", lambda a, b: _real(_pair(a, b) / 4 + _pair(b, a) / (1 + 1j)), (M, M)),
    Op("complex conj", lambda a, b: _real(_pair(a, b).conj() * _pair(b, a)), (M, M)),
    Op("complex real, imag", lambda a, b: _pair(a, b).real * 2 + _pair(b, a).imag, (M, M)),
    Op("complex matmul", lambda a, b: _real(_pair(a, -a) @ _pair(b, b * 2)), (M, (4, 2))),
    Op("complex einsum", lambda a, b: _real(torch.einsum("ij,kj->ik", _pair(a, b), _pair(b, a))), (M, M)),
    Op("complex sum", lambda a, b: _real(_pair(a, b).sum(0) - _pair(a, b).mean(1).sum()), (M, M)),
    Op("complex moves", lambda a, b: _real(torch.cat([_pair(a, b), _pair(b, a).flip(0)]).t()[1:]), (M, M)),
    Op("complex where", lambda a, b: _real(torch.where(MASK, _pair(a, b), 1j)), (M, M)),
    Op("complex in place", _overwritten, (M, M)),
    Op("view_as_complex", lambda a: _real(torch.view_as_complex(a.view(3, 2, 2)) * 1j), (M,)),
    Op("fft", lambda a, b: _real(torch.fft.fft(_pair(a, b)) + torch.fft.ifft(_pair(b, a)) * 4), (M, M)),
    Op("fft2 of reals", lambda a: torch.fft.fft2(a, dim=(1, 2)).real, ((2, 4, 4),)),
    Op("rfft2", lambda a: _real(torch.fft.rfft2(a, norm="ortho")), ((2, 4, 4),)),
    Op("irfft2", lambda a, b: torch.fft.irfft2(_pair(a, b), norm="forward"), ((2, 4, 3), (2, 4, 3))),
    Op("irfft of filtered rfft", _filtered, (M, (2,), (2,))),
]  # fmt: skip

OPS = [
    *RING,
    *LINEAR,
    *COMPLEX,
    *REDUCTIONS,
    *MOVES,
    *IN_PLACE,
    *CONVOLUTIONS,
    *POOLS,
    *PADS,
    *RESIZES,
    *LOSSES,
    *KERNELS,
]
