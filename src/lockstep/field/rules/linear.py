"""Matrix products: float64 BLAS on residues, reduced once (see :meth:`Field.matmul`)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule


@rule("mm", "bmm", degree="sum")
def matmul(f: Field, a: Tensor, b: Tensor, *_: object) -> Tensor:
    """(O, I) @ (I, P), or batched."""
    return f.matmul(a, b)


@rule("addmm", "baddbmm", "addbmm", degree="sum")
def addmm(f: Field, c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    product = f.scale(f.matmul(a, b), f.scalar(alpha))
    return product if beta == 0 else f.add(f.scale(c, f.scalar(beta)), product)


@rule("_grouped_mm", degree="sum")
def grouped(
    f: Field,
    a: Tensor,
    b: Tensor,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    _dtype: object = None,
) -> Tensor:
    """A product a group (experts); ``offs`` (G,) are the ends of the groups along the ragged dimension.

    (T, I) @ (G, I, O) -> (T, O); (G, I, K) @ (K, T) -> (I, T); (I, T) @ (T, O) -> (G, I, O).
    """
    if offs is None:
        out = f.matmul(a, b)
    elif a.dim() == 2 and b.dim() == 2:
        out = torch.stack([f.matmul(a[:, part], b[part]) for part in _parts(offs)])
    elif a.dim() == 2:
        out = torch.zeros(a.shape[0], b.shape[-1])
        for one, part in zip(b, _parts(offs), strict=True):
            out[part] = f.matmul(a[part], one)
    else:
        out = torch.zeros(a.shape[1], b.shape[1])
        for one, part in zip(a, _parts(offs), strict=True):
            out[:, part] = f.matmul(one, b[:, part])
    return out if bias is None else f.add(out, bias)


def _parts(offs: Tensor) -> list[slice]:
    ends = offs.tolist()
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


@rule("mv", degree="sum")
def mv(f: Field, a: Tensor, x: Tensor) -> Tensor:
    return f.matmul(a, x[:, None])[:, 0]


@rule("addmv", degree="sum")
def addmv(f: Field, c: Tensor, a: Tensor, x: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    product = f.scale(f.matmul(a, x[:, None])[:, 0], f.scalar(alpha))
    return product if beta == 0 else f.add(f.scale(c, f.scalar(beta)), product)


@rule("dot", "vdot", degree="sum")
def dot(f: Field, a: Tensor, b: Tensor) -> Tensor:
    return f.sum(f.mul(a, b), (0,))


@rule("addr", degree="sum")
def addr(f: Field, c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    product = f.scale(f.mul(a[:, None], b[None, :]), f.scalar(alpha))
    return product if beta == 0 else f.add(f.scale(c, f.scalar(beta)), product)


@rule("_trilinear", degree="sum")
def trilinear(
    f: Field,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    expand1: list[int],
    expand2: list[int],
    expand3: list[int],
    sumdim: list[int],
    unroll_dim: int = 1,
) -> Tensor:
    """Product of three tensors after unsqueezing, summed over ``sumdim`` (behind ``nn.Bilinear``)."""
    for tensor_dims, which in ((expand1, 0), (expand2, 1), (expand3, 2)):
        for dim in tensor_dims:
            if which == 0:
                a = a.unsqueeze(dim)
            elif which == 1:
                b = b.unsqueeze(dim)
            else:
                c = c.unsqueeze(dim)
    product = f.mul(f.mul(a, b), c)
    return f.sum(product, tuple(sumdim)) if sumdim else product


@rule("_cdist_forward", degree="one")
def cdist(f: Field, a: Tensor, b: Tensor, p: float, _mode: int | None = None) -> Tensor:
    """Distances are uninterpreted functions of the squared (or p-th power) difference."""
    from ..arithmetic import stable_key

    gap = f.sub(a.unsqueeze(-2), b.unsqueeze(-3))
    if p == 2:
        return f.function(f.sum(f.mul(gap, gap), (-1,)), stable_key("sqrt"), zero=True)
    terms = f.function(gap, stable_key("abs pow", p), parity=-1, zero=True)
    return f.function(f.sum(terms, (-1,)), stable_key("root", p), zero=True)


@rule("linear", degree="sum")
def linear(f: Field, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    flat = x.reshape(-1, x.shape[-1])
    out = f.matmul(flat, weight.t()).view(*x.shape[:-1], weight.shape[0])
    return out if bias is None else f.add(out, bias)


@rule("kron", degree="sum")
def kron(f: Field, a: Tensor, b: Tensor) -> Tensor:
    product = f.mul(a[:, None, :, None], b[None, :, None, :])
    return torch.flatten(torch.flatten(product, 2, 3), 0, 1)
