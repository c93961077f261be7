"""A plain convolution as a product with the windows of its input as columns (Chellapilla, Puri, Simard 2006).

Tensors stand as (C, ..., N): so the windows (C, window, positions, N) are one strided view of what was padded, and one
copy of it is the matrix. Samples come last since maps are often smaller than batches, and neighbours are read together.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from operator import mul
from typing import Any

import torch
from torch import Tensor

from .. import coarse
from ..arithmetic import STORE, TERMS, Field

WINDOWS = 1 << 22
"""Entries of windows that are looked at together."""

Sizes = Sequence[int]


class Columns:
    """One convolution, x (N, C, ...) with w (O, C, ...) to (N, O, ...): no groups, not transposed."""

    def __init__(self, x: Tensor, w: Tensor, geometry: tuple[Any, ...]) -> None:
        stride, padding, dilation, *_ = geometry
        n = w.dim() - 2
        self.stride, self.padding, self.dilation = (
            list(s) * (n // len(s)) for s in (stride, padding, dilation)
        )
        self.w, self.kernel, self.size = w, list(w.shape[2:]), list(x.shape[2:])
        rows = zip(self.size, self.padding, self._reach, self.stride, strict=True)
        self.out = [
            (size + 2 * margin - reach - 1) // step + 1 for size, margin, reach, step in rows
        ]

    @property
    def _reach(self) -> list[int]:
        """How far the last entry of a window is from its first."""
        return [d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True)]

    @property
    def largest(self) -> int:
        """Entries of the windows of one sample."""
        return self.w[0].numel() * prod(self.out)

    # -- by bytes -----------------------------------------------------------------------------------

    def forward(self, f: Field, x: Tensor) -> Tensor:
        matrix = self.w.flatten(1)
        return self._convolved(f, x, matrix, self.out, self.padding, self.stride)

    def input_gradient(self, f: Field, grad: Tensor) -> Tensor:
        """On large maps the convolution of ``grad`` with the windows turned round, on small ones windows added up."""
        margins = [r - p for r, p in zip(self._reach, self.padding, strict=True)]
        large = prod(self.size) * len(grad) > self.w.shape[1]
        if max(self.stride) > 1 or min(margins) < 0 or not large:
            parts = grad.split(self._samples(self.largest))
            return _joined_samples([self._added_up(f, part) for part in parts])
        turned = self.w.transpose(0, 1).flip(*range(2, self.w.dim())).flatten(1)
        return self._convolved(f, grad, turned, self.size, margins, [1] * len(margins))

    def _convolved(
        self, f: Field, x: Tensor, matrix: Tensor, out: Sizes, margins: Sizes, stride: Sizes
    ) -> Tensor:
        """``x`` with the windows that are the rows of ``matrix``, to maps of size ``out``."""
        terms, positions, parts = matrix.shape[1], prod(out), []
        for part in x.split(self._samples(terms * positions)):
            quick = coarse.suits(matrix, terms, positions * len(part))
            cells = padded(part, margins, coarse.WHOLE if quick else STORE)
            windows = self._windows(coarse.digits_(cells) if quick else cells, stride)
            if quick:
                y = _joined(f, coarse.sums(matrix, _matrix(f, windows, terms, coarse.WHOLE)))
            elif terms <= TERMS:
                columns = _matrix(f, windows, terms, torch.float64)
                y = f.reduce(matrix.double() @ columns)
            else:
                y = f.matmul(matrix, _matrix(f, windows, terms, STORE))
            parts.append(y.view(len(matrix), *out, len(part)).movedim(-1, 0))
        return _joined_samples(parts)

    def _added_up(self, f: Field, grad: Tensor) -> Tensor:
        """Where windows overlap, sums of sums of products: exact below 2^50, of bytes in 32 bits."""
        outputs, inputs = self.w.shape[:2]
        quick = prod(self.kernel) * outputs <= coarse.TERMS
        quick = quick and coarse.suits(self.w, outputs, prod(self.out) * len(grad))
        g = padded(grad, [0] * len(self.out), coarse.WHOLE if quick else torch.float64).flatten(1)
        matrix = self.w.flatten(1).t()
        sums = coarse.sums(matrix, coarse.digits_(g)) if quick else matrix.double() @ g
        numbers = len(grad) * (4 if quick else 1)
        sums = sums.view(inputs, *self.kernel, *self.out, numbers)
        total = sums.new_zeros(inputs, *self.size, numbers)
        for place in product(*map(range, self.kernel)):
            self._add_where_met(total, sums, place)
        if not quick:
            return f.reduce(total).movedim(-1, 0)
        return _joined(f, total.view(inputs, *self.size, len(grad), 4)).movedim(-1, 0)

    def _add_where_met(self, total: Tensor, sums: Tensor, place: Sizes) -> None:
        """To cells (C, ..., n), what this entry of the windows (C, *kernel, *positions, n) that look at them holds.

        One view of each, since a slice for every dimension costs more than the sum.
        """
        n, (steps, own) = len(place), (total.stride(), sums.stride())
        to, of = 0, sum(map(mul, place, own[1:]))
        shape, strides = [len(total)], [steps[0]]
        for d, entry in enumerate(place):
            step, offset = self.stride[d], entry * self.dilation[d] - self.padding[d]
            first = max(0, -(offset // step))
            last = min(self.out[d] - 1, (self.size[d] - 1 - offset) // step)
            if last < first:
                return
            to += (first * step + offset) * steps[1 + d]
            of += first * own[1 + n + d]
            shape.append(last - first + 1)
            strides.append(step * steps[1 + d])
        shape.append(total.shape[-1])
        cells = total.as_strided(shape, (*strides, 1), to)
        cells.add_(sums.as_strided(shape, (own[0], *own[1 + n :]), of))

    # -- of the weights -------------------------------------------------------------------------------

    def weight_gradient(self, f: Field, grad: Tensor, x: Tensor) -> Tensor | None:
        """(O, positions) @ (positions, C window); None where there is too much of it."""
        if prod(grad.shape) // max(1, grad.shape[1]) > TERMS or self.largest * len(x) > WINDOWS:
            return None
        windows = self._windows(padded(x, self.padding, STORE), self.stride)
        columns = _matrix(f, windows, self.w[0].numel(), torch.float64)
        a = padded(grad, [0] * len(self.out), torch.float64).flatten(1)
        return f.reduce(a @ columns.t()).view(self.w.shape)

    def factors(self, grad: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of that product."""
        a = padded(grad, [0] * len(self.out), STORE).flatten(1)
        windows = self._windows(padded(x, self.padding, STORE), self.stride)
        return a, windows.reshape(self.w[0].numel(), -1).t()

    def _samples(self, entries: int) -> int:
        """How many are taken together, at least one."""
        return max(1, WINDOWS // max(1, entries))

    def _windows(self, cells: Tensor, stride: Sizes) -> Tensor:
        """Padded (C, ..., N, *rest) seen as (C, *kernel, *positions, N, *rest)."""
        n = len(self.kernel)
        steps, rest = cells.stride()[1 : 1 + n], slice(1 + n, None)
        rows = zip(cells.shape[1 : 1 + n], self._reach, stride, strict=True)
        positions = [(size - reach - 1) // step + 1 for size, reach, step in rows]
        inner = [d * s for d, s in zip(self.dilation, steps, strict=True)]
        outer = [k * s for k, s in zip(stride, steps, strict=True)]
        return cells.as_strided(
            (cells.shape[0], *self.kernel, *positions, *cells.shape[rest]),
            (cells.stride(0), *inner, *outer, *cells.stride()[rest]),
        )


def _matrix(f: Field, windows: Tensor, rows: int, dtype: torch.dtype) -> Tensor:
    """A copy in memory that is used again."""
    columns = windows.numel() // max(1, rows)
    return f.room(windows.shape, dtype, "windows").copy_(windows).view(rows, columns)


def _joined(f: Field, sums: Tensor) -> Tensor:
    return f.reduce(coarse.joined(sums, f.room(sums.shape, torch.float64, "digits")))


def padded(x: Tensor, margins: Sizes, dtype: torch.dtype) -> Tensor:
    """(N, C, ...) → (C, ..., N) with a margin of zeros around each plane."""
    turned = x.movedim(0, -1)
    if not any(margins):
        return turned.to(dtype, memory_format=torch.contiguous_format, copy=True)
    planes = turned.shape[1:-1]
    sizes = [n + 2 * p for n, p in zip(planes, margins, strict=True)]
    out = torch.zeros(len(turned), *sizes, len(x), dtype=dtype)
    _inside(out, planes, margins).copy_(turned)
    return out


def _inside(cells: Tensor, sizes: Sizes, margins: Sizes) -> Tensor:
    """What :func:`padded` put a margin around."""
    for d, (n, p) in enumerate(zip(sizes, margins, strict=True), 1):
        cells = cells.narrow(d, p, n)
    return cells


def _joined_samples(parts: list[Tensor]) -> Tensor:
    """(N, ...) in the usual layout, whatever size-1 dimensions make of strides."""
    out = torch.empty(sum(map(len, parts)), *parts[0].shape[1:], dtype=STORE)
    return torch.cat(parts, out=out)
