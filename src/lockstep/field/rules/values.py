"""Constants shaped like a residue tensor, copies, and conversions between dtypes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from ..residue import Residue, known
from ..running import active, claimed
from .operands import Operand, masking, residues
from .predicates import truth
from .ring import trunc


def _full(shape: Any, value: float, x: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Without a shape, one like ``x``, in its memory layout too."""
    dtype = dtype or claimed(x)
    like = (
        torch.full_like(x, value, dtype=dtype)
        if shape is None
        else torch.full(tuple(shape), value, dtype=dtype)
    )
    return _constant(like) if like.is_floating_point() else like


def _constant(value: Tensor) -> Residue:
    """The same on every example, until something is written into it."""
    made = known(value)
    made.cell.fixed = True
    return made


@rule("zeros_like", infinite=True)
def zeros_like(f: Field, x: Tensor, *, dtype: Any = None, **_: Any) -> Tensor:
    """Zeros in the place of a gradient say that a function is flat (sign, round): a path there is, all the same."""
    given = active().operands.get(id(x))
    if (
        active().shaken
        and active().backward
        and getattr(getattr(given, "cell", None), "late", False)
    ):
        return f.symbols(x.shape, None)
    return _full(None, 0, x, dtype)


@rule("new_zeros", "empty_like", "new_empty", infinite=True)
def zeros(f: Field, x: Tensor, shape: Any = None, *_: Any, dtype: Any = None, **__: Any) -> Tensor:
    return _full(shape, 0, x, dtype)


@rule("new_empty_strided", infinite=True)
def empty_strided(
    f: Field, x: Tensor, shape: Any, stride: Any, *, dtype: Any = None, **_: Any
) -> Tensor:
    return _constant(torch.empty_strided(shape, stride, dtype=dtype or claimed(x)).zero_())


@rule("ones_like", "new_ones", infinite=True)
def ones(f: Field, x: Tensor, shape: Any = None, *_: Any, dtype: Any = None, **__: Any) -> Tensor:
    return _full(shape, 1, x, dtype)


@rule("full_like", infinite=True)
def full_like(f: Field, x: Tensor, value: float, *, dtype: Any = None, **_: Any) -> Tensor:
    return _full(None, value, x, dtype)


@rule("new_full", infinite=True)
def new_full(
    f: Field, x: Tensor, shape: Any, value: float, *, dtype: Any = None, **_: Any
) -> Tensor:
    return _full(shape, value, x, dtype)


@rule("zero", infinite=True)
def zero(f: Field, x: Tensor) -> Tensor:
    return torch.zeros(x.shape)


@rule("fill", infinite=True)
def fill(f: Field, x: Tensor, value: Operand) -> Tensor:
    return residues(f, masking(value)).expand(x.shape).clone()


@rule("copy", infinite=True)
def copy(f: Field, x: Tensor, source: Operand, non_blocking: bool = False) -> Tensor:
    return residues(f, source).expand(x.shape).clone()


@rule("constant_pad_nd", infinite=True)
def constant_pad_nd(f: Field, x: Tensor, pad: list[int], value: float = 0) -> Tensor:
    return torch.constant_pad_nd(x, pad, float(residues(f, masking(value))))


@rule("_to_copy", infinite=True)
def to_copy(f: Field, x: Tensor, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    """Between floats nothing changes, predicates become 0 or 1, to bool it is ``x != 0``, to integers ``trunc``."""
    if dtype is torch.bool:
        return truth(f, x)
    cut = dtype is not None and not dtype.is_floating_point and claimed(x).is_floating_point
    return trunc(f, x) if cut else x.clone()
