"""Work beside the main thread: the results are the same, in order, and nothing waits for itself."""

from __future__ import annotations

import pytest
import torch

from lockstep.field.arithmetic import Field
from lockstep.field.aside import ALONE, LARGE, Task, beside


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_map_keeps_the_order_and_restores_the_threads(threads: int) -> None:
    with beside() as aside:
        assert aside.map(lambda n: n * n, range(50)) == [n * n for n in range(50)]
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads


def test_work_that_asks_for_work_does_not_wait_for_itself(threads: int) -> None:
    with beside() as aside:
        assert aside.map(lambda n: sum(aside.map(lambda m: m * n, range(4))), range(6)) == [
            6 * n for n in range(6)
        ]


def test_an_exception_reaches_the_one_who_asks(threads: int) -> None:
    def fail() -> None:
        raise ValueError("this call failed")

    with beside() as aside, pytest.raises(ValueError, match="this call failed"):
        aside.submit(fail).result()
    assert torch.get_num_threads() == threads


def test_what_is_known_is_not_computed() -> None:
    assert Task.of(3).result() == 3


@pytest.mark.parametrize(
    ("a", "b"),
    [((8, 700), (700, 512)), ((3, 512), (512, 700)), ((8, 5000), (5000, 64)), ((300, 20), (20, 9))],
)
@pytest.mark.parametrize("turned", [False, True])
def test_products_are_the_same_on_any_number_of_threads(
    a: tuple[int, int], b: tuple[int, int], turned: bool, threads: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    alone = Field(1048573, 5)
    x = alone.symbols(a, generator)
    y = alone.symbols(b[::-1], generator).t() if turned else alone.symbols(b, generator)
    exact = sum(
        (x[:, k : k + 1].long() * y[k : k + 1].long()).remainder(alone.p) for k in range(a[1])
    )
    with beside() as aside:
        assert torch.equal(Field(1048573, 5, 0, aside).matmul(x, y), alone.integer(exact))


def test_functions_are_the_same_on_any_number_of_threads(threads: int) -> None:
    x = Field(1048573, 5).symbols((LARGE + 3,), torch.Generator().manual_seed(1))
    with beside() as aside:
        there = Field(1048573, 5, 0, aside).function(x, 7, parity=1)
    assert torch.equal(there, Field(1048573, 5).function(x, 7, parity=1))
    assert ALONE.map(abs, [-1, 2]) == [1, 2]
