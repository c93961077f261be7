"""The lowest eigenvector by multiplication alone, against the full eigenvalue problem."""

from __future__ import annotations

import pytest
import torch

from lockstep.transverse import lowest


def symmetric(spectrum: list[float], seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(len(spectrum), len(spectrum), generator=generator, dtype=torch.float64)
    q, _ = torch.linalg.qr(raw)
    return q @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ q.T


@pytest.mark.parametrize(
    "spectrum",
    [
        [2.0],
        [0.0, 0.0, 0.0],
        [-1.0, -1.0, 3.0],  # a plane of lowest vectors
        [1e-9, 1.0, 1e9],
        [float(k) for k in range(-20, 40)],
        [-1.0, *([1.0] * 200)],  # more dimensions than steps
    ],
    ids=["one", "zero", "double", "wide", "sixty", "large"],
)
def test_against_the_full_problem(spectrum: list[float]) -> None:
    for seed in range(3):
        matrix = symmetric(spectrum, seed)
        value, vector = lowest(
            lambda v, m=matrix: m @ v, len(matrix), torch.Generator().manual_seed(seed + 9)
        )
        size = max(map(abs, spectrum))
        assert value == pytest.approx(min(spectrum), abs=1e-9 * size)
        assert float(vector.norm()) == pytest.approx(1)
        assert float((matrix @ vector - value * vector).norm()) <= 1e-6 * size
