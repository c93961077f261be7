"""Keras 3 models on the torch backend, from Python and as ``.keras`` files.

The references train the real model in float64 with Keras' own layers and PyTorch's gradients.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import lockstep
from lockstep.cli import app
from lockstep.errors import ControlFlowError, MissingRuleError, NonFiniteError, UsageError
from lockstep.types import Audit

keras = pytest.importorskip("keras")  # conftest.py has chosen its torch backend
layers = keras.layers

pytestmark = [
    pytest.mark.extras,
    # Keras, whenever it turns one of its variables into an array.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
]

CONSTANT = keras.initializers.Constant(0.1)


@pytest.fixture(autouse=True)
def same_start() -> None:
    keras.utils.set_random_seed(0)
    keras.backend.clear_session()  # names count from one in every test


def chain(shape: tuple[int, ...], *inner: Any) -> Any:
    return keras.Sequential([keras.Input(shape), *inner])


def data(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape)


def ids(*shape: int, high: int) -> torch.Tensor:
    return (torch.arange(torch.Size(shape).numel()) % high).reshape(shape)


def widths(audit: Audit) -> dict[str, tuple[int, int]]:
    return {name: (layer.effective_width, layer.width) for name, layer in audit.layers.items()}


def codes(audit: Audit) -> set[str]:
    return {finding.code for finding in audit.findings}


def frozen(audit: Audit) -> dict[str, int]:
    return {entry.parameter: entry.count for entry in audit.frozen}


def set_entries(variable: Any, change: Any) -> None:
    value = variable.numpy().copy()
    change(value)
    variable.assign(value)


# -- what is healthy ----------------------------------------------------------------------------------


class Residual(keras.Model):  # type: ignore[misc]
    """A subclassed model: a list of layers, a weight of its own, two arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [layers.Dense(3, activation="gelu") for _ in range(2)]
        self.gain = self.add_weight(shape=(3,))
        self.head = layers.Dense(2)

    def call(self, x: Any, shift: Any) -> Any:
        x = x + shift
        for block in self.blocks:
            x = x + block(x)
        return self.head(x * self.gain)


