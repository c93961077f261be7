"""Layer and group norm: exact means and variances, an uninterpreted root, ring gradients.

A common shift of what is normalised together leaves the output unchanged and gets gradient zero, exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from .powers import inverse_root
from .reductions import average, average_product, gaps, squared


def standardise(
    f: Field, x: Tensor, dims: tuple[int, ...], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) * rstd, mean, rstd; ``rstd`` is 1 over an uninterpreted root of ``var + eps``."""
    gap, centre = gaps(f, x, dims)
    rstd = root(f, squared(f, gap, dims, True, 0), eps)
    return f.mul(gap, rstd), centre, rstd


def root(f: Field, spread: Tensor, eps: float) -> Tensor:
    return inverse_root(f, f.add(spread, torch.tensor(float(f.scalar(eps)))))


def affine(f: Field, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        x = f.mul(x, weight)
    return x if bias is None else f.add(x, bias)


def centred_gradient(
    f: Field, grad: Tensor, normal: Tensor, rstd: Tensor, dims: tuple[int, ...]
) -> Tensor:
    """Gradient through ``standardise``: rstd * (g - mean(g) - x^ * mean(g x^))."""
    slope = average_product(f, grad, normal, dims)
    inner = grad.double().sub_(average(f, grad, dims, True)).sub_(normal.double().mul_(slope))
    return f.mul(f.reduce(inner), rstd)


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
    grad_w = f.dot(grad, normal, outer) if mask[1] and weight is not None else None
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
    grad_w = f.dot(g4, normal.reshape(n, c, -1), (0, 2)) if mask[1] else None
    grad_b = f.sum(g4, (0, 2)) if mask[2] else None
    return grad_x, grad_w, grad_b
