"""Constants shaped like a residue tensor, conversions between dtypes, and questions about values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field, stable_key
from ..registry import rule
from ..residue import known
from .operands import Operand, residues


def _constant(shape: Any, value: float, dtype: torch.dtype | None) -> Tensor:
    out = torch.full(tuple(shape), value, dtype=dtype or torch.get_default_dtype())
    return known(out) if out.is_floating_point() else out


@rule("zeros_like", "new_zeros", "empty_like", "new_empty", infinite=True)
def zeros(f: Field, x: Tensor, shape: Any = None, *_: Any, dtype: Any = None, **__: Any) -> Tensor:
    return _constant(x.shape if shape is None else shape, 0.0, dtype)


@rule("new_empty_strided", infinite=True)
def empty_strided(f: Field, x: Tensor, shape: Any, stride: Any, *, dtype: Any = None, **_: Any) -> Tensor:
    return known(torch.empty_strided(shape, stride, dtype=dtype or torch.get_default_dtype()).zero_())


@rule("ones_like", "new_ones", infinite=True)
def ones(f: Field, x: Tensor, shape: Any = None, *_: Any, dtype: Any = None, **__: Any) -> Tensor:
    return _constant(x.shape if shape is None else shape, 1.0, dtype)


@rule("full_like", infinite=True)
def full_like(f: Field, x: Tensor, value: float, *, dtype: Any = None, **_: Any) -> Tensor:
    return _constant(x.shape, value, dtype)


@rule("new_full", infinite=True)
def new_full(f: Field, x: Tensor, shape: Any, value: float, *, dtype: Any = None, **_: Any) -> Tensor:
    return _constant(shape, value, dtype)


@rule("zero")
def zero(f: Field, x: Tensor) -> Tensor:
    return torch.zeros_like(x)


@rule("fill", infinite=True)
def fill(f: Field, x: Tensor, value: Operand) -> Tensor:
    return residues(f, _mask_value(value)).expand(x.shape).clone()


def _mask_value(value: Operand) -> Operand:
    from ..residue import FAR_BELOW

    return -torch.inf if not isinstance(value, Tensor) and value <= FAR_BELOW else value


@rule("copy", infinite=True)
def copy(f: Field, x: Tensor, source: Operand, non_blocking: bool = False) -> Tensor:
    return residues(f, source).expand(x.shape).clone()


@rule("constant_pad_nd", infinite=True)
def constant_pad_nd(f: Field, x: Tensor, pad: list[int], value: float = 0) -> Tensor:
    return torch.constant_pad_nd(x, pad, float(residues(f, _mask_value(value))))


@rule("index_fill", infinite=True)
def index_fill(f: Field, x: Tensor, dim: int, index: Tensor, value: Operand) -> Tensor:
    return x.index_fill(dim, index, float(residues(f, _mask_value(value))))


@rule("_to_copy", infinite=True)
def to_copy(f: Field, x: Tensor, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    """Between floats nothing changes; to bool it is ``x != 0``; to integers it is uninterpreted."""
    if dtype is torch.bool:
        return x != 0
    if dtype is None or dtype.is_floating_point:
        return x.clone()
    from ..dispatch import active

    if not active().is_predicate:
        x = f.function(x, stable_key("trunc"), parity=1)
    return x.clone()


@rule("_local_scalar_dense", "item", infinite=True)
def local_scalar(f: Field, x: Tensor) -> float:
    if torch.isinf(x):
        return float(x)
    from ..dispatch import active

    raise active().refuse_value("Python code")


@rule("is_nonzero", infinite=True)
def is_nonzero(f: Field, x: Tensor) -> bool:
    return bool(local_scalar(f, x))


@rule("nonzero", "nonzero_numpy", "_unique2", "unique_dim", "unique_consecutive", "bincount", "histc")
def data_dependent_shape(f: Field, x: Tensor, *_: Any, **__: Any) -> Tensor:
    from ..dispatch import active

    raise active().refuse_value("the shape of a result")


@rule("equal", infinite=True)
def equal(f: Field, a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((residues(f, a) == residues(f, b)).all())


@rule("native_dropout_backward", degree="sum")
def native_dropout_backward(f: Field, grad: Tensor, mask: Operand, scale: float) -> Tensor:
    return f.mul(grad, residues(f, mask))