class Linear(layers.Layer):  # type: ignore[misc]
    """A user's own layer, as every tutorial writes it."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = units

    def build(self, shape: tuple[int, ...]) -> None:
        self.w = self.add_weight(shape=(shape[-1], self.units))
        self.b = self.add_weight(shape=(self.units,), initializer="zeros")

    def call(self, x: Any) -> Any:
        return keras.ops.tanh(keras.ops.matmul(x, self.w) + self.b)


def functional() -> Any:
    a, b = keras.Input((4,)), keras.Input((3,))
    joined = layers.Concatenate()([layers.Dense(5)(a), layers.Dense(5)(b)])
    return keras.Model([a, b], layers.Dense(2)(joined))


HEALTHY = {
    "sequential": (
        lambda: chain((4,), layers.Dense(6, activation="tanh"), layers.Dense(2)),
        lambda: data(4, 4),
        {"dense": 6, "dense_1": 2},
    ),
    "functional, two inputs": (
        functional,
        lambda: [data(4, 4), data(4, 3)],
        {"dense": 5, "dense_1": 5, "dense_2": 2},
    ),
    "custom layer": (
        lambda: chain((4,), Linear(5), layers.Dense(2)),
        lambda: data(4, 4),
        {"linear": 5, "dense": 2},
    ),
    "nested": (
        lambda: chain((4,), chain((4,), layers.Dense(3), layers.ReLU()), layers.Dense(2)),
        lambda: data(4, 4),
        {"sequential/dense": 3, "dense_1": 2},
    ),
    "convolutions": (
        lambda: chain(
            (8, 8, 3),
            layers.SeparableConv2D(4, 3),
            layers.DepthwiseConv2D(3, depth_multiplier=2),
            layers.Conv2DTranspose(5, 3),
            layers.GroupNormalization(1),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ),
        lambda: data(4, 8, 8, 3),
        {
            "separable_conv2d": 4,
            "separable_conv2d/depthwise_kernel": 3,
            "depthwise_conv2d": 8,
            "conv2d_transpose": 5,
            "group_normalization": 5,
            "dense": 2,
        },
    ),
    "channels first": (
        lambda: chain(
            (3, 8, 8),
            layers.Conv2D(4, 3, data_format="channels_first", use_bias=False),
            layers.BatchNormalization(axis=1),
            layers.Flatten(),
            layers.Dense(2),
        ),
        lambda: data(4, 3, 8, 8),
        {"conv2d": 4, "batch_normalization": 4, "dense": 2},
    ),
    "recurrent": (
        lambda: chain(
            (5, 3),
            layers.LSTM(4, return_sequences=True),
            layers.Bidirectional(layers.GRU(3, return_sequences=True)),
            layers.RNN([layers.SimpleRNNCell(3), layers.LSTMCell(2)]),
            layers.Dense(2),
        ),
        lambda: data(4, 5, 3),
        {
            "lstm": 4,
            "bidirectional/forward_gru": 3,
            "bidirectional/backward_gru": 3,
            "rnn/stacked_rnn_cells/simple_rnn_cell": 3,
            "rnn/stacked_rnn_cells/lstm_cell": 2,
            "dense": 2,
        },
    ),
    "embedding": (
        lambda: chain((6,), layers.Embedding(8, 4), layers.LayerNormalization(), layers.GRU(3)),
        lambda: ids(4, 6, high=8),
        {"embedding": 4, "layer_normalization": 4, "gru": 3},
    ),
    "mixed precision": (
        lambda: chain((4,), layers.Dense(5, dtype="mixed_bfloat16"), layers.Dense(2)),
        lambda: data(4, 4),
        {"dense": 5, "dense_1": 2},
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_random_models_are_clean(name: str) -> None:
    make, inputs, expected = HEALTHY[name]
    audit = lockstep.audit(make(), inputs())
    assert audit.ok, audit
    assert widths(audit) == {layer: (width, width) for layer, width in expected.items()}


def test_a_subclassed_model_takes_its_arguments_one_by_one_or_by_name() -> None:
    model = Residual()
    model(data(2, 3), data(2, 3))
    audit = lockstep.audit(model, (data(4, 3), data(4, 3)))
    assert audit.ok
    assert set(audit.layers) == {"gain", "dense", "dense_1", "dense_2"}
    assert lockstep.audit(model, {"x": data(4, 3), "shift": data(4, 3)}).layers == audit.layers


def test_inputs_by_name_and_as_arrays() -> None:
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    joined = layers.Concatenate()([layers.Dense(5)(a), layers.Dense(5)(b)])
    model = keras.Model({"a": a, "b": b}, layers.Dense(2)(joined))
    audit = lockstep.audit(model, {"a": np.zeros((4, 4)), "b": np.zeros((4, 3))})
    assert audit.ok
    assert [name for name, _, _ in audit.inputs] == ["a", "b"]


# -- what is locked or frozen -----------------------------------------------------------------------------


def learners_network(outgoing: bool) -> Any:
    """2-2-1 with sigmoids; both units' incoming weights are equal, and the outgoing ones if asked."""
    model = chain(
        (2,), layers.Dense(2, activation="sigmoid"), layers.Dense(1, activation="sigmoid")
    )
    hidden, out = (layer.kernel for layer in model.layers)
    set_entries(hidden, lambda w: w.__setitem__((slice(None), 1), w[:, 0]))
    if outgoing:
        set_entries(out, lambda w: w.__setitem__(1, w[0]))
    return model


def test_the_tied_network_is_locked() -> None:
    audit = lockstep.audit(learners_network(outgoing=True), data(4, 2))
    assert [str(group) for group in audit.locked] == ["twin in dense: {0, 1}"]
    assert "LS001" in codes(audit)


def test_incoming_ties_alone_separate_through_the_outgoing_kernel() -> None:
    model = learners_network(outgoing=False)
    audit = lockstep.audit(model, data(4, 2))
    assert audit.ok
    (finding,) = [finding for finding in audit.findings if finding.code == "LS006"]
    w5, w6 = model.layers[1].kernel.numpy()[:, 0]
    assert f"dense_1/kernel[0,0] = {w5:.6g}, dense_1/kernel[1,0] = {w6:.6g}" in finding.message
    assert "(w5, w6)" in finding.message
    reason = audit.reason("dense", 0, 1)
    assert (reason.verdict, reason.step) == ("separates", 1)


