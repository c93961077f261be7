"""Matrix products: float64 BLAS on residues, reduced once (see :meth:`Field.matmul`)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from .operands import any_infinite, finite, keep_infinite, need_finite


@rule("mm", "bmm", degree="sum")
def matmul(f: Field, a: Tensor, b: Tensor, *_: object) -> Tensor:
    """(O, I) @ (I, P), or batched."""
    return f.matmul(a, b)


@rule("addmm", "baddbmm", degree="sum", infinite=True)
def addmm(
    f: Field, c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    need_finite("a matrix product", a, b)
    return _plus(f, c, f.matmul(a, b), beta, alpha)


@rule("addbmm", degree="sum")
def addbmm(
    f: Field, c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """The products of the batch are summed."""
    return _plus(f, c, f.sum(f.matmul(a, b), (0,)), beta, alpha)


def _plus(f: Field, c: Tensor, product: Tensor, beta: float, alpha: float) -> Tensor:
    """``beta * c + alpha * product``; ``c`` may be a mask with infinities."""
    product = f.scale(product, f.scalar(alpha))
    if beta == 0:
        return product
    if any_infinite(c):
        total = f.add(f.scale(finite(c), f.scalar(beta)), product)
        return keep_infinite(total, c.expand(total.shape))
    return f.add(f.scale(c, f.scalar(beta)), product)


@rule("mv", degree="sum")
def mv(f: Field, a: Tensor, x: Tensor) -> Tensor:
    return f.matmul(a, x[:, None])[:, 0]


@rule("addmv", degree="sum")
def addmv(
    f: Field, c: Tensor, a: Tensor, x: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    return _plus(f, c, f.matmul(a, x[:, None])[:, 0], beta, alpha)


@rule("dot", "vdot", degree="sum")
def dot(f: Field, a: Tensor, b: Tensor) -> Tensor:
    return f.dot(a, b, (0,))


@rule("addr", degree="sum")
def addr(f: Field, c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return _plus(f, c, f.mul(a[:, None], b[None, :]), beta, alpha)


@rule("linear", degree="sum")
def linear(f: Field, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out = f.matmul(x.reshape(-1, x.shape[-1]), weight.t()).view(*x.shape[:-1], weight.shape[0])
    return out if bias is None else f.add(out, bias)


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
    for dims, which in ((expand1, 0), (expand2, 1), (expand3, 2)):
        for dim in dims:
            a, b, c = (t.unsqueeze(dim) if n == which else t for n, t in enumerate((a, b, c)))
    product = f.mul(f.mul(a, b), c)
    return f.sum(product, tuple(sumdim)) if sumdim else product


@rule("kron", degree="sum")
def kron(f: Field, a: Tensor, b: Tensor) -> Tensor:
    dims = max(a.dim(), b.dim())
    a, b = (t.reshape([1] * (dims - t.dim()) + list(t.shape)) for t in (a, b))
    wide = f.mul(*(t.reshape(s) for t, s in _interleaved(a, b)))
    return wide.reshape([m * n for m, n in zip(a.shape, b.shape, strict=True)])


def _interleaved(a: Tensor, b: Tensor) -> list[tuple[Tensor, list[int]]]:
    """Shapes (A, 1, B, 1, ...) and (1, a, 1, b, ...)."""
    first = [n for size in a.shape for n in (size, 1)]
    second = [n for size in b.shape for n in (1, size)]
    return [(a, first), (b, second)]


@rule("linalg_solve_triangular", degree="sum")
def solve_triangular(
    f: Field, a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """``x`` with ``a x = b`` (or ``x a = b``) by substitution; entries beyond the triangle are not looked at."""
    if not left:
        turned = solve_triangular(f, a.mT, b.mT, upper=not upper, unitriangular=unitriangular)
        return turned.mT.contiguous()
    batch, n = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-1]
    a3 = a.expand(*batch, n, n).reshape(-1, n, n)
    b3 = b.expand(*batch, *b.shape[-2:]).reshape(-1, *b.shape[-2:])
    x = torch.zeros_like(b3)
    for i in reversed(range(n)) if upper else range(n):
        done = slice(i + 1, n) if upper else slice(0, i)
        row = f.sub(b3[:, i : i + 1], f.matmul(a3[:, i : i + 1, done], x[:, done]))
        x[:, i : i + 1] = (
            row if unitriangular else f.mul(row, f.inverse(a3[:, i : i + 1, i : i + 1]))
        )
    return x.view(*batch, *b.shape[-2:])
