"""One symbolic step: a 64-bit colour an entry, and the pattern that the entries make.

Two entries have the same colour exactly when an arbitrary elementwise update could not have told them
apart so far; opposite colours mean opposite entries, colour 0 means the symbol 0. A step hashes the
gradients of all lanes into the colour; the new residue of an entry is drawn from its colour. The sign is
kept apart, so that the update is odd in (gradient, weight) and 0 stays 0 while its gradient is 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..field.arithmetic import CHUNK
from ..field.mixing import mix, stable_key
from .gradients import Gradient
from .optimizer import Plan

POSITIVE = (1 << 63) - 1


def initial(parameters: Mapping[str, Tensor], plan: Plan) -> dict[str, Tensor]:
    """Colours as initialised: the values themselves (with optimizer state); for additive updates only the
    state, since ``s * theta + H(g)`` does not look at theta."""
    colours = {}
    for name in plan.keys:
        p = parameters[name].detach()
        value = p.double() if plan.update == "any" else torch.zeros(p.shape, dtype=torch.float64)
        odd = [value, *(t.double() for t in plan.odd.get(name, ()))]
        colours[name] = _from_values(odd, [t.double() for t in plan.even.get(name, ())])
    return colours


def _from_values(odd: list[Tensor], even: list[Tensor]) -> Tensor:
    sign = torch.zeros(odd[0].shape, dtype=torch.int64)
    for x in odd:
        sign = torch.where(sign == 0, x.sign().long(), sign)
    colour = torch.zeros_like(sign)
    for position, x in enumerate(odd):
        colour = mix(colour + _bits(x * sign), stable_key("odd", position))
    for position, x in enumerate(even):
        if bool(x.any()):
            colour = mix(colour + _bits(x), stable_key("even", position))
    return _nonzero(colour) * sign


def _bits(x: Tensor) -> Tensor:
    return (x + 0.0).view(torch.int64)  # adding 0 turns -0.0 into 0.0


def _nonzero(colour: Tensor) -> Tensor:
    return (colour & POSITIVE).clamp_(min=1)


class Step:
    """Gradients of one step, lane by lane, folded into new colours."""

    def __init__(self, colours: Mapping[str, Tensor], plan: Plan) -> None:
        self._hash = {n: c.abs() for n, c in colours.items()}
        self._sign = {n: c.sign().to(torch.int8) for n, c in colours.items()}
        self._keys = plan.keys

    def fold(self, lane: int, gradients: Mapping[str, Gradient]) -> None:
        """Take in one lane's gradients: times an odd number of 63 bits, one for each lane, added up modulo 2^64."""
        factor = stable_key("lane", lane) | 1
        for name, hashed in self._hash.items():
            g = gradients[name].residues()
            if g is None:
                continue
            h, s, flat = hashed.view(-1), self._sign[name].view(-1), g.reshape(-1)
            unsigned = bool((s == 0).any())
            for start in range(0, h.numel(), CHUNK):
                part = slice(start, start + CHUNK)
                move = flat[part].long()
                if unsigned:
                    s[part] = torch.where(s[part] == 0, move.sign().to(torch.int8), s[part])
                h[part] += move.mul_(s[part]).mul_(factor)

    def colours(self) -> dict[str, Tensor]:
        """The new colour of each entry."""
        return {n: self._mixed(n, h) * self._sign[n] for n, h in self._hash.items()}

    def _mixed(self, name: str, hashed: Tensor) -> Tensor:
        key = stable_key("H", self._keys[name])
        parts = hashed.view(-1).split(CHUNK)
        return torch.cat([_nonzero(mix(h, key)) for h in parts]).view(hashed.shape)


class Pattern:
    """Which entries are equal, opposite or zero. It only ever refines; :meth:`refine` says whether it did.

    Only entries that share their colour with another, and zeros, are looked at again: the rest cannot split.
    """

    def __init__(self, colours: Mapping[str, Tensor]) -> None:
        flat = _flat(colours)
        self._zeros = (flat == 0).nonzero().view(-1)
        self._split(flat, _repeated(flat))

    def _split(self, flat: Tensor, among: Tensor) -> None:
        """Classes of two and more entries among the entries ``among``, each class in a row."""
        ordered, index = flat[among].abs().sort()
        follows = torch.zeros(ordered.shape, dtype=torch.bool)
        follows[1:] = (ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)
        tied = follows.clone()
        tied[:-1] |= follows[1:]
        self._ties, self._follows = among[index[tied]], follows[tied]

    def refine(self, colours: Mapping[str, Tensor]) -> bool:
        """True when ``colours`` split a class or wake a zero; the pattern is then the finer one."""
        flat = _flat(colours)
        awake = flat[self._zeros] != 0
        values = flat[self._ties].abs()
        split = bool((values[1:] != values[:-1])[self._follows[1:]].any())
        if not split and not bool(awake.any()):
            return False
        woken, self._zeros = self._zeros[awake], self._zeros[~awake]
        self._split(flat, torch.cat([self._ties, woken]))
        return True


def _repeated(flat: Tensor) -> Tensor:
    """Indices of the entries whose colour, up to sign, occurs more than once.

    Colours are pseudo-random bits: entries alone in their bucket are alone; the few others are sorted.
    """
    size = 1 << max(8, (2 * flat.numel()).bit_length())
    bucket = flat.abs() & (size - 1)
    counts = torch.zeros(size, dtype=torch.int32)
    counts.index_add_(0, bucket, torch.ones((), dtype=torch.int32).expand(bucket.shape))
    return ((counts[bucket] > 1) & (flat != 0)).nonzero().view(-1)


def _flat(colours: Mapping[str, Tensor]) -> Tensor:
    parts = [c.reshape(-1) for c in colours.values()]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)
