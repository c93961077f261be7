"""Sums, products, quotients and integer powers: exact modulo p."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import Field, stable_key
from ..registry import rule
from .operands import Operand, finite, keep_infinite, residues


@rule("add", "sub", infinite=True)
def add(f: Field, a: Operand, b: Operand, *, alpha: float = 1, **_: object) -> Tensor:
    return _sum(f, residues(f, a), residues(f, b), alpha)


@rule("rsub", infinite=True)
def rsub(f: Field, a: Operand, b: Operand, alpha: float = 1) -> Tensor:
    return _sum(f, residues(f, b), residues(f, a), -alpha)


def _sum(f: Field, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    if alpha != 1:
        b = keep_infinite(f.scale(finite(b), f.scalar(alpha)), b if alpha > 0 else -b)
    if bool(torch.isinf(a).any()) or bool(torch.isinf(b).any()):
        return keep_infinite(f.add(finite(a), finite(b)), *torch.broadcast_tensors(a, b))
    return f.add(a, b)


@rule("mul", degree="sum", infinite=True)
def mul(f: Field, a: Operand, b: Operand) -> Tensor:
    return _product(f, residues(f, a), residues(f, b))


def _product(f: Field, a: Tensor, b: Tensor) -> Tensor:
    """An infinity times a residue is that infinity: residues of scales and temperatures are positive."""
    if bool(torch.isinf(a).any()) or bool(torch.isinf(b).any()):
        return keep_infinite(f.mul(finite(a), finite(b)), *torch.broadcast_tensors(a, b))
    return f.mul(a, b)


@rule("div", "true_divide", degree="sum", infinite=True)
def div(f: Field, a: Operand, b: Operand, *, rounding_mode: str | None = None) -> Tensor:
    x, y = residues(f, a), residues(f, b)
    quotient = _product(f, x, f.inverse(y))
    return quotient if rounding_mode is None else f.function(quotient, stable_key(rounding_mode))


@rule("reciprocal", degree="sum")
def reciprocal(f: Field, a: Tensor) -> Tensor:
    return f.inverse(a)


@rule("floor_divide", "remainder", "fmod", degree="one")
def integer_division(f: Field, a: Operand, b: Operand) -> Tensor:
    """Uninterpreted in both operands."""
    return f.function(f.mul(residues(f, a), f.inverse(residues(f, b))), stable_key("floor_divide"))


@rule("neg", infinite=True)
def neg(f: Field, a: Tensor) -> Tensor:
    return -a


@rule("positive", infinite=True)
def positive(f: Field, a: Tensor) -> Tensor:
    return a.clone()


@rule("square", degree="sum")
def square(f: Field, a: Tensor) -> Tensor:
    return f.mul(a, a)


@rule("pow", degree="sum")
def power(f: Field, a: Operand, b: Operand) -> Tensor:
    """Whole powers are products; others are uninterpreted (the square root as ``sqrt``)."""
    exponent = _constant(b)
    base = residues(f, a)
    if exponent is None:
        pairs = f.add(f.function(residues(f, b), stable_key("pow exponent")), base)
        return f.function(pairs, stable_key("pow"))
    if exponent == int(exponent) and abs(exponent) <= 64:
        return whole_power(f, base, int(exponent))
    if abs(exponent) == 0.5:
        name = "sqrt" if exponent > 0 else "rsqrt"
        return f.function(base, stable_key(name), zero=exponent > 0)
    return f.function(base, stable_key("pow", float(exponent)), zero=exponent > 0)


def _constant(b: Operand) -> float | None:
    return None if isinstance(b, Tensor) else float(b)


def whole_power(f: Field, base: Tensor, n: int) -> Tensor:
    """``base ** n`` by squaring; negative powers through the inverse."""
    if n < 0:
        base, n = f.inverse(base), -n
    result = torch.ones_like(base)
    while n:
        if n & 1:
            result = f.mul(result, base)
        base, n = f.mul(base, base) if n > 1 else base, n >> 1
    return result


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


@rule("cumsum")
def cumsum(f: Field, a: Tensor, dim: int, *, dtype: object = None) -> Tensor:
    return f.reduce(torch.cumsum(residues(f, a).double(), dim))


@rule("cumprod", degree="sum")
def cumprod(f: Field, a: Tensor, dim: int, *, dtype: object = None) -> Tensor:
    steps = residues(f, a).unbind(dim)
    out = [steps[0]]
    for step in steps[1:]:
        out.append(f.mul(out[-1], step))
    return torch.stack(out, dim)
