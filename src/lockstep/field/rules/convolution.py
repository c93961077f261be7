"""Convolutions: float64 kernels sum exact products; sums longer than ``TERMS`` are split."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import coarse
from ..arithmetic import STORE, TERMS, Field
from ..outer import Factors, worthwhile
from ..registry import rule

WIDENED = 1 << 19
"""Weights that are held in float64 at a time, as far as channels allow."""

WINDOWS = 1 << 22
"""Entries of windows that are looked at together."""

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
    if (columns := _columns(x, w, geometry)) is not None:
        out = columns.forward(f, x)
    elif channels <= step:
        out = f.reduce(_conv(x.double(), w.double(), None, *geometry))
    else:
        out = _split_channels(f, x, w, geometry, step)
    return out if bias is None else f.add(out, bias.view(-1, *[1] * (x.dim() - 2)))


class Columns:
    """A plain convolution by bytes as their product, a matrix (O, C window), with the windows of the input as columns.

    (Chellapilla, Puri, Simard 2006.) ``samples`` are taken together; none where the windows of one are too many.
    """

    def __init__(self, x: Tensor, w: Tensor, geometry: tuple[Any, ...]) -> None:
        self.windows, self.size = _windows(w, geometry), x.shape[2:]
        self.out = [
            (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for n, kernel, dilation, padding, stride in zip(self.size, *self.windows, strict=True)
        ]
        self.matrix = w.flatten(1)
        self.samples = WINDOWS // max(1, w[0].numel() * prod(self.out))

    def forward(self, f: Field, x: Tensor) -> Tensor:
        parts = [self._forward(f, part) for part in x.split(self.samples)]
        return torch.cat(parts).unflatten(2, self.out)

    def _forward(self, f: Field, x: Tensor) -> Tensor:
        columns = F.unfold(x, *self.windows).transpose(0, 1)
        out = f.matmul(self.matrix, columns.flatten(1))
        return out.view(-1, *columns.shape[1:]).transpose(0, 1)

    def backward(self, f: Field, grad: Tensor) -> Tensor:
        """The gradient of the input: where windows overlap, sums of sums of products, exact below 2^50."""
        return torch.cat([self._backward(f, part) for part in grad.split(self.samples)])

    def _backward(self, f: Field, grad: Tensor) -> Tensor:
        g = grad.flatten(2).transpose(0, 1)
        columns = f.products(self.matrix.t(), g.flatten(1)).view(-1, *g.shape[1:])
        return f.reduce(F.fold(columns.transpose(0, 1), self.size, *self.windows))


def _columns(x: Tensor, w: Tensor, geometry: tuple[Any, ...]) -> Columns | None:
    *_, transposed, _, groups = geometry
    if w.dtype is not coarse.BYTE or w.dim() != 4 or transposed or groups > 1 or len(w) > TERMS:
        return None
    found = Columns(x, w, geometry)
    return found if found.samples else None


def _windows(w: Tensor, geometry: tuple[Any, ...]) -> tuple[tuple[int, int], ...]:
    """Kernel size, dilation, padding, stride, as ``unfold`` takes them."""
    stride, padding, dilation, *_ = geometry
    return tuple((n[0], n[-1]) for n in (w.shape[2:], dilation, padding, stride))


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
    """The weight's gradient as a product over samples and positions, of which small maps have few.

    (O, N positions) @ (N positions, C window): Chellapilla, Puri, Simard 2006.
    """
    *_, transposed, _, groups = geometry
    if transposed or groups > 1 or w.dim() != 4 or x.dim() != 4:
        return None
    a = grad.movedim(1, 0).flatten(1)
    if not worthwhile(w.numel(), a.shape[1]):
        return None
    return Factors(a, F.unfold(x, *_windows(w, geometry)).transpose(1, 2).flatten(0, 1), w.shape)


def _input_gradient(
    f: Field, grad: Tensor, x: Tensor, w: Tensor, geometry: tuple[Any, ...]
) -> Tensor:
    if (columns := _columns(x, w, geometry)) is not None:
        return columns.backward(f, grad)
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
