"""The field in which a coarse point is looked at: it notes what such a point may not decide."""

from __future__ import annotations

from torch import Tensor

from .arithmetic import Field

MANY = 4096
"""Values among which some may be 0 by chance."""


class Blurred(Field):
    """``doubtful`` once values were compared and found equal, or 0 was inverted: unlike numbers may be one byte.

    "Different" and "not zero" hold at every point of the pattern for polynomials and functions of them. Not for a
    quotient where its denominator is 0, nor for comparisons, orders and Python code where two values agree.
    """

    def __init__(self, f: Field) -> None:
        super().__init__(f.p, f.seed, f.lane)
        self.doubtful = False

    def inverse(self, a: Tensor, *, drawn: bool = False) -> Tensor:
        if not drawn:
            self.note(a == 0)
        return super().inverse(a)

    def note(self, met: Tensor, *, often: bool = False) -> None:
        """Where ``met`` is true something hangs on two values being equal, or on one being 0.

        ``often``: it may be activations, which are many, and one in ``p`` of them (two, behind a ReLU) is 0 by chance.
        Of ``MANY`` and more a few are let pass; where unlike weights met there, one in 253 would be.
        """
        allowed = 3 + 4 * met.numel() // self.p if often and met.numel() >= MANY else 0
        self.doubtful = self.doubtful or int(met.count_nonzero()) > allowed
