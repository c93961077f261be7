"""Norms by sums, against their formulas in whole numbers: each step reduced, nothing saved up."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lockstep.field.arithmetic import FIRST, PRIMES, TERMS, Field
from lockstep.field.rules.norms import NormGradient, standardised, statistics
from lockstep.field.rules.powers import inverse_root
from lockstep.field.running import running

SHAPES = [(2, 3, 1), (4, 3, 25), (16, 2, TERMS // 16), (8, 2, TERMS // 8 + 1), (2, 1, 40 * TERMS)]


@pytest.fixture(autouse=True)
def in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Run:
        power, infinite, choosing = 1, False, False

    monkeypatch.setattr("lockstep.field.running.running", [*running, Run()])


def reduced(x: Tensor, p: int) -> Tensor:
    half = (p - 1) // 2
    return torch.remainder(x + half, p) - half


def drawn(f: Field, shape: tuple[int, ...], extreme: bool, seed: int) -> Tensor:
    if extreme:
        return torch.full(shape, float(f.half if seed % 2 else -f.half))
    return f.symbols(shape, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("p", [FIRST, PRIMES[0]])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("gain", [False, True])
def test_gradients(p: int, shape: tuple[int, int, int], extreme: bool, gain: bool) -> None:
    """``gain rstd (g - mean(g) - x^ mean(g x^))``, over samples and positions of each channel."""
    f, dims = Field(p), (0, 2)
    one = (1, shape[1], 1)
    grad, x = (drawn(f, shape, extreme, n) for n in (1, 2))
    centre, rstd, weight = (drawn(f, one, extreme, n) for n in (3, 4, 5))
    made = NormGradient(f, grad, x, centre, rstd, dims)
    total, along = made.total, made.along
    of_input = made.of_input(weight if gain else None)

    g, xs, m, r, w = (t.long() for t in (grad, x, centre, rstd, weight))
    share = f.quotient(shape[0] * shape[2])
    normal = reduced((xs - m) * r, p)
    summed = reduced(g.sum(dims, keepdim=True), p)
    weighed = reduced(reduced(g * normal, p).sum(dims, keepdim=True), p)
    rest = g - reduced(summed * share, p) - reduced(normal * reduced(weighed * share, p), p)
    wanted = reduced(reduced(rest, p) * r, p)
    wanted = reduced(wanted * w, p) if gain else wanted
    for ours, theirs in ((total, summed), (along, weighed), (of_input, wanted)):
        assert torch.equal(ours, theirs.to(torch.float32))


@pytest.mark.parametrize("p", [FIRST, PRIMES[0]])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("extreme", [False, True])
def test_statistics(p: int, shape: tuple[int, int, int], extreme: bool) -> None:
    """The mean, the root of the variance, and what they make of the entries."""
    f, dims = Field(p), (0, 2)
    x = drawn(f, shape, extreme, 6)
    mean, rstd = statistics(f, x, dims, 2.0**-10)

    xs, share = x.long(), f.quotient(shape[0] * shape[2])
    centre = reduced(reduced(xs.sum(dims, keepdim=True), p) * share, p)
    squares = reduced(reduced(xs * xs, p).sum(dims, keepdim=True), p)
    spread = reduced(reduced(squares * share, p) - centre * centre + f.scalar(2.0**-10), p)
    assert torch.equal(mean, centre.to(torch.float32))
    assert torch.equal(rstd, inverse_root(f, spread.to(torch.float32)))
    normal = standardised(f, x, mean, rstd).long()
    assert torch.equal(normal, reduced(reduced(xs - centre, p) * rstd.long(), p))
