"""Keras models on the torch backend: forecast in float32, as Keras computes, against training of a displaced pair."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lockstep import forecast, rounding
from lockstep.symbolic.subject import subject_of

pytestmark = [
    pytest.mark.extras,
    # Keras saves and loads itself when it is copied.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
MAKE = partial(torch.optim.SGD, lr=0.03, momentum=0.8)


def tied(**options: Any) -> Any:
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(3)
    inner = keras.layers.Dense(5, activation="tanh", name="h", **options)
    net = keras.Sequential([keras.layers.Input((3,)), inner, keras.layers.Dense(2, name="o")])
    weights = subject_of(net).parameters
    with torch.no_grad():
        weights["h/kernel"][:, 1] = weights["h/kernel"][:, 0]
        weights["o/kernel"][1] = weights["o/kernel"][0]
    return net


def test_growth_of_a_displaced_pair() -> None:
    net, x, y, steps, eps = tied(), torch.randn(12, 3), torch.randn(12, 2), 20, 2e-3
    given = {"loss": F.mse_loss, "optimizer": MAKE, "steps": steps}
    direction = forecast(net, x, y, **given).groups[0].direction
    found = forecast(net, x, y, **given, start=direction)
    ends = []
    for sign in (1, -1):
        twin = copy.deepcopy(net)
        weights = subject_of(twin).parameters
        with torch.no_grad():
            for name, part in direction.items():
                weights[name].add_(part.float(), alpha=sign * eps)
        optimizer = MAKE(list(weights.values()))
        for _ in range(steps):
            optimizer.zero_grad()
            F.mse_loss(twin(x, training=True), y).backward()
            optimizer.step()
        ends.append(torch.cat([p.detach().double().reshape(-1) for p in weights.values()]))
    seen = float((ends[0] - ends[1]).norm()) / 2 / eps
    assert seen > 1.1
    assert math.exp(found.groups[0].log_growth[-1]) == pytest.approx(seen, rel=2e-3)
    assert any("does not compute in float64" in text for text in found.assumptions)


def test_a_regularizer_is_not_followed() -> None:
    net, x, y = tied(kernel_regularizer="l2"), torch.randn(12, 3), torch.randn(12, 2)
    one = forecast(net, x, y, loss=F.mse_loss, optimizer=MAKE, steps=3).groups[0]
    assert one.verdict == "unknown" and "have a regularizer or a constraint" in one.because


def test_rounding_says_that_keras_knows_one_precision() -> None:
    x, y = torch.randn(12, 3), torch.randn(12, 2)
    seen = rounding(tied(), x, y, loss=F.mse_loss, optimizer=MAKE, steps=3)
    assert [escape.leak.dtype for escape in seen.escapes] == ["float32"]
    assert "float64: not measured: UndecidedError: operations of Keras return to float32" in str(
        seen
    )
