"""What a browser may send over its WebSocket: Socket.IO frames of the five kinds that NiceGUI's pages send.

Anything else closes the connection before it reaches the page. Forms:
``0…`` to ``6`` are Engine.IO packets, ``4`` carries Socket.IO, ``42`` one of its events
(https://socket.io/docs/v4/engine-io-protocol, https://socket.io/docs/v4/socket-io-protocol).
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from nicegui import json as page

LARGEST = 200_000  # characters of a message
WITHOUT_EVENT = re.compile(r"[1356]|2(probe)?|3(probe)?|4[01](\{[^\[]{0,200}\})?")
EVENT = re.compile(r"42\d{0,6}(?=\[)")

NAME = {"type": "string", "maxLength": 100}
COUNT = {"type": "integer", "minimum": 0, "maximum": 2**53}
FORMS: dict[str, dict[str, Any]] = {
    "handshake": {"client_id": NAME, "tab_id": NAME, "document_id": NAME},
    "event": {
        "client_id": NAME,
        "id": COUNT,
        "listener_id": NAME,
        "args": {
            "type": "array",
            "maxItems": 8,
            "items": {"type": ["string", "null"], "maxLength": 50_000},
        },
    },
    "javascript_response": {"client_id": NAME, "request_id": NAME},
    "ack": {"client_id": NAME, "next_message_id": COUNT},
    "log": {
        "client_id": NAME,
        "level": {"enum": ["debug", "info", "warning", "error"]},
        "message": {"type": "string", "maxLength": 5_000},
    },
}


@cache
def form(event: str) -> Any:
    """The validator of one event's data: these fields are there and of these types."""
    fields = FORMS[event]
    return Draft202012Validator(
        {"type": "object", "properties": fields, "required": list(fields), "maxProperties": 20}
    )


def objection(message: str) -> str:
    """Why a message is none of ours; empty if it is.

    >>> objection("2probe"), objection('42["ack",{"client_id":"c","next_message_id":3}]')
    ('', '')
    >>> objection('42["shutdown",{}]')
    'there is no such event'
    """
    if len(message) > LARGEST:
        return f"the message is longer than {LARGEST} characters"
    if WITHOUT_EVENT.fullmatch(message):
        return ""
    found = EVENT.match(message)
    if not found:
        return "this is no message of the page"
    try:
        name, data = json.loads(message[found.end() :])
        if name not in FORMS:
            return "there is no such event"
        wrong = next(form(name).iter_errors(data), None)
        if wrong is None and name == "event":
            for text in data["args"]:
                if text is not None:
                    page.loads(text)  # stricter than Python's: no NaN, no 1e999, nothing empty
    except (TypeError, ValueError, RecursionError):
        return "this is no message of the page"
    return "" if wrong is None else "the event's data have another form"
