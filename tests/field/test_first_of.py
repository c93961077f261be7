"""The first of the largest: by a loop in Python."""

from __future__ import annotations

import itertools

import pytest
import torch

from lockstep.field.rules.extremes import first_of


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("values", [1, 2, 5])
def test_ties_go_to_the_first(dtype: torch.dtype, dim: int, values: int) -> None:
    generator = torch.Generator().manual_seed(values)
    small = torch.randint(-values, values, (4, 7, 6), generator=generator)
    ranks = (small << 60 if dtype is torch.int64 else small).to(dtype)
    found = first_of(ranks, dim)
    columns = ranks.movedim(dim, -1)
    for place in itertools.product(*map(range, columns.shape[:-1])):
        column = columns[place].tolist()
        assert found.movedim(dim, -1)[place].tolist() == [column.index(max(column))]


def test_neighbours_of_61_bits_are_told_apart() -> None:
    ranks = torch.tensor([(1 << 61) - 2, (1 << 61) - 1, (1 << 61) - 3])
    assert first_of(ranks, 0).tolist() == [1]


def test_infinities() -> None:
    ranks = torch.tensor([[1.0, torch.inf, torch.inf], [-torch.inf] * 3])
    assert first_of(ranks, 1).tolist() == [[1], [0]]
