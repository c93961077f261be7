"""Predicted over measured separation step, on random tied nets: median within 3 %, nine of ten within 10 %."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from lockstep import forecast

from .nets import ACTIVATIONS, OPTIMIZERS, difference, measured, problem, tied_net

NAMES = ("SGD", "momentum", "Adam", "AdamW", "RMSprop")
SIZE = 1e-7


def ratios(cases: list[tuple[str, str, int]], steps: int) -> list[float]:
    """Of the cases in which the difference grows by a third within ``steps``: predicted over measured step."""
    out = []
    for act, name, seed in cases:
        net, (x, y), start = (
            tied_net(ACTIVATIONS[act], seed),
            problem(seed),
            difference(tied_net(ACTIVATIONS[act], seed), seed),
        )
        make = OPTIMIZERS[name]
        seen = measured(net, lambda _, x=x, y=y: (x, y), make, steps, start, SIZE)
        threshold = max(seen) * 0.95
        if threshold < 1.3 * SIZE:
            continue
        step = next(t for t, size in enumerate(seen, 1) if size >= threshold)
        one = forecast(net, x, y, loss=F.mse_loss, optimizer=make, steps=steps, start=start).groups[
            0
        ]
        predicted = one.separates_at(SIZE, threshold)
        assert predicted is not None
        out.append(predicted / step)
    return out


def judge(found: list[float], least: int) -> None:
    assert len(found) >= least
    off = (torch.tensor(found) - 1).abs()
    assert float(off.median()) <= 0.03
    assert float((off <= 0.1).double().mean()) >= 0.9


SOME = [("tanh", "Adam", 3), ("relu", "momentum", 3), ("sigmoid", "Adam", 2)]


def test_some_nets() -> None:
    judge(ratios(SOME, 80), 3)


@pytest.mark.slow
def test_many_nets() -> None:
    """Fifty runs; two minutes of one core by itself."""
    judge(
        ratios(
            [(a, o, seed) for a, o in itertools.product(ACTIVATIONS, NAMES) for seed in (1, 2)], 300
        ),
        25,
    )
