"""Entries that were read and never got a gradient, apart from entries that nothing read."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..types import Frozen


def frozen_entries(moved: Mapping[str, Tensor], read: Mapping[str, Tensor]) -> tuple[Frozen, ...]:
    """One record a parameter that holds frozen entries."""
    out = []
    for name, entries in moved.items():
        still = read[name] & ~entries
        count = int(still.sum())
        if count:
            shown = still.nonzero()[: Frozen.SHOWN].tolist()
            out.append(Frozen(name, count, still.numel(), tuple(tuple(i) for i in shown)))
    return tuple(out)


def unread(read: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """Parameter → (entries that the example never reached, all entries)."""
    out = {}
    for name, entries in read.items():
        count = int((~entries).sum())
        if count:
            out[name] = (count, entries.numel())
    return out


def unread_units(entries: Tensor) -> set[int]:
    """Slices along axis 0 none of whose entries was read."""
    if entries.dim() == 0:
        return set()
    return set((~entries.reshape(entries.shape[0], -1).any(1)).nonzero().view(-1).tolist())