def test_unequal_incoming_weights_are_named_along_the_units() -> None:
    model = chain((3,), layers.Dense(2, activation="tanh"), layers.Dense(1))
    audit = lockstep.audit(model, data(4, 3))
    assert "dense/kernel[0,0] = " in audit.reason("dense", 0, 1).because
    assert "dense/kernel[0,1] = " in audit.reason("dense", 0, 1).because
    assert audit.reason("dense", 0, 1).because.endswith("(w1, w4)")


def convolution() -> Any:
    return chain(
        (6, 6, 2), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU(),
        layers.Flatten(), layers.Dense(2),
    )  # fmt: skip


def test_a_bias_before_batch_normalisation_is_frozen_while_training_only() -> None:
    from lockstep.integrations.keras import keras_subject

    model = convolution()
    audit = lockstep.audit(model, data(4, 6, 6, 2))
    assert frozen(audit) == {"conv2d/bias": 4}
    assert audit.assumptions.mode == "train"
    assert any("training=True" in note for note in audit.assumptions.notes)
    predicting = lockstep.audit(keras_subject(model, training=False), data(4, 6, 6, 2))
    assert predicting.ok
    assert predicting.assumptions.mode == "eval"


def test_the_mode_that_fit_leaves_behind_does_not_matter() -> None:
    model = convolution()
    model.eval()  # the last thing that fit() does
    assert frozen(lockstep.audit(model, data(4, 6, 6, 2))) == {"conv2d/bias": 4}


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_constant_recurrent_layers_have_one_unit(kind: str) -> None:
    same = {"kernel_initializer": CONSTANT, "recurrent_initializer": CONSTANT}
    inner = getattr(layers, kind)(4, name="memory", **same)
    audit = lockstep.audit(
        chain((5, 3), inner, layers.Dense(2, kernel_initializer=CONSTANT)), data(4, 5, 3)
    )
    assert audit.layers["memory"].classes == ((0, 1, 2, 3),)
    assert audit.layers["dense"].effective_width == 2
    healthy_head = chain((5, 3), getattr(layers, kind)(4, name="memory", **same), layers.Dense(2))
    assert lockstep.audit(healthy_head, data(4, 5, 3)).layers["memory"].effective_width == 4


def attention(**settings: Any) -> Any:
    x = keras.Input((5, 8))
    y = layers.MultiHeadAttention(2, 3, name="attention", **settings)(x, x)
    return keras.Model(x, layers.Dense(3)(layers.LayerNormalization()(layers.Add()([x, y]))))


@pytest.mark.parametrize("dropout", [0.0, 0.2], ids=["plain", "dropout"])
def test_attention_key_biases_are_frozen(dropout: float) -> None:
    audit = lockstep.audit(attention(dropout=dropout), data(4, 5, 8))
    assert frozen(audit) == {"attention/key/bias": 6}
    names = ["query", "key", "value"]
    expected = {f"attention/{name}": (6, 6) for name in names} | {"attention[heads]": (2, 2)}
    assert expected.items() <= widths(audit).items()
    assert not any("softmax" in name for name in audit.layers)


def test_equal_heads_are_locked() -> None:
    model = attention(kernel_initializer="glorot_uniform")
    inner = model.get_layer("attention")
    for name in ("query", "key", "value"):
        kernel = getattr(inner, f"_{name}_dense").kernel
        set_entries(kernel, lambda w: w.__setitem__((slice(None), 1), w[:, 0]))
    set_entries(inner._output_dense.kernel, lambda w: w.__setitem__(1, w[0]))
    audit = lockstep.audit(model, data(4, 5, 8))
    assert audit.layers["attention[heads]"].classes == ((0, 1),)
    assert "LS003" in codes(audit)
    assert audit.layers["attention/value"].classes == ((0, 3), (1, 4), (2, 5))


def test_grouped_queries() -> None:
    x = keras.Input((5, 8))
    inner = layers.GroupQueryAttention(3, 4, 2, name="attention")
    audit = lockstep.audit(keras.Model(x, layers.Dense(2)(inner(x, x))), data(4, 5, 8))
    assert frozen(audit) == {"attention/key/bias": 6}
    assert audit.layers["attention/query"].width == 12
    assert audit.layers["attention[heads]"].effective_width == 4


