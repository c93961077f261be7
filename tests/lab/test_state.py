"""States, addresses, lessons: what may come in from outside, and that it comes back unchanged."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.errors import UsageError
from lockstep.lab import network as nets
from lockstep.lab.address import as_json, decoded, encoded, from_json
from lockstep.lab.badge import badges
from lockstep.lab.experiment import Experiment
from lockstep.lab.lessons import lessons
from lockstep.lab.state import Selection, State, read, validator


def packed(text: str) -> str:
    return base64.urlsafe_b64encode(zlib.compress(text.encode())).decode().rstrip("=")


STATES = st.builds(
    lambda hidden, bias, start, **rest: State(
        hidden=tuple(hidden),
        bias=bias,
        weights=None
        if start is None
        else tuple(start * (n + 1) for n in range(State(hidden=tuple(hidden), bias=bias).entries)),
        **rest,
    ),
    hidden=st.lists(st.integers(1, 8), min_size=1, max_size=4),
    bias=st.booleans(),
    start=st.none() | st.floats(-1e3, 1e3),
    activation=st.sampled_from(["sigmoid", "tanh", "relu", "linear"]),
    lr=st.floats(1e-6, 100),
    seed=st.integers(0, 999999),
    steps=st.integers(0, 50_000),
    data=st.sampled_from(["coffee", "xor", "circles", "spiral", "gaussians"]),
    regressions=st.integers(0, 4),
)


@given(STATES)
def test_an_address_holds_the_whole_state(state: State) -> None:
    assert decoded(encoded(state))[0] == state


SELECTIONS = st.builds(
    Selection,
    weights=st.lists(st.sampled_from(["w1", "w12", "b3", "W[2][0,11]", "b[1][7]"]), max_size=2).map(
        tuple
    ),
    level=st.integers(1, 4),
    units=st.lists(st.integers(0, 7), max_size=8).map(tuple),
    sample=st.none() | st.integers(0, 499),
)


@given(STATES, SELECTIONS)
def test_an_address_and_a_file_hold_what_is_selected(state: State, selection: Selection) -> None:
    assert decoded(encoded(state, selection)) == (state, selection)
    assert from_json(as_json(state, selection)) == (state, selection)


@pytest.mark.parametrize("name", lessons())
def test_a_lesson_selects_its_weights_unless_the_address_says_otherwise(name: str) -> None:
    lesson = lessons()[name]
    assert decoded(encoded(lesson.state))[1].weights == lesson.weights
    assert decoded(encoded(lesson.state, Selection()))[1] == Selection()


@pytest.mark.parametrize(
    "text, phrase",
    [
        ("", "no JSON"),
        ('{"seed": 1', "no JSON"),
        ("[" * 10_000, "no JSON"),
        ("PK\x03\x04", "no JSON"),
        ("{}" + " " * 20_000, "more than 20000 characters"),
        ("[]", "is not of type 'object'"),
        ('{"seed": -1, "lr": "fast"}', "lr: 'fast' is not of type 'number'; seed: -1 is less"),
        ('{"seed": NaN}', "seed: nan is not"),
        ('{"selected": {"weights": ["<b>"]}}', "selected.weights.0: '<b>' does not match"),
        ('{"selected": {"weights": ["w1", "w2", "w3"]}}', "is too long"),
        ('{"selected": {"units": [8]}}', "selected.units.0: 8 is greater than the maximum of 7"),
        ('{"selected": {"sample": true}}', "selected.sample: True is not of type"),
        ('{"selected": {"colour": 1}}', "'colour' was unexpected"),
        ('{"selected": []}', "selected: [] is not of type 'object'"),
    ],
)
def test_a_wrong_file_is_refused(text: str, phrase: str) -> None:
    with pytest.raises(UsageError, match=re.escape(phrase)):
        from_json(text)


@pytest.mark.parametrize(
    "given_, fits",
    [
        (Selection(("w1", "w99"), 1, (0, 1), 3), Selection(("w1",), 1, (0, 1), 3)),
        (Selection((), 4, (5,), 900), Selection((), 1, (0, 1), None)),
        (Selection(("w2", "w2"), 2, (2, 9, 2)), Selection(("w2",), 2, (2,))),
    ],
)
def test_a_selection_is_cut_to_what_there_is(given_: Selection, fits: Selection) -> None:
    assert given_.fitting(State(hidden=(2, 3)), {"w1", "w2"}) == fits


def test_an_address_stays_short_for_the_largest_network() -> None:
    state = State(hidden=(8, 8, 8, 8))
    drawn = State(hidden=(8, 8, 8, 8), weights=nets.weights_of(nets.network(state)))
    assert len(encoded(state)) < 100 and len(encoded(drawn)) < 4000


@pytest.mark.parametrize(
    "values, phrases",
    [
        ([], ["the whole: [] is not of type 'object'"]),
        ({"hidden": []}, ["hidden: [] should be non-empty"]),
        ({"hidden": [9]}, ["hidden.0: 9 is greater than the maximum of 8"]),
        ({"hidden": [True]}, ["hidden.0: True is not of type 'integer'"]),
        ({"hidden": [2] * 5}, ["hidden: [2, 2, 2, 2, 2] is too long"]),
        ({"lr": float("nan")}, ["lr: nan is not finite"]),
        ({"lr": 0}, ["lr: 0 is less than the minimum"]),
        ({"lr": "1"}, ["lr: '1' is not of type 'number'"]),
        ({"weights": [1, 2]}, ["weights: 2 given, but a 2-2-1 network with biases has 9"]),
        ({"weights": [1e9] * 9}, ["weights.0: 1000000000.0 is greater", "and 1 more"]),
        ({"weights": [float("inf")] * 9}, ["weights.0: inf is greater"]),
        ({"batch": 300}, ["batch: 300 is more than the 200 samples"]),
        ({"steps": 10**9}, ["steps: 1000000000 is greater than the maximum"]),
        ({"unknown": 1}, ["'unknown' was unexpected"]),
        ({"lesson": "<b>"}, ["lesson: '<b>' does not match"]),
        ({"hidden": [0], "lr": -1, "seed": "x"}, ["hidden.0:", "lr:", "seed:"]),
    ],
)
def test_a_wrong_state_is_refused_with_all_its_problems(values: Any, phrases: list[str]) -> None:
    with pytest.raises(UsageError, match="this is no state of the lab: ") as caught:
        read(values)
    assert [p for p in phrases if p not in str(caught.value)] == []


def test_a_flood_of_problems_is_cut() -> None:
    with pytest.raises(UsageError, match="and 28 more") as caught:
        read(
            {f"x{n}" * 3: n for n in range(3)}
            | {"hidden": ["a"] * 4, "weights": ["y"] * 30}
            | {"lr": []}
        )
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize(
    "text, phrase",
    [
        ("%%%", "holds no state of the lab"),
        ("AAAA", "holds no state of the lab"),
        ("x" * 30_000, "holds 30000 characters of state, 20000 at most"),
        (packed("{}") + "xx", "holds no state of the lab"),
        (packed('{"seed":5}')[:-6], "holds no state of the lab"),
        (packed("{"), "holds no state of the lab"),
        (packed("[" * 5000), "holds no state of the lab"),
        (packed('{"seed":1' + " " * 100_000 + "}"), "unpacks to more than 60000 bytes"),
        (packed('{"seed":1e999}'), "not finite"),
        (packed("null"), "None is not of type 'object'"),
        ("é", "holds no state of the lab"),
    ],
)
def test_a_wrong_address_is_refused(text: str, phrase: str) -> None:
    with pytest.raises(UsageError, match=phrase):
        decoded(text)


def test_the_schema_says_what_the_state_has() -> None:
    schema = validator().schema
    assert set(schema["properties"]) == set(State.__dataclass_fields__) | {"selected"}
    assert set(schema["properties"]["selected"]["properties"]) == set(
        Selection.__dataclass_fields__
    )
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize("name", lessons())
def test_each_lesson_starts_with_the_verdict_that_it_teaches(name: str) -> None:
    lesson = lessons()[name]
    now = Experiment(lesson.state)
    known = now.structure()
    symbols = {e["path"]: e["name"] for e in (*known["weights"], *known["biases"])}
    found = badges(lesson.state, 1, [0, 1], symbols)
    assert (found["kind"], set(lesson.weights) - set(symbols.values())) == (lesson.verdict, set())


def test_there_are_lessons_enough_in_an_order_that_teaches() -> None:
    order = [
        "random",
        "all-zero",
        "all-equal",
        "incoming-equal",
        "outgoing-equal",
        "two-layers-deep",
        "mirror",
        "relu",
        "two-hidden-layers",
        "regressions",
        "near-twins",
        "dropout",
    ]
    assert list(lessons()) == order
    assert all(2 <= lesson.commentary.count(". ") + 1 <= 4 for lesson in lessons().values())
    assert all(lesson.question.endswith("?") and lesson.answer for lesson in lessons().values())
