"""Predicates, choices between values, and the piecewise linear functions made of them.

A predicate on residues is itself a residue ``c`` (1 for true, 0 for false, a random residue when it depends
on the data), ``where(c, x, y) = c x + (1 - c) y``, *and* is a product. A pseudo-random *boolean* would make
unrelated units equal by chance: both blanked. ``x > y`` is a function of ``x - y`` with
``gt(d) + gt(-d) = 1`` and PyTorch's own answer at ``d = 0``, so ``relu(x) = x * gt(x)`` whoever writes it.
Equality of two different symbols is plainly false, and ordinary residues are finite: those answers are true
booleans, which user code may branch on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field, stable_key
from ..registry import rule
from .operands import Operand, finite, keep_infinite, residues

ABSENT = 1e30
"""A clamp this far out does nothing to a finite value."""


def positive(f: Field, d: Tensor) -> Tensor:
    """The predicate ``d > 0``: 0 at 0, and ``positive(d) + positive(-d) = 1`` elsewhere."""
    half = f.scalar(0.5)
    sway = f.function(d, stable_key("positive"), parity=1)
    c = f.add(sway, (d != 0).to(d.dtype) * half)
    return torch.where(torch.isinf(d), (d > 0).to(d.dtype), c)


def _gap(f: Field, a: Operand, b: Operand) -> Tensor:
    x, y = residues(f, a), residues(f, b)
    x, y = torch.broadcast_tensors(x, y)
    gap = f.sub(finite(x), finite(y))
    return keep_infinite(gap, x, -y)


@rule("gt", gives=torch.bool, degree="one", infinite=True)
def gt(f: Field, a: Operand, b: Operand) -> Tensor:
    return positive(f, _gap(f, a, b))


@rule("lt", gives=torch.bool, degree="one", infinite=True)
def lt(f: Field, a: Operand, b: Operand) -> Tensor:
    return positive(f, -_gap(f, a, b))


@rule("le", gives=torch.bool, degree="one", infinite=True)
def le(f: Field, a: Operand, b: Operand) -> Tensor:
    return negate(f, positive(f, _gap(f, a, b)))


@rule("ge", gives=torch.bool, degree="one", infinite=True)
def ge(f: Field, a: Operand, b: Operand) -> Tensor:
    return negate(f, positive(f, -_gap(f, a, b)))


@rule("eq", infinite=True)
def eq(f: Field, a: Operand, b: Operand) -> Tensor:
    return residues(f, a) == residues(f, b)


@rule("ne", infinite=True)
def ne(f: Field, a: Operand, b: Operand) -> Tensor:
    return residues(f, a) != residues(f, b)


@rule("isinf", infinite=True)
def isinf(f: Field, a: Tensor) -> Tensor:
    return torch.isinf(a)


@rule("isposinf", infinite=True)
def isposinf(f: Field, a: Tensor) -> Tensor:
    return a == torch.inf


@rule("isneginf", infinite=True)
def isneginf(f: Field, a: Tensor) -> Tensor:
    return a == -torch.inf


@rule("isnan", infinite=True)
def isnan(f: Field, a: Tensor) -> Tensor:
    return torch.zeros(a.shape, dtype=torch.bool)


@rule("isfinite", infinite=True)
def isfinite(f: Field, a: Tensor) -> Tensor:
    return torch.isfinite(a)


def negate(f: Field, c: Tensor) -> Tensor:
    return f.sub(torch.ones((), dtype=c.dtype), c)


@rule("logical_not", "bitwise_not", gives=torch.bool)
def logical_not(f: Field, c: Tensor) -> Tensor:
    return negate(f, c)


@rule("logical_and", "bitwise_and", "__and__", "__iand__", gives=torch.bool, degree="sum")
def logical_and(f: Field, a: Operand, b: Operand) -> Tensor:
    return f.mul(residues(f, a), residues(f, b))


@rule("logical_or", "bitwise_or", "__or__", "__ior__", gives=torch.bool, degree="sum")
def logical_or(f: Field, a: Operand, b: Operand) -> Tensor:
    return negate(f, f.mul(negate(f, residues(f, a)), negate(f, residues(f, b))))


@rule("logical_xor", "bitwise_xor", "__xor__", gives=torch.bool, degree="sum")
def logical_xor(f: Field, a: Operand, b: Operand) -> Tensor:
    x, y = residues(f, a), residues(f, b)
    return f.sub(f.add(x, y), f.scale(f.mul(x, y), 2))


@rule("any", gives=torch.bool, degree="one")
def any_true(f: Field, c: Tensor, *dims: Any, **more: Any) -> Tensor:
    return _over(f, negate(f, c), *dims, **more, flip=True)


@rule("all", gives=torch.bool, degree="one")
def all_true(f: Field, c: Tensor, *dims: Any, **more: Any) -> Tensor:
    return _over(f, c, *dims, **more, flip=False)


def _over(f: Field, c: Tensor, dim: Any = None, keepdim: bool = False, *, flip: bool) -> Tensor:
    """Product over dimensions."""
    dims = range(c.dim()) if dim is None else ([dim] if isinstance(dim, int) else dim)
    for d in sorted((d % max(c.dim(), 1) for d in dims), reverse=True):
        product = torch.ones_like(c.select(d, 0)) if c.shape[d] else c.sum(d) + 1
        for part in c.unbind(d):
            product = f.mul(product, part)
        c = product.unsqueeze(d) if keepdim else product
    return negate(f, c) if flip else c


@rule("where", degree="sum", infinite=True)
def where(f: Field, c: Tensor, a: Operand, b: Operand) -> Tensor:
    x, y = residues(f, a), residues(f, b)
    if c.dtype is torch.bool:
        return torch.where(c, x, y)
    return choose(f, c, x, y)


def choose(f: Field, c: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """``c x + (1 - c) y``; where ``c`` is a true 0 or 1 an infinity may be chosen."""
    c, x, y = torch.broadcast_tensors(c, x, y)
    mixed = f.add(finite(y), f.mul(c, f.sub(finite(x), finite(y))))
    mixed = torch.where((c == 1) & torch.isinf(x), x, mixed)
    return torch.where((c == 0) & torch.isinf(y), y, mixed)


@rule("masked_fill", degree="sum", infinite=True)
def masked_fill(f: Field, x: Tensor, mask: Tensor, value: Operand) -> Tensor:
    from ..residue import FAR_BELOW

    if not isinstance(value, Tensor) and value <= FAR_BELOW:
        value = -torch.inf
    return where(f, mask, value, x)


@rule("sign", "sgn", degree="one")
def sign(f: Field, x: Tensor) -> Tensor:
    return f.function(x, stable_key("sign"), parity=1)


@rule("abs", degree="one")
def absolute(f: Field, x: Tensor) -> Tensor:
    return f.mul(x, f.function(x, stable_key("sign"), parity=1))


@rule("relu", degree="one")
def relu(f: Field, x: Tensor) -> Tensor:
    return f.mul(x, positive(f, x))


@rule("leaky_relu", "rrelu", degree="one")
def leaky_relu(f: Field, x: Tensor, slope: float = 0.01, *_: Any) -> Tensor:
    return choose(f, positive(f, x), x, f.scale(x, f.scalar(slope)))


@rule("leaky_relu_backward", degree="sum")
def leaky_relu_backward(f: Field, grad: Tensor, saved: Tensor, slope: float, *_: Any) -> Tensor:
    return choose(f, positive(f, saved), grad, f.scale(grad, f.scalar(slope)))


@rule("prelu", "_prelu_kernel", degree="sum")
def prelu(f: Field, x: Tensor, w: Tensor) -> Tensor:
    return choose(f, positive(f, x), x, f.mul(w, x))


@rule("_prelu_kernel_backward", degree="sum")
def prelu_backward(f: Field, grad: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    c = positive(f, x)
    return choose(f, c, grad, f.mul(w, grad)), f.mul(negate(f, c), f.mul(x, grad))


@rule("threshold", degree="one")
def threshold(f: Field, x: Tensor, limit: float, value: float) -> Tensor:
    return choose(f, positive(f, _gap(f, x, limit)), x, residues(f, value).expand(x.shape))


@rule("threshold_backward", degree="sum")
def threshold_backward(f: Field, grad: Tensor, saved: Tensor, limit: float) -> Tensor:
    return f.mul(grad, positive(f, _gap(f, saved, limit)))


@rule("maximum", "fmax", degree="sum", infinite=True)
def maximum(f: Field, a: Operand, b: Operand) -> Tensor:
    x, y = residues(f, a), residues(f, b)
    return choose(f, positive(f, _gap(f, x, y)), x, y)


@rule("minimum", "fmin", degree="sum", infinite=True)
def minimum(f: Field, a: Operand, b: Operand) -> Tensor:
    x, y = residues(f, a), residues(f, b)
    return choose(f, positive(f, _gap(f, x, y)), y, x)


@rule("clamp", "clip", degree="sum", infinite=True)
def clamp(f: Field, x: Tensor, low: Operand | None = None, high: Operand | None = None) -> Tensor:
    if low is not None and not _absent(low):
        x = maximum(f, x, low)
    if high is not None and not _absent(high):
        x = minimum(f, x, high)
    return x.clone()


def _absent(bound: Operand) -> bool:
    return not isinstance(bound, Tensor) and abs(bound) >= ABSENT


@rule("clamp_min", degree="sum", infinite=True)
def clamp_min(f: Field, x: Tensor, low: Operand) -> Tensor:
    return clamp(f, x, low)


@rule("clamp_max", degree="sum", infinite=True)
def clamp_max(f: Field, x: Tensor, high: Operand) -> Tensor:
    return clamp(f, x, None, high)


@rule("nan_to_num", infinite=True)
def nan_to_num(f: Field, x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x.clone()


@rule("heaviside", degree="sum")
def heaviside(f: Field, x: Tensor, at_zero: Tensor) -> Tensor:
    return torch.where(x == 0, at_zero.expand(x.shape), positive(f, x))


@rule("copysign", degree="one")
def copysign(f: Field, a: Tensor, b: Operand) -> Tensor:
    return f.mul(absolute(f, a), sign(f, residues(f, b)))
