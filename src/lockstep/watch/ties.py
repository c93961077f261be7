"""Units that start equal: when they come apart, and whether rounding or their gradients did it.

Rounding makes a difference of a few units in the last place at first, and may then grow at the rate of an unstable
symmetry (a mixture under Adam: from 0 to O(1) in 50 steps), so only a look at every update can tell. While units are
tied, all members of their classes are compared after every update, bit by bit; layers without ties cost nothing.

When they first differ, the question is whether their gradients agree. They do not if noise, data or unequal outgoing
weights tell the units apart. They do, but for rounding, if

* the gap is a few units in the last place;
* or the gradient itself is nothing but rounding (the bias of attention keys): Adam divides it by its own size;
* or the gap was handed on by another layer that rounding took apart.

A certificate (``groups=audit(...)``) settles it: certified units come apart by rounding only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Cause = Literal["rounding", "gradients"]
Classes = tuple[tuple[int, ...], ...]

ULPS = 32  # a first gap up to so many units in the last place of the largest weight is rounding
NOISE = (
    100  # a gradient up to so many units in the last place of the largest in its module is rounding
)
APART = 1e-3  # gradients that differ by more than this share of themselves do differ


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
        self._pairs: list[tuple[Rows, Rows]] = []

    def together(self, blocks: Sequence[Tensor]) -> bool:
        """Whether every class is bitwise equal. ``blocks``: the units' rows (U, k) in each parameter."""
        self._pairs = self._pairs or _pairs(self.open)
        return all(_equal(w[first], w[other]) for w in blocks for first, other in self._pairs)

    def separated(
        self,
        steps: tuple[int, int],
        w: Tensor,
        gradient: Tensor | None,
        largest: float,
        told: Sequence[Event],
    ) -> list[Event]:
        """Events for the classes that are not bitwise equal any more; these are followed no longer.

        ``steps`` are those of the last look and of this one; ``w`` (U, K) all weights, ``gradient`` likewise,
        ``largest`` gradient in the layer's module; ``told`` are the events so far.
        """
        found, kept = [], []
        for units in self.open:
            rows = w[list(units)]
            gap = float((rows.amax(0) - rows.amin(0)).max())
            if gap == 0:
                kept.append(units)
                continue
            own = None if gradient is None else gradient[list(units)]
            cause, because = self._cause(w, gap, own, largest, told)
            before, step = steps
            seen = f" (looked at last after update {before})" if before < step - 1 else ""
            who = f"units {_listed(units)} were equal and differ by {gap:.1e} after update {step}{seen}"
            found.append(Event(step, self.layer, "separated", units, cause, f"{who}: {because}"))
        self.open, self._pairs = kept, []
        return found

    def _cause(
        self, w: Tensor, gap: float, own: Tensor | None, largest: float, told: Sequence[Event]
    ) -> tuple[Cause, str]:
        eps = torch.finfo(w.dtype).eps
        ulps = gap / (eps * (float(w.abs().max()) or 1.0))
        few = f"{max(ulps, 1):.0f} units in the last place"
        if self.certified:
            return "rounding", "rounding, for an audit certifies them locked"
        if own is None:
            return ("rounding", f"rounding, {few}") if ulps <= ULPS else ("gradients", DIFFER)
        size = float(own.abs().max())
        if size == 0:
            return (
                "gradients",
                "they have no gradient, so the updates differ: noise, or the optimizer's state",
            )
        if size <= NOISE * eps * largest:
            return "rounding", (
                f"rounding, for their gradients ({size:.0e} beside {largest:.0e}) are nothing else and the "
                "optimizer amplifies it"
            )
        apart = float((own.amax(0) - own.amin(0)).max()) / size
        if ulps <= ULPS and apart <= APART:
            return "rounding", f"rounding, {few}"
        source = next((e.layer for e in told if e.cause == "rounding"), None)
        if apart <= eps**0.5 and (source is not None or eps < 1e-12):
            handed = f" handed on by {source}" if source is not None else ""
            return "rounding", f"rounding{handed}, for their gradients agree to {apart:.0e}"
        return "gradients", DIFFER


DIFFER = "their gradients (or the optimizer's state) differ"


Rows = slice | Tensor
SMALL = 8  # members of a class that are compared one after another


def _pairs(classes: Sequence[tuple[int, ...]]) -> list[tuple[Rows, Rows]]:
    """First members, and the others to compare them with: slices where copies are evenly spaced, as they mostly are.

    >>> _pairs([(0, 2), (1, 3)])
    [(slice(0, 2, 1), slice(2, 4, 1))]
    >>> _pairs([(0, 1, 2, 3)])
    [(slice(0, 1, 1), slice(1, 4, 1))]
    """
    if len(classes) == 1:
        return [(_rows(classes[0][:1]), _rows(classes[0][1:]))]
    largest = max(map(len, classes))
    if largest > SMALL:
        all_ = [(units[0], unit) for units in classes for unit in units[1:]]
        return [(_rows([a for a, _ in all_]), _rows([b for _, b in all_]))]
    found = []
    for nth in range(1, largest):
        some = [units for units in classes if len(units) > nth]
        found.append((_rows([units[0] for units in some]), _rows([units[nth] for units in some])))
    return found


def _rows(units: Sequence[int]) -> Rows:
    step = units[1] - units[0] if len(units) > 1 else 1
    if step > 0 and list(units) == list(range(units[0], units[-1] + 1, step)):
        return slice(units[0], units[-1] + 1, step)
    return torch.tensor(units)


def _equal(first: Tensor, other: Tensor) -> bool:
    return torch.equal(other, first if first.shape == other.shape else first.expand_as(other))


def _listed(units: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, units[:6]))
    return shown if len(units) <= 6 else f"{shown}, … ({len(units)} in all)"
