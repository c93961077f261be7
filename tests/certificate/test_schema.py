from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report import made

from lockstep.certificate.claim import document, from_json, refusal, to_json
from lockstep.certificate.form import schema
from lockstep.errors import CertificateError, UndecidedError, UsageError
from lockstep.types import Assumptions, Audit, Evidence, Finding, Frozen, Group, Layer

NAMES = st.text(max_size=8)
COUNTS = st.integers(0, 9)


@st.composite
def partitions(draw: st.DrawFn, width: int) -> tuple[tuple[int, ...], ...]:
    colours = draw(st.lists(st.integers(0, 3), min_size=width, max_size=width))
    members = [tuple(u for u in range(width) if colours[u] == c) for c in range(4)]
    return tuple(sorted(filter(None, members)))


@st.composite
def layers(draw: st.DrawFn, name: str) -> Layer:
    width = draw(st.integers(0, 6))
    directions = st.sampled_from(["forward", "backward", "none"])
    entries = st.tuples(COUNTS, directions, partitions(width))
    history = draw(st.lists(entries, max_size=3))
    classes = draw(partitions(width))
    unread = [unit for members in classes for unit in members if len(members) == 1]
    return Layer(name, width, classes, tuple(history), tuple(unread) if draw(st.booleans()) else ())


@st.composite
def audits(draw: st.DrawFn) -> Audit:
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    made_layers = {name: draw(layers(name)) for name in names}
    groups = [Group("module", tuple(draw(st.lists(NAMES, min_size=2, max_size=3))), (0, 1))]
    for name, found in made_layers.items():
        units = draw(st.sets(st.integers(0, max(found.width - 1, 0)), max_size=found.width))
        kind = draw(st.sampled_from(["twin", "mirror", "balanced"]))
        signs = tuple(draw(st.sampled_from([-1, 1])) for _ in units)
        if units or kind != "mirror":
            groups.append(
                Group(kind, name, tuple(sorted(units)), signs if kind == "mirror" else ())
            )
    index = st.lists(COUNTS, max_size=2).map(tuple)
    indices = draw(st.lists(index, max_size=3).map(tuple))
    codes = st.sampled_from([f"LS00{n}" for n in range(1, 10)])
    return Audit(
        layers=made_layers,
        locked=tuple(groups),
        frozen=(Frozen(draw(NAMES), len(indices), 9, indices),),
        findings=tuple(draw(st.lists(st.builds(Finding, codes, NAMES, NAMES, NAMES), max_size=3))),
        assumptions=Assumptions(
            draw(st.sampled_from(["any", "additive"])),
            *(draw(NAMES) for _ in range(4)),
            noise=tuple(draw(st.lists(NAMES, max_size=2))),
            notes=tuple(draw(st.lists(NAMES, max_size=2))),
        ),
        evidence=Evidence(
            tuple(draw(st.lists(st.tuples(st.integers(2, 2**20), st.integers()), max_size=3))),
            *(draw(COUNTS) for _ in range(3)),
            bound=draw(st.floats(0, 1)),
            seconds=draw(st.floats(0, 1e6)),
        ),
        digest=draw(NAMES),
        model=draw(NAMES),
        inputs=((draw(NAMES), "float32", tuple(draw(st.lists(COUNTS, max_size=3)))),),
        parameters=draw(COUNTS),
        because=draw(st.dictionaries(NAMES, NAMES, max_size=2)),
    )


@given(audits())
def test_a_certificate_survives_json(audit: Audit) -> None:
    text = to_json(audit)
    jsonschema.Draft202012Validator(schema()).validate(json.loads(text))
    assert from_json(text) == audit
    assert to_json(from_json(text)) == text


def test_the_schema_is_a_schema() -> None:
    assert jsonschema.Draft202012Validator.check_schema(schema()) is None


def test_classes_are_lists_and_numbers_stay_on_their_line() -> None:
    text = to_json(made.everything())
    assert json.loads(text)["layers"]["0"]["classes"] == [[0, 1], [2], [3]]
    assert '"classes": [[0, 1], [2], [3]]' in text
    assert json.loads(text)["status"] == "decided"


def test_the_explainer_does_not_survive_and_does_not_count() -> None:
    live = Audit(**{**vars(made.clean()), "explainer": lambda layer, i, j: "x"})
    assert Audit.from_json(live.to_json()) == live
    assert Audit.from_json(live.to_json()).explainer is None


@pytest.mark.parametrize(
    ("error", "status"), [(UndecidedError("no rule"), "undecided"), (UsageError("no"), "error")]
)
def test_refusals_are_documents_too(error: Any, status: str) -> None:
    said = refusal(error, "t.py:net")
    jsonschema.Draft202012Validator(schema()).validate(said)
    assert said["status"] == status
    assert said["kind"] == type(error).__name__
    with pytest.raises(UsageError, match=f'claims nothing: its status is "{status}"'):
        from_json(json.dumps(said))


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[1]", "{}", "[" * 100_000, '{"schema": "lockstep-audit/2"}'],
    ids=lambda text: text[:40],
)
def test_what_is_no_certificate_is_wrong_use(text: str) -> None:
    with pytest.raises(UsageError, match="not a Lockstep certificate") as caught:
        from_json(text)
    assert "lockstep audit TARGET --format json" in str(caught.value)


