"""One row of the table: a layer at a step. Which columns there are, and how each is filled.

A value that could not be had is ``None``, and ``withheld`` says why: never a number in its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lockstep.watch import activity, weights
from lockstep.watch.capture import HALF, Seen

Row = dict[str, Any]
RANKED = 128

COLUMNS = {
    "step": "updates made so far",
    "layer": "its name, as in an audit",
    "width": "units",
    "distinct": "units whose incoming weights differ from all before, bit by bit",
    "distinct_within": "clusters of units closer than the tolerance",
    "nearest": "distance of the two nearest units, relative to the rows' root mean square norm",
    "nearest_i": "the one unit of the nearest pair",
    "nearest_j": "the other",
    "cosine": "mean cosine of all pairs of weight rows (of 512 units in a wider layer)",
    "abs_cosine": "mean absolute cosine of the same pairs",
    "gradient_twins": "units that share weights and gradient, bit by bit, with another",
    "drift": "how far entries have moved whose gradients were never more than rounding",
    "cloning_r2": "1 - Var(activations around the mean of their group) / Var(activations)",
    "spread": "largest difference of activations inside a group",
    "dormant": "share of units with a dormancy score of at most tau (Sokar et al.)",
    "dead": "share of units with |h| < 1e-7 on 95 % of the samples",
    "duplicates": "share of units with a later unit at an activation cosine above .95",
    "independent": "units that are nobody's duplicate",
    "saturated": "share of units with |gradient| / mean |h| < 1e-4 on 99 % of the samples",
    "effective_rank": "exp of the entropy of the activations' normalised singular values (wide layers: of 128 samples)",
    "samples": "samples (positions) the activations are taken from",
    "function": "what the activations were taken after",
    "withheld": "why values are missing",
}
LABELS = ("step", "layer", "width", "nearest_i", "nearest_j", "samples", "function", "withheld")
TEXT = ("layer", "function", "withheld")
COUNTS = (
    "step", "width", "distinct", "distinct_within", "nearest_i", "nearest_j", "gradient_twins", "independent",
    "samples",
)  # fmt: skip
METRICS = tuple(name for name in COLUMNS if name not in LABELS)


def empty(step: int, layer: str, width: int) -> Row:
    """A row in which nothing is known yet."""
    row: Row = dict.fromkeys(COLUMNS)
    row |= {"step": step, "layer": layer, "width": width, "function": "", "withheld": ""}
    return row


def withhold(row: Row, what: str, why: str) -> None:
    """Note why something is missing."""
    note = f"{what}: {why}"
    row["withheld"] = f"{row['withheld']}; {note}" if row["withheld"] else note


def of_weights(row: Row, w: Tensor, labels: weights.Labels, tolerance: float, pairs: int) -> None:
    """Fill in what the weights (U, K) say."""
    row["distinct"] = len(set(labels))
    if row["width"] > pairs:
        withhold(row, "pairs", f"{row['width']} units are more than pairs={pairs}")
        return
    near = weights.near(w, tolerance)
    if not math.isfinite(near.nearest) or not math.isfinite(near.cosine):
        withhold(row, "pairs", "weights are not finite")
        return
    row["distinct_within"] = near.within
    row["nearest"], (row["nearest_i"], row["nearest_j"]) = near.nearest, near.pair
    row["cosine"], row["abs_cosine"] = near.cosine, near.abs_cosine


def of_gradients(row: Row, labels: weights.Labels, gradient: Tensor | None) -> None:
    """Fill in how many units move as another does."""
    if len(set(labels)) == len(labels):
        row["gradient_twins"] = 0
    elif gradient is None:
        withhold(row, "gradient_twins", "no gradients were left after the update")
    else:
        row["gradient_twins"] = weights.twins(labels, gradient)


def of_activity(
    row: Row, seen: Seen, blocks: Sequence[Sequence[int]], tau: float, scale: float | None
) -> None:
    """Fill in what a pass showed; ``scale`` is that of the loss, None if unknown."""
    h = seen.h
    assert h is not None
    if not math.isfinite(float(h.sum())) and not bool(h.isfinite().all()):  # the sum may overflow
        withhold(row, "activations", "they are not finite")
        return
    row["samples"], row["function"] = len(h), seen.function or "the layer itself"
    copies = activity.duplicates(h)
    shares = [activity.dormant(h, tau), activity.dead(h), copies]
    numbers = [int(mask.sum()) for mask in shares]
    row["dormant"], row["dead"], row["duplicates"] = (n / row["width"] for n in numbers)
    row["independent"] = row["width"] - numbers[2]
    row["effective_rank"] = activity.effective_rank(_few(h))
    if any(len(block) > 1 for block in blocks):
        row["spread"] = activity.spread(h, blocks)
        r2 = activity.cloning_r2(h, blocks)
        row["cloning_r2"] = r2 if math.isfinite(r2) else None
    if seen.gradient is None:
        withhold(row, "saturated", "no gradient of the activations reached it")
    elif scale is None and seen.scaled:
        withhold(row, "saturated", HALF)
    else:
        mask = activity.saturated(h, seen.gradient / (scale or 1.0))
        row["saturated"] = int(mask.sum()) / row["width"]


def _few(h: Tensor) -> Tensor:
    """For the eigenvalues of a wide layer: ``RANKED`` samples, spread evenly."""
    if min(h.shape) <= RANKED:
        return h
    return h[torch.arange(RANKED, device=h.device) * len(h) // RANKED]


def numbers(row: Row) -> dict[str, float]:
    """``layer/metric`` → value, for sinks: what is known and finite."""
    known = {m: row[m] for m in METRICS if row[m] is not None}
    return {f"{row['layer']}/{m}": float(v) for m, v in known.items() if math.isfinite(v)}
