"""The field in which a coarse point is looked at: it notes what such a point may not decide.

Its functions are mixed in 32 bits instead of 64, in a third of the time: any function of residues will do that is odd,
even or 0 at 0 as it should be, since what differs at one of them differs as a term. (What is said to be *equal* rests
on how random functions are; nothing is said to be equal here.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from .arithmetic import STORE, Field, nonzero, pieces
from .mixing import mix_quickly, operand

MANY = 4096
"""Values among which some may be 0 by chance."""

_SPARE = operand(13)
"""Bits by which a mixture is shortened to a residue, of any prime above 2^19."""

_ONE = operand(1)


class Blurred(Field):
    """``doubtful`` once values were compared and found equal, or 0 was inverted: unlike numbers may be one byte.

    "Different" and "not zero" hold at every point of the pattern for polynomials and functions of them. Not for a
    quotient where its denominator is 0, nor for comparisons, orders and Python code where two values agree.
    """

    def __init__(self, f: Field) -> None:
        super().__init__(f.p, f.seed, f.lane)
        self.doubtful = False

    def inverse(self, a: Tensor, *, drawn: bool = False) -> Tensor:
        if not drawn and self.counted_zeros(a):
            self.doubtful = True
        return super().inverse(a)

    def function(self, x: Tensor, key: int, *, parity: int = 0, zero: bool = False) -> Tensor:
        """See :meth:`Field.function`."""
        flat = x.reshape(-1)
        out = torch.empty(flat.shape, dtype=STORE)
        own = key ^ key >> 32 ^ self.seed
        for part, target in pieces(flat, out):
            mixed, other = self.work(part.numel(), torch.int32)
            mix_quickly(torch.abs(part, out=target) if parity else part, own, mixed, other)
            target.copy_(mixed.bitwise_right_shift_(_SPARE).bitwise_or_(_ONE))  # never 0
            if parity == 1:
                target.mul_(torch.sign(part, out=self.work(part.numel(), STORE)[1]))
            elif zero:
                target.mul_(nonzero(part, out=self.work(part.numel(), STORE)[1]))
        return out.view(x.shape)

    def rank(self, gap: Tensor) -> Tensor:
        """See :meth:`Field.rank`; the residues have an order already, and any will do."""
        return gap

    def preference(self, gap: Tensor) -> Tensor:
        """See :meth:`Field.preference`; one of the simplest functions."""
        return gap + 1

    def note(self, met: Tensor) -> None:
        """Where ``met`` is true something hangs on two values being equal, or on one being 0."""
        self.doubtful = self.doubtful or bool(met.any())

    def zeros(self, x: Tensor) -> int:
        """How many of ``x`` are 0; something hangs on which.

        It may be activations, which are many, and one in ``p`` of them (two, behind a ReLU) is 0 by chance. Of
        ``MANY`` and more a few are let pass; where unlike weights met there, one in 253 would be.
        """
        zeros, count = self.counted_zeros(x), x.numel()
        allowed = 3 + 4 * count // self.p if count >= MANY else 0
        self.doubtful = self.doubtful or zeros > allowed
        return zeros