def test_numbers_that_are_none_and_keys_given_twice_are_refused() -> None:
    text = to_json(made.clean())
    with pytest.raises(UsageError, match="NaN is not a JSON number"):
        from_json(text.replace("1.3e-09", "NaN"))
    twice = text.replace('"digest"', '"model"')
    with pytest.raises(UsageError, match="the same key twice in one object: model"):
        from_json(twice)


def put(path: str, value: Any) -> Any:
    def change(loaded: dict[str, Any]) -> None:
        *steps, last = path.split("/")
        node: Any = loaded
        for step in steps:
            node = node[int(step) if isinstance(node, list) else step]
        node[int(last) if isinstance(node, list) else last] = value

    return change


EDITS = [
    (put("layers/0/classes", [[0], [1]]), "layers/0/classes: not a partition of the units 0 to 3"),
    (put("layers/0/classes", [[0, 0], [1], [2], [3]]), "layers/0/classes"),
    (put("layers/0/classes", [[1, 0], [2], [3]]), "layers/0/classes: not in order"),
    (put("layers/0/classes", [[2], [0, 1], [3]]), "layers/0/classes: not in order"),
    (put("layers/0/effective_width", 4), "layers/0/effective_width: 4, but there are 3 classes"),
    (put("layers/0/width", -1), "layers/0/width"),
    (put("layers/0/width", True), "layers/0/width"),
    (put("layers/0/width", 4.0), "layers/0/width: 4.0 is not of type 'integer'"),
    (put("layers/0/width", 10**12), "layers/0/classes: not a partition"),
    (put("locked/1/signs", [1.0, -1.0]), "locked/1/signs/0: 1.0 is not of type 'integer'"),
    (put("evidence/degree", 10**4000), "is greater than the maximum of 9007199254740991"),
    (put("evidence/bound", 10**4000), "is greater than the maximum of 1"),
    (put("evidence/lanes/0/prime", 1048573.0), "evidence/lanes/0/prime: 1048573.0 is not of type"),
    (put("layers/0/history/0/tied", [[0, 1], [1, 2]]), "layers/0/history/0: classes overlap"),
    (put("layers/0/history/0/tied", [[0, 7]]), "layers/0/history/0"),
    (put("layers/0/history/0/direction", "up"), "layers/0/history/0/direction"),
    (put("layers/0/unread", [0]), "layers/0/unread: [0] are not units in classes of their own"),
    (put("layers/0/unread", [3, 2]), "layers/0/unread: [3, 2] are not units in classes"),
    (put("layers/0/unread", [9]), "layers/0/unread: [9] are not units in classes"),
    (put("layers/0/unread", []), "layers/0/unread: [] should be non-empty"),
    (put("locked/0/where", "nowhere"), "locked/0/where: 'nowhere' is not a layer"),
    (put("locked/0/units", [0, 9]), "locked/0/units: [0, 9] for 4 unit(s)"),
    (put("locked/0/kind", "triplet"), "locked/0/kind"),
    (put("locked/1/signs", [1]), "locked/1/signs: 1 sign(s) for 2 unit(s)"),
    (put("locked/1/signs", []), "locked/1/signs: a mirror group says who is whose negative"),
    (put("locked/4/where", "a"), "locked/4/where: a module group lists its paths"),
    (put("locked/4/units", [0, 5]), "locked/4/units"),
    (put("frozen/0/count", 9), "frozen/conv.bias: count 9 exceeds total 3"),
    (put("frozen/0/indices", [[0], [1], [2]]), "frozen/conv.bias: 3 indices for count 2"),
    (put("findings/0/code", "E501"), "findings/0/code"),
    (put("findings", []), "ok: says False, the findings say True"),
    (put("ok", True), "ok: says True, the findings say False"),
    (put("status", "sure"), "status"),
    (put("evidence/bound", -1), "evidence/bound"),
    (put("evidence/lanes/0", {"prime": 7}), "evidence/lanes/0: 'seed' is a required property"),
    (put("extra", 1), "document: Additional properties are not allowed ('extra' was unexpected)"),
    (lambda loaded: loaded.pop("digest"), "document: 'digest' is a required property"),
]


@pytest.mark.parametrize(("edit", "phrase"), EDITS, ids=[phrase for _, phrase in EDITS])
def test_an_edited_certificate_is_refused(edit: Any, phrase: str) -> None:
    loaded = copy.deepcopy(document(made.everything()))
    edit(loaded)
    with pytest.raises(CertificateError, match="certificate refused for") as caught:
        from_json(json.dumps(loaded))
    assert any(phrase in reason for reason in caught.value.reasons)


def test_all_problems_are_reported_at_once() -> None:
    loaded = document(made.everything())
    put("layers/0/width", -1)(loaded)
    put("evidence/bound", -1)(loaded)
    put("findings/0/code", "x")(loaded)
    with pytest.raises(CertificateError, match="refused for 3 reason") as caught:
        from_json(json.dumps(loaded))
    assert len(caught.value.reasons) == 3


def test_a_thoroughly_broken_file_is_not_read_out_to_the_end() -> None:
    loaded = document(made.audit(*(made.layer(str(n), 2) for n in range(80))))
    for found in loaded["layers"].values():
        found["width"] = 3
    with pytest.raises(CertificateError, match="and 30 more"):
        from_json(json.dumps(loaded))
