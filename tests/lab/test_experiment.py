"""What the page is told is what the library says: updates, distances, chains, badges, edits, exports."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lockstep import audit, compare, explain, train
from lockstep.explain.bundled import course_network
from lockstep.explain.derivation import number
from lockstep.lab import edits, export
from lockstep.lab import network as nets
from lockstep.lab.ahead import ahead
from lockstep.lab.badge import badge, badges
from lockstep.lab.desk import Desk
from lockstep.lab.experiment import Experiment
from lockstep.lab.lessons import lessons
from lockstep.lab.state import State
from lockstep.lab.why import why

VARIED = [
    State(),
    State(hidden=(3, 4), activation="tanh", data="spiral", optimizer="momentum", lr=0.01, batch=16),
    State(
        hidden=(8,),
        activation="relu",
        loss="mse",
        bias=False,
        optimizer="rmsprop",
        lr=0.001,
        noise=0.2,
    ),
    State(dropout=0.3, batch=7, optimizer="adamw", seed=9),
    State(hidden=(2, 2), activation="linear", optimizer="sgd", regressions=3),
]


def symbols(now: Experiment) -> dict[str, str]:
    known = now.structure()
    return {e["path"]: e["name"] for e in (*known["weights"], *known["biases"])}


@pytest.mark.parametrize("state", VARIED, ids=range(len(VARIED)))
def test_training_in_portions_is_the_librarys_train_to_the_last_bit(state: State) -> None:
    now, model = Experiment(state), nets.network(state)
    for updates in (1, 4, 0, 25):
        now.advance(updates, seconds=60)
    history = train(
        model,
        now.x,
        now.y,
        loss=nets.LOSSES[state.loss],
        optimizer=nets.optimizer(state),
        steps=30,
        batch_size=state.batch or None,
        seed=state.seed,
    )
    assert now.steps == 30
    assert (
        nets.weights_of(now.model) == tuple(history.weights[-1].tolist()) == nets.weights_of(model)
    )


def test_the_frame_shows_the_librarys_numbers() -> None:
    now = Experiment(State(hidden=(3,)))
    now.advance(20, seconds=60)
    model = nets.network(State(hidden=(3,)))
    history = train(
        model, now.x, now.y, loss=now.loss, optimizer=nets.optimizer(now.state), steps=20, seed=1
    )
    frame = now.frame("0", maps=True)
    assert frame["weights"] == [number(w) for w in history.weights[-1].tolist()]
    assert frame["loss"] == float(history.losses[-1])
    assert frame["distances"] == {
        f"{i},{j}": float(f"{float(history.distance('0', i, j)[-1]):.4g}")
        for i, j in ((0, 1), (0, 2), (1, 2))
    }
    assert [[len(unit) for unit in layer] for layer in frame["maps"]] == [[800] * 3, [800]]
    json.dumps(frame, allow_nan=False)


def test_a_map_shows_what_the_unit_computes() -> None:
    now = Experiment(State())
    at = 37  # some point of the grid
    shade = int(now.maps()[0][1][2 * at : 2 * at + 2], 16) / 255
    hidden = torch.sigmoid(now.model[0](now.grid)).detach()
    assert shade == pytest.approx(float(hidden[at, 1]), abs=1 / 255)


def test_the_course_network_is_the_default() -> None:
    assert nets.weights_of(nets.network(State(seed=5))) == nets.weights_of(course_network(seed=5))


def test_regressions_beside_are_trained_each_for_itself() -> None:
    now = Experiment(State(regressions=2))
    now.advance(10, seconds=60)
    alone = Experiment(State(regressions=2)).side
    assert alone is not None and now.side is not None
    single = nn.Sequential(nn.Linear(2, 1), nn.Sigmoid()).double()
    nn.utils.vector_to_parameters(
        torch.cat([alone[0].weight[1], alone[0].bias[1:]]), single.parameters()
    )
    train(
        single, now.x, now.y, loss=now.loss, optimizer=partial(torch.optim.Adam, lr=0.05), steps=10
    )
    assert torch.allclose(now.side[0].weight[1], single[0].weight[0], rtol=1e-12)


def test_a_run_that_diverges_stops_and_says_so() -> None:
    now = Experiment(State(activation="linear", loss="mse", optimizer="sgd", lr=100.0))
    now.advance(5000, seconds=60)
    frame = now.frame("0", maps=True)
    assert frame["stopped"].startswith(
        f"Training diverged at step {now.steps}: the numbers are no longer finite"
    )
    json.dumps(frame, allow_nan=False)


@pytest.mark.parametrize("sample", [None, 3])
def test_why_shows_explain_and_compare(sample: int | None) -> None:
    now = Experiment(State())
    now.advance(5, seconds=60)
    picked = slice(None) if sample is None else slice(sample, sample + 1)
    given = (now.model, now.x[picked], now.y[picked], now.loss)
    one, two = why(now, ["w1"], sample), why(now, ["w1", "w3"], sample)
    assert one["gradients"] == [number(explain(*given, "w1").gradient)]
    assert [row["cells"][0][1] for row in one["rows"]] == [
        f.formula for f in explain(*given, "w1").factors
    ]
    found = compare(*given, "w1", "w3")
    assert two["verdict"] == found.verdict
    assert [row["cells"][0][1] for row in two["rows"] if row["differ"]] == [
        p.a.formula for p in found.differ
    ]
    assert two["chains"] == [["w1", "w5"], ["w3", "w6"]]


def test_the_differing_pair_stands_in_its_place_in_the_chain() -> None:
    shown = why(Experiment(lessons()["incoming-equal"].state), ["w1", "w3"], None)
    assert [row["cells"][0][0] for row in shown["rows"]] == [
        "dJ/da3",
        "da3/dz3",
        "dz3/da1",
        "da1/dz1",
        "dz1/dw1",
    ]
    assert [row["differ"] for row in shown["rows"]] == [False, False, True, False, False]


def test_an_edited_weight_changes_the_certificate() -> None:
    now = Experiment(lessons()["outgoing-equal"].state)
    names = symbols(now)
    at = list(names.values()).index("w6")
    edited = edits.with_weight(
        now, next(e["at"] for e in now.structure()["weights"] if e["name"] == "w6"), 0.9
    )
    assert badges(now.state, 1, [0, 1], names)["text"] == "locked for ever"
    assert badges(edited, 1, [0, 1], names)["text"] == "will separate, because w5 ≠ w6"
    assert at and edited.weights is not None and edited.weights.count(0.9) == 1


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda now: edits.twins(now, 1, [0, 1], True, True), "locked for ever"),
        (lambda now: edits.twins(now, 1, [0, 1], True, False), "will separate, because w7 ≠ w8"),
        (
            lambda now: edits.twins(now, 1, [0, 1], False, True),
            "separate from the start, because w1 ≠ w3",
        ),
        (lambda now: edits.mirrored(now, 1, [0, 1]), "mirror: each other's negative for ever"),
        (lambda now: edits.untied(now, 1, [0, 1]), "separate from the start, because w1 ≠ w3"),
    ],
)
def test_tying_gives_the_badge(change: object, text: str) -> None:
    now = Experiment(State(hidden=(3,), activation="tanh", bias=False))
    now.advance(3, seconds=60)
    state = change(now)  # type: ignore[operator]
    assert badges(state, 1, [0, 1], symbols(now))["text"] == text
    assert state.steps == 0 and len(state.weights) == 9


@pytest.mark.parametrize(
    "state, units, text",
    [
        (
            lessons()["incoming-equal"].state,
            [0, 1],
            "That is more than 1 % of them: they are apart already",
        ),
        (lessons()["dropout"].state, [0, 1], "No forecast: dropout"),
        (lessons()["all-zero"].state, [0, 1], "Forecast: "),
        (State(), [0], "Choose two or more units"),
    ],
)
def test_the_forecast_says_when_or_why_not(state: State, units: list[int], text: str) -> None:
    assert text in ahead(state, 1, units, steps=5)


@pytest.mark.slow
def test_the_forecast_of_near_twins_comes_true() -> None:
    lesson = lessons()["near-twins"].state
    found = re.search(r"about step (\d+)", ahead(lesson, 1, [0, 1]))
    assert found is not None
    now = Experiment(lesson)
    size = torch.stack(both(now)).norm()  # 1 % of what the weights were
    now.advance(int(found[1]), seconds=60)
    one, two = both(now)
    assert 0.002 < float((one - two).norm() / 2**0.5 / size) < 0.05


def both(now: Experiment) -> list[Tensor]:
    """All that units 1 and 2 read, and what is read of them."""
    first, last = nets.dense_of(now.model)
    return [
        torch.cat([first.weight[u], first.bias[u : u + 1], last.weight[:, u]]).detach()
        for u in (0, 1)
    ]


def test_dropout_breaks_the_lock_and_the_badge_says_so() -> None:
    lesson = lessons()["dropout"]
    names = symbols(Experiment(lesson.state))
    noisy = badges(lesson.state, 1, [0, 1], names)
    quiet = badges(dataclasses.replace(lesson.state, dropout=0.0), 1, [0, 1], names)
    assert noisy["text"] == "will separate, because dropout draws other noise for each unit"
    assert "Without dropout: locked for ever" in noisy["statement"]
    assert any(line.startswith("LS008") for line in noisy["findings"])
    assert quiet["text"] == "locked for ever"


def test_the_certificate_numbers_units_as_the_page_does() -> None:
    state = lessons()["mirror"].state
    found = badges(state, 1, [0, 1], symbols(Experiment(state)))
    assert found["statement"].startswith("unit 2 is the negative of unit 1 at every step")
    assert found["findings"][0].startswith("LS002 hidden layer 1: units {1, 2} stay each other's")
    deep = lessons()["two-layers-deep"].state
    second = badges(deep, 2, [0, 1], symbols(Experiment(deep)))["findings"][1]
    assert second.startswith("LS001 hidden layer 2: units {3, 4} can never differentiate")


def test_the_weakest_pair_gives_the_badge_of_three_units() -> None:
    state = lessons()["relu"].state
    net = nets.network(state)
    found = audit(net, torch.zeros(4, 2).double())
    assert badge(found, "0", [0, 1, 2], {})["kind"] == "separates"
    assert badge(found, "0", [0], {})["kind"] == "none"


def test_structure_changes_keep_what_both_networks_have() -> None:
    old = lessons()["outgoing-equal"].state
    wider = nets.carried(old, dataclasses.replace(old, hidden=(3,), weights=None))
    assert wider is not None and wider[:4] == (0.4, -0.3, 0.4, -0.3) and len(wider) == 13
    deeper = nets.carried(old, dataclasses.replace(old, hidden=(2, 2), weights=None))
    assert deeper is not None and deeper[:6] == (0.4, -0.3, 0.4, -0.3, 0.1, 0.1)
    assert nets.carried(State(), State(hidden=(3,))) is None


@pytest.mark.parametrize("state", VARIED, ids=range(len(VARIED)))
def test_the_exported_script_reproduces_the_run(state: State, tmp_path: Path) -> None:
    now = Experiment(state)
    started = edits.with_weight(now, 0, 0.25) if state.seed == 9 else state
    now = Experiment(started)
    now.advance(20, seconds=60)
    script = tmp_path / "run.py"
    script.write_text(export.as_script(dataclasses.replace(started, steps=20)), "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert tuple(json.loads(last)) == nets.weights_of(now.model)


@pytest.mark.parametrize(
    "chosen, line",
    [
        ((), 'print(compare(net, x, y, loss, "0.weight[0,0]", "0.weight[1,0]"))'),
        (("2.weight[0,1]",), 'print(explain(net, x, y, loss, "2.weight[0,1]"))'),
        (
            ("0.bias[1]", "2.bias[0]"),
            'print(compare(net, x, y, loss, "0.bias[1]", "2.bias[0]"))',
        ),
    ],
)
def test_the_exported_script_explains_what_is_selected(chosen: tuple[str, ...], line: str) -> None:
    script = export.as_script(State(), chosen)
    assert line in script.splitlines()
    exec(compile(script, "run.py", "exec"), {})


def test_the_desk_refuses_in_words_and_forgets_tabs() -> None:
    desk = Desk()

    def ask(call: str, **how: Any) -> Any:
        return json.loads(desk.answer(json.dumps({"tab": "t", "call": call, "with": how})))

    assert "refused" in ask("open", state={"hidden": [99]})
    assert ask("open", state={})["is"]["sizes"] == [2, 2, 1]
    assert ask("advance", updates=3, seconds=9, layer="0", maps=False)["is"]["step"] == 3
    assert "there is no weight 'w77'" in ask("why", weights=["w77"], sample=None)["is"]["verdict"]
    failed = ask("badges", level=9, units=[0, 1], symbols={})["refused"]
    assert failed.startswith("the lab failed at this: IndexError: ")
    assert ask("svg", weight="w1", sample=0)["is"].startswith("<svg")
    assert ask("close") == {"is": None} and desk.experiments == {}
    assert ask("advance", updates=3, seconds=9, layer="0", maps=False) == {"lost": True}
