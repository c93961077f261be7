"""What the weights alone say of a layer's units: how many are distinct, which two are nearest.

A unit is its row of incoming weights, ``w`` (U, K), bias included. Nothing here needs a hook or a pass.

"Distinct" is about incoming weights: units fed by twins may differ in weights and still compute the same, so the
number is an upper bound of the layer's different functions, and :func:`lockstep.audit` has the exact answer.
Parallel units are not equal: those that condense on one line (Zhou et al. 2021, arXiv 2105.11686) stay distinct
and show in ``abs_cosine``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..field.arithmetic import mix

Labels = list[int]

TOLERANCE = 1e-3
PAIRS = 2048  # layers up to this width are compared pair by pair
PROBED = 16  # entries that tell most units apart
CHUNK = 2**22  # entries hashed at a time


@dataclass(frozen=True)
class Near:
    """``within``: number of clusters of units closer than the tolerance; the ``nearest`` pair and its distance.

    Distances are relative to the root mean square of the rows' norms. ``cosine`` and ``abs_cosine`` are means
    over all pairs; a unit without weights has cosine 0 to all.
    """

    within: int
    nearest: float
    pair: tuple[int, int]
    cosine: float
    abs_cosine: float


def same(w: Tensor, also: Tensor | None = None) -> Labels:
    """(U,) labels, equal for units whose rows are equal bit by bit (0.0 and -0.0 are one number).

    ``also`` (U, K') has to agree as well. Units that differ at a few probed entries need no further look, so a
    healthy layer costs next to nothing.

    >>> same(torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]))
    [0, 1, 0]
    """
    step = max(1, w.shape[1] // PROBED)
    labels = _labels(_hash(w[:, ::step]))
    if len(set(labels)) == len(labels):
        return labels
    keys = [_hash(w)] + ([] if also is None else [_hash(also)])
    return _labels(*keys)


def classes(labels: Labels) -> tuple[tuple[int, ...], ...]:
    """Units of each label, ordered by their first unit.

    >>> classes([0, 1, 0])
    ((0, 2), (1,))
    """
    found: dict[int, list[int]] = {}
    for unit, label in enumerate(labels):
        found.setdefault(label, []).append(unit)
    return tuple(tuple(units) for units in found.values())


def near(w: Tensor, tolerance: float = TOLERANCE) -> Near:
    """Pairs of at least two units, by the Gram matrix in float64.

    >>> near(torch.tensor([[1.0, 0.0], [1.0, 1e-4], [0.0, 1.0]])).pair
    (0, 1)
    """
    a = w.double()
    units = len(a)
    square = a.square().sum(1)
    scale = float(square.mean()) ** 0.5 or 1.0
    distance = (a @ a.T).mul_(-2).add_(square[:, None]).add_(square).fill_diagonal_(torch.inf)
    flat = int(distance.argmin())
    pair = sorted((flat // units, flat % units))
    least = (tolerance * scale) ** 2
    within = units
    if float(distance.view(-1)[flat]) <= least:
        within = _clusters(distance <= least)
    del distance
    unit = a / square.clamp_min(torch.finfo(torch.float64).tiny).sqrt()[:, None]
    whole = (square > 0).sum()  # the diagonal, which is no pair
    total = unit.sum(0).square().sum() - whole
    size = unit.float()
    absolute = (size @ size.T).abs_().sum(dtype=torch.float64) - whole
    pairs = units * (units - 1)
    cosine, abs_cosine = (torch.stack((total, absolute)) / pairs).tolist()
    nearest = float((a[pair[0]] - a[pair[1]]).norm()) / scale
    return Near(within, nearest, (pair[0], pair[1]), cosine, abs_cosine)


def _clusters(close: Tensor) -> int:
    """Number of connected components: labels flow to the smallest neighbour until nothing changes."""
    units = len(close)
    own = torch.arange(units, device=close.device)
    linked = close.fill_diagonal_(True)
    labels = own
    while True:
        lower = torch.where(linked, labels, units).amin(1)
        lower = lower[lower]
        if torch.equal(lower, labels):
            return len(set(labels.tolist()))
        labels = lower


BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _hash(w: Tensor) -> Tensor:
    """(U,) int64: equal for equal rows; for unequal ones with probability about 2^-64."""
    units, entries = w.shape
    factors = mix(torch.arange(entries, device=w.device), 1) | 1
    rows = max(1, CHUNK // max(1, entries))
    parts = []
    for first in range(0, units, rows):
        block = (w[first : first + rows] + 0.0).contiguous()
        bits = block.view(BITS[block.element_size()]).to(torch.int64)
        # Mixed first: floats such as 1.0 end in zeros, of which a product modulo 2^64 would keep too little.
        parts.append((mix(bits, 2) * factors).sum(1))
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _labels(*keys: Tensor) -> Labels:
    """The first unit with the same keys."""
    rows = list(zip(*(key.tolist() for key in keys), strict=True))
    first: dict[tuple[int, ...], int] = {}
    return [first.setdefault(row, unit) for unit, row in enumerate(rows)]
