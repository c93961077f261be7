"""One decorator a rule. A rule computes an ATen op on residues.

    @rule("mul", degree="sum")
    def mul(f: Field, a, b): ...

It is called with the field and the op's own arguments, in which every float tensor has become a tensor
of residues (constants are embedded first), integer and boolean tensors and Python scalars are what they
were, and predicates on residues are residues. It returns residues, or plain integer or boolean tensors.
In-place and ``out=`` variants need no rule of their own.

``degree``: how the syntactic degree of the result follows from the operands' (for the probability bound):
``"max"`` (linear), ``"sum"`` (products, quotients), ``"one"`` (uninterpreted functions, fresh symbols), ``"more"``
(products with one value of a function more, as in ``relu(x) = x c(x)``). A rule that multiplies an operand with itself
says so by ``powered(n)``.
``infinite``: the rule knows what to do with entries that are minus or plus infinity (attention masks).
``gives``: dtype that the result claims, if it is not the operands'.
``unread``: of the op's arguments, the tensors that the rule does not look at: they are given to it as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

Degree = Literal["max", "sum", "one", "more"]


@dataclass(frozen=True)
class Rule:
    """A registered rule."""

    function: Callable[..., Any]
    degree: Degree = "max"
    infinite: bool = False
    gives: torch.dtype | None = None
    unread: Callable[..., Sequence[Any]] | None = None


RULES: dict[str, Rule] = {}
MOVES: set[str] = set()
"""Ops that only move or copy entries: they run on the stored residues as they are."""
NOISE: dict[str, Callable[..., Any]] = {}
"""Ops that draw random floats: each element becomes a fresh symbol."""


REFUSED: dict[str, str] = {}
"""Ops that cannot have a rule, or have none yet: why, and what to do instead. No decomposition is tried."""


def rule(
    *names: str,
    degree: Degree = "max",
    infinite: bool = False,
    gives: torch.dtype | None = None,
    unread: Callable[..., Sequence[Any]] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function for the ATen ops ``names`` (all their overloads)."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            if name in RULES:
                raise ValueError(f"two rules for aten::{name}")
            RULES[name] = Rule(function, degree, infinite, gives, unread)
        return function

    return register


def moves(*names: str) -> None:
    """Register ops that only move entries."""
    MOVES.update(names)


def refuse(*names: str, because: str) -> None:
    """Register ops that are refused with a reason."""
    REFUSED.update(dict.fromkeys(names, because))
