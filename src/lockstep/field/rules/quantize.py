"""Fake quantization: ``round(x / scale)`` within limits, and back; its gradient passes where the limits are kept.

Equal operands and settings give equal results, 0 gives 0. Odd it is not: the limits are -128 and 127.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import STORE, Field
from ..mixing import stable_key
from ..registry import rule
from ..residue import Residue, symbolic
from ..running import choosing
from .functions import pair
from .operands import Operand, residues


@rule("fake_quantize_per_tensor_affine_cachemask", degree="one")
def per_tensor(
    f: Field, x: Tensor, scale: float, zero_point: int, low: int, high: int
) -> tuple[Tensor, Residue]:
    """The value, and the predicate that it lies within the limits; zero always does."""
    choosing()
    setting = (float(scale), int(zero_point), int(low), int(high))
    within = f.function(x, stable_key("within limits", *setting))
    value = f.function(x, stable_key("fake quantize", *setting), zero=True)
    return value, _mask(x, within)


@rule("_fake_quantize_per_tensor_affine_cachemask_tensor_qparams", degree="one")
def per_tensor_of_tensors(
    f: Field,
    x: Tensor,
    scale: Operand,
    zero_point: Operand,
    enabled: Tensor,
    low: int,
    high: int,
) -> tuple[Tensor, Residue]:
    """With a scale that the network's values decide: one more operand."""
    if not bool(enabled):
        return x.clone(), symbolic(torch.ones(x.shape, dtype=STORE), torch.bool)
    return _by(f, x, residues(f, scale), residues(f, zero_point), low, high)


@rule("fake_quantize_per_channel_affine_cachemask", degree="one")
def per_channel(
    f: Field, x: Tensor, scale: Operand, zero_point: Operand, axis: int, low: int, high: int
) -> tuple[Tensor, Residue]:
    shape = [-1 if d == axis % x.dim() else 1 for d in range(x.dim())]
    scales, zeros = residues(f, scale).reshape(shape), residues(f, zero_point).reshape(shape)
    return _by(f, x, scales, zeros, low, high)


def _by(
    f: Field, x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int
) -> tuple[Tensor, Residue]:
    choosing()
    at = f.add(f.function(zero_point, stable_key("zero point", low, high)), scale)
    value, within = pair(f, x, at, "fake quantize"), pair(f, x, at, "within limits")
    return value.masked_fill(x == 0, 0.0), _mask(x, within)


def _mask(x: Tensor, within: Tensor) -> Residue:
    mask = symbolic(within.masked_fill(x == 0, 1.0), torch.bool)
    mask.cell.choice = True
    return mask


@rule(
    "fake_quantize_per_tensor_affine_cachemask_backward",
    "fake_quantize_per_channel_affine_cachemask_backward",
    degree="sum",
)
def backward(f: Field, grad: Tensor, within: Operand) -> Tensor:
    return f.mul(grad, residues(f, within))
