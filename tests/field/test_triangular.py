"""Triangular systems (gated delta rules solve one a chunk): the solution is put back into the equation."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from lockstep.field.arithmetic import PRIMES, Field
from lockstep.field.rules.linear import solve_triangular


@pytest.mark.parametrize("upper, left, unit", list(product((False, True), repeat=3)))
def test_solution_solves(upper: bool, left: bool, unit: bool) -> None:
    f, generator = Field(PRIMES[0]), torch.Generator().manual_seed(0)
    a = f.symbols((2, 3, 5, 5), generator)
    b = f.symbols((3, 5, 4) if left else (3, 4, 5), generator)
    x = solve_triangular(f, a, b, upper=upper, left=left, unitriangular=unit)
    triangle = a.triu() if upper else a.tril()
    if unit:
        triangle = triangle - torch.diag_embed(triangle.diagonal(dim1=-2, dim2=-1)) + torch.eye(5)
    one, two = (triangle, x) if left else (x, triangle)
    assert torch.equal(f.matmul(one.flatten(0, 1), two.flatten(0, 1)).view_as(x), b.expand_as(x))
