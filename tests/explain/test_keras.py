"""explain, compare and draw on a Keras model; tie and train say what to do instead."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lockstep.errors import UsageError
from lockstep.explain import compare, draw, explain, tie, train

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.extras
X, Y = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0]])


def network(outgoing: tuple[float, float] = (0.5, 1.0), *middle: Any) -> Any:
    """F9: 2-2-1 sigmoid, w1..w4 = .5 -.25 .5 -.25 (a kernel is (inputs, units)), biases 0."""
    dense = keras.layers.Dense
    layers = [keras.Input((2,)), dense(2, "sigmoid"), *middle, dense(1, "sigmoid")]
    model = keras.Sequential(layers)
    kernel = np.array([[0.5, 0.5], [-0.25, -0.25]])
    model.set_weights([kernel, np.zeros(2), np.array([[outgoing[0]], [outgoing[1]]]), np.zeros(1)])
    return model


def half(a: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return ((a - y) ** 2).mean() / 2


F9 = {"w1": -0.0087381694, "w2": -0.0174763388, "w3": -0.0174763388, "w4": -0.0349526777}


@pytest.mark.parametrize("weight, gradient", F9.items())
def test_f9_in_keras(weight: str, gradient: float) -> None:
    model = network()
    before = [v.value.detach().clone() for v in model.weights]
    found = explain(model, X, Y, half, weight)
    assert found.gradient == pytest.approx(gradient, rel=1e-5)  # Keras computes in float32
    assert [f.formula for f in found.factors][2:] == [
        "w5" if weight in ("w1", "w2") else "w6",
        "a1 (1 - a1)" if weight in ("w1", "w2") else "a2 (1 - a2)",
        "x1" if weight in ("w1", "w3") else "x2",
    ]
    assert all(torch.equal(a, v.value) for a, v in zip(before, model.weights, strict=True))


@pytest.mark.parametrize("loss", ["mean_squared_error", "MeanSquaredError"])
def test_keras_losses_take_the_target_first(loss: str) -> None:
    given = getattr(keras.losses, loss)
    found = explain(network(), X, Y, given() if isinstance(given, type) else given, "w1")
    assert found.gradient == pytest.approx(2 * F9["w1"], rel=1e-5)


VERDICTS = [
    ((0.5, 1.0), "w3", "dJ/dw1 and dJ/dw3 differ because w5 = 0.5 and w6 = 1 differ."),
    ((0.5, 1.0), "w2", "dJ/dw1 and dJ/dw2 differ because x1 and x2 differ."),
    ((0.5, 0.5), "w3", ("dJ/dw1 and dJ/dw3 are equal: every factor is equal. And the audit certifies that they "
     "stay equal: on any data, under any loss and any elementwise optimizer.")),
]  # fmt: skip


@pytest.mark.parametrize("outgoing, other, verdict", VERDICTS)
def test_compare_on_keras(outgoing: tuple[float, float], other: str, verdict: str) -> None:
    assert compare(network(outgoing), X, Y, F.mse_loss, "w1", other).verdict == verdict


def test_draw_on_keras() -> None:
    assert "w5 = 0.5" in draw(network(), X, weight="w1").svg()


REFUSED = [
    (lambda: explain(network((1, 2), keras.layers.Dropout(0.5)), X.repeat(20, 1), Y.repeat(20, 1), half, "w1"),
     r"Dropout.*keras_subject\(model, training=False\)"),
    (lambda: tie(network(), "dense", [0, 1]), "last axis of a kernel.*set_weights"),
    (lambda: train(network(), X, Y, loss=half, optimizer=partial(torch.optim.SGD, lr=1.0), steps=1),
     r"Train a Keras model with its own fit\(\)"),
    (lambda: explain(network(), X, Y, half, "w99"), "there is no weight 'w99'"),
    (lambda: explain(network(), torch.ones(1, 5), Y, half, "w1"), r"refused x of shape \(1, 5\).*incompatible"),
]  # fmt: skip


@pytest.mark.parametrize("call, words", REFUSED)
def test_refusals_say_what_to_do(call: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call()


def test_a_keras_model_as_it_predicts() -> None:
    from lockstep.integrations.keras import keras_subject

    model = network((0.5, 1.0), keras.layers.Dropout(0.5))
    subject = keras_subject(model, training=False)
    weight = f"{model.layers[0].name}/kernel[0,0]"
    assert explain(subject, X, Y, half, weight).gradient == pytest.approx(F9["w1"], rel=1e-5)
