"""The form of settings: layers and units, activation, loss, optimizer, data. A change begins at the same start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from nicegui.element import Element

from lockstep.lab.controls import allowed, button, choice, html, number, shown, switch
from lockstep.lab.state import State

Change = Callable[..., Awaitable[None]]
MOST_LAYERS, MOST_UNITS = 4, 8

CHOICES = {
    "activation": (
        "Activation",
        {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "ReLU", "linear": "linear"},
    ),
    "loss": ("Loss", {"bce": "cross-entropy", "mse": "mean square"}),
    "optimizer": (
        "Optimizer",
        {
            "sgd": "SGD",
            "momentum": "momentum 0.9",
            "adam": "Adam",
            "adamw": "AdamW",
            "rmsprop": "RMSprop",
        },
    ),
    "data": (
        "Data",
        {
            "coffee": "coffee roasting",
            "xor": "XOR",
            "circles": "circles",
            "spiral": "spiral",
            "gaussians": "two Gaussians",
        },
    ),
}
NUMBERS: dict[str, tuple[str, float, float, float | str]] = {
    "lr": ("Learning rate", 1e-6, 100, "any"),
    "batch": ("Batch (0: all)", 0, 500, 1),
    "samples": ("Samples", 4, 500, 1),
    "noise": ("Noise", 0, 2, "any"),
    "data_seed": ("Data seed", 0, 999999, 1),
    "seed": ("Start seed", 0, 999999, 1),
    "dropout": ("Dropout", 0, 0.9, "any"),
    "regressions": ("Regressions beside", 0, 4, 1),
}


class Settings:
    """Shows a state and asks for changes of it."""

    def __init__(self, change: Change) -> None:
        self.change = change
        self.fields: dict[str, Element] = {}
        with html("section", classes="panel settings", aria_label="Network, training and data"):
            with html("div", classes="row layers", role="group", aria_label="Layers"):
                self.layers = [Units(n, change) for n in range(MOST_LAYERS)]
            with html("div", classes="row"):
                self.more = button("+ layer", lambda: change(hidden=deeper), data_do="add-layer")
                self.less = button(
                    "− layer", lambda: change(hidden=shallower), data_do="remove-layer"
                )
            with html("div", classes="fields"):
                for name, (label, options) in CHOICES.items():
                    self.fields[name] = choice(label, options, "", self.changed(name))
                for name, (label, low, high, step) in NUMBERS.items():
                    self.fields[name] = number(
                        label, 0, self.changed(name), low=low, high=high, step=step
                    )
                self.bias = switch("Biases", True, self.changed("bias"))
        for name, field in self.fields.items():
            shown(field, data_field=name)

    def changed(self, name: str) -> Callable[[Any], Awaitable[None]]:
        """What a field does."""

        async def handler(value: Any) -> None:
            await self.change(**{name: value})

        return handler

    def show(self, state: State) -> None:
        """Another state."""
        for name, field in self.fields.items():
            shown(field, value=getattr(state, name))
        shown(self.bias, checked=state.bias)
        for layer in self.layers:
            layer.show(state.hidden)
        allowed(self.more, len(state.hidden) < MOST_LAYERS)
        allowed(self.less, len(state.hidden) > 1)


class Units:
    """How many units a hidden layer has."""

    def __init__(self, layer: int, change: Change) -> None:
        self.layer, n = layer, layer + 1
        less, more = (partial(change, hidden=resized(layer, by)) for by in (-1, 1))
        with html("div", classes="units", role="group", aria_label=f"Hidden layer {n}") as self.all:
            self.less = button("−", less, aria_label=f"one unit less in layer {n}")
            self.count = html("span")
            self.more = button("+", more, aria_label=f"one unit more in layer {n}")

    def show(self, hidden: tuple[int, ...]) -> None:
        """Of these layers, this one; nothing where there is none."""
        there = self.layer < len(hidden)
        shown(self.all, hidden=not there)
        if there:
            self.count.set_text(str(hidden[self.layer]))
            allowed(self.less, hidden[self.layer] > 1)
            allowed(self.more, hidden[self.layer] < MOST_UNITS)


# Layers of the state at a click's turn, not of the page's last answer: quick clicks all count.


def resized(layer: int, by: int) -> Callable[[State], list[int]]:
    """A unit more or less in one layer, within bounds."""

    def hidden(now: State) -> list[int]:
        return [
            min(max(units + by, 1), MOST_UNITS) if n == layer else units
            for n, units in enumerate(now.hidden)
        ]

    return hidden


def deeper(now: State) -> list[int]:
    """A layer of two units before the output."""
    return [*now.hidden, 2][:MOST_LAYERS]


def shallower(now: State) -> list[int]:
    """The last hidden layer goes, unless it is the only one."""
    return list(now.hidden[:-1] or now.hidden)
