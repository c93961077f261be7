"""Asks the audit whether gradients that are equal now stay equal for ever."""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor, nn

from lockstep.errors import LockstepError
from lockstep.explain.derive import Entry
from lockstep.explain.network import Dense
from lockstep.types import Audit

SAMPLES = 4
STAY = (
    " And the audit certifies that they stay equal: on any data, under any loss and any elementwise"
    " optimizer."
)


def lasting(model: nn.Module, x: Any, a: Entry, b: Entry) -> str:
    """The end of the verdict on two equal gradients: certified, not certified, or not decided."""
    if layer_of_entry(a) is None or layer_of_entry(b) is None:
        return ""
    try:
        pipeline = importlib.import_module("lockstep.pipeline")
        audit: Audit = pipeline.audit(model, enough(x))
    except LockstepError as error:
        return f" (The audit could not say whether they stay equal: {str(error).splitlines()[0]})"
    if stays_equal(audit, a, b):
        return STAY
    return " The audit does not certify that they stay equal: they may separate later."


def enough(x: Any) -> Any:
    """``x`` repeated to the samples that the audit wants; only its shape counts there."""
    if isinstance(x, Tensor) and 0 < len(x) < SAMPLES:
        return x.repeat(SAMPLES, *(1 for _ in x.shape[1:]))
    return x


def layer_of_entry(entry: Entry) -> Dense | None:
    """The dense layer of the entry."""
    return entry.network.layer_of(entry.parameter)


def stays_equal(audit: Audit, a: Entry, b: Entry) -> bool:
    """True when the two units, and the two inputs they read, are locked to one another."""
    left, right = layer_of_entry(a), layer_of_entry(b)
    if left is None or right is None or left is not right or a.parameter != b.parameter:
        return False
    (j, i), (k, m) = (oriented(left, entry) for entry in (a, b))
    return one_class(audit, left, j, k) and (i == m or before_equal(audit, a, left, i, m))


def oriented(dense: Dense, entry: Entry) -> tuple[int, int]:
    """(unit, input) of the entry."""
    if entry.parameter == dense.bias:
        return entry.index[0], 0
    j, i = entry.index
    return (i, j) if dense.transposed else (j, i)


def before_equal(audit: Audit, entry: Entry, dense: Dense, i: int, m: int) -> bool:
    """True when units i and m of the layer that feeds ``dense`` are locked."""
    place = entry.network.place(dense.source)
    if place.kind not in ("z", "a"):
        return False
    return one_class(audit, entry.network.layers[place.layer - 1], i, m)


def one_class(audit: Audit, dense: Dense, j: int, k: int) -> bool:
    """True when units j and k of a layer share a class."""
    layer = audit.layers.get(dense.path)
    return j == k or (layer is not None and k in layer.class_of(j))