def test_equal_embedding_dimensions() -> None:
    model = chain(
        (6,),
        layers.Embedding(8, 4, name="tokens"),
        layers.GlobalAveragePooling1D(),
        layers.Dense(2),
    )
    set_entries(
        model.get_layer("tokens").embeddings, lambda e: e.__setitem__((slice(None), 3), e[:, 1])
    )
    set_entries(model.layers[-1].kernel, lambda w: w.__setitem__(3, w[1]))
    audit = lockstep.audit(model, ids(4, 6, high=7))
    assert audit.layers["tokens"].classes == ((0,), (1, 3), (2,))
    assert any(f.code == "LS009" and f.where == "tokens/embeddings" for f in audit.findings)


def test_rows_that_a_mask_hides_are_not_exercised() -> None:
    model = chain((6,), layers.Embedding(8, 4, mask_zero=True), layers.LSTM(3), layers.Dense(2))
    audit = lockstep.audit(model, ids(4, 6, high=8))
    assert audit.ok
    (finding,) = [finding for finding in audit.findings if finding.code == "LS009"]
    assert "4 of 32 entries of embedding/embeddings" in finding.message


def test_untrainable_layers_do_not_move() -> None:
    model = learners_network(outgoing=False)
    model.layers[1].trainable = False
    audit = lockstep.audit(model, data(4, 2))
    assert audit.reason("dense", 0, 1).verdict == "separates"
    model.layers[0].trainable = False
    audit = lockstep.audit(model, data(4, 2))
    assert audit.reason("dense", 0, 1).verdict == "locked"
    assert not audit.frozen


def test_lora_starts_half_still_and_is_not_frozen() -> None:
    model = chain((4,), layers.Dense(5, name="adapted"), layers.Dense(2))
    model.get_layer("adapted").enable_lora(2)
    audit = lockstep.audit(model, data(4, 4))
    assert audit.ok, audit
    assert audit.layers["adapted/lora_kernel_a"].width == 2


# -- shared initialisers, tied layers, noise ----------------------------------------------------------------


def branches(join: Any) -> Any:
    """keras-team/keras-hub#352: one unseeded initializer instance draws the same numbers twice."""
    same = keras.initializers.GlorotUniform()
    x = keras.Input((4,))
    left, right = (
        layers.Dense(5, activation="tanh", kernel_initializer=same, name=name)(x)
        for name in ("left", "right")
    )
    return keras.Model(x, layers.Dense(2)(join([left, right])))


def test_added_branches_of_one_initializer_are_twins_for_ever() -> None:
    audit = lockstep.audit(branches(layers.Add()), data(4, 4))
    assert [group.where for group in audit.locked] == [("left", "right")]
    assert "LS003" in codes(audit)


def test_concatenated_branches_of_one_initializer_separate() -> None:
    audit = lockstep.audit(branches(layers.Concatenate()), data(4, 4))
    assert audit.ok
    assert codes(audit) & {"LS006", "LS007"}


def test_a_layer_used_twice_is_one_layer() -> None:
    shared = layers.Dense(4, name="shared")
    x = keras.Input((4,))
    audit = lockstep.audit(keras.Model(x, layers.Dense(2)(shared(shared(x)))), data(4, 4))
    assert set(audit.layers) == {"shared", "dense"}
    assert not audit.locked
    assert not codes(audit) & {"LS003", "LS007"}


def dropped(rate: float, seed: int | None) -> Any:
    same = {"kernel_initializer": CONSTANT, "bias_initializer": CONSTANT, "activation": "tanh"}
    inner = [
        layer
        for _ in range(2)
        for layer in (layers.Dense(6, **same), layers.Dropout(rate, seed=seed))
    ]
    return chain((4,), *inner, layers.Dense(2, kernel_initializer=CONSTANT))


@pytest.mark.parametrize("seed", [None, 3], ids=["unseeded", "seeded"])
def test_dropout_saves_constant_layers(seed: int | None) -> None:
    from lockstep.integrations.keras import keras_subject

    model = dropped(0.2, seed)
    audit = lockstep.audit(model, data(4, 4))
    assert audit.ok
    assert {f.where for f in audit.findings if f.code == "LS008"} == {"dense", "dense_1"}
    assert audit.assumptions.noise == ("dropout", "dropout_1")
    still = lockstep.audit(keras_subject(model, training=False), data(4, 4))
    assert widths(still) == {"dense": (1, 6), "dense_1": (1, 6), "dense_2": (2, 2)}


