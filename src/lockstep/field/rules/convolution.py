"""Convolutions: float64 kernels sum exact products; sums longer than ``TERMS`` are split."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from .. import coarse
from ..arithmetic import STORE, TERMS, Field
from ..outer import Factors, worthwhile
from ..registry import rule
from .columns import WINDOWS, Columns

WIDENED = 1 << 19
"""Weights that are held in float64 at a time, as far as channels allow."""

_conv = torch.ops.aten.convolution.default
_conv_backward = torch.ops.aten.convolution_backward.default


@rule("convolution", "_convolution", "convolution_overrideable", degree="sum")
def convolution(
    f: Field,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    *_: Any,
) -> Tensor:
    """x (N, C, ...), w (O, C/groups, ...) or, transposed, (C, O/groups, ...)."""
    x = x.to(STORE)  # of a coarse point, if it is a parameter
    geometry = (stride, padding, dilation, transposed, output_padding, groups)
    per_channel = prod(w.shape[2:])
    channels = w.shape[0] // groups if transposed else w.shape[1]
    step = _at_once(w, channels, per_channel)
    if (columns := _of_bytes(x, w, geometry)) is not None:
        out = columns.forward(f, x)
    elif channels <= step:
        out = f.reduce(_conv(x.double(), w.double(), None, *geometry))
    else:
        out = _split_channels(f, x, w, geometry, step)
    return out if bias is None else f.add(out, bias.view(-1, *[1] * (x.dim() - 2)))


def _plain(x: Tensor, w: Tensor, geometry: tuple[Any, ...]) -> Columns | None:
    *_, transposed, _, groups = geometry
    batched = x.dim() == w.dim() > 2
    return None if transposed or groups > 1 or not batched else Columns(x, w, geometry)


def _of_bytes(x: Tensor, w: Tensor, geometry: tuple[Any, ...]) -> Columns | None:
    """The weights of a coarse point, if products with windows suit them."""
    found = _plain(x, w, geometry) if w.dtype is coarse.BYTE else None
    fits = found is not None and found.largest <= WINDOWS and len(w) <= TERMS
    return found if fits else None


def _at_once(w: Tensor, channels: int, per_channel: int) -> int:
    """Channels that one exact sum may join, and whose weights are few enough to be widened together."""
    return max(1, min(TERMS // per_channel, WIDENED * channels // max(1, w.numel())))


def _split_channels(f: Field, x: Tensor, w: Tensor, geometry: tuple[Any, ...], step: int) -> Tensor:
    """Sum over slices of input channels, group by group."""
    *space, groups = geometry
    transposed = geometry[3]
    outs = []
    for xg, wg in zip(x.chunk(groups, 1), w.chunk(groups, 0), strict=True):
        total: Tensor | None = None
        for c in range(0, xg.shape[1], step):
            part = wg[c : c + step] if transposed else wg[:, c : c + step]
            term = f.reduce(_conv(xg[:, c : c + step].double(), part.double(), None, *space, 1))
            total = term if total is None else f.add(total, term)
        outs.append(total)
    return torch.cat(outs, 1)  # type: ignore[arg-type]


@rule("convolution_backward", degree="sum")
def convolution_backward(
    f: Field,
    grad: Tensor,
    x: Tensor,
    w: Tensor,
    bias_sizes: list[int] | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    output_mask: list[bool],
) -> tuple[Tensor | Factors | None, ...]:
    geometry = (stride, padding, dilation, transposed, output_padding, groups)
    x, grad = x.to(STORE), grad.to(STORE)
    grad_x = grad_b = None
    grad_w: Tensor | Factors | None = None
    if output_mask[0]:
        grad_x = _input_gradient(f, grad, x, w, geometry)
    if output_mask[1]:
        grad_w = _factors(grad, x, w, geometry) or _weight_gradient(f, grad, x, w, geometry)
    if output_mask[2]:
        grad_b = f.sum(grad, tuple(d for d in range(grad.dim()) if d != 1))
    return grad_x, grad_w, grad_b


def _factors(grad: Tensor, x: Tensor, w: Tensor, geometry: tuple[Any, ...]) -> Factors | None:
    """The weight's gradient as a product over samples and positions, of which small maps have few."""
    columns = _plain(x, w, geometry)
    if columns is None or not worthwhile(w.numel(), grad.numel() // max(1, grad.shape[1])):
        return None
    return Factors(*columns.factors(grad, x), w.shape)


def _input_gradient(
    f: Field, grad: Tensor, x: Tensor, w: Tensor, geometry: tuple[Any, ...]
) -> Tensor:
    if (columns := _of_bytes(x, w, geometry)) is not None:
        return columns.input_gradient(f, grad)
    groups = geometry[-1]
    per_channel = prod(w.shape[2:])
    outputs = w.shape[1] if geometry[3] else w.shape[0] // groups
    step = _at_once(w, outputs, per_channel)
    if outputs > step and groups == 1:
        total = None
        for o in range(0, outputs, step):
            part = w[:, o : o + step] if geometry[3] else w[o : o + step]
            term = _backward(f, grad[:, o : o + step], x, part, geometry, 0)
            total = term if total is None else f.add(total, term)
        return total  # type: ignore[return-value]
    return _backward(f, grad, x, w, geometry, 0)


def _weight_gradient(
    f: Field, grad: Tensor, x: Tensor, w: Tensor, geometry: tuple[Any, ...]
) -> Tensor:
    """Sums over batch and positions: split along the batch, then along the first axis of space."""
    columns = _plain(x, w, geometry)
    whole = None if columns is None else columns.weight_gradient(f, grad, x)
    if whole is not None:
        return whole
    positions = prod((x if geometry[3] else grad).shape[2:])
    batch = max(1, TERMS // max(positions, 1))
    if positions > TERMS:
        return _weight_gradient_by_rows(f, grad, x, w, geometry)
    total: Tensor | None = None
    for n in range(0, x.shape[0], batch):
        term = _backward(f, grad[n : n + batch], x[n : n + batch], w, geometry, 1)
        total = term if total is None else f.add(total, term)
    return total if total is not None else torch.zeros(w.shape, dtype=STORE)


def _weight_gradient_by_rows(
    f: Field, grad: Tensor, x: Tensor, w: Tensor, geometry: tuple[Any, ...]
) -> Tensor:
    """Large maps: blank all but a band of output positions at a time; the sum over bands is exact."""
    mover = x if geometry[3] else grad
    rows = mover.shape[2]
    band = max(1, TERMS // max(1, prod(mover.shape[3:])))
    total: Tensor | None = None
    for n in range(x.shape[0]):
        for r in range(0, rows, band):
            piece = torch.zeros_like(mover[n : n + 1])
            piece[:, :, r : r + band] = mover[n : n + 1, :, r : r + band]
            pair = (grad[n : n + 1], piece) if geometry[3] else (piece, x[n : n + 1])
            term = _backward(f, pair[0], pair[1], w, geometry, 1)
            total = term if total is None else f.add(total, term)
    return total if total is not None else torch.zeros(w.shape, dtype=STORE)


def _backward(
    f: Field, grad: Tensor, x: Tensor, w: Tensor, geometry: tuple[Any, ...], which: int
) -> Tensor:
    """The input's gradient (``which`` 0), or the weight's (1)."""
    mask = [which == 0, which == 1, False]
    out = _conv_backward(grad.double(), x.double(), w.double(), None, *geometry, mask)[which]
    return f.reduce(out.contiguous())
