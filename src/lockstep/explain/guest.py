"""Runs the user's model as a guest: float64 copies go in through ``functional_call``.

A Keras model reads variables of its own, so there the copies go in through its
:class:`~lockstep.symbolic.subject.Subject`; names and order of arguments of a loss are then Keras'.

Weights, buffers, grads, mode and hooks of the model are never written; the random state is restored.
The whole computation is repeated in float64, so that a product of factors can be held against
autograd's gradient to a relative 1e-6 whatever the dtype of the model.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lockstep.errors import UsageError
from lockstep.explain.tape import Recorder, Tape, tensors_in
from lockstep.symbolic.subject import Subject, subject_of

Loss = Callable[..., torch.Tensor]
Model = nn.Module | Subject
REFUSALS = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
)  # what layers raise for an x that does not fit


@dataclass(eq=False)
class Run:
    """One forward pass: the copies of the parameters that were used, its tape, outputs and J."""

    parameters: dict[str, torch.Tensor]
    inputs: tuple[torch.Tensor, ...]
    tape: Tape
    output: Any
    target: Any
    J: torch.Tensor


@contextmanager
def as_guest() -> Iterator[None]:
    """Gradients on, float64 by default, no kernel that skips autograd; everything is put back after."""
    dtype, state, python = torch.get_default_dtype(), torch.get_rng_state(), random.getstate()
    numpy = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy is not None else None
    try:
        torch.set_default_dtype(torch.float64)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_rng_state(state)
        random.setstate(python)
        if numpy is not None and numpy_state is not None:
            numpy.random.set_state(numpy_state)


def admitted(model: Any, loss: Loss) -> tuple[Model, Loss]:
    """Keras models, and what their kind of loss is called with; anything else as it is."""
    if hasattr(model, "stateless_call"):
        model = subject_of(model)
    return model, model.criterion(loss) if isinstance(model, Subject) else loss


def run(model: Model, x: Any, y: Any, loss: Loss) -> Run:
    """One recorded forward pass and the loss; refuses what cannot be explained.

    Raises :class:`~lockstep.errors.UsageError` for randomness, NaN, integer weights, a loss that is not a
    scalar, inputs and targets that do not fit.
    """
    refuse_weights(model)
    x, y = checked(x, "x"), checked(y, "y")
    if not any(True for _ in tensors_in(x)):
        raise UsageError(
            f"x must be a tensor, or a tuple or dict that holds one, got {type(x).__name__} without any. "
            "Use torch.tensor(x)."
        )
    double = not isinstance(model, Subject)  # operations of Keras return to float32
    try:
        plain = forward(model, x, y, loss, double=double)
    except UsageError:
        raise
    except REFUSALS:  # a forward that insists on its own dtype, or an x that does not fit
        double = False
        try:
            plain = forward(model, x, y, loss, double=False)
        except UsageError:
            raise
        except REFUSALS as error:
            shapes = ", ".join(shape_of(t) for t in tensors_in(x))
            raise UsageError(
                f"the model refused x of shape {shapes}: {error}. x needs the shape that "
                f"{kind_of(model)} is called with, samples first."
            ) from error
    again = forward(model, x, y, loss, double=double)
    if not same(plain.output, again.output):
        raise UsageError(randomness(model))
    taped = forward(model, x, y, loss, literal=False, double=double)
    if not same(plain.output, taped.output):
        taped = forward(model, x, y, loss, literal=True, double=double)
    return taped


def forward(
    model: Model,
    x: Any,
    y: Any,
    loss: Loss,
    *,
    literal: bool | None = None,
    double: bool = True,
) -> Run:
    """Model and loss on fresh copies; recorded unless ``literal`` is None."""
    parameters = {n: copied(p, double).requires_grad_() for n, p in parameters_of(model).items()}
    buffers = {n: copied(b, double) for n, b in buffers_of(model).items()}
    x, y = copied(x, double), copied(y, double)
    tape = Tape(sources=list(tensors_in(x)))
    with nullcontext() if literal is None else Recorder(tape, literal=literal):
        output = called(model, {**parameters, **buffers}, x)
    return Run(parameters, tuple(tape.sources), tape, output, y, evaluate(loss, output, y))


def called(model: Model, tensors: Mapping[str, torch.Tensor], x: Any) -> Any:
    """The output on ``x`` with ``tensors`` in place of parameters and buffers."""
    if isinstance(model, Subject):
        with model.bind(tensors):
            return model.call(x)
    args, kwargs = arguments(x)
    return torch.func.functional_call(model, dict(tensors), args, kwargs)


def parameters_of(model: Model) -> dict[str, torch.Tensor]:
    """Name → parameter, tied ones once."""
    return dict(model.parameters if isinstance(model, Subject) else model.named_parameters())


def buffers_of(model: Model) -> dict[str, torch.Tensor]:
    """Name → buffer."""
    return dict(model.buffers if isinstance(model, Subject) else model.named_buffers())


def kind_of(model: Model) -> str:
    """The class of the user's model."""
    return type(model.model if isinstance(model, Subject) else model).__name__


