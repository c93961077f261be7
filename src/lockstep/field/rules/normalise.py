"""Softmax and the norms. What is invariant in them stays visible: shifts of a softmax, of a channel.

``softmax(x) = E(x - m) / sum E(x - m)`` with ``E`` uninterpreted and ``m`` the mean of the finite entries:
the real softmax is one instance, shifts cancel exactly, and the sum is exactly 1. Backward formulas are
ring operations, so a common shift has gradient identically zero (every attention key bias).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field, stable_key
from ..registry import rule
from .operands import finite
from .reductions import average, variance


def shift(f: Field, x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Mean of the finite entries over ``dims`` (kept)."""
    count = torch.isfinite(x).long()
    for d in dims:
        count = count.sum(d, keepdim=True)
    return f.mul(f.sum(finite(x), dims, True), f.inverse(f.embed(count.clamp_(min=1))))


def exponentials(f: Field, x: Tensor, centre: Tensor) -> Tensor:
    """``E(x - centre)``; 0 where ``x`` is minus infinity."""
    e = f.function(f.sub(finite(x), centre), stable_key("softmax exp"))
    return e * torch.isfinite(x)


def softmax_of(f: Field, x: Tensor, dim: int) -> Tensor:
    if x.dim() == 0:
        return torch.ones_like(x)
    dim %= x.dim()
    e = exponentials(f, x, shift(f, x, (dim,)))
    total = f.sum(e, (dim,), True)
    return f.mul(e, f.inverse(total)) * (total != 0)


@rule("_softmax", "softmax", "_safe_softmax", degree="one", infinite=True)
def softmax(f: Field, x: Tensor, dim: int, *_: Any, **__: Any) -> Tensor:
    return softmax_of(f, x, dim)


@rule("_softmax_backward_data", degree="sum")
def softmax_backward(f: Field, grad: Tensor, output: Tensor, dim: int, _dtype: Any) -> Tensor:
    weighted = f.mul(grad, output)
    return f.sub(weighted, f.mul(output, f.sum(weighted, (dim,), True)))


@rule("_log_softmax", "log_softmax", degree="one", infinite=True)
def log_softmax(f: Field, x: Tensor, dim: int, *_: Any, **__: Any) -> Tensor:
    dim %= max(x.dim(), 1)
    centre = shift(f, x, (dim,))
    total = f.function(f.sum(exponentials(f, x, centre), (dim,), True), stable_key("log"))
    out = f.sub(f.sub(finite(x), centre), total)
    return torch.where(torch.isinf(x), x, out)


@rule("_log_softmax_backward_data", degree="sum", infinite=True)
def log_softmax_backward(f: Field, grad: Tensor, output: Tensor, dim: int, _dtype: Any) -> Tensor:
    """``grad - softmax * sum(grad)``; the softmax is rebuilt from the output, and sums to exactly 1."""
    grad = finite(grad)
    probability = softmax_of(f, output, dim)
    return f.sub(grad, f.mul(probability, f.sum(grad, (dim,), True)))


# -- layer, group, batch norm ------------------------------------------------------------------------


def standardise(f: Field, x: Tensor, dims: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) * rstd, mean, rstd; ``rstd`` is uninterpreted in ``var + eps``."""
    spread, centre = variance(f, x, dims, True, 0)
    rstd = root(f, spread, eps)
    return f.mul(f.sub(x, centre), rstd), centre, rstd


def root(f: Field, spread: Tensor, eps: float) -> Tensor:
    return f.function(f.add(spread, torch.tensor(float(f.scalar(eps)))), stable_key("rsqrt"))


def affine(f: Field, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        x = f.mul(x, weight)
    return x if bias is None else f.add(x, bias)


def centred_gradient(f: Field, grad: Tensor, normal: Tensor, rstd: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Gradient through ``standardise``: rstd * (g - mean(g) - x^ * mean(g x^))."""
    slope = f.mul(normal, average(f, f.mul(grad, normal), dims, True))
    return f.mul(rstd, f.sub(f.sub(grad, average(f, grad, dims, True)), slope))


@rule("native_layer_norm", degree="sum")
def layer_norm(
    f: Field, x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, ...]:
    dims = tuple(range(x.dim() - len(shape), x.dim()))
    normal, centre, rstd = standardise(f, x, dims, eps)
    return affine(f, normal, weight, bias), centre, rstd


@rule("native_layer_norm_backward", degree="sum")
def layer_norm_backward(
    f: Field,
    grad: Tensor,
    x: Tensor,
    shape: list[int],
    centre: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: list[bool],
) -> tuple[Tensor | None, ...]:
    dims = tuple(range(x.dim() - len(shape), x.dim()))
    outer = tuple(range(x.dim() - len(shape)))
    normal = f.mul(f.sub(x, centre), rstd)
    inner = grad if weight is None else f.mul(grad, weight)
    grad_x = centred_gradient(f, inner, normal, rstd, dims) if mask[0] else None
    grad_w = _total(f, f.mul(grad, normal), outer) if mask[1] and weight is not None else None
    grad_b = _total(f, grad, outer) if mask[2] and bias is not None else None
    return grad_x, grad_w, grad_b


