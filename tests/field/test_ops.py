"""Ring and linear ops are exact modulo p, forward and backward, against the real op in float64."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from field.ops import OPS
from field.reference import Op, assert_same

from lockstep.field.arithmetic import PRIMES, Field
from lockstep.field.rules.interpolate import KINDS


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_exact(op: Op) -> None:
    assert_same(op)


@pytest.mark.slow
@pytest.mark.parametrize("p", PRIMES[1:])
def test_exact_modulo_every_prime(p: int) -> None:
    for op in OPS:
        assert_same(op, Field(p, seed=1))


RESIZES = {
    # kind: settings of interpolate
    "upsample_linear1d": [
        {"mode": "linear", "scale_factor": 1.6},
        {"mode": "linear", "size": 3, "align_corners": True},
        {"mode": "linear", "size": 11},
    ],
    "upsample_bicubic2d": [
        {"mode": "bicubic", "scale_factor": 0.7},
        {"mode": "bicubic", "size": (9, 3)},
        {"mode": "bicubic", "size": (9, 3), "align_corners": True},
    ],
    "_upsample_bilinear2d_aa": [
        {"mode": "bilinear", "size": (3, 5), "antialias": True},
        {"mode": "bilinear", "size": (9, 2), "antialias": True, "align_corners": True},
    ],
    "_upsample_bicubic2d_aa": [{"mode": "bicubic", "size": (3, 5), "antialias": True}],
}


@pytest.mark.parametrize("kind", RESIZES)
def test_interpolation_is_by_the_rationals_that_are_meant(kind: str) -> None:
    """PyTorch's coefficients, read off one-hot images in float64, are these rationals rounded; rows sum to exactly 1."""
    n, entries = KINDS[kind]
    for settings in RESIZES[kind]:
        sizes = [7, 8][:n]
        pixels = torch.eye(math.prod(sizes), dtype=torch.float64).reshape(1, -1, *sizes)
        shown = F.interpolate(pixels, **settings)
        factor = settings.get("scale_factor")
        product = torch.ones(1, 1, dtype=torch.float64)
        for size, out in zip(sizes, shown.shape[2:], strict=True):
            matrix = [[Fraction(0)] * size for _ in range(out)]
            for o, i, w in entries(size, out, settings.get("align_corners", False), factor):
                matrix[o][i] += w
            assert [sum(row) for row in matrix] == [1] * out
            one = torch.tensor([[float(w) for w in row] for row in matrix], dtype=torch.float64)
            product = torch.kron(product, one)
        assert torch.allclose(shown.flatten(2)[0].t(), product, atol=1e-12), settings


def test_names_are_unique() -> None:
    assert [name for name, n in Counter(op.name for op in OPS).items() if n > 1] == []
