"""Comparisons and logic.

A predicate on residues is itself a residue ``c`` (1 for true, 0 for false, a random residue when it depends
on the data); *and* is a product, *not* is ``1 - c``. A pseudo-random *boolean* would make unrelated units equal by
chance: both blanked. ``x > y`` is a function of ``x - y`` with ``gt(d) + gt(-d) = 1`` and PyTorch's own answer at
``d = 0``. Equality is a predicate, too, where an operand came through a choice (``relu(h) == 0``), is data as
given or a whole number. Two other symbols are plainly unequal, and ordinary residues are finite: those answers are
true booleans, which user code may branch on.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from ...errors import UndecidedError
from ..arithmetic import STORE, Field, nonzero
from ..blurred import Blurred
from ..mixing import stable_key
from ..registry import rule
from ..running import active, choosing, claimed, may_coincide, powered, rule_name
from .largest import is_extreme
from .operands import Operand, any_infinite, finite, keep_infinite, residues

ONE = torch.ones(())
POSITIVE = stable_key("positive")


def positive(f: Field, d: Tensor) -> Tensor:
    """The predicate ``d > 0``: 0 at 0, and ``positive(d) + positive(-d) = 1`` elsewhere."""
    c = f.wrap(likely(f, d))
    return torch.where(torch.isinf(d), (d > 0).to(d.dtype), c) if any_infinite(d) else c


def likely(f: Field, d: Tensor) -> Tensor:
    """:func:`positive` before it is reduced: a factor of at most ``p``."""
    zeros = f.zeros(d)
    c = _odd(f, d).add_(f.scalar(0.5))
    return c.mul_(nonzero(d)) if zeros else c


def sway(f: Field, d: Tensor) -> Tensor:
    """Half the sign of ``d``, an odd function."""
    f.zeros(d)
    return _odd(f, d)


def _odd(f: Field, d: Tensor) -> Tensor:
    choosing()
    return f.function(d, POSITIVE, parity=1)


def gap(f: Field, a: Operand, b: Operand) -> Tensor:
    """``a - b``, infinite where one of them is."""
    x, y = residues(f, a), residues(f, b)
    if isinstance(f, Blurred):
        f.note((x == y) & torch.isfinite(x))
    if not any_infinite(x, y):
        return f.sub(x, y)
    x, y = torch.broadcast_tensors(x, y)
    return keep_infinite(f.sub(finite(x), finite(y)), x, -y)


@rule("gt", gives=torch.bool, degree="one", infinite=True)
def gt(f: Field, a: Operand, b: Operand) -> Tensor:
    return positive(f, gap(f, a, b))


@rule("lt", gives=torch.bool, degree="one", infinite=True)
def lt(f: Field, a: Operand, b: Operand) -> Tensor:
    return positive(f, gap(f, b, a))


@rule("le", gives=torch.bool, degree="one", infinite=True)
def le(f: Field, a: Operand, b: Operand) -> Tensor:
    return negate(f, positive(f, gap(f, a, b)))


@rule("ge", gives=torch.bool, degree="one", infinite=True)
def ge(f: Field, a: Operand, b: Operand) -> Tensor:
    return negate(f, positive(f, gap(f, b, a)))


@rule("eq", gives=torch.bool, infinite=True)
def eq(f: Field, a: Operand, b: Operand) -> Tensor:
    x, y = residues(f, a), residues(f, b)
    kinds = {claimed(t) for t in (a, b) if isinstance(t, Tensor) and t.dtype is STORE}
    if all(kind.is_floating_point for kind in kinds):
        decided = is_extreme(x, y)
        decided = is_extreme(y, x) if decided is None else decided
        return same(f, x, y, may_coincide(a, b)) if decided is None else decided
    if kinds == {torch.bool} and all(_two_valued(t) for t in (a, b)):
        return negate(f, _xor(f, x, y))
    return is_zero(f, f.sub(x, y))


@rule("ne", gives=torch.bool, infinite=True)
def ne(f: Field, a: Operand, b: Operand) -> Tensor:
    same = eq(f, a, b)
    return ~same if same.dtype is torch.bool else negate(f, same)


def same(f: Field, x: Tensor, y: Tensor, may: bool) -> Tensor:
    """``x == y`` of floats: a true boolean, or a predicate where different symbols ``may`` be equal.

    PyTorch's own backward formulas ask for it at removable singularities only, where the plain answer will do.
    """
    plain, both = x == y, torch.isfinite(x) & torch.isfinite(y)
    if active().in_formula():
        return plain
    if isinstance(f, Blurred):
        f.note(plain & both)
    open_ = ~plain & both
    if not bool(open_.any()):
        return plain
    if not may:
        active().assume_apart()
        return plain
    gap = f.sub(*(finite(t) for t in torch.broadcast_tensors(x, y)))
    return torch.where(open_, is_zero(f, gap), plain.to(gap.dtype))


def _two_valued(x: Operand) -> bool:
    return (claimed(x) is torch.bool) if isinstance(x, Tensor) else x in (0, 1)


def is_zero(f: Field, d: Tensor) -> Tensor:
    """The predicate ``d == 0``: true at 0, even, and otherwise anything."""
    choosing()
    return torch.where(d == 0, ONE, f.function(d, stable_key("is zero"), parity=-1))


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


# -- logic ----------------------------------------------------------------------------------------------


def truth(f: Field, x: Operand) -> Tensor:
    """``x`` as a predicate: a residue, or a true boolean where it is one."""
    if not isinstance(x, Tensor):
        return torch.tensor(bool(x))
    if x.dtype is not STORE:
        return x != 0
    kind = claimed(x)
    if kind is torch.bool:
        return x
    if not kind.is_floating_point:
        return negate(f, is_zero(f, x))
    zero = same(f, x, torch.zeros(()), may_coincide(x))
    return ~zero if zero.dtype is torch.bool else negate(f, zero)


def negate(f: Field, c: Tensor) -> Tensor:
    return f.sub(ONE, c)


@rule("logical_not", "bitwise_not", gives=torch.bool)
def logical_not(f: Field, x: Operand) -> Tensor:
    _no_whole_numbers(x)
    c = truth(f, x)
    return ~c if c.dtype is torch.bool else negate(f, c)


@rule("logical_and", "bitwise_and", "__and__", "__iand__", gives=torch.bool, degree="sum")
def logical_and(f: Field, a: Operand, b: Operand) -> Tensor:
    _no_whole_numbers(a, b)
    x, y = truth(f, a), truth(f, b)
    if x.dtype is y.dtype is torch.bool:
        return x & y
    return f.mul(residues(f, x), residues(f, y))


@rule("logical_or", "bitwise_or", "__or__", "__ior__", gives=torch.bool, degree="sum")
def logical_or(f: Field, a: Operand, b: Operand) -> Tensor:
    _no_whole_numbers(a, b)
    x, y = truth(f, a), truth(f, b)
    if x.dtype is y.dtype is torch.bool:
        return x | y
    return negate(f, f.mul(negate(f, residues(f, x)), negate(f, residues(f, y))))


@rule("logical_xor", "bitwise_xor", "__xor__", "__ixor__", gives=torch.bool, degree="sum")
def logical_xor(f: Field, a: Operand, b: Operand) -> Tensor:
    _no_whole_numbers(a, b)
    x, y = truth(f, a), truth(f, b)
    if x.dtype is y.dtype is torch.bool:
        return x ^ y
    return _xor(f, residues(f, x), residues(f, y))


def _xor(f: Field, x: Tensor, y: Tensor) -> Tensor:
    return f.sub(f.add(x, y), f.scale(f.mul(x, y), 2))


def _no_whole_numbers(*operands: Operand) -> None:
    """``&`` on symbolic integers works on bits, of which nothing is known."""
    name = rule_name()
    symbols = [x for x in operands if isinstance(x, Tensor) and x.dtype is STORE]
    if not name.startswith("logical") and any(claimed(x) not in (torch.bool,) for x in symbols):
        raise UndecidedError(
            f"aten::{name} on bits of integers that depend on values cannot be followed: compare first, "
            "then combine the comparisons"
        )


@rule("any", gives=torch.bool)
def any_true(f: Field, x: Tensor, *dims: Any, **more: Any) -> Tensor:
    c = truth(f, x)
    if c.dtype is torch.bool:
        return torch.any(c, *dims, **more)
    return negate(f, _product(f, negate(f, c), *dims, **more))


@rule("all", gives=torch.bool)
def all_true(f: Field, x: Tensor, *dims: Any, **more: Any) -> Tensor:
    c = truth(f, x)
    if c.dtype is torch.bool:
        return torch.all(c, *dims, **more)
    return _product(f, c, *dims, **more)


def _product(f: Field, c: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Product over dimensions."""
    dims = range(c.dim()) if dim is None else ([dim] if isinstance(dim, int) else dim)
    powered(max(1, prod(c.shape[d] for d in dims) if c.dim() else 1))
    for d in sorted((d % max(c.dim(), 1) for d in dims), reverse=True):
        out = torch.ones(c.shape[:d] + c.shape[d + 1 :])
        for part in c.unbind(d):
            out = f.mul(out, part)
        c = out.unsqueeze(d) if keepdim else out
    return c
