"""What a check is about, and what it answers when there is nothing to object."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lockstep.types import Audit

Loss = Callable[..., Any]
Optimizer = torch.optim.Optimizer | Callable[..., torch.optim.Optimizer]

ANY_LOSS = "any loss of the outputs"
ANY_OPTIMIZER = ("any elementwise optimizer", "any additive elementwise optimizer")
MIRRORS, TIES = ("mirror",), ("twin", "balanced")


@dataclass(frozen=True)
class Question:
    """A claim, and the model, example and training that it is held against."""

    claim: Audit
    model: Any
    inputs: Any
    loss: Loss | None = None
    targets: Any = None
    optimizer: Optimizer | None = None
    seed: int = 0

    def plan(self, parameters: Mapping[str, Tensor]) -> Any:
        """How the parameters move: as the optimizer says, under the update that the claim names."""
        from lockstep.symbolic.optimizer import plan_of

        own = plan_of(parameters, self.optimizer, None)
        return dataclasses.replace(own, update=self.claim.assumptions.update)

    @property
    def claims_ties(self) -> bool:
        """Whether anything is claimed that training in floats could contradict."""
        return bool(self.claim.locked or self.claim.frozen)


@dataclass(frozen=True)
class Checked:
    """An accepted certificate: the ``primes`` it was verified over, the optimizers of the float64
    training (none if nothing was claimed locked or frozen), and ``notes`` on what no hook could see."""

    primes: tuple[int, ...]
    trained: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        floats = ", ".join(self.trained) or "none"
        lines = [f"verified modulo {', '.join(map(str, self.primes))}; float64 training: {floats}"]
        return "\n".join([*lines, *self.notes])


def few(items: object, limit: int = 8) -> str:
    """``0, 1, 2, … (40 in all)``: a reason names some of the culprits, and how many there are."""
    listed = [str(item) for item in items]  # type: ignore[attr-defined]
    more = f", … ({len(listed)} in all)" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more
