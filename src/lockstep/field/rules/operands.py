"""What rules share: turning whatever an op was given into residues."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import STORE, Field

Operand = Tensor | float | int | bool


def residues(f: Field, x: Operand, like: Tensor | None = None) -> Tensor:
    """Residues of an operand: residues already, an integer or boolean tensor, or a Python number."""
    if isinstance(x, Tensor):
        return x if x.dtype is STORE else f.embed(x.long())
    if isinstance(x, float) and x in (torch.inf, -torch.inf):
        return torch.tensor(x, dtype=STORE)
    return torch.tensor(f.scalar(x), dtype=STORE)


def keep_infinite(result: Tensor, *operands: Tensor) -> Tensor:
    """Sums with an infinite entry are that infinity (of opposite infinities, the first)."""
    for x in reversed(operands):
        if x.numel() and bool(torch.isinf(x).any()):
            result = torch.where(torch.isinf(x), x, result)
    return result


def finite(x: Tensor) -> Tensor:
    """``x`` with 0 in place of infinities, for arithmetic that is masked afterwards."""
    return torch.where(torch.isinf(x), torch.zeros((), dtype=x.dtype), x)
