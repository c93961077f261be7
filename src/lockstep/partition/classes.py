"""Fingerprints → classes: units whose activations agree in every lane are in one class."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..types import Classes, Direction, Layer

History = tuple[tuple[int, Direction, Classes], ...]


def classes_of(prints: Tensor) -> Classes:
    """(lanes, U) fingerprints → partition of ``range(U)``, ordered by first unit.

    >>> classes_of(torch.tensor([[7, 5, 7]]))
    ((0, 2), (1,))
    """
    if torch.unique(prints[0]).numel() == prints.shape[1]:
        return singletons(prints.shape[1])
    _, index = torch.unique(prints, dim=1, return_inverse=True)
    members: dict[int, list[int]] = {}
    for unit, label in enumerate(index.tolist()):
        members.setdefault(label, []).append(unit)
    return tuple(sorted(map(tuple, members.values())))


@lru_cache(maxsize=64)
def singletons(width: int) -> Classes:
    """The partition of ``range(width)`` in which each unit stands alone."""
    return tuple(zip(range(width), strict=True))


def shared(classes: Classes, width: int) -> Classes:
    """Of a partition of ``width`` units, the classes of two and more.

    >>> shared(((0, 2), (1,)), 3)
    ((0, 2),)
    """
    if len(classes) == width:
        return ()
    return tuple(c for c in classes if len(c) > 1)


def mirrored(prints: Tensor) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Pairs of classes of opposite, non-zero units: (units, their negatives), first unit first.

    >>> mirrored(torch.tensor([[3, -3, 0]]))
    [((0,), (1,))]
    """
    if torch.unique(prints[0].abs()).numel() == prints.shape[1]:
        return []
    by_print = {tuple(prints[:, c[0]].tolist()): c for c in classes_of(prints)}
    pairs = []
    for key, members in by_print.items():
        other = by_print.get(tuple(-v for v in key))
        if other is not None and other is not members and members[0] < other[0]:
            pairs.append((members, other))
    return pairs


def apart(classes: Classes, alone: set[int]) -> Classes:
    """The partition with the units of ``alone`` as singletons."""
    if not alone:
        return classes
    kept = [tuple(u for u in c if u not in alone) for c in classes]
    return tuple(sorted([c for c in kept if c] + [(u,) for u in sorted(alone)]))


def layer_of(
    name: str, forward: list[Tensor], backward: list[Tensor | None], alone: set[int]
) -> Layer:
    """The layer at the fixed pattern, with the partitions that led there (steps without news left out).

    Units that are ``alone``, on which there is no verdict, are nobody's twins at any step.
    """
    history: list[tuple[int, Direction, Classes]] = []
    for step, prints in enumerate(forward):
        history.append((step, "forward", apart(classes_of(prints), alone)))
        gradients = backward[step] if step < len(backward) else None
        if gradients is not None:  # felt by the next step
            history.append((step + 1, "backward", apart(classes_of(gradients), alone)))
    last = history[-1]
    final = last[2] if last[1] == "forward" else apart(classes_of(forward[-1]), alone)
    return Layer(name, forward[-1].shape[1], final, _shortened(history), tuple(sorted(alone)))


def _shortened(history: list[tuple[int, Direction, Classes]]) -> History:
    """Steps at which the joint partition refined; the first entry always stays."""
    kept = [history[0]]
    joint = history[0][2]
    for entry in history[1:]:
        finer = meet(joint, entry[2])
        if finer != joint:
            kept.append((entry[0], entry[1], finer))
            joint = finer
    return tuple(kept)


def meet(a: Classes, b: Classes) -> Classes:
    """The coarsest partition finer than both."""
    label_a = {u: n for n, c in enumerate(a) for u in c}
    label_b = {u: n for n, c in enumerate(b) for u in c}
    members: dict[tuple[int, int], list[int]] = {}
    for u in sorted(label_a):
        members.setdefault((label_a[u], label_b[u]), []).append(u)
    return tuple(sorted(map(tuple, members.values())))
