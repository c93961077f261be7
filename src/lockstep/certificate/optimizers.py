"""Optimizers for the float64 training: a few that a claim's assumptions allow, and the one it was made for."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lockstep.certificate.question import Question

Make = Callable[[nn.Module, list[Tensor]], torch.optim.Optimizer]
"""(the copy, its parameters that move) → an optimizer on them."""


class Arbitrary(torch.optim.Optimizer):
    """``theta' = H(g, theta)`` elementwise, odd, and no more special: what update "any" allows."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.02})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    bent = p.grad / (1 + 0.3 * p.grad.abs()) * (1 + 0.5 * p.square())
                    p.sub_(group["lr"] * (bent + 0.2 * p * p.abs()))


def optimizers(question: Question) -> dict[str, Make]:
    """A few that the assumptions allow, and the one that the claim was made for, if it was given."""

    def of(make: Callable[..., torch.optim.Optimizer]) -> Make:
        return lambda net, moving: make(moving)

    sgd = of(functools.partial(torch.optim.SGD, lr=0.05, momentum=0.5))
    adamw = of(functools.partial(torch.optim.AdamW, lr=0.01, eps=1e-2, weight_decay=0.1))
    coupled = of(functools.partial(torch.optim.Adam, lr=0.01, eps=1e-2, weight_decay=0.1))
    found: dict[str, Make] = {"SGD with momentum": sgd, "AdamW": adamw}
    if question.claim.assumptions.update == "any":
        found = {
            "SGD with momentum": sgd,
            "Adam with coupled decay": coupled,
            "arbitrary": of(Arbitrary),
        }
    if question.optimizer is not None:
        found["the given optimizer"] = functools.partial(_given, question)
    return found


def _given(question: Question, net: nn.Module, moving: list[Tensor]) -> torch.optim.Optimizer:
    """The claim's optimizer on the copy, its state and groups with it."""
    made = question.optimizer
    if not isinstance(made, torch.optim.Optimizer):
        assert made is not None
        return made(moving)
    copies = dict(net.named_parameters())
    twin = {id(p): copies[name] for name, p in question.model.named_parameters()}
    groups = [
        {**group, "params": [twin[id(p)] for p in group["params"] if id(p) in twin]}
        for group in made.param_groups
    ]
    again = type(made)([group for group in groups if group["params"]], **made.defaults)
    again.load_state_dict(copy.deepcopy(made.state_dict()))
    return again
