"""Ring and linear ops are exact modulo p, forward and backward, against the real op in float64."""

from __future__ import annotations

from collections import Counter

import pytest
from field.ops import OPS
from field.reference import Op, assert_same

from lockstep.field.arithmetic import PRIMES, Field

EXACT = [op for op in OPS if "near" not in op.marks]


@pytest.mark.parametrize("op", EXACT, ids=lambda op: op.name)
def test_exact(op: Op) -> None:
    assert_same(op)


@pytest.mark.slow
@pytest.mark.parametrize("p", PRIMES[1:])
def test_exact_modulo_every_prime(p: int) -> None:
    for op in EXACT:
        assert_same(op, Field(p, seed=1))


def test_names_are_unique() -> None:
    assert [name for name, n in Counter(op.name for op in OPS).items() if n > 1] == []
