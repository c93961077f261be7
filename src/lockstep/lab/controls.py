"""Plain form controls with labels: what a browser knows best how to make usable by keyboard and by ear."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

Handler = Callable[[Any], Awaitable[None]]
CHANGED = "(e) => emit(e.target.type === 'checkbox' ? e.target.checked : e.target.value)"


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


def choice(label: str, options: Mapping[str, str], value: str, handler: Handler) -> Element:
    """A labelled drop-down list."""
    with html("label", classes="field"):
        html("span", label)
        with html("select", value=value).on(
            "change", lambda e: handler(e.args), js_handler=CHANGED
        ) as made:
            listed(options)
    return made


def listed(options: Mapping[str, str]) -> None:
    """The entries of a drop-down list."""
    for key, text in options.items():
        html("option", text, value=key)


def number(
    label: str,
    value: float,
    handler: Handler,
    *,
    low: float,
    high: float,
    step: float | str = 1,
) -> Element:
    """A labelled number field; the handler gets a number, or nothing was typed."""

    async def given(text: Any) -> None:
        try:
            found = float(text)
        except (TypeError, ValueError):
            return
        await handler(int(found) if step == 1 and found.is_integer() else found)

    with html("label", classes="field"):
        html("span", label)
        made = html("input", type="number", min=low, max=high, step=step, value=value)
        made.on("change", lambda e: given(e.args), js_handler=CHANGED)
    return made


def switch(label: str, value: bool, handler: Handler) -> Element:
    """A labelled check box."""
    with html("label", classes="field switch"):
        made = html("input", type="checkbox", checked=value)
        made.on("change", lambda e: handler(bool(e.args)), js_handler=CHANGED)
        html("span", label)
    return made


def button(text: str, handler: Callable[[], Awaitable[None] | None], **props: Any) -> TextElement:
    """A button."""
    made = html("button", text, type="button", **props)
    made.on("click", lambda _: handler(), args=[])
    return made
