"""Events of the page on the server. Their values come from outside: one of another form is not heard."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from jsonschema import Draft202012Validator
from nicegui.element import Element
from nicegui.events import GenericEventArguments

Handler = Callable[[Any], Awaitable[None] | None]

TEXT = {"type": "string", "maxLength": 25_000}
FLAG = {"type": "boolean"}
INDEX = {"type": "integer", "minimum": 0, "maximum": 1_000_000}
PLACE = {
    "type": "object",
    "properties": {"level": INDEX, "unit": INDEX},
    "required": ["level", "unit"],
}
EDIT = {
    "type": "object",
    "properties": {"at": INDEX, "value": {"type": "number"}, "by": {"type": "number"}},
    "required": ["at"],
    "minProperties": 2,
    "maxProperties": 2,
}
FILE = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 100}, "text": TEXT},
    "required": ["name", "text"],
}
SENT = "(...args) => emit(...args)"


def hear(
    made: Element, event: str, form: dict[str, Any], handler: Handler, *, sent: str = SENT
) -> None:
    """Calls ``handler`` with what the browser sends, if it is of this form; ``sent`` says what that is."""
    wanted = Draft202012Validator(form)

    async def heard(e: GenericEventArguments) -> None:
        if wanted.is_valid(e.args):
            result = handler(e.args)
            if inspect.isawaitable(result):
                await result

    made.on(event, heard, js_handler=sent)