@pytest.mark.parametrize(
    "noise",
    [
        lambda: layers.GaussianNoise(0.1),
        lambda: layers.GaussianDropout(0.1, seed=1),
        lambda: layers.AlphaDropout(0.1, seed=2),
        lambda: layers.SpatialDropout1D(0.2, seed=3),
    ],
    ids=["gaussian noise", "gaussian dropout", "alpha dropout", "spatial dropout"],
)
def test_other_noise(noise: Any) -> None:
    model = chain(
        (3, 4), layers.Dense(5, kernel_initializer=CONSTANT, activation="tanh"), noise(),
        layers.Dense(2, kernel_initializer=CONSTANT),
    )  # fmt: skip
    audit = lockstep.audit(model, data(4, 3, 4))
    assert audit.ok
    assert {f.where for f in audit.findings if f.code == "LS008"} == {"dense"}


def test_losses_that_layers_add_count() -> None:
    class Penalised(layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.only_here = layers.Dense(2, name="critic")

        def call(self, x: Any) -> Any:
            self.add_loss(keras.ops.mean(keras.ops.square(self.only_here(x))))
            return x

    model = chain((4,), Penalised(), layers.ActivityRegularization(l2=0.1), layers.Dense(2))
    audit = lockstep.audit(model, data(4, 4))
    assert audit.ok, audit
    assert "penalised/critic" in audit.layers


def test_a_torch_module_inside() -> None:
    from torch import nn

    inner = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.LSTM(5, 3))
    x = layers.TorchModuleWrapper(nn.Sequential(inner[0], inner[1], inner[2]), name="inside")
    model = chain((4,), x, layers.Dense(2))
    model(data(4, 4))
    before = inner[1].running_mean.clone()
    audit = lockstep.audit(model, data(4, 4))
    assert frozen(audit) == {"inside/0.bias": 5}
    assert set(audit.layers) == {"inside/0", "inside/1", "dense"}
    assert torch.equal(inner[1].running_mean, before)


# -- against float64 ------------------------------------------------------------------------------------------


def trained(model: Any, x: torch.Tensor, steps: int) -> dict[str, np.ndarray]:
    """Weights after steps of gradient descent on a random loss, by PyTorch, on the real model."""
    variables = model.trainable_variables
    assert {v.value.dtype for v in variables} == {torch.float64}
    factor = torch.randn(model(x, training=True).shape, dtype=torch.float64)
    moved: dict[str, np.ndarray] = {}
    for _ in range(steps):
        out = model(x, training=True)
        loss = (factor * out + 0.3 * out.square()).sum()
        grads = torch.autograd.grad(loss, [v.value for v in variables])
        with torch.no_grad():
            for variable, grad in zip(variables, grads, strict=True):
                variable.value.sub_(0.05 * grad)
                size = np.abs(grad.numpy())
                moved[variable.path] = np.maximum(moved.get(variable.path, 0.0), size)
    return moved


@pytest.fixture
def doubles() -> Any:
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize(
    ("make", "shape", "still"),
    [
        (convolution, (4, 6, 6, 2), {"conv2d/bias"}),
        (attention, (4, 5, 8), {"attention/key/bias"}),
    ],
    ids=["convolution", "attention"],
)
def test_frozen_entries_get_no_gradient_in_float64(make: Any, shape: Any, still: set[str]) -> None:
    model = make()
    audit = lockstep.audit(model, torch.zeros(*shape, dtype=torch.float64))
    assert set(frozen(audit)) == still
    largest = trained(model, torch.randn(*shape, dtype=torch.float64), steps=3)
    top = max(size.max() for size in largest.values())
    for path, size in largest.items():
        # Keras takes the statistics of its normalisations in float32, whatever the policy.
        assert (size.max() < 1e-6 * top) == any(path.endswith(name) for name in still), path


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("join", ["Add", "Concatenate"])
def test_branches_agree_with_float64(join: str) -> None:
    model = branches(getattr(layers, join)())
    x = torch.randn(4, 4, dtype=torch.float64)
    locked = bool(lockstep.audit(model, x).locked)
    trained(model, x, steps=3)
    left, right = (model.get_layer(name).kernel.numpy() for name in ("left", "right"))
    assert locked == (np.abs(left - right).max() < 1e-12)


