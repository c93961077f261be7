"""A matrix product that has not been computed yet.

The gradient of a dense weight is (out, samples) @ (samples, in), and so is that of a convolution on a small map: few
numbers make many. Most audits only ask which of its entries are zero, and then only of a handful; so the backward pass
keeps the two factors, and whatever needs the entries themselves asks for ``flat`` and gets them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .arithmetic import Field
from .residue import Promised, Residue, promised
from .thin import bands

SMALLEST = 1 << 16
"""Products with fewer entries are computed at once."""

MOST_TERMS = 64
"""Products of longer sums are computed at once, too: see :meth:`Outer.zeros`."""


SCARCE = 16
"""One entry in so many may look like 0 and be computed on its own."""


class Outer(Promised):
    """``a`` (M, K) @ ``b`` (K, N) over ``field``."""

    __slots__ = ("a", "b", "field")

    def __init__(self, field: Field, a: Tensor, b: Tensor, degree: int) -> None:
        self.field, self.a, self.b = field, a, b
        super().__init__(lambda: field.matmul(a, b), degree=degree)

    @property
    def rows(self) -> int:
        return self.a.shape[0]

    @property
    def columns(self) -> int:
        return self.b.shape[1]

    def zeros(self) -> Tensor | None:
        """(row, column) of every entry that is 0 modulo p, found a band of rows at a time, in the cache.

        None if there are so many that all entries are better computed.

        Entries of ``a @ b / p`` are whole numbers or at least ``1/p`` away from one. Their rounding error is at
        most ``K 2^-53 (K p / 2)``, below ``1 / 2p`` for ``K <= 64``. So, moved up by ``1 / 2p`` and by a whole
        number that makes all of them positive (both in the product's last term), only zeros have a fraction
        below ``1 / p``: few enough candidates to be looked at exactly.
        """
        a, b = self.a.double().mul_(1.0 / self.field.p), self.b.double()
        near, found, room = 1.0 / self.field.p, [], self.rows * self.columns // SCARCE
        up = a.shape[1] * self.field.p // 4 + 1 + near / 2
        a, b = torch.cat([a, a.new_ones(len(a), 1)], 1), torch.cat([b, b.new_full(b[:1].shape, up)])
        for row, band in bands(a, b):
            rows = (band.frac_().amin(1) < near).nonzero().view(-1)
            if len(rows):
                line, column = (band[rows] < near).nonzero().unbind(1)
                found.append(torch.stack([row + rows[line], column], 1))
                room -= len(line)
                if room < 0:
                    return None
        if not found:
            return torch.zeros(0, 2, dtype=torch.long)
        candidates = torch.cat(found)
        return candidates[self.at(candidates[:, 0], candidates[:, 1]) == 0]

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The residues at some places only."""
        terms = self.a[rows].double() * self.b.t()[columns].double()
        return self.field.reduce(terms.sum(1))


def worthwhile(entries: int, terms: int) -> bool:
    """Whether a product of so many entries, each a sum of so many terms, is better kept as its factors."""
    return entries >= SMALLEST and terms <= MOST_TERMS


@dataclass(frozen=True)
class Factors:
    """What a rule may return for ``a @ b``, seen as ``shape``, where that is :func:`worthwhile`."""

    a: Tensor
    b: Tensor
    shape: torch.Size

    def pending(self, field: Field, dtype: torch.dtype, degree: int) -> Residue:
        """The residue tensor of the product, which is still to be computed."""
        return promised(self.shape, Outer(field, self.a, self.b, degree), dtype)
