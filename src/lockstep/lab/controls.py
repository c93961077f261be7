"""Plain form controls with labels: what a browser knows best how to make usable by keyboard and by ear."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from lockstep.lab.hearing import FLAG, TEXT, Handler, hear

VALUE, CHECKED = "(e) => emit(e.target.value)", "(e) => emit(e.target.checked)"


def html(tag: str, text: str = "", classes: str = "", **attributes: Any) -> TextElement:
    """An element of HTML with a text, never markup; ``_`` in an attribute's name stands for ``-``."""
    made = TextElement(tag=tag, text=text).classes(classes)
    shown(made, **attributes)
    return made


def shown(made: Element, **attributes: Any) -> None:
    """Changes attributes; None takes one away."""
    for name, value in attributes.items():
        made.props[name.strip("_").replace("_", "-")] = value
    made.update()


def allowed(made: Element, may: bool) -> None:
    """Greys a button that can do nothing now. It keeps the focus, as a disabled one would not."""
    shown(made, aria_disabled="false" if may else "true")


def choice(label: str, options: Mapping[str, str], value: str, handler: Handler) -> TextElement:
    """A labelled drop-down list."""
    with html("label", classes="field"):
        html("span", label)
        with html("select", value=value) as made:
            listed(options)
    hear(made, "change", TEXT, handler, sent=VALUE)
    return made


def listed(options: Mapping[str, str]) -> None:
    """The entries of a drop-down list."""
    for key, text in options.items():
        html("option", text, value=key)


def number(
    label: str,
    value: float,
    handler: Callable[[Any], Awaitable[None]],
    *,
    low: float,
    high: float,
    step: float | str = 1,
) -> TextElement:
    """A labelled number field; the handler gets finite numbers only."""

    async def given(text: str) -> None:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if math.isfinite(found):
            await handler(int(found) if found.is_integer() else found)
        else:
            made.update()  # the field shows its value again

    with html("label", classes="field"):
        html("span", label)
        made = html("input", type="number", min=low, max=high, step=step, value=value)
    hear(made, "change", TEXT, given, sent=VALUE)
    return made


def switch(label: str, value: bool, handler: Handler) -> TextElement:
    """A labelled check box."""
    with html("label", classes="field switch"):
        made = html("input", type="checkbox", checked=value)
        html("span", label)
    hear(made, "change", FLAG, handler, sent=CHECKED)
    return made


def button(text: str, handler: Callable[[], Awaitable[None] | None], **props: Any) -> TextElement:
    """A button."""
    made = html("button", text, type="button", **props)
    made.on("click", lambda _: handler(), args=[])
    return made
