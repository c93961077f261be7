"""The engine of the current run, and what rules may ask of it beyond the residues they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import UndecidedError

if TYPE_CHECKING:
    from .dispatch import Engine

running: list[Engine] = []
"""Engines that have been entered; the last one is at work."""


def active() -> Engine:
    """The engine of the current run."""
    if not running:
        raise UndecidedError(
            "a residue tensor was used after its run had ended: the model keeps tensors from one call to "
            "the next; clear that state in forward()"
        )
    return running[-1]


def choosing() -> None:
    """The rule at work consults a predicate, an order or a rounding: its result may be equal to other values."""
    active().choosing = True


def powered(n: int) -> None:
    """The rule at work multiplies up to ``n`` entries of one operand: so much higher is the degree of its result."""
    active().power = max(active().power, n)


def may_coincide(*operands: object) -> bool:
    """Whether operands of the rule at work may be equal without being the same symbol: choices, data as given."""
    cells = [getattr(active().operands.get(id(x)), "cell", None) for x in operands]
    return any(c is not None and not c.known and (c.choice or c.data) for c in cells)


def claimed(x: Tensor) -> torch.dtype:
    """The dtype that an operand of the rule at work claims: bool for predicates, integers for whole numbers."""
    given = active().operands.get(id(x))
    if given is None:
        return x.dtype
    cell = getattr(given, "cell", None)
    whole = cell is not None and cell.whole and given.dtype.is_floating_point
    return torch.int64 if whole else given.dtype


def constant(x: Tensor) -> Tensor | None:
    """The true floats of an operand of the rule at work, if it is a constant of the model's code."""
    given = active().operands.get(id(x))
    if given is None or getattr(given, "known", True) is False:
        return None
    return getattr(given, "stored", given)


def rule_name() -> str:
    """The ATen name of the rule at work, for one function that serves several."""
    return active().name
