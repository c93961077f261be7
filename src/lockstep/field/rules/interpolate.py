"""Resizing by linear and cubic interpolation: one matrix of exact rationals along each dimension.

PyTorch computes the coefficients in float32; here they are the rationals that are meant, so that rows sum to
exactly 1 and what is invariant under a constant stays so. Nearest neighbours are in ``movement.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from math import floor
from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule

HALF = Fraction(1, 2)
Entries = Iterator[tuple[int, int, Fraction]]
"""(output, input, coefficient); several for one place add up."""


def along(f: Field, x: Tensor, matrix: Tensor, dim: int) -> Tensor:
    """Multiply dimension ``dim`` of ``x`` by ``matrix`` (out, in)."""
    moved = x.movedim(dim, -1)
    flat = f.matmul(moved.reshape(-1, moved.shape[-1]), matrix.t())
    return flat.reshape(*moved.shape[:-1], matrix.shape[0]).movedim(-1, dim)


def _scale(size: int, out: int, corners: bool, factor: float | None) -> Fraction:
    """Steps in the input for one step in the output."""
    if corners:
        return Fraction(size - 1, out - 1) if out > 1 else Fraction(0)
    return 1 / Fraction(factor) if factor else Fraction(size, out)


def _source(o: int, scale: Fraction, corners: bool) -> Fraction:
    return scale * o if corners else scale * (o + HALF) - HALF


def _linear(size: int, out: int, corners: bool, factor: float | None) -> Entries:
    scale = _scale(size, out, corners, factor)
    for o in range(out):
        at = min(max(_source(o, scale, corners), Fraction(0)), Fraction(size - 1))
        left = floor(at)
        yield o, left, 1 - (at - left)
        yield o, min(left + 1, size - 1), at - left


def _cubic(size: int, out: int, corners: bool, factor: float | None) -> Entries:
    scale = _scale(size, out, corners, factor)
    for o in range(out):
        at = _source(o, scale, corners)
        for tap in range(floor(at) - 1, floor(at) + 3):
            yield o, min(max(tap, 0), size - 1), cubic_kernel(at - tap, Fraction(-3, 4))


def cubic_kernel(x: Fraction, a: Fraction) -> Fraction:
    """Keys' convolution kernel."""
    x = abs(x)
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else Fraction(0)


def _smooth(
    size: int, out: int, corners: bool, factor: float | None, *, cubic: bool = False
) -> Entries:
    """Antialiased: the kernel is widened to cover all the inputs that one output stands for."""
    scale = _scale(size, out, corners, factor)
    wide = max(scale, Fraction(1))
    support = (2 if cubic else 1) * wide
    for o in range(out):
        centre = scale * (o + HALF)
        first = max(int(centre - support + HALF), 0)
        last = min(int(centre + support + HALF), size)
        gaps = [(i, (i - centre + HALF) / wide) for i in range(first, last)]
        taps = [
            (i, cubic_kernel(g, -HALF) if cubic else max(Fraction(0), 1 - abs(g))) for i, g in gaps
        ]
        total = sum((w for _, w in taps), Fraction(0))
        yield from ((o, i, w / total) for i, w in taps)


KINDS: dict[str, tuple[int, Any]] = {
    # name: (dimensions, coefficients)
    "upsample_linear1d": (1, _linear),
    "upsample_bilinear2d": (2, _linear),
    "upsample_trilinear3d": (3, _linear),
    "upsample_bicubic2d": (2, _cubic),
    "_upsample_bilinear2d_aa": (2, _smooth),
    "_upsample_bicubic2d_aa": (2, partial(_smooth, cubic=True)),
}


def _matrices(
    f: Field, kind: str, sizes: Any, outs: Any, corners: bool, factors: Any
) -> list[Tensor]:
    n, entries = KINDS[kind]
    given = [*factors, *[None] * (n - len(factors))]
    found = []
    for size, out, factor in zip(sizes, outs, given, strict=True):
        exact: dict[tuple[int, int], Fraction] = {}
        for o, i, w in entries(size, out, corners, factor):
            exact[o, i] = exact.get((o, i), Fraction(0)) + w
        matrix = torch.zeros(out, size)
        for place, w in exact.items():
            matrix[place] = float(f.scalar(f.scalar(w.numerator) * f.quotient(w.denominator)))
        found.append(matrix)
    return found


def _define(kind: str) -> None:
    n = KINDS[kind][0]

    @rule(kind)
    def resize(
        f: Field, x: Tensor, outs: list[int], corners: bool, *factors: float | None
    ) -> Tensor:
        for d, matrix in enumerate(_matrices(f, kind, x.shape[-n:], outs, corners, factors)):
            x = along(f, x, matrix, d - n)
        return x.contiguous()

    @rule(f"{kind}_backward")
    def resize_backward(
        f: Field,
        grad: Tensor,
        outs: list[int],
        sizes: list[int],
        corners: bool,
        *factors: float | None,
    ) -> Tensor:
        for d, matrix in enumerate(_matrices(f, kind, sizes[-n:], outs, corners, factors)):
            grad = along(f, grad, matrix.t(), d - n)
        return grad.contiguous()


for _kind in KINDS:
    _define(_kind)