@pytest.mark.usefixtures("doubles")
def test_recurrent_units_agree_with_float64() -> None:
    same = {"kernel_initializer": CONSTANT, "recurrent_initializer": CONSTANT}
    for head in (CONSTANT, "glorot_uniform"):
        model = chain((5, 3), layers.LSTM(4, **same), layers.Dense(2, kernel_initializer=head))
        x = torch.randn(4, 5, 3, dtype=torch.float64)
        locked = lockstep.audit(model, x).layers[model.layers[0].name].effective_width == 1
        trained(model, x, steps=3)
        gates = model.layers[0].cell.kernel.numpy().reshape(3, 4, 4)
        assert locked == (np.ptp(gates, axis=2).max() < 1e-12)


# -- guest manners ----------------------------------------------------------------------------------------------


def state(model: Any) -> list[Any]:
    """All that an audit might leave traces in, of every layer and of the random generators."""
    inside = model._flatten_layers()
    return [
        [(v.path, v.numpy().tobytes()) for v in model.variables],
        [v.numpy().tobytes() for v in model.optimizer.variables],
        [[(key, id(value)) for key, value in vars(layer).items()] for layer in inside],
        [sorted(map(str, layer._loss_ids)) for layer in inside],
        [v.value.requires_grad for v in model.variables],
        [v.value.grad is None for v in model.trainable_variables],
        [len(layer._forward_hooks) for layer in inside],
        keras.config.is_traceback_filtering_enabled(),
        torch.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
    ]


def compiled() -> Any:
    model = chain(
        (5, 3),
        layers.LSTM(4, dropout=0.1, recurrent_dropout=0.1, stateful=False, return_sequences=True),
        layers.BatchNormalization(),
        layers.Dropout(0.2, seed=3),
        layers.ActivityRegularization(l2=0.1),
        layers.Dense(2),
    )
    model.compile("adam", "mse")
    model.fit(np.ones((4, 5, 3)), np.ones((4, 5, 2)), verbose=0)
    return model


def test_the_model_is_left_as_it_was() -> None:
    model = compiled()
    before = state(model)
    lockstep.audit(model, data(4, 5, 3))
    assert state(model) == before
    assert np.isfinite(model.predict(np.ones((4, 5, 3)), verbose=0)).all()


def test_also_after_an_error() -> None:
    model = compiled()
    before = state(model)
    with pytest.raises(UsageError, match="shape"):
        lockstep.audit(model, data(4, 5, 7))
    with pytest.raises(ZeroDivisionError, match="by zero"):
        lockstep.audit(model, data(4, 5, 3), progress=lambda *_: 1 / 0)
    assert state(model) == before


def test_keras_own_seeds_do_not_move() -> None:
    class Jitter(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x + keras.random.normal(x.shape)  # draws from Keras' global generator

    model = chain((4,), layers.Dense(3), Jitter(), layers.Dense(2))
    keras.utils.set_random_seed(7)
    expected = keras.random.normal((3,)).tolist()
    keras.utils.set_random_seed(7)
    assert lockstep.audit(model, data(4, 4)).assumptions.noise == ("jitter",)
    assert keras.random.normal((3,)).tolist() == expected


# -- optimizers ---------------------------------------------------------------------------------------------------


def test_a_torch_optimizer_on_the_variables() -> None:
    model = learners_network(outgoing=True)
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.1)
    audit = lockstep.audit(model, data(4, 2), optimizer=optimizer)
    assert audit.assumptions.optimizer == "Adam"
    assert audit.assumptions.update == "any"
    assert audit.layers["dense"].effective_width == 1


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "SparseCategoricalCrossentropy",
        ),
        (keras.losses.sparse_categorical_crossentropy, "sparse_categorical_crossentropy"),
        (torch.nn.functional.cross_entropy, "cross_entropy"),
    ],
)
def test_losses_of_keras_take_the_target_first(loss: Any, name: str) -> None:
    model = chain(
        (4,), layers.Dense(3, "tanh"), layers.Dense(3, "softmax", kernel_initializer=CONSTANT)
    )
    audit = lockstep.audit(model, data(4, 4), loss=loss, targets=ids(4, high=3))
    assert audit.assumptions.loss == name
    assert widths(audit) == {"dense": (3, 3), "dense_1": (3, 3)}


# -- refusals -------------------------------------------------------------------------------------------------------


def test_a_model_that_is_not_built() -> None:
    model = keras.Sequential([layers.Dense(3), layers.Dense(2)])
    with pytest.raises(UsageError, match="not built") as caught:
        lockstep.audit(model, data(4, 4))
    assert "model(inputs)" in str(caught.value)
    assert "keras.Input" in str(caught.value)
    assert not model.built


