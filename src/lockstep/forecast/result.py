"""What :func:`lockstep.forecast` returns. Values that know how to print themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from ..errors import UsageError
from ..types import Frozen, Group, Leak

Verdict = Literal["separates", "merges", "unknown"]
Start = Literal["generic", "given"]


def slope(growth: Sequence[float]) -> float:
    """Logarithmic growth a step over the second half."""
    half = len(growth) // 2
    before = growth[half - 1] if half else 0.0
    if not math.isfinite(growth[-1]):
        return -math.inf
    return (growth[-1] - before) / (len(growth) - half)


@dataclass(frozen=True, eq=False)
class GroupForecast:
    """The forecast of one group of tied units.

    ``log_growth[t]`` is the natural logarithm of the growth of a generic difference after step ``t + 1`` (typical: the
    mean of logarithms over random directions), cumulative; ``rate`` its slope a step over the second half.
    ``direction`` (parameter → tensor, length 1 in all) is the initial difference that grows most, ``grown`` what a
    generic difference has turned into. ``dimension`` counts independent differences; ``spectrum`` holds the
    logarithms of the singular values of the whole product of tangent maps, largest first (complete if the space is
    small, else the largest alone). ``size`` is the difference that the model has now, and ``own_growth`` the growth of
    this very difference, that of the optimizer's state included (empty where units are exactly tied, or where
    another ``start`` was asked for); ``leak`` is what rounding adds, ``scale`` the length of the weights concerned.
    ``linear`` is the length of difference up to which an adaptive optimizer responds linearly where a gradient is
    exactly 0 (its ``eps``); above it growth is slower than forecast.
    ``because`` says why the verdict is what it is.
    ``others`` are groups that can only separate together with this one (channels and their norm, a head and its rows).

    Shapes: ``log_growth`` (steps,); ``direction`` and ``grown`` hold one tensor a parameter, of its shape.

    Source: ``docs/forecast.md`` (Fukumizu and Amari 2000, doi 10.1016/S0893-6080(00)00009-5, at critical points).

    >>> seen = GroupForecast(Group("twin", "0", (0, 1)), "separates", "", (0.5, 1.0, 1.5), 0.5)
    >>> seen.verdict, seen.separates_at(1e-4, 1e-3)
    ('separates', 5)
    """

    group: Group | tuple[Frozen, ...]
    verdict: Verdict
    because: str
    log_growth: tuple[float, ...] = ()
    rate: float = math.nan
    dimension: int = 0
    spectrum: tuple[float, ...] = ()
    direction: dict[str, Tensor] = field(default_factory=dict, repr=False)
    grown: dict[str, Tensor] = field(default_factory=dict, repr=False)
    others: tuple[Group, ...] = ()
    size: float = 0.0
    scale: float = 0.0
    leak: Leak | None = None
    linear: float = math.inf
    own_growth: tuple[float, ...] = ()

    def separates_at(self, size: float | None = None, threshold: float | None = None) -> int | None:
        """The number of steps after which a difference of length ``size`` has grown to ``threshold``.

        Both are lengths (2-norm) of the same kind, so that any measure that is proportional to the difference
        serves. By default ``size`` is the difference that the model has now, or, if its units are exactly tied,
        the first rounding difference that this machine makes; ``threshold`` is 1 % of the weights' length. Beyond
        the steps of the forecast the last rate is continued. None: never, as far as can be told (it merges, is
        unknown, or rounding does not take the units apart). Linear: valid while the difference is small, and an
        early bound above ``linear``.

        >>> GroupForecast(Group("twin", "0", (0, 1)), "separates", "", (0.5, 1.0, 1.5), 0.5).separates_at(1e-4, 3e-4)
        3
        """
        threshold = 0.01 * self.scale if threshold is None else threshold
        if not threshold > 0 or (size is not None and not size > 0):
            raise UsageError(
                f"separates_at(size={size}, threshold={threshold}): both are lengths above 0 of a difference between "
                "units; leave size out for what the model has now, or for this machine's rounding"
            )
        if self.verdict == "unknown" and not self.log_growth:
            return None
        first, begun = 0, 0.0
        growth, rate = self.log_growth, self.rate
        if size is None:
            if self.size > 0:
                size = self.size
                if self.own_growth:
                    growth, rate = self.own_growth, slope(self.own_growth)
            elif self.leak is not None and self.leak.step is not None and self.leak.size > 0:
                first, size = self.leak.step, self.leak.size
                begun = growth[min(first, len(growth)) - 1]
            else:
                return None
        wanted = math.log(threshold) - math.log(size) + begun
        if wanted <= begun:
            return first
        for step, log in enumerate(growth[first:], first + 1):
            if log >= wanted:
                return step
        if self.verdict == "merges" or not rate > 0:
            return None
        return len(growth) + math.ceil((wanted - growth[-1]) / rate)

    def __str__(self) -> str:
        """A few lines: the group, the verdict and why, and when."""
        from lockstep.forecast.text import of_group

        return "\n".join(of_group(self))


@dataclass(frozen=True, eq=False)
class Forecast:
    """The result of :func:`lockstep.forecast`: one :class:`GroupForecast` a group, and what is assumed.

    ``losses[t]`` is the loss on the symmetric trajectory before step ``t + 1``; ``because`` says why there are no
    groups, if there are none.

    Source: ``docs/forecast.md``; at critical points Fukumizu and Amari 2000, doi 10.1016/S0893-6080(00)00009-5.

    >>> seen = GroupForecast(Group("twin", "0", (0, 1)), "separates", "", (0.5, 1.0), 0.5)
    >>> [group.verdict for group in Forecast((seen,), 2, "SGD", ("float64",), (0.5, 0.4)).groups]
    ['separates']
    """

    groups: tuple[GroupForecast, ...]
    steps: int
    optimizer: str
    assumptions: tuple[str, ...]
    losses: tuple[float, ...] = ()
    because: str = ""

    def __getitem__(self, where: str) -> GroupForecast:
        """The forecast of the first group in layer ``where``."""
        for one in self.groups:
            groups = one.group if isinstance(one.group, tuple) else (one.group, *one.others)
            for group in groups:
                name = group.parameter if isinstance(group, Frozen) else group.where
                if where == name or (isinstance(name, tuple) and where in name):
                    return one
        raise KeyError(
            f"{where!r}: the forecast has {', '.join(str(g.group) for g in self.groups)}"
        )

    def __str__(self) -> str:
        """The report as plain text."""
        from lockstep.forecast.text import report

        return report(self)

    def to_json(self) -> str:
        """The numbers as JSON (directions left out)."""
        from lockstep.forecast.text import to_json

        return to_json(self)
