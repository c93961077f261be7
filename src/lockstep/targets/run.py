"""From the options of a command to an audit, or to the check of one: what ``cli.py`` calls."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch.nn.parameter import is_lazy

from lockstep.errors import LockstepError, UndecidedError, UsageError
from lockstep.symbolic.subject import refuse_empty
from lockstep.targets import Target, examples, inputs, load, memory, training, trial
from lockstep.targets.blame import describe
from lockstep.types import Audit, Update

Progress = Callable[[str, int, "int | None"], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """The options as they were given."""

    target: str
    inputs: tuple[str, ...] = ()
    update: Update | None = None
    optimizer: str | None = None
    settings: Mapping[str, float | None] = field(default_factory=dict)
    loss: str | None = None
    data: str = "any"
    seed: int = 0
    train: bool | None = None
    trust: bool = False
    rounding: bool = False


def audit(request: Request, progress: Progress, say: Say) -> tuple[Target, Audit]:
    """Load the target, find its inputs, run it once, then audit it."""
    options: dict[str, Any] = {"data": request.data, "seed": request.seed}
    options |= {"progress": progress, "update": request.update, **_optimizer(request)}
    if request.rounding and (request.loss is None or request.optimizer is None):
        raise UsageError(
            "--rounding trains copies of the model: say how, as in --rounding --loss mse --optimizer adam --lr 0.001"
        )
    target, example, output = prepared(request, progress, say)
    options |= {**_loss(request, output), "rounding": request.rounding}
    from lockstep.pipeline import audit as engine

    result = _guarded(lambda: engine(_in_mode(target.model, request.train), example, **options))
    return target, dataclasses.replace(result, model=request.target)


def check(claim: Audit, request: Request, progress: Progress, say: Say) -> Any:
    """Load the target as it was audited and verify the claim; ``CertificateError`` if it fails."""
    train = claim.assumptions.mode == "train" if request.train is None else request.train
    request = dataclasses.replace(request, train=train)
    options = _optimizer(request)
    target, example, output = prepared(request, progress, say, claim)
    options |= _loss(request, output)
    from lockstep.certificate.check import check as checker

    progress("checking the certificate", 0, None)
    return _guarded(lambda: checker(claim, _in_mode(target.model, train), example, **options))


def _optimizer(request: Request) -> dict[str, Any]:
    """``optimizer=`` as the options name it, if they do."""
    if request.optimizer is not None:
        return {"optimizer": training.optimizer(request.optimizer, **request.settings)}
    given = [name for name, value in request.settings.items() if value is not None]
    if given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise UsageError(f"{names} given without --optimizer: say which one, as in --optimizer sgd")
    return {}


def _loss(request: Request, output: Any) -> dict[str, Any]:
    """``loss=`` and ``targets=`` that fit the model's ``output``, if the options name a loss."""
    if request.loss is None:
        return {}
    loss, targets = training.loss(request.loss, output)
    return {"loss": loss, "targets": targets}


def prepared(
    request: Request, progress: Progress, say: Say, claim: Audit | None = None
) -> tuple[Target, Any, Any]:
    """The target, its example inputs and what it answers to them; inputs as a ``claim`` had them, if one is given."""
    target = load(request.target, trust=request.trust, seed=request.seed)
    if request.train is not None:
        target.model.train(request.train)
    parameters = dict(target.model.named_parameters())
    memory.require(sum(p.numel() for p in parameters.values() if not is_lazy(p)), request.target)
    refuse_empty(parameters)
    progress("running the model once", 0, None)
    if claim is not None and not request.inputs:
        example, note = _as_audited(target, claim)
    else:
        example, note = examples.choose(target, request.inputs)
    say(note)
    return target, example, trial.run(target.model, example)


def _in_mode(model: Any, train: bool | None) -> Any:
    """Keras takes the mode with each call: its models do not remember one."""
    if train is None or not hasattr(model, "stateless_call"):
        return model
    from lockstep.integrations.keras import keras_subject

    return keras_subject(model, training=train)


def _as_audited(target: Target, claim: Audit) -> tuple[Any, str]:
    """The inputs that the audit had: what it would choose itself, else the shapes in the claim."""
    recorded = _recorded(claim)
    try:
        example, note = examples.choose(target, [])
    except UsageError:
        if not recorded:
            raise
        return examples.choose(target, recorded)
    args, kwargs = trial.arguments(example)
    tensors = [item for item in (*args, *kwargs.values()) if hasattr(item, "dtype")]
    chosen = [(str(item.dtype), tuple(item.shape)) for item in tensors]
    wanted = [(f"torch.{dtype}", shape) for _, dtype, shape in claim.inputs]
    return (
        (example, note) if chosen == wanted or not recorded else examples.choose(target, recorded)
    )


def _recorded(claim: Audit) -> tuple[str, ...]:
    """The inputs of a certificate as ``--input`` options; none if they had a form of their own."""
    if any(dtype not in inputs.DTYPES for _, dtype, _ in claim.inputs):
        return ()
    positional = all(name.rstrip("0123456789") == "input" for name, _, _ in claim.inputs)
    return tuple(
        ("" if positional else f"{name}=") + f"{','.join(map(str, shape))}:{dtype}"
        for name, dtype, shape in claim.inputs
    )


def _guarded(action: Callable[[], Any]) -> Any:
    """The model has run by now: what fails from here on is the engine's, and no verdict."""
    try:
        return action()
    except LockstepError:
        raise
    except MemoryError as error:
        raise UndecidedError(
            "memory ran out during the audit; use smaller inputs, or a larger machine"
        ) from error
    except Exception as error:
        if os.environ.get("LOCKSTEP_DEBUG"):
            raise
        raise UndecidedError(
            f"the engine failed on a model that runs. This is a defect of Lockstep, not a verdict; "
            f"please report it with the model.\n  {describe(error)}\n"
            "LOCKSTEP_DEBUG=1 shows the whole traceback."
        ) from error
