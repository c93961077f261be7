"""What one pass leaves behind: a fingerprint for each unit, gradients for each parameter.

A unit's activations over all samples and positions, ``v`` (S,), are fingerprinted by ``R v`` with a fixed random
``R`` (3, S) over the field: three residues, linear in ``v``, so opposite units have opposite fingerprints and
different ones agree with probability ``p^-3``. They are packed into one int64 that keeps the sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from ..field.arithmetic import STORE, TERMS, Field
from ..field.mixing import mix, stable_key
from ..field.residue import has_infinite
from .gradients import Gradient

ROWS = 3


@dataclass
class Product:
    """A product with a parameter: ``incoming`` fingerprints of its input units, the parameter's input axis."""

    parameter: str
    axis: int
    incoming: Tensor
    module: str


@dataclass
class Pass:
    """One lane, one step.

    ``units``: layer → (U,) fingerprints; ``gradients`` of every parameter, ``again`` of some of them under other
    cotangents; ``read``: parameter → boolean entries
    that were read (None: all); ``products`` in the order of execution (first pass only); ``unseen``: layers
    whose units' activations did not show; ``assumed``: what the ops took for granted, in words;
    ``kept``: buffers and attributes that the call changed, and whether each is a number.
    """

    units: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Gradient] = field(default_factory=dict)
    again: dict[str, Gradient] = field(default_factory=dict)
    read: dict[str, Tensor | None] = field(default_factory=dict)
    products: list[Product] = field(default_factory=list)
    degree: int = 1
    noisy: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    kept: dict[str, bool] = field(default_factory=dict)
    unseen: frozenset[str] = frozenset()


@lru_cache(maxsize=16)
def random_rows(p: int, seed: int, count: int, key: object) -> Tensor:
    """(ROWS, count) fixed random residues modulo ``p``; most layers ask for the same ones."""
    base = torch.arange(ROWS * count, dtype=torch.int64).view(ROWS, count) + 1
    colours = (mix(base, stable_key("fingerprint", key)) >> 1).abs().clamp_(min=1)
    return Field(p, seed).draw(colours, 3)


def fingerprint(f: Field, x: Tensor, axis: int, key: object) -> Tensor:
    """(ROWS, U) residues: the linear fingerprint of each slice of ``x`` along ``axis``."""
    units = x.shape[axis]
    if x.numel() == 0:
        return torch.zeros(ROWS, units, dtype=STORE)
    rows = random_rows(f.p, f.seed, x.numel() // units, key)
    maps = axis % x.dim() == 1 and x.dim() > 2
    if maps and rows.shape[1] <= TERMS:  # unit by unit is quicker
        wide = x.transpose(0, 1).to(torch.float64, memory_format=torch.contiguous_format)
        prints = f.reduce(rows.double() @ wide.view(units, -1).t())
    else:
        prints = f.matmul(rows, _columns(x, axis))
    if not has_infinite(prints):
        return prints
    columns = _columns(x, axis)
    return f.matmul(rows, torch.where(torch.isinf(columns), columns.sign() * f.half, columns))


def _columns(x: Tensor, axis: int) -> Tensor:
    """(everything else, U)."""
    return x.movedim(axis, -1).reshape(-1, x.shape[axis])


def pack(prints: Tensor) -> Tensor:
    """(ROWS, U) signed residues → (U,) int64; ``pack(-x) = -pack(x)``."""
    weights = torch.tensor([1, 1 << 20, 1 << 40], dtype=torch.int64)
    return (prints.long() * weights[:, None]).sum(0)


def join(columns: Tensor, groups: int) -> Tensor:
    """(ROWS, groups * d) → (ROWS, groups): an ordered, sign-keeping combination of each group's units."""
    d = columns.shape[1] // groups
    weights = 2 * mix(torch.arange(d), stable_key("join")) + 1
    return (columns.long().view(ROWS, groups, d) * weights).sum(-1)


def slices_print(
    f: Field,
    tensors: Mapping[str, Tensor | None],
    slices: tuple[tuple[str, int], ...],
    width: int,
    span: int = 1,
) -> Tensor:
    """(width,) fingerprints of a layer's parameter slices (or of their gradients)."""
    total = torch.zeros(ROWS, width, dtype=STORE)
    for name, axis in slices:
        t = tensors.get(name)
        if t is None:
            continue
        t = t.flatten(axis, min(axis + span, t.dim()) - 1)
        blocks = t.shape[axis] // width  # gates of an RNN are stacked blocks of `width` rows
        rows = t.movedim(axis, 0).reshape(blocks, width, -1)
        flat = rows.permute(1, 0, 2).reshape(width, prod(rows.shape) // width)
        total = f.add(total, fingerprint(f, flat, 0, name))
    return pack(total)
