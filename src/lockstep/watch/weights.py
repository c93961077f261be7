"""What the weights alone say of a layer's units: how many are distinct, which two are nearest.

A unit is its row of incoming weights, ``w`` (U, K), bias included. Nothing here needs a hook or a pass.

"Distinct" is about incoming weights: units fed by twins may differ in weights and still compute the same, so the
number is an upper bound of the layer's different functions, and :func:`lockstep.audit` has the exact answer.
Parallel units are not equal: those that condense on one line (Zhou et al. 2021, arXiv 2105.11686) stay distinct
and show in ``abs_cosine``.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from ..field.mixing import mix

Labels = list[int]

TOLERANCE = 1e-3
PAIRS = 2048  # layers up to this width are compared pair by pair
PROBED = 16  # entries that tell most units apart
CHUNK = 2**22  # entries hashed at a time
WHOLE = 512  # units of which all pairs are compared in full; beyond, in a sketch
SKETCH = 64
MEASURED = 8  # pairs a unit that are measured one by one
LIKELY = 256  # units of a sketched layer whose nearest is measured


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


def same(w: Tensor) -> Labels:
    """(U,) labels, equal for units whose rows are equal bit by bit (0.0 and -0.0 are one number).

    Units that differ at a few probed entries need no further look, so a healthy layer costs next to nothing.

    >>> same(torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]))
    [0, 1, 0]
    """
    step = max(1, w.shape[1] // PROBED)
    labels = _labels(_hash(w[:, ::step]))
    if len(set(labels)) == len(labels):
        return labels
    first = torch.tensor(labels, device=w.device)
    return labels if bool((w == w[first]).all()) else _labels(_hash(w))


def twins(labels: Labels, gradient: Tensor) -> int:
    """How many units share their label, and their row of ``gradient`` (U, K) bit by bit, with another.

    >>> twins([0, 0, 2, 2, 2], torch.tensor([[1.0], [1.0], [2.0], [3.0], [3.0]]))
    4
    """
    groups = [units for units in classes(labels) if len(units) > 1]
    first = [units[0] for units in groups for _ in units[1:]]
    other = [unit for units in groups for unit in units[1:]]
    equal = iter((gradient[first] == gradient[other]).all(1).tolist())
    found, apart = 0, []
    for units in groups:
        differ = [unit for unit in units[1:] if not next(equal)]
        together = len(units) - len(differ)
        found += together if together > 1 else 0
        apart += differ if len(differ) > 1 else []
    if apart:  # from the first of their class; perhaps not from one another
        keys = zip([labels[unit] for unit in apart], _hash(gradient[apart]).tolist(), strict=True)
        found += sum(n for n in Counter(keys).values() if n > 1)
    return found


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
    """Pairs of at least two units, from one Gram matrix in float32; what looks near is measured exactly.

    Of more than ``WHOLE`` units the Gram matrix is that of a random sketch of the rows (Johnson and Lindenstrauss):
    near pairs are near in it too, and of these the exact distance is taken. The means of the cosines are then those
    of ``WHOLE`` units spread evenly.

    >>> near(torch.tensor([[1.0, 0.0], [1.0, 1e-4], [0.0, 1.0]])).pair
    (0, 1)
    """
    a = w if w.dtype == torch.float64 else w.float()
    units = len(a)
    norm = torch.linalg.vector_norm(a, dim=1)
    scale = float(norm.square().mean()) ** 0.5
    if not math.isfinite(scale):
        return Near(units, math.nan, (0, 1), math.nan, math.nan)
    scale = scale or 1.0
    sketched = units > WHOLE and a.shape[1] > SKETCH
    rows = _sketch(a) if sketched else a
    gram = rows @ rows.T
    sample = a[torch.linspace(0, units - 1, WHOLE, device=a.device).long()] if sketched else a
    cosine, abs_cosine = _cosines(sample @ sample.T if sketched else gram, sample)
    distance = _squares(gram)
    least = distance.amin(1)
    reach = (tolerance * scale) ** 2
    # What rounding may hide, or the sketch, is measured. At a distance all pairs look much the same in a sketch: there
    # the nearest of those units must do that have the nearest ones.
    slack = 64 * torch.finfo(distance.dtype).eps * scale**2
    limit = 4 * reach if sketched else max(float(least.min()), reach)
    i, j = _pairs_within(distance, least, limit + slack)
    if sketched:
        likely = least.topk(min(LIKELY, units), largest=False).indices
        i = torch.cat((i, likely))
        j = torch.cat((j, distance[likely].argmin(1)))
    if len(i) > MEASURED * units:
        wide = a.double()
        distance = _squares(wide @ wide.T)
        least = distance.amin(1)
        i, j = _pairs_within(distance, least, max(float(least.min()), reach))
        exact = distance[i, j].clamp_min(0).sqrt()
    else:
        exact = _distances(a, i, j)
    close = exact.square() <= reach
    at = int(exact.argmin())
    pair = min(int(i[at]), int(j[at])), max(int(i[at]), int(j[at]))
    nearest = float((a[pair[0]].double() - a[pair[1]].double()).norm()) / scale
    return Near(_clusters(units, i[close], j[close]), nearest, pair, cosine, abs_cosine)


def _sketch(a: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(SKETCH)
    signs = torch.randint(0, 2, (a.shape[1], SKETCH), generator=generator).to(a) * 2 - 1
    return a @ signs / SKETCH**0.5


def _squares(gram: Tensor) -> Tensor:
    """Squared distances from the Gram matrix, which is overwritten; infinite on the diagonal."""
    square = gram.diagonal().clone()
    return gram.mul_(-2).add_(square[:, None]).add_(square).fill_diagonal_(torch.inf)


def _pairs_within(distance: Tensor, least: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Pairs ``i < j`` at most ``limit`` apart; ``least`` (U,) are the minima of the rows, most of which are above."""
    some = (least <= limit).nonzero().flatten()
    i, j = (distance[some] <= limit).nonzero(as_tuple=True)
    i = some[i]
    return i[i < j], j[i < j]


