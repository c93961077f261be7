"""The update of all parameters at once: state, step, and the Jacobian of the step entry by entry.

An elementwise optimizer moves each entry by its own gradient, value and state, so all entries that share
settings are stepped as one flat tensor, and the Jacobian is a small matrix for each entry. Whether the optimizer
*is* elementwise is tried out: it must move the flat tensor as it moves the shaped ones.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import UndecidedError, UsageError
from ..symbolic.optimizer import EVEN_STATE
from ..transverse.classes import Layout, Partition, Space, averaged
from .stepper import State, Stepper, tensors_of

Optimizer = torch.optim.Optimizer | Callable[..., torch.optim.Optimizer]

WHOLE_TENSORS = {
    "Muon": "it makes the momentum of a whole matrix orthogonal",
    "LBFGS": "it follows the curvature along all parameters, and needs a closure",
}
"""Known not to be elementwise; of others it is tried out."""


@dataclass
class Bucket:
    """Entries (flat indices) with one optimizer group and one scalar state, stepped together."""

    index: Tensor
    names: tuple[str, ...]
    stepper: Stepper
    state: State = field(default_factory=dict)


@dataclass(frozen=True)
class Jacobian:
    """Of one bucket: ``blocks[out][in]`` (m,) with keys ``"theta"``, ``"g"`` and those of the state."""

    bucket: Bucket
    blocks: dict[str, dict[str, Tensor]]


Delta = list[dict[str, Tensor]]
"""For each bucket: ``"theta"`` and state key → (k, m) displacements."""


class Update:
    """The optimizer on flat float64 copies; the user's own instance is only read."""

    def __init__(
        self,
        optimizer: Optimizer,
        parameters: Mapping[str, Tensor],
        originals: Mapping[str, Tensor],
        layout: Layout,
    ) -> None:
        """``parameters`` are the copies that train, ``originals`` the tensors an instance was made on."""
        made, by_id = _made(optimizer, parameters, originals)
        self.name = type(made).__name__
        self.buckets: list[Bucket] = []
        self._hooked = bool(made._optimizer_step_pre_hooks or made._optimizer_step_post_hooks)
        starts = layout.starts
        groups: dict[tuple[int, str], list[str]] = {}
        states: dict[str, State] = {}
        for number, group in enumerate(made.param_groups):
            for p in group["params"]:
                name = by_id.get(id(p))
                if name is None or name not in layout.shapes:
                    continue
                states[name] = _own_state(made.state.get(p, {}), parameters[name].dtype)
                kept = tensors_of(states[name], p.shape)
                scalars = sorted(
                    (key, float(value))
                    for key, value in states[name].items()
                    if key not in kept and isinstance(value, (Tensor, int, float))
                )
                groups.setdefault((number, repr(scalars)), []).append(name)
        for (number, _), names in groups.items():
            index = torch.cat(
                [torch.arange(starts[n], starts[n] + layout.shapes[n].numel()) for n in names]
            )
            self.buckets.append(
                Bucket(
                    index,
                    tuple(names),
                    Stepper(made, made.param_groups[number]),
                    _joined(states, names, layout),
                )
            )

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of the parameters that the optimizer moves."""
        return tuple(name for bucket in self.buckets for name in bucket.names)

    def average(self, tied: Partition) -> list[dict[str, Tensor]]:
        """State that differs among tied entries becomes its mean (without signs where it holds squares).

        Returns for each bucket what was taken away, state key → (m,).
        """
        taken: list[dict[str, Tensor]] = []
        for bucket in self.buckets:
            labels = tied.labels[bucket.index]
            apart: dict[str, Tensor] = {}
            for key in tensors_of(bucket.state, bucket.index.shape):
                even = key in EVEN_STATE
                signs = tied.signs[bucket.index]
                value = bucket.state[key]
                mean = averaged(value[None], labels, signs.abs() if even else signs)[0]
                bucket.state[key] = torch.where(labels < 0, value, mean)
                apart[key] = (value - bucket.state[key]).double()
            taken.append(apart)
        return taken

    def require_elementwise(self, theta: Tensor, gradient: Tensor, layout: Layout) -> None:
        """Refuse an optimizer that moves a tensor otherwise than its entries, or that is not all of the step."""
        if self._hooked:
            raise UndecidedError(
                f"this {self.name} has hooks around its step (register_step_pre_hook or register_step_post_hook), and "
                "what these do to gradients and weights is not followed. Remove them for the forecast, or give the "
                "optimizer as a function of parameters"
            )
        if self.name in WHOLE_TENSORS:
            raise UndecidedError(
                f"{self.name} does not move each entry by its own gradient and state ({WHOLE_TENSORS[self.name]}), and "
                "the tangent of such a step is not known"
            )
        for bucket in self.buckets:
            flat, _ = bucket.stepper.step(theta[bucket.index], gradient[bucket.index], bucket.state)
            at = 0
            for name in bucket.names:
                shape = layout.shapes[name]
                part = slice(at, at + shape.numel())
                at += shape.numel()
                own = {
                    key: value[part].view(shape)
                    if isinstance(value, Tensor) and value.shape == flat.shape
                    else value
                    for key, value in bucket.state.items()
                }
                values = (theta[bucket.index][part], gradient[bucket.index][part])
                shaped, _ = bucket.stepper.step(values[0].view(shape), values[1].view(shape), own)
                move = float((shaped.reshape(-1) - values[0]).norm())
                if float((shaped.reshape(-1) - flat[part]).norm()) > 1e-9 * move + 1e-300:
                    raise UndecidedError(
                        f"{self.name} does not move each entry by its own gradient and state (it looks at "
                        f"whole tensors, seen on {name!r}), and the tangent of such a step is not known"
                    )

    def step(self, theta: Tensor, gradient: Tensor) -> Tensor:
        """(n,) the next parameters; the state goes on by one step."""
        out = theta.clone()
        for bucket in self.buckets:
            value, bucket.state = bucket.stepper.step(
                theta[bucket.index], gradient[bucket.index], bucket.state
            )
            out[bucket.index] = value
        return out

    def jacobians(self, theta: Tensor, gradient: Tensor) -> list[Jacobian]:
        """Of the step that is about to be taken, one for each bucket."""
        return [
            Jacobian(b, b.stepper.derivative(theta[b.index], gradient[b.index], b.state))
            for b in self.buckets
        ]


def start(jacobians_or_buckets: list[Bucket], vectors: Tensor) -> Delta:
    """(k, n) displacements of the parameters, none of the state."""
    return [{"theta": vectors[:, bucket.index]} for bucket in jacobians_or_buckets]


def own(
    buckets: list[Bucket], space: Space, vector: Tensor, apart: list[dict[str, Tensor]]
) -> Delta:
    """The displacement (1, n) that the model and its optimizer have now: ``vector`` (n,), and that of the state."""
    out: Delta = []
    for bucket, states in zip(buckets, apart, strict=True):
        part = {"theta": vector[None, bucket.index]}
        for key, value in states.items():
            full = torch.zeros(1, space.size, dtype=torch.float64)
            full[0, bucket.index] = value
            part[key] = space.project(full, even=key in EVEN_STATE)[:, bucket.index]
        out.append(part)
    return out


def flat(delta: Delta, buckets: list[Bucket], size: int) -> Tensor:
    """(k, n) the displacement of the parameters."""
    out = torch.zeros(delta[0]["theta"].shape[0], size, dtype=delta[0]["theta"].dtype)
    for part, bucket in zip(delta, buckets, strict=True):
        out[:, bucket.index] = part["theta"]
    return out


def pushed(jacobians: list[Jacobian], delta: Delta, curved: Tensor) -> Delta:
    """The displacement one step later; ``curved`` (k, n) is that of the gradient."""
    out: Delta = []
    for jacobian, part in zip(jacobians, delta, strict=True):
        sources = {**part, "g": curved[:, jacobian.bucket.index]}
        out.append(
            {
                key: sum(
                    (block * sources[source] for source, block in row.items() if source in sources),
                    start=torch.zeros_like(part["theta"]),
                )
                for key, row in jacobian.blocks.items()
            }
        )
    return out


def pulled(jacobians: list[Jacobian], cotangent: Delta, size: int) -> tuple[Delta, Tensor]:
    """The transpose of :func:`pushed`: cotangents one step earlier, and (k, n) that of the gradient."""
    out: Delta = []
    k = cotangent[0]["theta"].shape[0]
    of_gradient = torch.zeros(k, size, dtype=cotangent[0]["theta"].dtype)
    for jacobian, part in zip(jacobians, cotangent, strict=True):
        back: dict[str, Tensor] = {"theta": torch.zeros_like(part["theta"])}
        for key, row in jacobian.blocks.items():
            if key not in part:
                continue
            for source, block in row.items():
                back[source] = back.get(source, 0) + block * part[key]
        gradient = back.pop("g", None)
        if gradient is not None:
            of_gradient[:, jacobian.bucket.index] += gradient
        out.append(back)
    return out, of_gradient


def _made(
    optimizer: Optimizer, parameters: Mapping[str, Tensor], originals: Mapping[str, Tensor]
) -> tuple[torch.optim.Optimizer, dict[int, str]]:
    if isinstance(optimizer, torch.optim.Optimizer):
        return optimizer, {id(p): name for name, p in originals.items()}
    if not callable(optimizer):
        raise UsageError(
            f"optimizer={optimizer!r}: expected a torch.optim.Optimizer or a function of parameters, such as "
            "functools.partial(torch.optim.SGD, lr=0.1)"
        )
    copies = {name: p.detach().clone().requires_grad_() for name, p in parameters.items()}
    made = optimizer(list(copies.values()))
    if not isinstance(made, torch.optim.Optimizer):
        raise UsageError(
            f"optimizer(parameters) returned {type(made).__name__}, not a torch.optim.Optimizer"
        )
    return made, {id(p): name for name, p in copies.items()}


def _own_state(state: Mapping[str, Any], dtype: torch.dtype) -> State:
    """A copy; tensors of the entries in the dtype of the forecast."""
    out: State = {}
    for key, value in state.items():
        if isinstance(value, Tensor):
            value = value.detach().clone()
            wide = value.is_floating_point() and key not in SCALARS_ALONE
            out[key] = value.to(dtype) if wide else value
        else:
            out[key] = copy.deepcopy(value)
    return out


SCALARS_ALONE = ("step",)


def _joined(states: Mapping[str, State], names: list[str], layout: Layout) -> State:
    """The states of several parameters as that of one flat parameter."""
    first = states[names[0]]
    if not first:
        return {}
    entries = tensors_of(first, layout.shapes[names[0]])
    return {
        key: torch.cat([states[name][key].reshape(-1) for name in names])
        if key in entries
        else value
        for key, value in first.items()
    }
