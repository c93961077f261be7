"""Arithmetic modulo p against Python's exact integers and fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from lockstep.field.arithmetic import (
    CHUNK,
    FIRST,
    HANDFUL,
    PRIMES,
    SHORTCUT,
    TERMS,
    Field,
    has_primitive_root_two,
    is_prime,
    stable_key,
)
from lockstep.field.residue import embed_constant

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def residue(value: Fraction | int, p: int) -> int:
    """The signed representative, by Python's integers."""
    value = Fraction(value)
    r = value.numerator * pow(value.denominator, -1, p) % p
    return r - p if r > (p - 1) // 2 else r


def exact(x: Tensor) -> list[Fraction]:
    return [Fraction(v) for v in x.double().reshape(-1).tolist()]


def assert_embedded(x: Tensor, f: Field) -> None:
    expected = [residue(v, f.p) for v in exact(x)]
    assert f.embed(x).reshape(-1).tolist() == expected


@pytest.mark.parametrize("p", (FIRST, *PRIMES))
def test_primes(p: int) -> None:
    assert is_prime(p)
    assert has_primitive_root_two(p)
    assert p < 2**20
    powers, x = set(), 1
    for _ in range(p - 1):
        x = 2 * x % p
        powers.add(x)
    assert len(powers) == p - 1


def test_the_shortcut_is_one() -> None:
    power, factor = SHORTCUT
    assert factor * 2**power % FIRST == 1


@pytest.mark.parametrize("dtype", FLOATS)
def test_embedding_at_the_ends_of_the_shortcut(dtype: torch.dtype) -> None:
    """Entries just below and above a third, just below and above 2^-50 times their last bit, and both together."""
    least = 2.0**-27
    ends = [1 / 3, 0.3125, 0.34375, least, least / 2, least * (1 - 2**-7), 2**-50, 2.0**-51]
    for v in ends:
        assert_embedded(torch.tensor([v, -v, 0.25], dtype=torch.float64).to(dtype), Field(FIRST))
    assert_embedded(torch.tensor([*ends, 0.0], dtype=torch.float64).to(dtype), Field(FIRST))


def test_what_is_no_such_prime() -> None:
    assert not is_prime(1048575)
    assert not has_primitive_root_two(2**13 - 1)  # Mersenne: 2 has order 13


