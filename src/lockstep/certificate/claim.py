"""The claim on paper: an ``Audit`` as versioned JSON, and back.

``schema.json`` fixes the form and ``form.py`` refuses what departs from it. Whether a well-formed
claim is *true* is the business of ``check.py``.

Singletons are written in ``classes`` and left out of ``history``: a healthy layer of 3072 units
would otherwise repeat 3072 lists for every step and direction.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from lockstep.certificate.form import SCHEMA, parse
from lockstep.errors import LockstepError
from lockstep.types import (
    Assumptions,
    Audit,
    Classes,
    Escape,
    Evidence,
    Finding,
    Frozen,
    Group,
    Layer,
    Leak,
    Rounding,
)


def to_json(audit: Audit) -> str:
    """The audit as a JSON document that ``from_json`` reads back to an equal value.

    >>> from lockstep.types import Assumptions, Audit, Evidence
    >>> nothing = Audit({}, (), (), (), Assumptions("any", "o", "l", "any", "train"),
    ...                 Evidence(((1048573, 0),), 1, 1, 0, 0.0), digest="")
    >>> from_json(to_json(nothing)) == nothing
    True
    """
    return write(document(audit))


def from_json(text: str) -> Audit:
    """Read a certificate; raise ``CertificateError`` with every problem of its form at once.

    Text that is not a Lockstep document at all raises ``UsageError``.
    """
    return audit_of(parse(text))


def refusal(error: LockstepError, model: str = "") -> dict[str, Any]:
    """The document that stands in for an audit when there is none (exit codes 2 and 3)."""
    return {
        "schema": SCHEMA,
        "status": "undecided" if error.exit_code == 3 else "error",
        "kind": type(error).__name__,
        "reason": str(error),
        "exit_code": 3 if error.exit_code == 3 else 2,
        "model": model,
    }


def document(audit: Audit) -> dict[str, Any]:
    """The audit as plain dicts and lists, in the order in which one wants to read it."""
    evidence = asdict(audit.evidence)
    evidence["lanes"] = [{"prime": prime, "seed": seed} for prime, seed in audit.evidence.lanes]
    return {
        "schema": SCHEMA,
        "status": "decided",
        "ok": audit.ok,
        "model": audit.model,
        "digest": audit.digest,
        "parameters": audit.parameters,
        "inputs": [
            {"name": name, "dtype": dtype, "shape": list(shape)}
            for name, dtype, shape in audit.inputs
        ],
        "findings": [asdict(finding) for finding in audit.findings],
        "layers": {name: _layer(layer) for name, layer in audit.layers.items()},
        "locked": [_group(group) for group in audit.locked],
        "frozen": [
            {
                "parameter": frozen.parameter,
                "count": frozen.count,
                "total": frozen.total,
                "indices": [list(index) for index in frozen.indices],
            }
            for frozen in audit.frozen
        ],
        "because": dict(audit.because),
        "assumptions": {
            **asdict(audit.assumptions),
            "noise": list(audit.assumptions.noise),
            "notes": list(audit.assumptions.notes),
        },
        "evidence": evidence,
        **({"rounding": rounding_document(audit.rounding)} if audit.rounding else {}),
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "kind": group.kind,
        "where": group.where if isinstance(group.where, str) else list(group.where),
        "units": list(group.units),
        "signs": list(group.signs),
    }


def rounding_document(rounding: Rounding) -> dict[str, Any]:
    """What was measured in floats, as plain dicts and lists."""
    return {
        "steps": rounding.steps,
        "machine": rounding.machine,
        "because": rounding.because,
        "escapes": [
            {
                "group": _group(escape.group),
                "dtype": escape.leak.dtype,
                "steps": escape.leak.steps,
                "step": escape.leak.step,
                "size": escape.leak.size,
                "sizes": [size if math.isfinite(size) else None for size in escape.sizes],
                "threshold": escape.threshold,
                "predicted": escape.predicted,
                "seen": escape.seen,
                "because": escape.because,
            }
            for escape in rounding.escapes
        ],
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "width": layer.width,
        "effective_width": layer.effective_width,
        "classes": [list(members) for members in layer.classes],
        "history": [
            {
                "step": step,
                "direction": direction,
                "tied": [list(members) for members in classes if len(members) > 1],
            }
            for step, direction, classes in layer.history
        ],
        **({"unread": list(layer.unread)} if layer.unread else {}),
    }


def write(value: Any, indent: str = "") -> str:
    """JSON with one line a field; lists of numbers (and of such lists) stay on one line."""
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        rows = [f"{json.dumps(key)}: {write(item, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(deeper + row for row in rows) + "\n" + indent + "}"
    if isinstance(value, list) and any(_tall(item) for item in value):
        rows = [write(item, deeper) for item in value]
        return "[\n" + ",\n".join(deeper + row for row in rows) + "\n" + indent + "]"
    return json.dumps(value, allow_nan=False)


def _tall(item: Any) -> bool:
    return isinstance(item, dict | str)


def audit_of(loaded: dict[str, Any]) -> Audit:
    """The value that a well-formed claim stands for."""
    assumptions, evidence = dict(loaded["assumptions"]), dict(loaded["evidence"])
    assumptions |= {name: tuple(assumptions[name]) for name in ("noise", "notes")}
    evidence["lanes"] = tuple((lane["prime"], lane["seed"]) for lane in evidence["lanes"])
    return Audit(
        layers={name: _read_layer(name, layer) for name, layer in loaded["layers"].items()},
        locked=tuple(_read_group(group) for group in loaded["locked"]),
        frozen=tuple(
            Frozen(
                frozen["parameter"],
                frozen["count"],
                frozen["total"],
                tuple(tuple(index) for index in frozen["indices"]),
            )
            for frozen in loaded["frozen"]
        ),
        findings=tuple(Finding(**finding) for finding in loaded["findings"]),
        assumptions=Assumptions(**assumptions),
        evidence=Evidence(**evidence),
        digest=loaded["digest"],
        model=loaded["model"],
        inputs=tuple(
            (item["name"], item["dtype"], tuple(item["shape"])) for item in loaded["inputs"]
        ),
        parameters=loaded["parameters"],
        because=dict(loaded["because"]),
        rounding=_read_rounding(loaded["rounding"]) if "rounding" in loaded else None,
    )


def _read_group(group: dict[str, Any]) -> Group:
    where = group["where"] if isinstance(group["where"], str) else tuple(group["where"])
    return Group(group["kind"], where, tuple(group["units"]), tuple(group["signs"]))


def _read_rounding(read: dict[str, Any]) -> Rounding:
    escapes = tuple(
        Escape(
            _read_group(one["group"]),
            Leak(one["dtype"], one["steps"], one["step"], one["size"]),
            tuple(math.inf if size is None else size for size in one["sizes"]),
            one["threshold"],
            one["predicted"],
            one["seen"],
            one["because"],
        )
        for one in read["escapes"]
    )
    return Rounding(escapes, read["steps"], read["machine"], read["because"])


def _read_layer(name: str, layer: dict[str, Any]) -> Layer:
    return Layer(
        name,
        layer["width"],
        tuple(tuple(members) for members in layer["classes"]),
        tuple(
            (entry["step"], entry["direction"], _with_singletons(entry["tied"], layer["classes"]))
            for entry in layer["history"]
        ),
        tuple(layer.get("unread", ())),
    )


def _with_singletons(tied: list[list[int]], classes: list[list[int]]) -> Classes:
    """The units are those of ``classes``: a width may be any number before it is judged."""
    together = {unit for members in tied for unit in members}
    alone = [(unit,) for members in classes for unit in members if unit not in together]
    return tuple(sorted([*(tuple(sorted(members)) for members in tied), *alone]))
