"""Entries that were read but that this example lets no output depend on: not exercised rather than frozen.

A table that is normalised as a whole and then indexed, kernel taps that only ever meet padding, rows that a true
mask cuts off: another example would move them. A *shaken* pass tells them from frozen ones. All parameters and
constants are symbols there, and gradients are multiplied by fresh symbols after every op, so whatever cancels by
algebra (a key bias, a bias before BatchNorm) or is multiplied by a zero weight gets a gradient. What still gets
exactly zero has no path to an output. Top k and its kin choose as they did in an ordinary pass, and zeros of constants
made in forward() stay where they may come from a choice (one_hot), so that what was never chosen (experts, winners,
codes) is not taken for frozen. A parameter that autograd does not reach at all (its result is detached or dropped)
has no path on any example, and stays frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..errors import LockstepError
from .records import Pass

LOOKS = 2
"""Shaken passes that must agree: in one, an entry may be zero by chance."""


def unreached(
    frozen: Mapping[str, Tensor], shaken_pass: Callable[[int], Pass], choices: Sequence[Tensor]
) -> dict[str, Tensor]:
    """The flat indices among ``frozen`` (parameter → indices) that no path leads from; ``shaken_pass(look)``.

    Where no shaken pass can be had, none, or all of them if the model makes ``choices``: nobody knows then.
    """
    left = {name: indices for name, indices in frozen.items() if indices.numel()}
    for number in range(LOOKS):
        if not left:
            break
        try:
            gradients = shaken_pass(number).gradients
        except LockstepError:  # code that branches on constants: then there is no telling
            return left if choices else {}
        values = {name: gradients[name].residues() for name in left}
        left = {
            name: indices[value.reshape(-1)[indices] == 0]
            for name, indices in left.items()
            if (value := values[name]) is not None
        }
        left = {name: indices for name, indices in left.items() if indices.numel()}
    return left


def without(seen: Tensor | None, indices: Tensor, shape: torch.Size) -> Tensor:
    """``seen`` (boolean entries; None: all) less the entries at flat ``indices``."""
    out = torch.ones(shape, dtype=torch.bool) if seen is None else seen.clone()
    out.view(-1)[indices] = False
    return out
