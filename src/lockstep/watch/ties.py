"""Units that start equal: when they come apart, and whether rounding or their gradients did it.

Rounding first makes a difference of some units in the last place; a true difference of gradients is far larger at
once. As rounding may grow at the rate of an unstable symmetry (a mixture under Adam: from 0 to O(1) in 50 steps), only
a look at every update can tell the two apart. So while units are tied, one pair of each tied class is compared
after every update, bit by bit; layers without ties cost nothing.

An optimizer can amplify: Adam divides a gradient that is nothing but rounding (the bias of attention keys) by its own
size. Hence a gap that is large at once still counts as rounding where the gradient itself is of rounding's size.
A certificate (``groups=audit(...)``) settles it: certified units come apart by rounding only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Cause = Literal["rounding", "gradients"]
Classes = tuple[tuple[int, ...], ...]

ULPS = 1000  # a gap up to so many units in the last place of the largest weight is rounding
NOISE = 100  # a gradient up to so many of the largest in its module is rounding


@dataclass(frozen=True)
class Event:
    """Something that happened once: ``step`` updates in, at ``layer``, to ``units``; ``cause`` and ``message``.

    ``kind``: ``"separated"`` (tied units are equal no more), ``"bits"`` (equal weights, activations that differ
    in their last bits), ``"drift"`` (entries move although their gradients are nothing but rounding).
    """

    step: int
    layer: str
    kind: str
    units: tuple[int, ...]
    cause: Cause
    message: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "units": list(self.units)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Event:
        """The inverse of :meth:`as_dict`."""
        return cls(**{**values, "units": tuple(values["units"])})

    def __str__(self) -> str:
        return f"step {self.step}, {self.layer}: {self.message}"


class Ties:
    """Tied classes of one layer, followed until they come apart. ``certified``: an audit says they are locked."""

    def __init__(self, layer: str, classes: Classes, certified: bool) -> None:
        self.layer, self.certified = layer, certified
        self.open = [c for c in classes if len(c) > 1]
        self._pairs: tuple[Tensor, Tensor] | None = None

    def together(self, w: Tensor) -> bool:
        """Whether the first two units of every class are bitwise equal. ``w`` (U, k): a parameter's rows."""
        if self._pairs is None or self._pairs[0].device != w.device:
            firsts, seconds = zip(*((c[0], c[1]) for c in self.open), strict=True)
            self._pairs = tuple(torch.tensor(u, device=w.device) for u in (firsts, seconds))  # type: ignore[assignment]
        assert self._pairs is not None
        return torch.equal(w[self._pairs[0]], w[self._pairs[1]])

    def separated(
        self, step: int, since: int, w: Tensor, gradient: Tensor | None, largest: float
    ) -> list[Event]:
        """Events for the classes that are not bitwise equal (any more); these are followed no longer.

        ``w`` (U, K) all weights, ``gradient`` likewise, ``largest`` gradient in the layer's module; ``since``
        is the last step at which the class was seen tied.
        """
        found, kept = [], []
        for units in self.open:
            rows = w[list(units)]
            gap = float((rows.amax(0) - rows.amin(0)).max())
            if gap == 0:
                kept.append(units)
                continue
            cause, because = self._cause(w, units, gap, gradient, largest, step - since)
            who = (
                f"units {_listed(units)} were equal until step {since} and differ by {gap:.1e} now"
            )
            found.append(Event(step, self.layer, "separated", units, cause, f"{who}: {because}"))
        self.open, self._pairs = kept, None
        return found

    def _cause(
        self,
        w: Tensor,
        units: tuple[int, ...],
        gap: float,
        gradient: Tensor | None,
        largest: float,
        updates: int,
    ) -> tuple[Cause, str]:
        unit = torch.finfo(w.dtype).eps
        size = float(w.abs().max())
        if self.certified:
            return "rounding", "rounding, for in exact arithmetic the audit certifies them locked"
        if gap <= ULPS * unit * size * max(updates, 1):
            return "rounding", f"rounding, {gap / (unit * size):.0f} units in the last place"
        if gradient is not None and largest > 0:
            own = float(gradient[list(units)].abs().max())
            if own <= NOISE * unit * largest:
                return "rounding", (
                    f"rounding, for their gradients ({own:.0e} beside {largest:.0e}) are nothing else and "
                    "the optimizer amplifies it"
                )
        return "gradients", "their gradients (or the optimizer's state) differ"


def _listed(units: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, units[:6]))
    return shown if len(units) <= 6 else f"{shown}, … ({len(units)} in all)"
