"""What rules share: turning whatever an op was given into residues, and the little that is known of infinity."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from ...errors import UndecidedError
from ..arithmetic import STORE, Field
from ..residue import FAR_BELOW, has_infinite
from ..running import active

Operand = Tensor | float | int | bool


def residues(f: Field, x: Operand) -> Tensor:
    """Residues of an operand: residues already, an integer or boolean tensor, or a Python number."""
    if isinstance(x, Tensor):
        return x if x.dtype is STORE else f.embed(x.long())
    if isinstance(x, float) and x in (torch.inf, -torch.inf):
        return torch.tensor(x, dtype=STORE)
    return torch.tensor(float(f.scalar(x)), dtype=STORE)


def masking(value: Operand) -> Operand:
    """A number so low that it can only be meant as a mask is minus infinity, as in constant tensors."""
    return -torch.inf if not isinstance(value, Tensor) and value <= FAR_BELOW else value


def any_infinite(*operands: Tensor) -> bool:
    """Whether an entry is infinite. Free where the engine knows that none can be."""
    return active().infinite and any(has_infinite(x) for x in operands)


def need_finite(what: str, *operands: Tensor) -> None:
    """For rules that follow infinities in some of their operands only."""
    if any_infinite(*operands):
        raise UndecidedError(
            f"{what} meets an infinite entry (a mask of -inf, or a constant below {FAR_BELOW:g}) where the engine "
            "cannot follow it: apply the mask right before the softmax"
        )


def keep_infinite(result: Tensor, *operands: Tensor) -> Tensor:
    """Sums with an infinite entry are that infinity (of opposite infinities, the first)."""
    for x in reversed(operands):
        result = torch.where(torch.isinf(x), x, result)
    return result


def finite(x: Tensor) -> Tensor:
    """``x`` with 0 in place of infinities, for arithmetic that is masked afterwards."""
    return torch.where(torch.isinf(x), torch.zeros((), dtype=x.dtype), x)


def axes(x: Tensor, dim: int | list[int] | tuple[int, ...] | None) -> tuple[int, ...]:
    """Dimensions as a tuple of non-negative numbers; all of them for None and for an empty list."""
    if not x.dim():
        return ()
    if dim is None or (isinstance(dim, (list, tuple)) and not dim):
        return tuple(range(x.dim()))
    return tuple(d % x.dim() for d in ([dim] if isinstance(dim, int) else dim))


def count(x: Tensor, dims: tuple[int, ...]) -> int:
    """How many entries a reduction over ``dims`` joins."""
    return prod(x.shape[d] for d in dims)
