"""What a batch says of a layer's units: published counters, each a function of activations ``h`` (S, U).

``S`` are samples (positions of a sequence or an image count as samples), ``U`` the layer's units. None of the
published counters names twins: a layer of exact copies has no dormant unit and a cloning R² of 1 (both below).

* Dormant units: Sokar, Agarwal, Castro, Evci 2023, arXiv 2302.12902: ``s_i = E|h_i| / mean_j E|h_j|``; a unit is
  tau-dormant if ``s_i <= tau``. Scores average 1 by construction.
* Dead, duplicate and saturated units, effective rank, cloning R²: Joudaki et al. 2025, arXiv 2510.00304, as
  their code counts them. Effective rank itself: Roy and Vetterli 2007.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Blocks = Sequence[Sequence[int]]

TAU = 0.025
DEAD, DEAD_SHARE = 1e-7, 0.95
DUPLICATE = 0.95
SATURATED, SATURATED_SHARE = 1e-4, 0.99


def dormancy_scores(h: Tensor) -> Tensor:
    """(U,) scores of Sokar et al.; all 0 in a layer that is silent altogether.

    >>> dormancy_scores(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).tolist()
    [2.0, 0.0]
    """
    size = h.abs().mean(0)
    mean = size.mean()
    return size / torch.where(mean > 0, mean, torch.ones_like(mean))


def dormant(h: Tensor, tau: float = TAU) -> Tensor:
    """(U,) booleans: the unit's score is at most ``tau``."""
    return dormancy_scores(h) <= tau


def dead(h: Tensor) -> Tensor:
    """(U,) booleans: ``|h| < 1e-7`` on more than 95 % of the samples."""
    return h.abs().lt_(DEAD).mean(0) > DEAD_SHARE


def duplicates(h: Tensor) -> Tensor:
    """(U,) booleans: a later unit has activations with a cosine above .95 to this unit's.

    The units left over are the independent ones of the published counter; parallel is not equal, though.

    >>> duplicates(torch.tensor([[1.0, 2.0, 0.0], [3.0, 6.0, 1.0]])).tolist()
    [True, False, False]
    """
    unit = h / h.square().sum(0).sqrt().clamp_min(1e-12)
    return (unit.T @ unit).triu_(1).amax(1) > DUPLICATE


def saturated(h: Tensor, gradient: Tensor) -> Tensor:
    """(U,) booleans: ``|gradient| / mean |h| < 1e-4`` on more than 99 % of the samples.

    ``gradient`` (S, U) is that of the loss by the unit's output, of the same samples.
    """
    ratio = gradient.abs().div_(h.abs().mean(0).clamp_min(1e-12))
    return ratio.lt_(SATURATED).mean(0) > SATURATED_SHARE


def effective_rank(h: Tensor) -> float:
    """``exp`` of the entropy of the normalised singular values of ``h``; 0 for a silent layer.

    Computed from the smaller Gram matrix in float64: singular values below 1e-8 of the largest do not count.

    >>> round(effective_rank(torch.eye(5)), 6)
    5.0
    """
    a = h.double()
    gram = a.T @ a if a.shape[1] <= a.shape[0] else a @ a.T
    values = torch.linalg.eigvalsh(gram).clamp_min(0)
    singular = torch.where(values > 1e-16 * values[-1], values, torch.zeros_like(values)).sqrt()
    total = float(singular.sum())
    if not total > 0:
        return 0.0
    p = singular / total
    return float(torch.special.entr(p).sum().exp())


def cloning_r2(h: Tensor, blocks: Blocks) -> float:
    """``1 - Var(h - mean over the block) / Var(h)``: 1 while the copies in each block agree.

    ``blocks`` are tuples of unit indices; units in no block of two or more are left out. NaN if ``h`` is constant.

    >>> cloning_r2(torch.tensor([[1.0, 1.0], [3.0, 3.0]]), [(0, 1)])
    1.0
    """
    kept, mean = _block_means(h, blocks)
    return float(1 - (kept - mean).var(correction=0) / kept.var(correction=0))


def spread(h: Tensor, blocks: Blocks) -> float:
    """The largest difference of two units of one block on any sample; 0.0 means bitwise equal."""
    by_size: dict[int, list[Sequence[int]]] = {}
    for block in blocks:
        if len(block) > 1:
            by_size.setdefault(len(block), []).append(block)
    kept = [
        h[:, torch.tensor([list(b) for b in same], device=h.device)] for same in by_size.values()
    ]
    return max((float((b.amax(2) - b.amin(2)).max()) for b in kept), default=0.0)


def _block_means(h: Tensor, blocks: Blocks) -> tuple[Tensor, Tensor]:
    """Columns of blocks of two and more (S, K), and in each column its block's mean (S, K)."""
    blocks = [block for block in blocks if len(block) > 1]
    columns = torch.tensor([u for block in blocks for u in block], device=h.device)
    number = torch.tensor([n for n, block in enumerate(blocks) for _ in block], device=h.device)
    kept = h[:, columns].double()
    sums = kept.new_zeros(len(h), len(blocks)).index_add_(1, number, kept)
    sizes = kept.new_tensor([len(block) for block in blocks])
    return kept, (sums / sizes)[:, number]
