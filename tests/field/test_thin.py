"""Products a slab at a time: the same on any number of threads, whatever the shapes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from lockstep.field import thin
from lockstep.field.arithmetic import FIRST, Field


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


SHAPES = [
    ((8, 700), (700, 512)),
    ((3, 512), (512, 700)),
    ((8, 5000), (5000, 64)),
    ((256, 513), (513, 520)),
    ((300, 20), (20, 9)),
    ((1, 4), (4, 300_000)),
    ((2, 300_000), (300_000, 1)),
]


@pytest.mark.parametrize(("a", "b"), SHAPES)
@pytest.mark.parametrize("turned", [False, True])
def test_products(a: tuple[int, int], b: tuple[int, int], turned: bool, threads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    f = Field(FIRST, 5)
    x = f.symbols(a, generator)
    y = f.symbols(b[::-1], generator).t() if turned else f.symbols(b, generator)
    wanted = torch.zeros(a[0], b[1], dtype=torch.int64)
    for k in range(0, a[1], 512):
        part = x[:, k : k + 512].double() @ y[k : k + 512].double()  # below 2^47: exact
        wanted = (wanted + part.long()).remainder(f.p)
    assert torch.equal(f.matmul(x, y), f.integer(wanted))


def test_a_row_that_is_dropped_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = thin._slabs
    monkeypatch.setattr(thin, "_slabs", lambda *given: list(whole(*given))[:-1])
    with pytest.raises(AssertionError, match="equal"):
        test_products((8, 700), (700, 512), False, 1)
