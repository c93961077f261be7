"""Choices between values: ``where(c, x, y) = c x + (1 - c) y`` with the predicates of ``predicates.py``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...errors import UndecidedError
from ..arithmetic import Field
from ..registry import rule
from ..running import may_coincide
from .operands import Operand, any_infinite, finite, masking, residues
from .predicates import gap, positive, same

ABSENT = 1e30
"""A clamp this far out does nothing to a finite value."""


@rule("where", degree="more", infinite=True)
def where(f: Field, c: Tensor, a: Operand, b: Operand) -> Tensor:
    x, y = residues(f, a), residues(f, b)
    return torch.where(c, x, y) if c.dtype is torch.bool else choose(f, c, x, y)


def choose(f: Field, c: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """An infinity may be chosen where ``c`` is a true 0 or 1, not where it is anything in between."""
    if not any_infinite(x, y):
        return f.add(y, f.mul(c, f.sub(x, y)))
    c, x, y = torch.broadcast_tensors(c, x, y)
    open_ = (c != 0) & (c != 1) & (x != y)
    if bool((open_ & (torch.isinf(x) | torch.isinf(y))).any()):
        raise UndecidedError(
            "a mask that depends on values puts in infinities (where, masked_fill or clamp with -inf): the engine "
            "follows infinite masks made of integers and constants only. A mask that is an input: give it as integers "
            "or booleans, or audit with data='given'; one that is computed: use a finite value, or multiply by it"
        )
    mixed = f.add(finite(y), f.mul(c, f.sub(finite(x), finite(y))))
    mixed = torch.where((c == 1) & torch.isinf(x), x, mixed)
    mixed = torch.where((c == 0) & torch.isinf(y), y, mixed)
    return torch.where(x == y, x, mixed)


@rule("masked_fill", degree="more", infinite=True)
def masked_fill(f: Field, x: Tensor, mask: Tensor, value: Operand) -> Tensor:
    return where(f, mask, masking(value), x)


@rule("maximum", "fmax", degree="more", infinite=True)
def maximum(f: Field, a: Operand, b: Operand) -> Tensor:
    x, y = residues(f, a), residues(f, b)
    return choose(f, positive(f, gap(f, x, y)), x, y)


@rule("minimum", "fmin", degree="more", infinite=True)
def minimum(f: Field, a: Operand, b: Operand) -> Tensor:
    x, y = residues(f, a), residues(f, b)
    return choose(f, positive(f, gap(f, x, y)), y, x)


@rule("clamp", "clip", degree="more", infinite=True)
def clamp(f: Field, x: Tensor, low: Operand | None = None, high: Operand | None = None) -> Tensor:
    if _numbers(low, high) and not any_infinite(x):
        assert low is not None and high is not None
        return _between(f, x, low, high)
    if low is not None and not _absent(low):
        x = maximum(f, x, low)
    if high is not None and not _absent(high):
        x = minimum(f, x, high)
    return x.clone()


def _numbers(low: Operand | None, high: Operand | None) -> bool:
    """Two Python numbers in order, that both do something."""
    given = [b for b in (low, high) if b is not None and not isinstance(b, Tensor)]
    return len(given) == 2 and given[0] <= given[1] and not any(map(_absent, given))


def _between(f: Field, x: Tensor, low: Operand, high: Operand) -> Tensor:
    """``low + relu(x - low) - relu(x - high)``: odd, and seen to be odd, between opposite bounds."""
    above, beyond = gap(f, x, low), gap(f, x, high)
    risen = f.sub(f.mul(above, positive(f, above)), f.mul(beyond, positive(f, beyond)))
    return f.add(risen, residues(f, low))


def _absent(bound: Operand) -> bool:
    return not isinstance(bound, Tensor) and abs(bound) >= ABSENT


@rule("clamp_min", degree="more", infinite=True)
def clamp_min(f: Field, x: Tensor, low: Operand) -> Tensor:
    return clamp(f, x, low)


@rule("clamp_max", degree="more", infinite=True)
def clamp_max(f: Field, x: Tensor, high: Operand) -> Tensor:
    return clamp(f, x, None, high)


@rule("nan_to_num", infinite=True)
def nan_to_num(f: Field, x: Tensor, *_: Any, **__: Any) -> Tensor:
    """No symbol is NaN; infinities become the largest finite number, which a mask is again."""
    return x.clone()


@rule("heaviside", degree="more")
def heaviside(f: Field, x: Tensor, at_zero: Operand) -> Tensor:
    zero = residues(f, same(f, x, torch.zeros(()), may_coincide(x)))
    return choose(f, zero, residues(f, at_zero), positive(f, x))
