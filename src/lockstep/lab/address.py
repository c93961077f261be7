"""A state and what is selected in it as text: JSON in a file; JSON, deflated, base64url in an address."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import zlib
from typing import Any

from lockstep.errors import UsageError
from lockstep.lab.lessons import lessons
from lockstep.lab.state import SELECTED, Selection, State, read, read_selection

LONGEST = 20_000  # characters of an address, or of a file
LARGEST = 60_000  # bytes of JSON in an address

Shown = tuple[State, Selection]


def as_json(state: State, selection: Selection) -> str:
    """What the address holds, readable; ``weights`` are those of the start."""
    return json.dumps(written(state, selection), indent=1) + "\n"


def from_json(text: str) -> Shown:
    """What :func:`as_json` wrote; raises :class:`~lockstep.errors.UsageError` for anything else.

    >>> from_json('{"seed": 5, "selected": {"weights": ["w1"]}}')[1].weights
    ('w1',)
    """
    if len(text) > LONGEST:
        raise UsageError(f"the file has more than {LONGEST} characters")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError("the file is no JSON: it is cut off, or of another kind") from error
    return opened(values)


def encoded(state: State, selection: Selection | None = None) -> str:
    """The text after ``?s=``; empty for the default state.

    >>> encoded(State()), decoded(encoded(State(seed=5)))[0].seed
    ('', 5)
    """
    values = written(state, selection or natural(state))
    if not values:
        return ""
    text = json.dumps(values, separators=(",", ":"))
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")


def decoded(text: str) -> Shown:
    """What an address holds; raises :class:`~lockstep.errors.UsageError` for anything else."""
    return opened(json_in(text) if text else {})


def natural(state: State) -> Selection:
    """What is selected where nothing is said: the lesson's weights, the first two units, all samples."""
    lesson = lessons().get(state.lesson)
    return Selection(
        weights=lesson.weights if lesson else (), units=(0, 1) if state.hidden[0] > 1 else ()
    )


def written(state: State, selection: Selection) -> dict[str, Any]:
    """What differs from the default, as JSON values."""
    values = state.written()
    if selection != natural(state):
        values[SELECTED] = json.loads(json.dumps(dataclasses.asdict(selection)))
    return values


def opened(values: Any) -> Shown:
    """What :func:`written` wrote."""
    state = read(values)
    return state, read_selection(values) or natural(state)


def json_in(text: str) -> Any:
    """The JSON values that ``text`` holds."""
    if len(text) > LONGEST:
        raise UsageError(
            f"the address holds {len(text)} characters of state, {LONGEST} at most are read"
        )
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        inflated = zlib.decompressobj()
        raw = inflated.decompress(packed, LARGEST)
        if inflated.unconsumed_tail:
            raise UsageError(f"the address unpacks to more than {LARGEST} bytes")
        if not inflated.eof or inflated.unused_data:
            raise ValueError("cut off, or with something behind it")
        return json.loads(raw.decode())
    except (ValueError, binascii.Error, zlib.error, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            "the address holds no state of the lab: it is cut off, mistyped or of another page"
        ) from error
