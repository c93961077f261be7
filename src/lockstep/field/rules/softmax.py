"""Softmax, log-softmax and log-sum-exp. Their invariance under a common shift stays visible.

``softmax(x) = E(x - m) / sum E(x - m)`` with ``E`` uninterpreted and ``m`` the mean of the finite entries:
the real softmax is one instance, shifts cancel exactly, and the sum is exactly 1. Backward formulas are
ring operations, so a common shift has gradient identically zero (every attention key bias).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field
from ..mixing import stable_key
from ..registry import rule
from ..running import active
from .operands import any_infinite, axes, finite
from .reductions import average


def shift(f: Field, x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Mean of the finite entries over ``dims`` (kept)."""
    if not any_infinite(x):
        return average(f, x, dims, True)
    count = torch.isfinite(x).long()
    for d in dims:
        count = count.sum(d, keepdim=True)
    return f.mul(f.sum(finite(x), dims, True), f.inverse(f.embed(count.clamp_(min=1))))


def exponentials(f: Field, x: Tensor, centre: Tensor) -> Tensor:
    """``E(x - centre)``; 0 where ``x`` is minus infinity."""
    if not any_infinite(x):
        return f.function(f.sub(x, centre), stable_key("softmax exp"))
    return f.function(f.sub(finite(x), centre), stable_key("softmax exp")) * torch.isfinite(x)


def softmax_of(f: Field, x: Tensor, dim: int) -> Tensor:
    if x.dim() == 0:
        return torch.ones_like(x)
    dim %= x.dim()
    e = exponentials(f, x, shift(f, x, (dim,)))
    return _parts(f, e, f.sum(e, (dim,), True))


def _parts(f: Field, e: Tensor, total: Tensor) -> Tensor:
    """``e / total``; 0 where everything is masked."""
    return f.mul(e, f.inverse(total, drawn=True)) * (total != 0)


@rule("_softmax", "softmax", "_safe_softmax", degree="one", infinite=True)
def softmax(f: Field, x: Tensor, dim: int, *_: Any, **__: Any) -> Tensor:
    return softmax_of(f, x, dim)


@rule("_softmax_backward_data", degree="sum")
def softmax_backward(f: Field, grad: Tensor, output: Tensor, dim: int, _dtype: Any) -> Tensor:
    weighted = f.mul(grad, output)
    return f.sub(weighted, f.mul(output, f.sum(weighted, (dim,), True)))


@rule("_log_softmax", "log_softmax", degree="one", infinite=True)
def log_softmax(f: Field, x: Tensor, dim: int, *_: Any, **__: Any) -> Tensor:
    if x.dim() == 0:
        return torch.zeros_like(x)
    dim %= x.dim()
    centre = shift(f, x, (dim,))
    total = f.function(f.sum(exponentials(f, x, centre), (dim,), True), stable_key("log"))
    if not any_infinite(x):
        return f.sub(f.sub(x, centre), total)
    return torch.where(torch.isinf(x), x, f.sub(f.sub(finite(x), centre), total))


@rule("_log_softmax_backward_data", degree="sum", infinite=True)
def log_softmax_backward(f: Field, grad: Tensor, output: Tensor, dim: int, _dtype: Any) -> Tensor:
    """``grad - softmax * sum(grad)``; the softmax is rebuilt from the output, and sums to exactly 1."""
    grad = finite(grad)
    probability = softmax_of(f, output, dim)
    return f.sub(grad, f.mul(probability, f.sum(grad, (dim,), True)))


@rule("logsumexp", degree="one", infinite=True)
def logsumexp(f: Field, x: Tensor, dim: int | list[int], keepdim: bool = False) -> Tensor:
    """``m + log sum exp(x - m)`` with the mean of the finite entries as ``m``.

    ``exp(x - logsumexp(x))`` is the softmax: PyTorch's backward formula and ``torch.distributions`` write it so.
    """
    dims = axes(x, dim)
    centre = shift(f, x, dims)
    e = exponentials(f, x, centre)
    total = f.sum(e, dims, True)
    out = f.add(centre, f.function(total, stable_key("log")))
    argument = f.sub(finite(x), out)
    if any_infinite(x):
        argument = torch.where(torch.isinf(x), x, argument)
    active().normalised.append((argument, _parts(f, e, total)))
    for d in sorted(dims, reverse=True) if not keepdim else ():
        out = out.squeeze(d)
    return out