def _total(f: Field, x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return f.sum(x, dims) if dims else x.clone()


def _grouped(x: Tensor, n: int, c: int, group: int) -> Tensor:
    return x.reshape(n, group, c // group, -1)


@rule("native_group_norm", degree="sum")
def group_norm(
    f: Field,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    n: int,
    c: int,
    hxw: int,
    group: int,
    eps: float,
) -> tuple[Tensor, ...]:
    normal, centre, rstd = standardise(f, _grouped(x, n, c, group), (2, 3), eps)
    out = affine(f, normal.reshape(n, c, -1), _column(weight), _column(bias))
    return out.reshape(x.shape), centre.reshape(n, group), rstd.reshape(n, group)


def _column(w: Tensor | None) -> Tensor | None:
    return None if w is None else w.view(1, -1, 1)


@rule("native_group_norm_backward", degree="sum")
def group_norm_backward(
    f: Field,
    grad: Tensor,
    x: Tensor,
    centre: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    n: int,
    c: int,
    hxw: int,
    group: int,
    mask: list[bool],
) -> tuple[Tensor | None, ...]:
    g4, x4 = grad.reshape(n, c, -1), _grouped(x, n, c, group)
    scale = rstd.view(n, group, 1, 1)
    normal = f.mul(f.sub(x4, centre.view(n, group, 1, 1)), scale)
    weighted = g4 if weight is None else f.mul(g4, weight.view(1, -1, 1))
    inner = _grouped(weighted, n, c, group)
    grad_x = centred_gradient(f, inner, normal, scale, (2, 3)).reshape(x.shape) if mask[0] else None
    grad_w = f.sum(f.mul(g4, normal.reshape(n, c, -1)), (0, 2)) if mask[1] else None
    grad_b = f.sum(g4, (0, 2)) if mask[2] else None
    return grad_x, grad_w, grad_b


def _channels(x: Tensor) -> tuple[tuple[int, ...], list[int]]:
    return tuple(d for d in range(x.dim()) if d != 1), [1, -1, *[1] * (x.dim() - 2)]


@rule(
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_functional",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
    degree="sum",
)
def batch_norm(
    f: Field, x: Tensor, weight: Tensor | None, bias: Tensor | None, *settings: Any
) -> tuple[Tensor, ...]:
    """Running statistics are read in eval mode; in training mode they do not act and are left alone."""
    running, training, eps = _batch_settings(settings)
    dims, shape = _channels(x)
    if training:
        normal, centre, rstd = standardise(f, x, dims, eps)
        centre, rstd = centre.reshape(-1), rstd.reshape(-1)
    else:
        centre, rstd = running[0], root(f, running[1], eps)
        normal = f.mul(f.sub(x, centre.view(shape)), rstd.view(shape))
    out = affine(f, normal, *(None if w is None else w.view(shape) for w in (weight, bias)))
    return out, centre.clone(), rstd


def _batch_settings(settings: tuple[Any, ...]) -> tuple[tuple[Tensor, Tensor], bool, float]:
    """(running mean, running var), training, eps out of the overloads' argument lists."""
    tensors = tuple(s for s in settings if isinstance(s, Tensor))
    flags = [s for s in settings if isinstance(s, bool)]
    numbers = [s for s in settings if isinstance(s, float)]
    return tensors[:2], flags[0] if flags else False, numbers[-1]  # type: ignore[return-value]


@rule("native_batch_norm_backward", degree="sum")
def batch_norm_backward(
    f: Field,
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    save_mean: Tensor | None,
    save_rstd: Tensor | None,
    train: bool,
    eps: float,
    mask: list[bool],
) -> tuple[Tensor | None, ...]:
    dims, shape = _channels(x)
    if train:
        assert save_mean is not None and save_rstd is not None
        centre, rstd = save_mean.view(shape), save_rstd.view(shape)
    else:
        assert running_mean is not None and running_var is not None
        centre, rstd = running_mean.view(shape), root(f, running_var, eps).view(shape)
    normal = f.mul(f.sub(x, centre), rstd)
    inner = grad if weight is None else f.mul(grad, weight.view(shape))
    grad_x = None
    if mask[0]:
        grad_x = centred_gradient(f, inner, normal, rstd, dims) if train else f.mul(inner, rstd)
    grad_w = f.sum(f.mul(grad, normal), dims) if mask[1] else None
    grad_b = f.sum(grad, dims) if mask[2] else None
    return grad_x, grad_w, grad_b


@rule("_weight_norm_interface_backward", degree="sum")
def weight_norm_backward(
    f: Field, grad: Tensor, v: Tensor, g: Tensor, norm: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    """``w = g v / |v|``, with a norm for each slice of ``v`` along ``dim``."""
    dims = tuple(d for d in range(v.dim()) if d != dim % v.dim())
    inverse = f.inverse(norm)
    along = f.mul(f.sum(f.mul(grad, v), dims, True), inverse)
    slope = f.sub(grad, f.mul(v, f.mul(along, inverse)))
    return f.mul(f.mul(g, inverse), slope), along
