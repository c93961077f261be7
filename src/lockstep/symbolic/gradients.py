"""Gradients of one pass, and the count of entries that have not moved yet.

A gradient is residues, or the two factors of a product that nobody has multiplied out (:mod:`field.outer`).
Which entries of a parameter are still at rest is kept as flat indices where they are few (a handful, in a healthy
network), as a boolean of all entries where they are many (rows of an embedding that the example never reads).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..field.arithmetic import Field
from ..field.outer import Outer
from ..field.residue import Residue

Rest = Tensor | None
"""Entries of a parameter: None for all of them, flat indices (int64), or a boolean of all entries, flat."""


@dataclass(frozen=True)
class Gradient:
    """The gradient of one parameter; ``value`` is None where the loss does not depend on it."""

    value: Tensor | None
    field: Field

    def residues(self) -> Tensor | None:
        """All entries, multiplied out."""
        if self.value is None:
            return None
        if isinstance(self.value, Residue):
            inner = self.value.stored
            return self.field.embed(inner) if self.value.known else inner
        return self.field.embed(self.value)

    @property
    def degree(self) -> int:
        return self.value.degree if isinstance(self.value, Residue) else 1

    def still(self, before: Rest, count: int) -> Rest:
        """The entries in ``before`` (None: all ``count`` of them) whose gradient is 0, as :data:`Rest`."""
        if self.value is None:
            return before
        product = self._pending()
        if product is not None and before is None:
            cell, turned = product
            zeros = cell.zeros()
            if zeros is not None:
                row, column = zeros.unbind(1)
                return column * cell.rows + row if turned else row * cell.columns + column
        elif product is not None and before is not None and before.dtype is torch.int64:
            cell, turned = product
            width = cell.rows if turned else cell.columns
            first, second = before // width, before % width
            return before[(cell.at(second, first) if turned else cell.at(first, second)) == 0]
        values = self.residues()
        assert values is not None
        flat = values.reshape(-1)
        if before is not None and before.dtype is torch.int64:
            return before[flat[before] == 0]
        if before is None and not self.field.counted_zeros(flat):
            return torch.zeros(0, dtype=torch.long)
        zero = flat == 0 if before is None else before & (flat == 0)
        return zero.nonzero().view(-1) if 8 * int(zero.count_nonzero()) < count else zero

    def _pending(self) -> tuple[Outer, bool] | None:
        """(product, whether the gradient is its transpose), if it is just that: entry by entry, in that order."""
        g = self.value
        if not isinstance(g, Residue) or not isinstance(g.cell, Outer) or not g.cell.pending:
            return None
        if g.numel() != g.cell.rows * g.cell.columns:
            return None
        if g.is_contiguous():
            return g.cell, False
        if tuple(g.shape) == (g.cell.columns, g.cell.rows) and g.t().is_contiguous():
            return g.cell, True
        return None


def indices(rest: Rest, count: int, among: Tensor | None = None) -> Tensor:
    """Flat indices of ``rest``, of ``count`` entries; only those where the boolean ``among`` (None: all) is true."""
    if rest is None:
        return torch.arange(count) if among is None else among.reshape(-1).nonzero().view(-1)
    if rest.dtype is torch.bool:
        # As bytes, which PyTorch looks at twenty times as fast as at booleans.
        both = rest.view(torch.uint8)
        if among is not None:
            both = both & among.reshape(-1).view(torch.uint8)
        some = both.numel() > 0 and bool(both.amax())
        return both.nonzero().view(-1) if some else torch.zeros(0, dtype=torch.long)
    return rest if among is None else rest[among.reshape(-1)[rest]]


def unravelled(flat: Tensor, shape: Sequence[int]) -> tuple[Tensor, ...]:
    """The index along each dimension of the entries at ``flat``; ``torch.unravel_index`` imports SymPy, half a second.

    >>> unravelled(torch.tensor([5]), (2, 3))
    (tensor([1]), tensor([2]))
    """
    index = []
    for size in reversed(shape):
        index.append(flat % size)
        flat = flat // size
    return tuple(reversed(index))


def whole(rest: Rest, count: int) -> bool:
    """Whether all ``count`` entries are at rest."""
    if rest is None:
        return True
    return bool(rest.all()) if rest.dtype is torch.bool else rest.numel() == count


def mask(indices: Tensor | None, shape: torch.Size) -> Tensor:
    """Boolean tensor of ``shape``, true at flat ``indices`` (None: everywhere)."""
    if indices is None:
        return torch.ones(shape, dtype=torch.bool)
    out = torch.zeros(shape.numel(), dtype=torch.bool)
    out[indices] = True
    return out.view(shape)
