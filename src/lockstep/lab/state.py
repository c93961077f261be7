"""Everything that decides what the page shows, as one frozen value, and how it is checked.

The address holds it, so a link reproduces a run: a start, the settings, and how many updates were done.
Changing a setting begins again at the same start; changing a weight makes the changed weights the start.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

from lockstep.errors import UsageError

MOST_STEPS = 50_000
MOST_WEIGHT = 1e6  # in size; as in schema.json
SELECTED = "selected"  # the one entry of the JSON that is no field of State


@dataclass(frozen=True)
class State:
    """The lab's state. Field by field it is described, with its bounds, in ``schema.json``.

    >>> State().sizes
    (2, 2, 1)
    """

    hidden: tuple[int, ...] = (2,)
    activation: str = "sigmoid"
    bias: bool = True
    dropout: float = 0.0
    loss: str = "bce"
    optimizer: str = "adam"
    lr: float = 0.05
    batch: int = 0
    data: str = "coffee"
    samples: int = 200
    noise: float = 0.0
    data_seed: int = 0
    seed: int = 1
    weights: tuple[float, ...] | None = None
    regressions: int = 0
    lesson: str = ""
    steps: int = 0

    @property
    def sizes(self) -> tuple[int, ...]:
        """Features, units of each hidden layer, outputs."""
        return (2, *self.hidden, 1)

    @property
    def entries(self) -> int:
        """How many weights and biases the network has."""
        pairs = zip(self.sizes, self.sizes[1:], strict=False)
        return sum((before + self.bias) * units for before, units in pairs)

    @property
    def start(self) -> State:
        """The same before any update."""
        return dataclasses.replace(self, steps=0)

    def written(self) -> dict[str, Any]:
        """What differs from the default, as JSON values."""
        plain = json.loads(json.dumps(dataclasses.asdict(self)))
        default = json.loads(json.dumps(dataclasses.asdict(State())))
        return {name: value for name, value in plain.items() if value != default[name]}


@dataclass(frozen=True)
class Selection:
    """What is looked at: up to two weights by name, units (from 0) of one hidden layer (from 1), a sample or all.

    And how fast it plays: ``speed`` updates a second, or as many as can be done (0).
    """

    weights: tuple[str, ...] = ()
    level: int = 1
    units: tuple[int, ...] = ()
    sample: int | None = None
    speed: int = 150

    def fitting(self, state: State, names: Collection[str]) -> Selection:
        """What of it exists in a network whose weights have these names; the first two units where none do."""
        there = 1 <= self.level <= len(state.hidden)
        level = self.level if there else 1
        width = state.hidden[level - 1]
        units = tuple(dict.fromkeys(u for u in self.units if there and 0 <= u < width))
        if not units and width > 1:
            units = (0, 1)
        sample = self.sample
        if sample is not None and not 0 <= sample < state.samples:
            sample = None
        weights = tuple(dict.fromkeys(w for w in self.weights if w in names))[:2]
        return dataclasses.replace(self, weights=weights, level=level, units=units, sample=sample)


def read(values: Any) -> State:
    """A state from JSON values; what is not said is as by default.

    Raises :class:`~lockstep.errors.UsageError` that lists everything wrong, not only the first.

    >>> read({"hidden": [3], "activation": "tanh"}).sizes
    (2, 3, 1)
    """
    problems = list(form_problems(values))
    if not problems:
        fields = {name: frozen(value) for name, value in values.items() if name != SELECTED}
        state = State(**fields)
        problems = list(fit_problems(state))
    if problems:
        raise UsageError("this is no state of the lab: " + "; ".join(problems))
    return state


def read_selection(values: Any) -> Selection | None:
    """What is selected, of JSON values that :func:`read` has taken; None where nothing is said."""
    if SELECTED not in values:
        return None
    return Selection(**{name: frozen(value) for name, value in values[SELECTED].items()})


@cache
def validator() -> Any:
    """Of ``schema.json``; Python's true is no number, and NaN lies in no range."""
    schema = json.loads(files("lockstep.lab").joinpath("schema.json").read_text("utf-8"))
    return Draft202012Validator(schema)


def form_problems(values: Any) -> list[str]:
    """What the schema says, one line a problem, at most eight."""
    errors = sorted(validator().iter_errors(values), key=lambda e: [str(p) for p in e.path])
    lines = [f"{'.'.join(map(str, e.path)) or 'the whole'}: {brief(e.message)}" for e in errors]
    lines += [f"{path}: {value} is not finite" for path, value in unbounded(values)]
    return lines[:8] + ([f"and {len(lines) - 8} more"] if len(lines) > 8 else [])


def fit_problems(state: State) -> list[str]:
    """What one field demands of another."""
    problems = []
    if state.weights is not None and len(state.weights) != state.entries:
        problems.append(
            f"weights: {len(state.weights)} given, but a {'-'.join(map(str, state.sizes))} network "
            f"{'with' if state.bias else 'without'} biases has {state.entries}"
        )
    if state.batch > state.samples:
        problems.append(f"batch: {state.batch} is more than the {state.samples} samples")
    return problems


def unbounded(values: Any, path: str = "") -> list[tuple[str, float]]:
    """NaN and infinities, which compare as inside any range or outside none."""
    if isinstance(values, float) and not math.isfinite(values):
        return [(path or "the whole", values)]
    if isinstance(values, dict):
        return [bad for name, value in values.items() for bad in unbounded(value, str(name)[:40])]
    if isinstance(values, list):
        return [bad for n, value in enumerate(values) for bad in unbounded(value, f"{path}.{n}")]
    return []


def frozen(value: Any) -> Any:
    """A JSON list as a tuple."""
    return tuple(value) if isinstance(value, list) else value


def brief(message: str, most: int = 120) -> str:
    """A message that may quote what was given, cut."""
    return message if len(message) <= most else message[: most - 1] + "…"
