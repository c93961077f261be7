"""The entries that make two units differ, in words.

Which weights lead out of a unit is not declared anywhere in PyTorch: a later product with a parameter whose
incoming columns ``i`` and ``j`` are equal symbols, as many as the layer has units, is where they go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..symbolic.gradients import unravelled
from ..types import Classes
from .course import course_names

Slices = Sequence[tuple[str, int]]


class Explainer:
    """Answers "which entries?" from the live model; ``(layer, i, j) -> sentence``."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        slices: Mapping[str, Slices],
        widths: Mapping[str, int],
        products: Sequence[Any],
        rows: Mapping[str, tuple[int, int]],
        spans: Mapping[str, int],
        saved: Mapping[str, Classes],
        noisy: Sequence[str],
    ) -> None:
        self._saved, self._noisy = saved, noisy
        self._parameters, self._slices, self._widths = parameters, slices, widths
        self._products, self._rows, self._spans = products, rows, spans
        self._course = course_names(parameters, {n: a for own in slices.values() for n, a in own})

    def __call__(self, layer: str, i: int, j: int) -> str:
        """The first pair of entries that differ: incoming, then outgoing; or where to look next."""
        incoming = self.incoming(layer, i, j)
        if incoming:
            return f"{incoming[0]}: incoming weights differ{incoming[1]}"
        outgoing = self.outgoing(layer, i, j)
        if outgoing:
            return f"{outgoing[0]}: outgoing weights differ{outgoing[1]}"
        if any({i, j} <= set(members) for members in self._saved.get(layer, ())):
            return f"the noise of {', '.join(self._noisy)} treats them differently; their weights are equal"
        if not self._slices.get(layer):
            return "what feeds them differs"
        return "incoming and outgoing weights are equal; the units they are connected to differ"

    def incoming(self, layer: str, i: int, j: int) -> tuple[str, str] | None:
        offset, span = self._rows.get(layer, (0, 0))[0], self._spans.get(layer, 1)
        width = self._widths.get(layer, 0)
        for name, axis in self._slices.get(layer, ()):
            size = prod(self._parameters[name].shape[axis : axis + span])
            if width and size % width == 0 and not offset:
                blocks = range(size // width)
            else:
                blocks = range(1)
            for b in blocks:
                found = self._differ(
                    name, axis, offset + b * width + i, offset + b * width + j, span
                )
                if found:
                    return found
        return None

    def outgoing(self, layer: str, i: int, j: int) -> tuple[str, str] | None:
        width, own = self._widths.get(layer, 0), {n for n, _ in self._slices.get(layer, ())}
        started = not own
        for product in self._products:
            if product.parameter in own:
                started = True
                continue
            columns = product.incoming
            if not started or columns.numel() != width or columns[i] != columns[j]:
                continue
            found = self._differ(product.parameter, product.axis, i, j)
            if found:
                return found
        return None

    def _differ(
        self, name: str, axis: int, i: int, j: int, span: int = 1
    ) -> tuple[str, str] | None:
        p = self._parameters[name].detach()
        if axis >= p.dim():
            return None
        flat = p.flatten(axis, min(axis + span, p.dim()) - 1)
        if max(i, j) >= flat.shape[axis]:
            return None
        gap = (flat.select(axis, i) != flat.select(axis, j)).nonzero()
        if not len(gap):
            return None
        at = gap[0].tolist()
        inner = p.shape[axis : axis + span]
        one, two = (
            (
                *at[:axis],
                *(int(k) for k in unravelled(torch.tensor(unit), inner)),
                *at[axis:],
            )
            for unit in (i, j)
        )
        text = (
            f"{_entry(name, one)} = {float(p[one]):.6g}, {_entry(name, two)} = {float(p[two]):.6g}"
        )
        course = [self._course.get((name, index)) for index in (one, two)]
        return text, f" ({course[0]}, {course[1]})" if all(course) else ""


def _entry(name: str, index: tuple[int, ...]) -> str:
    return f"{name}[{','.join(map(str, index))}]"
