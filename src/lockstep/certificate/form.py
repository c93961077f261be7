"""The form of a claim: ``schema.json``, and what a schema cannot say.

Classes must partition the units, counts and names must agree: a file edited by hand is refused with
every problem at once, before anybody asks whether the claim is true.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from typing import Any

from lockstep.errors import CertificateError, UsageError
from lockstep.types import LOCKING_CODES

SCHEMA = "lockstep-audit/1"
SHOWN_PROBLEMS = 50  # a thoroughly broken file would otherwise print one line a unit


@functools.cache
def schema() -> dict[str, Any]:
    """The JSON schema of every document that ``lockstep audit --format json`` prints."""
    text = resources.files("lockstep.certificate").joinpath("schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def parse(text: str) -> dict[str, Any]:
    """JSON text to a well-formed claim; all problems of form and of consistency together."""
    try:
        loaded = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:  # RecursionError: brackets in brackets
        raise UsageError(
            f"not a Lockstep certificate: the text is not JSON ({error}). "
            "Write one with `lockstep audit TARGET --format json --output FILE`."
        ) from error
    given = loaded.get("schema") if isinstance(loaded, dict) else None
    if given != SCHEMA:
        raise UsageError(
            f'not a Lockstep certificate: its "schema" is {given!r}, this version reads {SCHEMA!r}. '
            "Write one with `lockstep audit TARGET --format json --output FILE`."
        )
    if loaded.get("status") in ("undecided", "error"):
        raise UsageError(
            f'this document claims nothing: its status is "{loaded["status"]}" '
            f"({loaded.get('reason', 'without a reason')}). Only a decided audit is a certificate."
        )
    claim: dict[str, Any] = loaded
    problems = list(form_problems(claim)) or list(consistency_problems(claim))
    if problems:
        raise CertificateError(_shortened(problems))
    return claim


def _no_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # JSON readers keep the last of two equal keys; a claim must not depend on the reader.
    read = dict(pairs)
    if len(read) < len(pairs):
        twice = sorted(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
        raise ValueError(f"the same key twice in one object: {', '.join(twice)}")
    return read


def _shortened(problems: list[str]) -> list[str]:
    more = len(problems) - SHOWN_PROBLEMS
    return problems if more <= 0 else [*problems[:SHOWN_PROBLEMS], f"… and {more} more"]


def form_problems(loaded: Any) -> Iterator[str]:
    """Every place where a document departs from ``schema.json``."""
    # Imported on use: an audit in a notebook needs no validator.
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    # To a schema 3.0 is an integer; to Python it is no index.
    whole_numbers = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    whole = schema()
    decided = not isinstance(loaded, dict) or loaded.get("status") not in ("undecided", "error")
    # The branch is chosen by status here; `oneOf` would only report that neither branch fits.
    branch = {
        "$schema": whole["$schema"],
        "$ref": "#/$defs/claim" if decided else "#/$defs/refusal",
        "$defs": whole["$defs"],
    }
    validator = extend(Draft202012Validator, type_checker=whole_numbers)
    errors = validator(branch).iter_errors(loaded)
    for error in sorted(errors, key=lambda found: [str(step) for step in found.absolute_path]):
        place = "/".join(str(step) for step in error.absolute_path) or "document"
        message = (
            error.message
            if len(error.message) < 300
            else f"{error.message[:150]} ... {error.message[-145:]}"
        )
        yield f"{place}: {message}"


def consistency_problems(loaded: dict[str, Any]) -> Iterator[str]:
    """What a schema cannot say: partitions, counts, names. ``loaded`` has the right form."""
    layers = loaded["layers"]
    for name, layer in layers.items():
        yield from _partition_problems(name, layer)
    for n, group in enumerate(loaded["locked"]):
        yield from _group_problems(f"locked/{n}", group, layers)
    for frozen in loaded["frozen"]:
        place = f"frozen/{frozen['parameter']}"
        if frozen["count"] > frozen["total"]:
            yield f"{place}: count {frozen['count']} exceeds total {frozen['total']}"
        if len(frozen["indices"]) > frozen["count"]:
            yield f"{place}: {len(frozen['indices'])} indices for count {frozen['count']}"
    ok = not any(finding["code"] in LOCKING_CODES for finding in loaded["findings"])
    if loaded["ok"] != ok:
        yield f"ok: says {loaded['ok']}, the findings say {ok}"


def _partition_problems(name: str, layer: dict[str, Any]) -> Iterator[str]:
    width, classes = layer["width"], layer["classes"]
    units = sorted(unit for members in classes for unit in members)
    # Lengths first: a width of 10^12 is one number on paper, and more than fits as a list.
    if len(units) != width or units != list(range(width)):
        yield f"layers/{name}/classes: not a partition of the units 0 to {width - 1}"
    if any(members != sorted(members) for members in classes) or classes != sorted(classes):
        yield f"layers/{name}/classes: not in order (units ascend, classes by their first unit)"
    if layer["effective_width"] != len(classes):
        given = layer["effective_width"]
        yield f"layers/{name}/effective_width: {given}, but there are {len(classes)} classes"
    missed = layer.get("unread", [])
    if missed != sorted(missed) or not {(unit,) for unit in missed} <= set(map(tuple, classes)):
        yield f"layers/{name}/unread: {missed} are not units in classes of their own, in order"
    for n, entry in enumerate(layer["history"]):
        units = [unit for members in entry["tied"] for unit in members]
        if len(units) != len(set(units)) or any(unit >= width for unit in units):
            yield f"layers/{name}/history/{n}: classes overlap or name units beyond {width - 1}"


def _group_problems(place: str, group: dict[str, Any], layers: dict[str, Any]) -> Iterator[str]:
    where, units = group["where"], group["units"]
    if group["kind"] == "module":
        if isinstance(where, str):
            yield f"{place}/where: a module group lists its paths, this is {where!r}"
            return
        size = len(where)
    elif not isinstance(where, str) or where not in layers:
        yield f"{place}/where: {where!r} is not a layer of this document"
        return
    else:
        size = layers[where]["width"]
    if any(unit >= size for unit in units):
        yield f"{place}/units: {units} for {size} unit(s) of {where!r}"
    if group["signs"] and len(group["signs"]) != len(units):
        yield f"{place}/signs: {len(group['signs'])} sign(s) for {len(units)} unit(s)"
    if group["kind"] == "mirror" and not group["signs"]:
        yield f"{place}/signs: a mirror group says who is whose negative"
