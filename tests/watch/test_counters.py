"""The published counters against their definitions in NumPy, and what the weights alone say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lockstep.watch import activity, weights


def random(samples: int, units: int, seed: int) -> np.ndarray:
    """Activations of ReLU units, some silent, some copies of others."""
    draw = np.random.default_rng(seed)
    h = np.maximum(draw.normal(size=(samples, units)), 0)
    h[:, draw.random(units) < 0.2] = 0
    source = draw.integers(0, units, units)
    copied = draw.random(units) < 0.3
    h[:, copied] = h[:, source[copied]] * draw.uniform(0.5, 2, copied.sum())
    return h


sizes = st.tuples(st.integers(2, 40), st.integers(2, 30), st.integers(0, 10**6))


@given(sizes)
def test_counters_are_those_of_the_papers(size) -> None:
    h = random(*size)
    t = torch.tensor(h)
    mean = np.abs(h).mean(0)
    scores = mean / mean.mean() if mean.mean() else np.zeros_like(mean)
    assert np.allclose(activity.dormancy_scores(t), scores)
    assert (activity.dormant(t, 0.1).numpy() == (scores <= 0.1)).all()
    assert (activity.dead(t).numpy() == ((np.abs(h) < 1e-7).mean(0) > 0.95)).all()
    norm = np.linalg.norm(h, axis=0)
    cosine = (h.T @ h) / np.maximum(np.outer(norm, norm), 1e-300)
    later = [any(cosine[i, j] > 0.95 for j in range(i + 1, len(norm))) for i in range(len(norm))]
    assert activity.duplicates(t).tolist() == later
    singular = np.linalg.svd(h, compute_uv=False)
    p = singular[singular > 1e-8 * max(singular[0], 1e-300)] / max(singular.sum(), 1e-300)
    rank = np.exp(-(p * np.log(p)).sum()) if singular[0] > 0 else 0.0
    assert activity.effective_rank(t) == pytest.approx(rank, rel=1e-5)


@given(sizes)
def test_saturation(size) -> None:
    h = random(*size)
    gradient = np.random.default_rng(size[2]).normal(size=h.shape)
    gradient[:, ::2] *= 1e-7
    want = (np.abs(gradient) / np.maximum(np.abs(h).mean(0), 1e-12) < 1e-4).mean(0) > 0.99
    found = activity.saturated(torch.tensor(h), torch.tensor(gradient))
    assert (found.numpy() == want).all()


@given(sizes)
def test_cloning_r2(size) -> None:
    samples, units, seed = size
    h = random(samples, 2 * units, seed)
    blocks = [(i, i + units) for i in range(units)]
    mean = np.stack([h[:, list(b)].mean(1) for b in blocks for _ in b])
    kept = np.stack([h[:, u] for b in blocks for u in b])
    if kept.var() > 0:
        want = 1 - (kept - mean).var() / kept.var()
        assert activity.cloning_r2(torch.tensor(h), blocks) == pytest.approx(want, abs=1e-12)
    widest = max(np.abs(h[:, a] - h[:, b]).max() for a, b in blocks)
    assert activity.spread(torch.tensor(h), blocks) == pytest.approx(widest)


def test_units_in_no_block_do_not_count_for_r2() -> None:
    h = torch.tensor([[1.0, 1.0, 7.0], [2.0, 2.0, -9.0]])
    assert activity.cloning_r2(h, [(0, 1), (2,)]) == 1.0


DTYPES = {"f": torch.float32, "d": torch.float64, "h": torch.float16, "b": torch.bfloat16}


@given(st.integers(2, 25), st.integers(1, 70), st.integers(0, 10**6), st.sampled_from("fdhb"))
def test_distinct_units_are_the_distinct_rows(
    units: int, entries: int, seed: int, kind: str
) -> None:
    draw = np.random.default_rng(seed)
    w = draw.integers(-1, 2, (units, entries)).astype("float64")
    w[draw.integers(0, units)] *= -0.0 if seed % 2 else 1.0
    dtype = DTYPES[kind]
    labels = weights.same(torch.tensor(w).to(dtype))
    want = [next(j for j in range(units) if (w[j] == w[i]).all()) for i in range(units)]
    assert labels == want


def test_a_single_bit_tells_units_apart() -> None:
    w = torch.ones(3, 1000)
    w[1, 777] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    assert weights.same(w) == [0, 1, 0]


@given(st.integers(2, 20), st.integers(1, 12), st.integers(0, 10**6))
def test_pairs(units: int, entries: int, seed: int) -> None:
    w = np.random.default_rng(seed).normal(size=(units, entries))
    w[units // 2] = w[0] + 1e-5
    found = weights.near(torch.tensor(w), tolerance=1e-2)
    scale = np.sqrt((w**2).sum(1).mean())
    pairs = list(itertools.combinations(range(units), 2))
    gaps = {(i, j): np.linalg.norm(w[i] - w[j]) / scale for i, j in pairs}
    assert found.nearest == pytest.approx(min(gaps.values()), rel=1e-6)
    assert gaps[found.pair] == pytest.approx(min(gaps.values()), rel=1e-4)
    unit = w / np.linalg.norm(w, axis=1, keepdims=True)
    cosines = [unit[i] @ unit[j] for i, j in pairs]
    assert found.cosine == pytest.approx(np.mean(cosines), abs=1e-9)
    assert found.abs_cosine == pytest.approx(np.mean(np.abs(cosines)), abs=1e-6)
    group = list(range(units))
    for i, j in pairs:  # single linkage by hand
        if gaps[i, j] <= 1e-2:
            group = [group[i] if g == group[j] else g for g in group]
    assert found.within == len(set(group))


def test_a_chain_of_near_units_is_one_cluster() -> None:
    w = torch.arange(9.0)[[3, 7, 1, 8, 0, 5, 2, 6, 4], None] * 1e-3 + 1
    assert weights.near(w, 2e-3).within == 1
    assert weights.near(w, 5e-4).within == 9
