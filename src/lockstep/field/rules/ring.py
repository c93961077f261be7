"""Sums, products, quotients and whole powers: exact modulo p."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import UndecidedError
from ..arithmetic import Field
from ..mixing import stable_key
from ..registry import rule
from ..running import choosing, constant, powered
from .operands import Operand, any_infinite, finite, keep_infinite, residues


@rule("add", infinite=True)
def add(f: Field, a: Operand, b: Operand, *, alpha: float = 1) -> Tensor:
    return _sum(f, residues(f, a), residues(f, b), alpha)


@rule("sub", infinite=True)
def sub(f: Field, a: Operand, b: Operand, *, alpha: float = 1) -> Tensor:
    return _sum(f, residues(f, a), residues(f, b), -alpha)


@rule("rsub", infinite=True)
def rsub(f: Field, a: Operand, b: Operand, alpha: float = 1) -> Tensor:
    return _sum(f, residues(f, b), residues(f, a), -alpha)


def _sum(f: Field, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """``a + alpha * b``."""
    if not any_infinite(a, b):
        if alpha in (1, -1):
            return f.add(a, b) if alpha == 1 else f.sub(a, b)
        return f.add(a, f.scale(b, f.scalar(alpha)))
    scaled = keep_infinite(f.scale(finite(b), f.scalar(alpha)), b if alpha > 0 else -b)
    return keep_infinite(f.add(finite(a), finite(scaled)), *torch.broadcast_tensors(a, scaled))


@rule("mul", degree="sum", infinite=True)
def mul(f: Field, a: Operand, b: Operand) -> Tensor:
    return product(f, residues(f, a), residues(f, b), a, b)


def product(f: Field, x: Tensor, y: Tensor, a: Operand, b: Operand) -> Tensor:
    """``x * y``, the residues of ``a`` and ``b``.

    An infinity times a constant has a known sign; times a symbol (scales, temperatures) it is taken to keep its
    own: which infinity it is matters only to a softmax, and there a negative scale would give NaN.
    """
    if not any_infinite(x, y):
        return f.mul(x, y)
    out = f.mul(finite(x), finite(y))
    x, y = torch.broadcast_tensors(x * _sign(b), y * _sign(a))
    return keep_infinite(out, x, y)


def _sign(b: Operand) -> Tensor:
    """-1 or 1 for constants, 1 for symbols."""
    value = constant(b) if isinstance(b, Tensor) else torch.tensor(float(b))
    if value is None:
        return torch.ones(())
    if bool((value == 0).any()):
        raise UndecidedError(
            "infinity times 0 is not a number: mask after multiplying, or use masked_fill"
        )
    return value.sign().float()


@rule("div", "true_divide", degree="sum", infinite=True)
def div(f: Field, a: Operand, b: Operand, *, rounding_mode: str | None = None) -> Tensor:
    x, y = residues(f, a), residues(f, b)
    inverse = f.inverse(finite(y)) * torch.isfinite(y) if any_infinite(y) else f.inverse(y)
    quotient = product(f, x, inverse, a, b)
    if rounding_mode is None:
        return quotient
    return floor(f, quotient) if rounding_mode == "floor" else trunc(f, quotient)


@rule("reciprocal", degree="sum")
def reciprocal(f: Field, a: Tensor) -> Tensor:
    return f.inverse(a)


@rule("floor", degree="one")
def floor(f: Field, x: Tensor) -> Tensor:
    choosing()
    return f.function(x, stable_key("floor"), zero=True)


@rule("ceil", degree="one")
def ceil(f: Field, x: Tensor) -> Tensor:
    return -floor(f, -x)


@rule("trunc", "fix", degree="one")
def trunc(f: Field, x: Tensor) -> Tensor:
    choosing()
    return f.function(x, stable_key("trunc"), parity=1)


@rule("frac", degree="more")
def frac(f: Field, x: Tensor) -> Tensor:
    return f.sub(x, trunc(f, x))


@rule("round", degree="one")
def round_(f: Field, x: Tensor, *, decimals: int = 0) -> Tensor:
    choosing()
    return f.function(x, stable_key("round", decimals), parity=1)


@rule("floor_divide", degree="one")
def floor_divide(f: Field, a: Operand, b: Operand) -> Tensor:
    return floor(f, f.mul(residues(f, a), f.inverse(residues(f, b))))


@rule("fmod", degree="more")
def fmod(f: Field, a: Operand, b: Operand) -> Tensor:
    """``a - b * trunc(a / b)``."""
    x, y = residues(f, a), residues(f, b)
    return f.sub(x, f.mul(y, trunc(f, f.mul(x, f.inverse(y)))))


@rule("remainder", degree="more")
def remainder(f: Field, a: Operand, b: Operand) -> Tensor:
    """``a - b * floor(a / b)``."""
    x, y = residues(f, a), residues(f, b)
    return f.sub(x, f.mul(y, floor(f, f.mul(x, f.inverse(y)))))


@rule("neg", infinite=True)
def neg(f: Field, a: Tensor) -> Tensor:
    return -a


@rule("positive", infinite=True)
def positive(f: Field, a: Tensor) -> Tensor:
    return a.clone()


@rule("square", degree="sum")
def square(f: Field, a: Tensor) -> Tensor:
    powered(2)
    return f.mul(a, a)


@rule("addcmul", degree="sum")
def addcmul(f: Field, a: Operand, b: Operand, c: Operand, *, value: float = 1) -> Tensor:
    product = f.scale(f.mul(residues(f, b), residues(f, c)), f.scalar(value))
    return f.add(residues(f, a), product)


@rule("addcdiv", degree="sum")
def addcdiv(f: Field, a: Operand, b: Operand, c: Operand, *, value: float = 1) -> Tensor:
    quotient = f.scale(f.mul(residues(f, b), f.inverse(residues(f, c))), f.scalar(value))
    return f.add(residues(f, a), quotient)


@rule("lerp", degree="sum")
def lerp(f: Field, a: Operand, b: Operand, weight: Operand) -> Tensor:
    x = residues(f, a)
    return f.add(x, f.mul(residues(f, weight), f.sub(residues(f, b), x)))