@pytest.mark.parametrize("dtype", FLOATS)
def test_embedding_of_extremes(dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    least = {
        torch.float64: 2.0**-1074,
        torch.float32: 2.0**-149,
        torch.float16: 2.0**-24,
        torch.bfloat16: 2.0**-133,
    }
    values = [
        *(
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.1,
            -3.75,
            1 / 3,
            info.max,
            info.min,
            info.eps,
            info.tiny,
            -info.tiny,
        ),
        *(least[dtype], -least[dtype], 3 * least[dtype], info.tiny - least[dtype]),
    ]
    for f in (Field(p) for p in (FIRST, *PRIMES)):
        assert_embedded(torch.tensor(values, dtype=dtype), f)  # far apart: entry by entry
        for v in values:
            assert_embedded(
                torch.tensor([v], dtype=dtype), f
            )  # alone: one power of two for the chunk


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scale", [1e-9, 1e-4, 0.02, 0.1, 1.0, 300.0])
def test_embedding_of_weights(dtype: torch.dtype, scale: float) -> None:
    x = (
        torch.randn(31, 17, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * scale
    ).to(dtype)
    x[0, :3] = 0
    assert_embedded(x, Field(FIRST))
    assert_embedded(x, Field(PRIMES[1]))
    assert_embedded(x.t(), Field(PRIMES[2]))


def test_embedding_across_chunks() -> None:
    x = torch.zeros(2 * CHUNK + 5)
    x[:CHUNK] = 2.0**-30
    x[CHUNK:] = 2.0**30
    x[-1] = 0.1
    f = Field(PRIMES[0])
    y = f.embed(x)
    spots = [0, CHUNK - 1, CHUNK, 2 * CHUNK, 2 * CHUNK + 4]
    assert y[spots].tolist() == [residue(Fraction(float(x[n])), f.p) for n in spots]


def test_negative_zero_and_equal_values_of_different_dtypes() -> None:
    f = Field(PRIMES[0])
    assert torch.equal(f.embed(torch.tensor([-0.0])), f.embed(torch.tensor([0.0])))
    for dtype in FLOATS:
        assert torch.equal(
            f.embed(torch.tensor([0.5, -3.0, 96.0], dtype=dtype)),
            f.embed(torch.tensor([0.5, -3, 96])),
        )


def test_scalars_and_integers() -> None:
    for f in (Field(p) for p in PRIMES):
        for value in (
            0,
            1,
            -1,
            f.p,
            f.half,
            f.half + 1,
            -f.half - 1,
            2**80 + 1,
            0.1,
            -2.5,
            5e-324,
            1.7e308,
            True,
        ):
            assert f.scalar(value) == residue(Fraction(value), f.p)
        for n in (1, 2, 3, 7, 4096, 10**9 + 7):
            assert f.quotient(n) == residue(Fraction(1, n), f.p)
        wide = torch.tensor([2**62, -(2**62), f.p, -f.p, f.half + 1, 0])
        assert f.integer(wide).tolist() == [residue(n, f.p) for n in wide.tolist()]


@pytest.mark.parametrize("p", PRIMES)
def test_reduce_at_its_bounds(p: int) -> None:
    f = Field(p)
    bound = 2**50
    near = [
        k * p + d
        for k in (bound // p - 1, -(bound // p), 1, 0, 12345)
        for d in (0, 1, f.half, f.half + 1, p - 1)
    ]
    values = [*(n for n in near if abs(n) <= bound), bound, -bound, bound - 1]
    expected = [residue(n, p) for n in values]
    assert f.reduce(torch.tensor(values, dtype=torch.float64)).tolist() == expected
    many = (CHUNK // len(values) + 2) * values  # in slices
    assert (
        f.reduce(torch.tensor(many, dtype=torch.float64)).tolist()
        == (CHUNK // len(values) + 2) * expected
    )
    assert f.reduce(torch.tensor([values, values], dtype=torch.float64).t()).t().tolist() == [
        expected,
        expected,
    ]


@pytest.mark.parametrize("p", PRIMES[:2])
def test_ring_operations_at_the_ends(p: int) -> None:
    f = Field(p)
    ends = torch.tensor([-f.half, -f.half + 1, -1, 0, 1, f.half - 1, f.half], dtype=torch.float32)
    a, b = torch.meshgrid(ends, ends, indexing="ij")
    pairs = [(int(m), int(n)) for m, n in zip(a.reshape(-1), b.reshape(-1), strict=True)]
    assert f.add(a, b).reshape(-1).tolist() == [residue(m + n, p) for m, n in pairs]
    assert f.sub(a, b).reshape(-1).tolist() == [residue(m - n, p) for m, n in pairs]
    assert f.mul(a, b).reshape(-1).tolist() == [residue(m * n, p) for m, n in pairs]
    assert f.scale(ends, -f.half).tolist() == [residue(int(m) * -f.half, p) for m in ends]


@pytest.mark.parametrize("p", PRIMES)
def test_inverses(p: int) -> None:
    f = Field(p)
    a = torch.arange(1, f.half + 1, dtype=torch.float32)
    both = torch.cat([a, -a])
    assert (f.mul(both, f.inverse(both)) == 1).all()
    assert torch.isfinite(f.inverse(torch.zeros(1))).all()
    assert torch.equal(f.inverse(-a), -f.inverse(a))


@pytest.mark.parametrize("inner", [1, 100, TERMS, TERMS + 1, 2 * TERMS + 77])
def test_long_matrix_products(inner: int) -> None:
    f = Field(PRIMES[0])
    generator = torch.Generator().manual_seed(inner)
    a = torch.randint(-f.half, f.half + 1, (3, inner), generator=generator)
    b = torch.randint(-f.half, f.half + 1, (inner, 2), generator=generator)
    a[0], b[:, 0] = f.half, f.half  # the largest sum there is
    expected = [
        [
            residue(sum(m * n for m, n in zip(row, column, strict=True)), f.p)
            for column in b.t().tolist()
        ]
        for row in a.tolist()
    ]
    assert f.matmul(a.float(), b.float()).tolist() == expected
    assert f.matmul(a.float()[None], b.float()[None])[0].tolist() == expected


def test_wide_matrices_are_widened_in_slices() -> None:
    f = Field(PRIMES[0])
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(-f.half, f.half + 1, (2, 600), generator=generator).float()
    b = torch.randint(-f.half, f.half + 1, (600, 4000), generator=generator).float()
    expected = f.reduce(a.double() @ b.double())
    assert torch.equal(f.matmul(a, b), expected)
    assert torch.equal(f.matmul(a, b.t().contiguous().t()), expected)


def test_sums_are_exact_however_long() -> None:
    f = Field(PRIMES[0])
    x = torch.full((2, 100_000), float(f.half))
    x[1] = -f.half
    assert f.sum(x, (1,)).tolist() == [
        residue(100_000 * f.half, f.p),
        residue(-100_000 * f.half, f.p),
    ]


@pytest.mark.parametrize("p", (FIRST, *PRIMES))
@pytest.mark.parametrize("terms", [1, 2, HANDFUL - 1, HANDFUL, HANDFUL + 1])
def test_sums_of_a_handful(p: int, terms: int) -> None:
    """In float32 up to ``HANDFUL`` of the largest numbers, and odd ones among them."""
    f = Field(p)
    x = torch.full((terms, 3), float(f.half))
    x[:, 1], x[::2, 2] = -f.half, f.half - 1
    wanted = [residue(int(column.double().sum()), p) for column in x.t()]
    assert f.sum(x, (0,)).tolist() == wanted
    assert f.sum(x, (0,), True).shape == (1, 3)


@pytest.mark.parametrize("p", (FIRST, *PRIMES))
def test_wrap_in_float32_at_its_bounds(p: int) -> None:
    """Next to every multiple of ``p`` and every half-way point up to ``HANDFUL (p + 1) / 2``."""
    f, most = Field(p), HANDFUL * (p + 1) // 2
    near = [k * p + d + s for k in range(-9, 10) for d in (0, f.half) for s in range(-3, 4)]
    values = [v for v in (*near, most, -most) if abs(v) <= most]
    x = torch.tensor(values, dtype=torch.float32)
    assert x.tolist() == values
    assert f.wrap(x).tolist() == [residue(v, p) for v in values]


@pytest.mark.parametrize("count", [0, 5, 1 << 14, (1 << 14) + 1, 3 * CHUNK + 7])
@pytest.mark.parametrize("step", [1, 2])
def test_zeros_are_counted(count: int, step: int) -> None:
    """Of -0.0 and 0.0 alike, chunk by chunk, whatever the strides."""
    x = torch.ones(step * count)[::step]
    x[::3], x[1::7] = 0.0, -0.0
    assert Field(FIRST).counted_zeros(x) == sum(v == 0 for v in x.tolist())


def test_memory_to_work_in() -> None:
    """Two halves that share nothing; the same place as long as nothing larger was asked for."""
    f = Field(FIRST)
    one, other = f.work(5, torch.float64)
    one.fill_(1.0)
    other.fill_(2.0)
    assert one.tolist() == [1.0] * 5
    assert f.room((5,), torch.float64, "first").data_ptr() == one.data_ptr()
    large = f.room((100, 2), torch.float32, "first").fill_(7.0)
    again = f.room((5,), torch.float64, "first")
    assert again.data_ptr() == large.data_ptr() != one.data_ptr()
    assert one.tolist() == [1.0] * 5


# -- pseudo-random functions ----------------------------------------------------------------------------


def test_functions_are_functions_of_prime_key_and_seed() -> None:
    x = torch.arange(-50, 50, dtype=torch.float32)
    f = Field(PRIMES[0], seed=1)
    y = f.function(x, 7)
    assert torch.equal(y, f.function(x, 7))
    for other in (
        Field(PRIMES[1], seed=1).function(x, 7),
        Field(PRIMES[0], seed=2).function(x, 7),
        f.function(x, 8),
    ):
        assert not torch.equal(y, other)
    assert torch.equal(f.function(-x, 7, parity=1), -f.function(x, 7, parity=1))
    assert torch.equal(f.function(-x, 7, parity=-1), f.function(x, 7, parity=-1))
    assert f.function(torch.tensor([0.0, -0.0]), 7, zero=True).tolist() == [0, 0]


def test_functions_spread_over_the_residues() -> None:
    f = Field(PRIMES[0])
    y = f.function(torch.arange(1, 200_001, dtype=torch.float32), 3)
    assert y.abs().max() <= f.half
    assert not (y == 0).any()
    counts = torch.histc(y, 16, -f.half, f.half)
    assert (counts - 12_500).abs().max() < 6 * math.sqrt(12_500)
    # A random function of n values into p meets itself about n^2 / 2p times.
    met = y.numel() - y.unique().numel()
    assert abs(met - 200_000**2 / 2 / f.p) < 0.1 * 200_000**2 / 2 / f.p + 200


def test_symbols_are_never_zero() -> None:
    f = Field(PRIMES[0])
    s = f.symbols((400, 1000), torch.Generator().manual_seed(0))
    assert not (s == 0).any()
    assert s.abs().max() <= f.half
    assert (s > 0).float().mean().sub(0.5).abs() < 0.01


def test_keys_are_the_same_in_every_process() -> None:
    assert stable_key("theta", 1) == 6046951387328201089
    assert stable_key("a", "b") != stable_key("ab")
    assert stable_key(1) != stable_key("1")
    assert 0 <= stable_key("x") < 2**63


# -- constants ------------------------------------------------------------------------------------------


def test_constants_keep_infinities_and_masks() -> None:
    f = Field(PRIMES[0])
    y, infinite = embed_constant(f, torch.tensor([1.0, -math.inf, math.inf, -1e9, -9998.5]))
    assert infinite
    assert y.tolist() == [1, -math.inf, math.inf, -math.inf, residue(Fraction(-9998.5), f.p)]
    assert embed_constant(f, torch.tensor([1.0])) == (torch.tensor([1.0]), False)
