"""``--optimizer adam --lr 0.1`` and ``--loss mse``: by name, with targets that fit the output."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from lockstep.errors import UsageError
from lockstep.suggest import closest_first
from lockstep.targets.inputs import SEED

OPTIMIZERS: dict[str, Any] = {
    name.lower(): value
    for name, value in vars(torch.optim).items()
    if inspect.isclass(value)
    and issubclass(value, torch.optim.Optimizer)
    and value is not torch.optim.Optimizer
}
LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "mse": functional.mse_loss,
    "cross_entropy": functional.cross_entropy,
    "nll": functional.nll_loss,
    "bce": functional.binary_cross_entropy,
    "bce_with_logits": functional.binary_cross_entropy_with_logits,
    "huber": functional.huber_loss,
    "smooth_l1": functional.smooth_l1_loss,
    "l1": functional.l1_loss,
}
CLASSES = ("cross_entropy", "nll")  # their targets are class numbers


def optimizer(name: str, **settings: float | None) -> Callable[..., torch.optim.Optimizer]:
    """A function of parameters, as ``audit(optimizer=...)`` takes it.

    ``settings`` that are None were not given; those that the optimizer does not have are refused.
    """
    made = OPTIMIZERS.get(name.lower())
    if made is None:
        raise UsageError(
            f"--optimizer {name!r}: no such optimizer; known are "
            f"{closest_first(name.lower(), OPTIMIZERS, 20)}"
        )
    given = {setting: value for setting, value in settings.items() if value is not None}
    known = inspect.signature(made).parameters
    wrong = [setting for setting in given if setting not in known]
    if wrong:
        options = ", ".join("--" + setting.replace("_", "-") for setting in wrong)
        raise UsageError(
            f"--optimizer {name}: it has no {options}; it takes "
            f"{', '.join(setting for setting in list(known)[1:])}"
        )
    if "lr" in known and known["lr"].default is inspect.Parameter.empty:
        given.setdefault("lr", 0.01)
    return functools.partial(made, **given)


def pair(text: str) -> tuple[Any, Any]:
    """``(x, y)`` that ``FILE.py:NAME`` holds or returns: what ``--data`` takes."""
    from lockstep.targets import FORMS, python
    from lockstep.targets.blame import describe

    value = python.value(text, FORMS)
    try:
        value = value() if callable(value) else value
    except Exception as error:
        raise UsageError(
            f"--data {text}: it was called without arguments and raised\n  {describe(error)}\n"
            "Write a function without arguments that returns (x, y), or name a pair (x, y)"
        ) from error
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise UsageError(f"--data {text}: expected a pair (x, y), got {type(value).__name__}")
    return value[0], value[1]


def loss(name: str, output: Any) -> tuple[Callable[..., torch.Tensor], torch.Tensor]:
    """A loss by name, and a target of the shape and dtype that it wants for ``output``."""
    function = LOSSES.get(name.lower())
    if function is None:
        raise UsageError(
            f"--loss {name!r}: no such loss; known are {closest_first(name, LOSSES, 20)}"
        )
    value = main_tensor(output)
    generator = torch.Generator().manual_seed(SEED)
    if name.lower() not in CLASSES:
        return _of_main(function, output), torch.rand(value.shape, generator=generator).to(value)
    # Hugging Face models put the classes last, torch.nn's losses want them second.
    last = hasattr(output, "keys") and value.ndim > 2
    shape = value.shape[:-1] if last else value.shape[:1] + value.shape[2:]
    classes = value.shape[-1] if last or value.ndim == 1 else value.shape[1]
    target = torch.randint(classes, shape, generator=generator)
    if not last:
        return _of_main(function, output), target

    @functools.wraps(function)
    def flattened(output: Any, target: torch.Tensor) -> torch.Tensor:
        return function(main_tensor(output).flatten(0, -2), target.flatten())

    return flattened, target


def _of_main(function: Callable[..., torch.Tensor], output: Any) -> Callable[..., torch.Tensor]:
    if torch.is_tensor(output):
        return function

    @functools.wraps(function)
    def of_main(output: Any, target: torch.Tensor) -> torch.Tensor:
        return function(main_tensor(output), target)

    return of_main


def main_tensor(output: Any) -> torch.Tensor:
    """The tensor a loss looks at: the output itself, its logits, or the first tensor in it."""
    if torch.is_tensor(output):
        return output
    if getattr(output, "logits", None) is not None:
        return main_tensor(output.logits)
    values = output.values() if hasattr(output, "values") else output
    for value in values if hasattr(values, "__iter__") else ():
        if torch.is_tensor(value) and value.dtype.is_floating_point:
            return value
    raise UsageError(
        f"--loss needs a tensor, and the model returns {type(output).__name__} without one; "
        "leave --loss out: then any loss of the outputs is meant"
    )
