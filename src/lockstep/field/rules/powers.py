"""Powers and roots. Whole powers are products; roots are uninterpreted, ``rsqrt`` is ``1 / sqrt`` whoever writes it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import Field
from ..mixing import stable_key
from ..registry import rule
from ..running import constant, powered
from .functions import pair
from .operands import Operand, residues

LARGEST = 64
"""Whole powers up to this one are products."""


@rule("sqrt", degree="one")
def root(f: Field, x: Tensor) -> Tensor:
    return f.function(x, stable_key("sqrt"), zero=True)


@rule("rsqrt", degree="one")
def inverse_root(f: Field, x: Tensor) -> Tensor:
    return f.inverse(root(f, x))


@rule("pow", degree="sum")
def power(f: Field, a: Operand, b: Operand) -> Tensor:
    """Constant exponents are known to be; others are one more operand of an uninterpreted function."""
    base, exponent = residues(f, a), _constant(b)
    if exponent is None:
        return pair(f, base, residues(f, b), "pow")
    return constant_power(f, base.expand(torch.broadcast_shapes(base.shape, _shape(b))), exponent)


def _constant(b: Operand) -> float | None:
    """The one value of an exponent, if it has one and it is a constant."""
    if not isinstance(b, Tensor):
        return float(b)
    value = constant(b)
    if value is None or value.numel() == 0 or not bool((value == value.reshape(-1)[0]).all()):
        return None
    return float(value.reshape(-1)[0])


def _shape(b: Operand) -> torch.Size:
    return b.shape if isinstance(b, Tensor) else torch.Size()


def constant_power(f: Field, base: Tensor, exponent: float) -> Tensor:
    """``base ** exponent``; zero stays zero under positive exponents."""
    if exponent == int(exponent) and abs(exponent) <= LARGEST:
        return whole_power(f, base, int(exponent))
    if abs(exponent) == 0.5:
        return root(f, base) if exponent > 0 else inverse_root(f, base)
    return f.function(base, stable_key("pow", exponent), zero=exponent > 0)


def whole_power(f: Field, base: Tensor, n: int) -> Tensor:
    """``base ** n`` by squaring; negative powers through the inverse."""
    powered(abs(n))
    if n < 0:
        base, n = f.inverse(base), -n
    result = torch.ones_like(base)
    while n:
        if n & 1:
            result = f.mul(result, base)
        base, n = f.mul(base, base) if n > 1 else base, n >> 1
    return result