def arguments(x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """``x`` as positional or keyword arguments: a dict is keywords, a tuple positions."""
    if isinstance(x, Mapping):
        return (), dict(x)
    return (tuple(x) if isinstance(x, (tuple, list)) else (x,)), {}


def evaluate(loss: Loss, output: Any, y: Any) -> torch.Tensor:
    """J as one number, or an error that says why it is not one."""
    if not callable(loss):
        raise UsageError(
            f"loss must be a function loss(output, y) that gives one number, got {loss!r} "
            f"({type(loss).__name__}). For example torch.nn.functional.mse_loss."
        )
    shapes = f"output {shape_of(output)}, y {shape_of(y)}"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Using a target size")
        try:
            J = loss(output) if y is None else loss(output, y)
        except (
            RuntimeError,
            ValueError,
            IndexError,
            TypeError,
            AttributeError,
            UserWarning,
        ) as error:
            raise UsageError(
                f"the loss refused the network's output and y: {shapes}. Give y the shape of the "
                f"output (for one output a sample: y.reshape(-1, 1)). The loss said: {error}"
            ) from error
    if getattr(J, "numel", lambda: 0)() != 1:  # a user's loss may return anything
        raise UsageError(
            f"the loss must be one number, but it has shape {shape_of(J)} ({shapes}). "
            "Use reduction='mean', or end the loss with .mean()."
        )
    if torch.is_grad_enabled() and not J.requires_grad:
        raise UsageError(
            "J does not depend on any weight that can be trained: the loss (or forward) detaches what it is given or "
            "computes under no_grad, or every parameter has requires_grad=False."
        )
    if not torch.isfinite(J).all():
        raise UsageError(
            f"J is {J.item()}: the loss of these inputs is not finite ({shapes}). Look at the scale of "
            "x, and at log(0) in the loss (binary_cross_entropy wants outputs between 0 and 1)."
        )
    return J.reshape(())


def copied(value: Any, double: bool) -> Any:
    """A copy of every tensor inside, floating ones in float64 if ``double``."""
    if isinstance(value, torch.Tensor):
        value = value.detach().clone()
        return value.double() if double and value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {key: copied(item, double) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(copied(item, double) for item in value)
    return value


def checked(value: Any, name: str) -> Any:
    """``value`` with arrays as tensors; refuses NaN, infinity, and what holds no samples."""
    if isinstance(value, Mapping):
        return {key: checked(item, f"{name}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(checked(item, f"{name}[{i}]") for i, item in enumerate(value))
    if type(value).__module__ == "numpy":
        value = torch.as_tensor(value)
    if isinstance(value, torch.Tensor) and value.dim() and not len(value):
        raise UsageError(f"{name} holds no samples: its shape is {tuple(value.shape)}.")
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        bad = int((~torch.isfinite(value)).sum())
        if bad:
            raise UsageError(
                f"{name} holds NaN or infinity in {bad} of {value.numel()} entries: every factor "
                "would be NaN. Remove or replace these entries."
            )
    return value


def refuse_weights(model: Model) -> None:
    """All unusable parameters in one error."""
    if not isinstance(model, nn.Module | Subject):
        raise UsageError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
    problems = []
    parameters = parameters_of(model)
    for name, p in parameters.items():
        if not p.is_floating_point():
            problems.append(
                f"  {name!r} has dtype {p.dtype}: only real floating weights have a gradient"
            )
        elif not torch.isfinite(p).all():
            problems.append(f"  {name!r} holds NaN or infinity")
    if not parameters:
        problems.append("  it has no parameters (integer or quantised weights are kept as buffers)")
    if problems:
        raise UsageError(
            "this model cannot be explained:\n" + "\n".join(problems) + "\n"
            "Explain the floating-point model (before quantisation) with finite weights."
        )


def randomness(model: Model) -> str:
    """Names who may have drawn: modules whose class says so and that are in train mode."""
    keras = isinstance(model, Subject)
    modules = model.modules if isinstance(model, Subject) else dict(model.named_modules())
    names = [
        f"{name!r} ({type(m).__name__})"
        for name, m in modules.items()
        if (keras or m.training) and ("Dropout" in type(m).__name__ or getattr(m, "dropout", 0.0))
    ]
    who = ", ".join(names) if names else "its forward"
    cure = (
        "Pass lockstep.integrations.keras.keras_subject(model, training=False) as the model"
        if keras
        else "Call model.eval() first"
    )
    return (
        f"two passes over the same x gave different outputs: {who} draws random numbers, so there is no "
        f"one gradient to explain. {cure}, or take the noise out of forward."
    )


def same(a: Any, b: Any) -> bool:
    """True when two outputs agree in structure and, up to rounding, in value."""
    left, right = list(tensors_in(a)), list(tensors_in(b))
    return len(left) == len(right) and all(
        p.shape == q.shape and torch.allclose(p.double(), q.double(), rtol=1e-9, atol=1e-12)
        for p, q in zip(left, right, strict=True)
    )


def shape_of(value: Any) -> str:
    """The shape, or the type of what is not a tensor."""
    return str(tuple(value.shape)) if isinstance(value, torch.Tensor) else type(value).__name__
