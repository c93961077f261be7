"""The form of settings: layers and units, activation, loss, optimizer, data. A change begins at the same start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui.element import Element

from lockstep.lab.controls import button, choice, html, number, shown, switch
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
            "momentum": "SGD, momentum 0.9",
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
        self.hidden: tuple[int, ...] = State().hidden
        self.fields: dict[str, Element] = {}
        with html("section", classes="panel settings", aria_label="Network, training and data"):
            with html("div", classes="row layers", role="group", aria_label="Layers"):
                self.layers = html("div", classes="row")
                button("+ layer", self.add_layer, data_do="add-layer")
                button("− layer", self.remove_layer, data_do="remove-layer")
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
        self.hidden = state.hidden
        for name, field in self.fields.items():
            shown(field, value=getattr(state, name))
        shown(self.bias, checked=state.bias)
        self.layers.clear()
        with self.layers:
            for n, units in enumerate(state.hidden):
                with html("div", classes="units", role="group", aria_label=f"Hidden layer {n + 1}"):
                    button("−", self.resizer(n, -1), aria_label=f"one unit less in layer {n + 1}")
                    html("span", str(units))
                    button("+", self.resizer(n, 1), aria_label=f"one unit more in layer {n + 1}")

    def resizer(self, layer: int, by: int) -> Callable[[], Awaitable[None]]:
        """What the buttons of a layer do."""

        async def handler() -> None:
            units = self.hidden[layer] + by
            if 1 <= units <= MOST_UNITS:
                await self.change(hidden=[*self.hidden[:layer], units, *self.hidden[layer + 1 :]])

        return handler

    async def add_layer(self) -> None:
        """A layer of two units before the output."""
        if len(self.hidden) < MOST_LAYERS:
            await self.change(hidden=[*self.hidden, 2])

    async def remove_layer(self) -> None:
        """The last hidden layer goes."""
        if len(self.hidden) > 1:
            await self.change(hidden=[*self.hidden[:-1]])
