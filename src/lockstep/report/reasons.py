"""Why two units stay equal or part: ``audit.reason(layer, i, j)``, read off the layer's history."""

from __future__ import annotations

from lockstep.errors import UsageError
from lockstep.suggest import closest_first
from lockstep.types import Audit, Group, Layer, Reason


def reason(audit: Audit, layer: str, i: int, j: int) -> Reason:
    """The verdict on units ``i`` and ``j`` of ``layer``, with the step and the entries that decide.

    A pair in one class is ``"locked"``, a pair of opposite signs in a mirror group ``"mirror"``, one that the example
    never reaches ``"undecided"``; otherwise the first partition of ``Layer.history`` that has them apart gives step and
    direction.
    """
    found = _validated(audit, layer, i, j)
    if i == j:
        return Reason("locked", None, "none", "it is the same unit")
    for group in audit.locked:
        if group.where == layer and group.kind != "module" and i in group.units:
            sign = _relative_sign(group, i, j)
            if sign < 0:
                because = f"unit {j} is the negative of unit {i} at every step of training"
                return Reason("mirror", None, "none", f"{because} ({_scope(audit)})")
            if sign > 0:
                return Reason("locked", None, "none", _locked(audit, group.kind))
    if j in found.class_of(i):
        return Reason("locked", None, "none", _locked(audit, "twin"))
    if missed := [unit for unit in (i, j) if unit in found.unread]:
        which = f"units {i} and {j}" if len(missed) > 1 else f"unit {missed[0]}"
        because = f"the example never reaches {which} of {layer}: nothing is said of what it does not run (LS009)"
        return Reason("undecided", None, "none", because)
    for step, direction, classes in found.history:
        if not any(i in members and j in members for members in classes):
            return Reason("separates", step, direction, _because(audit, layer, i, j, direction))
    return Reason("separates", None, "none", _because(audit, layer, i, j, "none"))


def _validated(audit: Audit, name: str, i: int, j: int) -> Layer:
    if name not in audit.layers:
        raise UsageError(
            f"no layer {name!r} in this audit; the layers are {closest_first(name, audit.layers)}. "
            "Layers without parameters are not listed."
        )
    layer = audit.layers[name]
    wrong = [unit for unit in dict.fromkeys((i, j)) if not 0 <= unit < layer.width]
    if wrong:
        given = " and ".join(map(str, wrong))
        raise UsageError(
            f"layer {name!r} has no unit {given}: its width is {layer.width}, "
            f"so units are numbered 0 to {layer.width - 1}"
        )
    return layer


def _relative_sign(group: Group, i: int, j: int) -> int:
    """+1 for equal units, -1 for opposite ones, 0 when the group does not hold both."""
    if j not in group.units:
        return 0
    if group.kind != "mirror" or not group.signs:
        return 1
    sign = dict(zip(group.units, group.signs, strict=True))
    return 1 if sign[i] == sign[j] else -1


def _scope(audit: Audit) -> str:
    given = audit.assumptions
    data = "any data" if given.data == "any" else f"{given.data} data"
    return f"under {given.optimizer}, {given.loss}, {data}"


def _locked(audit: Audit, kind: str) -> str:
    if kind == "balanced":
        how = "sums of their incoming and of their outgoing weights agree class by class"
    else:
        how = "incoming and outgoing weights agree class by class"
    return f"{how}, so both get the same gradient at every step ({_scope(audit)})"


def _because(audit: Audit, layer: str, i: int, j: int, direction: str) -> str:
    if audit.explainer is not None:
        return audit.explainer(layer, i, j)
    if layer in audit.because:
        return audit.because[layer]
    return {
        "forward": "their activations differ: unequal incoming weights",
        "backward": "their gradients differ: unequal outgoing weights",
        "none": "they are in different classes once the pattern is fixed",
    }[direction]
