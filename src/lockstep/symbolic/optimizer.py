"""What an optimizer says about the update: its grade, its groups, its state.

``update="any"`` is an arbitrary elementwise function ``H(g, theta)``; ``"additive"`` is ``s * theta + H(g)``:
SGD with momentum and decay, Adam without decay, AdamW, Lion. Coupled decay inside a nonlinear update (Adam,
Adagrad, RMSprop, ... with ``weight_decay > 0``) is not additive: balanced locks do not survive it (FACTS F3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import UsageError
from ..types import Update

ALWAYS_ADDITIVE = ("SGD", "AdamW", "Lion", "ASGD", "Rprop")
ADDITIVE_WITHOUT_DECAY = (
    "Adam",
    "Adagrad",
    "RMSprop",
    "Adadelta",
    "Adamax",
    "NAdam",
    "RAdam",
    "SparseAdam",
)
NOT_ELEMENTWISE = ("LBFGS", "Muon", "Adafactor", "Shampoo", "SOAP")
EVEN_STATE = (
    "exp_avg_sq",
    "max_exp_avg_sq",
    "square_avg",
    "sum",
    "acc_delta",
    "exp_inf",
    "prev_step_size",
    "step_size",
)


@dataclass(frozen=True)
class Plan:
    """How the parameters move.

    ``keys`` gives each moving parameter the name of its function H (one a group and scalar state);
    ``odd`` and ``even`` the state tensors that belong to its entries.
    """

    update: Update
    name: str
    keys: Mapping[str, str]
    odd: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    even: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def has_state(self, name: str) -> bool:
        return bool(self.odd.get(name) or self.even.get(name))


def plan_of(
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] | None,
    update: Update | None,
) -> Plan:
    """The plan of an optimizer instance, of a factory such as ``partial(SGD, lr=0.1)``, or of none."""
    if update not in (None, "any", "additive"):
        raise UsageError(f"update={update!r}: expected 'any' or 'additive'")
    trainable = {n: p for n, p in parameters.items() if p.requires_grad and p.is_floating_point()}
    if optimizer is None:
        return Plan(
            update or "any",
            "any additive elementwise optimizer"
            if update == "additive"
            else "any elementwise optimizer",
            dict.fromkeys(trainable, "group 0"),
        )
    if not isinstance(optimizer, torch.optim.Optimizer):
        optimizer = _build(optimizer, trainable)
    by_id = {id(p): n for n, p in parameters.items()}
    keys: dict[str, str] = {}
    odd: dict[str, tuple[Tensor, ...]] = {}
    even: dict[str, tuple[Tensor, ...]] = {}
    strangers = 0
    for index, group in enumerate(optimizer.param_groups):
        for p in group["params"]:
            name = by_id.get(id(p))
            if name is None:
                strangers += 1
            elif name in trainable:
                scalars, odd[name], even[name] = _state(optimizer.state.get(p, {}), p)
                keys[name] = f"group {index} {scalars}"
    if strangers and not keys:
        raise UsageError(
            f"none of the {strangers} parameters of the given {type(optimizer).__name__} belongs to the model: "
            "build it from model.parameters(), or pass a function such as functools.partial(torch.optim.SGD, lr=0.1)"
        )
    grade, notes = _grade(optimizer)
    if update == "additive" and grade == "any":
        raise UsageError(
            f"update='additive' does not fit the given {type(optimizer).__name__}: its update is not of the form "
            "s * theta + H(g) (weight decay inside a nonlinear update, or an optimizer unknown to Lockstep). Leave "
            "update out, or set weight_decay=0"
        )
    return Plan(update or grade, type(optimizer).__name__, keys, odd, even, notes)


def _build(factory: Any, trainable: Mapping[str, Tensor]) -> torch.optim.Optimizer:
    if not callable(factory):
        raise UsageError(
            f"optimizer={factory!r}: expected a torch.optim.Optimizer or a function of parameters, such as "
            "functools.partial(torch.optim.SGD, lr=0.1)"
        )
    try:
        made = factory(list(trainable.values()))
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UsageError(
            f"the optimizer could not be made from the {len(trainable)} trainable parameters: "
            f"{type(error).__name__}: {error}. Change its settings, or give an instance"
        ) from error
    if not isinstance(made, torch.optim.Optimizer):
        raise UsageError(
            f"optimizer(parameters) returned {type(made).__name__}, not a torch.optim.Optimizer"
        )
    return made


def _state(
    state: Mapping[str, Any], p: Tensor
) -> tuple[str, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """(scalar state as text, odd tensors, even tensors) of one parameter."""
    scalars: list[tuple[str, float]] = []
    odd: list[Tensor] = []
    even: list[Tensor] = []
    for key in sorted(state):
        value = state[key]
        if isinstance(value, Tensor) and value.shape == p.shape and value.dim():
            (even if key in EVEN_STATE else odd).append(value.detach())
        elif (isinstance(value, Tensor) and value.numel() == 1) or isinstance(value, (int, float)):
            scalars.append((key, float(value)))
    return str(scalars) if scalars else "", tuple(odd), tuple(even)


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() > 0
    return isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value)


def _grade(optimizer: torch.optim.Optimizer) -> tuple[Update, tuple[str, ...]]:
    name = type(optimizer).__name__
    decays = any(group.get("weight_decay") for group in optimizer.param_groups)
    decoupled = all(group.get("decoupled_weight_decay") for group in optimizer.param_groups)
    if name in NOT_ELEMENTWISE:
        return "any", (
            f"{name} is not elementwise; twins and mirrors survive it because it commutes with permuting units",
        )
    if name in ALWAYS_ADDITIVE or (name in ADDITIVE_WITHOUT_DECAY and (not decays or decoupled)):
        if name == "Rprop" and decays:
            return "any", ()
        return "additive", ()
    if name in ADDITIVE_WITHOUT_DECAY:
        return "any", (
            f"{name} couples weight decay into its update: balanced locks do not survive it",
        )
    return "any", (
        f"{name} is not known to Lockstep: assumed elementwise and odd in (gradient, weight)",
    )
