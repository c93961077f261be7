"""A state as text in an address: JSON, deflated, base64url. Bounded on the way back in."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from typing import Any

from lockstep.errors import UsageError
from lockstep.lab.state import State, read

LONGEST = 20_000  # characters of an address
LARGEST = 60_000  # bytes of JSON in it


def encoded(state: State) -> str:
    """The text after ``?s=``; empty for the default state.

    >>> encoded(State()), decoded(encoded(State(seed=5))).seed
    ('', 5)
    """
    values = state.written()
    if not values:
        return ""
    text = json.dumps(values, separators=(",", ":"))
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")


def decoded(text: str) -> State:
    """The state in an address; raises :class:`~lockstep.errors.UsageError` for anything else."""
    return read(json_in(text)) if text else State()


def json_in(text: str) -> Any:
    """The JSON values that ``text`` holds."""
    if len(text) > LONGEST:
        raise UsageError(
            f"the address holds {len(text)} characters of state, {LONGEST} at most are read"
        )
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        opened = zlib.decompressobj()
        raw = opened.decompress(packed, LARGEST)
        if opened.unconsumed_tail:
            raise UsageError(f"the address unpacks to more than {LARGEST} bytes")
        if not opened.eof or opened.unused_data:
            raise ValueError("cut off, or with something behind it")
        return json.loads(raw.decode())
    except (ValueError, binascii.Error, zlib.error, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            "the address holds no state of the lab: it is cut off, mistyped or of another page"
        ) from error