def _cosines(gram: Tensor, a: Tensor) -> tuple[float, float]:
    """Mean cosine and mean absolute cosine of all pairs of rows."""
    norm = torch.linalg.vector_norm(a, dim=1)
    inverse = torch.where(norm > 0, 1 / norm.clamp_min(torch.finfo(a.dtype).tiny), 0.0)
    whole = (norm > 0).sum()  # the diagonal, which is no pair
    total = (inverse @ a).double().square().sum() - whole
    absolute = (gram.abs() @ inverse).double() @ inverse.double() - whole
    cosine, abs_cosine = (torch.stack((total, absolute)) / (len(a) * (len(a) - 1))).tolist()
    return cosine, max(abs_cosine, 0.0)


def _distances(a: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Distances of some pairs, a chunk at a time: differences as the weights have them, their norms in float64."""
    size = max(1, CHUNK // max(1, a.shape[1]))
    parts = [
        (a[i[n : n + size]] - a[j[n : n + size]]).double().norm(dim=1)
        for n in range(0, len(i), size)
    ]
    return torch.cat(parts)


def _clusters(units: int, i: Tensor, j: Tensor) -> int:
    """Number of components of a graph with the edges ``(i, j)``: labels flow to the smallest neighbour."""
    if not len(i):
        return units
    labels = torch.arange(units, device=i.device)
    ends = torch.cat((i, j))
    while True:
        least = torch.minimum(labels[i], labels[j]).repeat(2)
        lower = labels.scatter_reduce(0, ends, least, "amin")
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


def _labels(keys: Tensor) -> Labels:
    """The first unit with the same key."""
    first: dict[int, int] = {}
    return [first.setdefault(key, unit) for unit, key in enumerate(keys.tolist())]