def test_a_layer_that_is_not_built() -> None:
    """The shape that comes out of a PyTorch module is unknown to Keras before the first call."""
    from torch import nn

    model = chain((4,), layers.TorchModuleWrapper(nn.Linear(4, 3)), layers.Dense(2, name="late"))
    before = vars(model.get_layer("late")).copy()
    with pytest.raises(UsageError, match=r"'late'.*no weights yet") as caught:
        lockstep.audit(model, data(4, 4))
    assert "call the model once" in str(caught.value)
    assert vars(model.get_layer("late")) == before
    assert model.get_layer("late").weights == []
    model(data(2, 4))
    assert lockstep.audit(model, data(4, 4)).ok


def test_weights_that_are_no_numbers() -> None:
    model = chain((4,), layers.Dense(3))
    set_entries(model.layers[0].bias, lambda b: b.__setitem__(0, np.nan))
    with pytest.raises(NonFiniteError, match="dense/bias"):
        lockstep.audit(model, data(4, 4))


def test_the_class_instead_of_the_model() -> None:
    with pytest.raises(UsageError, match="pass the model object itself"):
        lockstep.audit(keras.Sequential, data(4, 4))


def test_a_branch_on_a_value_names_the_users_line() -> None:
    class Branching(keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x if keras.ops.sum(x) > 0 else -x

    model = Branching()
    model(data(2, 4))
    with pytest.raises(ControlFlowError, match=r"test_keras\.py.*keras\.ops\.sum\(x\) > 0"):
        lockstep.audit(model, data(4, 4))


def test_an_op_without_a_rule_names_the_layer() -> None:
    class Factor(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return keras.ops.qr(x)[0]

    model = chain((4,), layers.Dense(4), Factor())
    with pytest.raises(MissingRuleError, match=r"linalg_qr.*'factor'"):
        lockstep.audit(model, data(4, 4))


def run_python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_another_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere:
        """What the models of other backends have in common: they are no ``nn.Module``."""

        name = "elsewhere"

        def stateless_call(self) -> None:
            raise NotImplementedError("never called")

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UsageError, match="'elsewhere': Keras runs on the jax backend") as caught:
        lockstep.audit(Elsewhere(), data(4, 4))
    assert "KERAS_BACKEND=torch before keras is imported" in str(caught.value)


# -- files ----------------------------------------------------------------------------------------------------------


def test_a_file_has_the_verdict_of_its_model(tmp_path: Path) -> None:
    model = convolution()
    model.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    one, two = (lockstep.audit(net, data(4, 6, 6, 2)) for net in (model, again))
    assert one.layers == two.layers
    assert one.frozen == two.frozen
    assert one.digest == two.digest


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 1, ["conv2d/bias", "LS004", "train mode", "training=True"]),
        (["--eval"], 0, ["eval mode", "training=False"]),
        (["--input", "4,6,6,2"], 1, ["conv2d/bias"]),
        (["--input", "4,5,6,2"], 2, []),
    ],
)
def test_the_command(tmp_path: Path, arguments: list[str], code: int, words: list[str]) -> None:
    convolution().save(tmp_path / "net.keras")
    done = CliRunner().invoke(app, ["audit", str(tmp_path / "net.keras"), *arguments])
    assert done.exit_code == code, done.output
    assert [word for word in words if word not in done.output] == []


def test_a_certificate_of_a_file_is_checked(tmp_path: Path) -> None:
    file, paper = str(tmp_path / "net.keras"), str(tmp_path / "net.json")
    learners_network(outgoing=True).save(file)
    runner = CliRunner()
    assert runner.invoke(app, ["audit", file, "-o", paper]).exit_code == 1
    assert runner.invoke(app, ["check", paper, file]).exit_code == 0
    learners_network(outgoing=False).save(file)
    assert runner.invoke(app, ["check", paper, file]).exit_code == 1


def test_a_file_needs_no_environment_variable(tmp_path: Path) -> None:
    chain((4,), layers.Dense(3), layers.Dense(2)).save(tmp_path / "net.keras")
    code = f"from lockstep.targets import load; print(load({str(tmp_path / 'net.keras')!r}).model.name)"
    assert run_python(code, KERAS_BACKEND="jax").startswith("sequential")
