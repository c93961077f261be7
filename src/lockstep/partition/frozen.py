"""Entries that were read and never got a gradient, apart from entries that nothing read."""

from __future__ import annotations

import torch
from torch import Tensor

from ..symbolic.gradients import unravelled
from ..symbolic.training import Trace
from ..types import Frozen


def frozen_entries(trace: Trace) -> tuple[Frozen, ...]:
    """One record a parameter that holds frozen entries."""
    out = []
    for name in trace.still:
        still, shape = trace.frozen(name), trace.shapes[name]
        if still.numel():
            shown = torch.stack(unravelled(still[: Frozen.SHOWN], shape or (1,)), 1).tolist()
            indices = tuple(tuple(i) if shape else () for i in shown)
            out.append(Frozen(name, still.numel(), shape.numel(), indices))
    return tuple(out)


def unread(trace: Trace) -> dict[str, tuple[int, int]]:
    """Trainable parameter → (entries that the example never reached, all entries)."""
    out = {}
    for name in trace.still:
        seen = trace.seen[name]
        count = 0 if seen is None else seen.numel() - int(seen.count_nonzero())
        if count:
            out[name] = (count, trace.shapes[name].numel())
    return out


def unread_units(entries: Tensor | None, axis: int) -> set[int]:
    """Slices along ``axis`` none of whose entries was read (None: all were)."""
    if entries is None or entries.dim() == 0:
        return set()
    others = [d for d in range(entries.dim()) if d != axis % entries.dim()]
    read = entries.any(others) if others else entries
    return set((~read).nonzero().view(-1).tolist())
