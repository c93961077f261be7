"""Rows of ``zoo.py`` under every column: audit, the float64 oracle, check, JSON."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import replace

import pytest
from oracle.training import ADDITIVE, ANY, observe
from zoo import (
    DENSE,
    GRADES,
    HUGGING_FACE,
    LOSSES,
    MODULES,
    NOISE,
    OPTIMIZERS,
    ROWS,
    STRUCTURE,
    Case,
)

import lockstep
from lockstep.types import Audit

EVERY = [*ROWS, *HUGGING_FACE]
BY_NAME = {row.name: row for row in EVERY}


def params(rows: list[Case]) -> list:
    return [
        pytest.param(row, id=row.name, marks=[getattr(pytest.mark, mark) for mark in row.marks])
        for row in rows
    ]


ANSWERED = params([row for row in EVERY if row.error is None])
# Checking trains the model again, twice over: one row a kind by default, all of them with the slow tests.
QUICK = {
    row.name for row in [*DENSE, *GRADES[:6], *OPTIMIZERS, *LOSSES[:3], *NOISE[:4], *MODULES[::12]]
}
QUICK |= {row.name for row in STRUCTURE if len(row.classes) == 1}
CHECKED = [
    p if p.id in QUICK else pytest.param(*p.values, id=p.id, marks=[*p.marks, pytest.mark.slow])
    for p in ANSWERED
]
REFUSED = params([row for row in EVERY if row.error is not None])
TRAINED = params([row for row in EVERY if row.error is None and row.trainer])


def assert_expected(audit: Audit, row: Case) -> None:
    for name, classes in row.classes.items():
        assert audit.layers[name].classes == classes, name
    for name, width in row.widths.items():
        assert audit.layers[name].effective_width == width, name
    for group in row.locked:
        assert group in {(g.kind, g.where, g.units) for g in audit.locked}
    if row.kinds is not None:
        assert {group.kind for group in audit.locked} == row.kinds, audit.locked
    if row.frozen is not None:
        assert {entry.parameter: entry.count for entry in audit.frozen} == row.frozen
    codes = {finding.code for finding in audit.findings}
    assert set(row.present) <= codes, f"missing {set(row.present) - codes}"
    assert not set(row.absent) & codes, f"not expected {set(row.absent) & codes}"


def assert_consistent(audit: Audit) -> None:
    """What every audit owes itself, whatever the model."""
    for layer in audit.layers.values():
        units = [unit for members in layer.classes for unit in members]
        assert sorted(units) == list(range(layer.width))
        assert all(list(members) == sorted(members) for members in layer.classes)
        assert [members[0] for members in layer.classes] == sorted(m[0] for m in layer.classes)
    codes = {finding.code for finding in audit.findings}
    assert audit.ok == (not codes & {"LS001", "LS002", "LS003", "LS004", "LS005"})
    assert bool(audit.frozen) == ("LS004" in codes)
    kinds = {group.kind for group in audit.locked}
    for kind, code in (("twin", "LS001"), ("mirror", "LS002"), ("balanced", "LS005")):
        assert (kind in kinds) == (code in codes), f"{kind} and {code}"
    for entry in audit.frozen:
        assert 0 < entry.count <= entry.total
        assert len(entry.indices) == min(entry.count, entry.SHOWN)


@functools.cache
def audited(row_name: str) -> Audit:
    model, inputs, kwargs = BY_NAME[row_name].make()
    return lockstep.audit(model, inputs, **kwargs)


@pytest.mark.parametrize("row", ANSWERED)
def test_audit(row):
    audit = audited(row.name)
    assert_expected(audit, row)
    assert_consistent(audit)
    assert Audit.from_json(audit.to_json()) == audit


@pytest.mark.parametrize("row", CHECKED)
def test_check_accepts(row):
    """The independent checker accepts what the audit says of the row, from its JSON."""
    model, inputs, kwargs = row.make()
    same = {name: kwargs[name] for name in ("loss", "targets", "optimizer") if name in kwargs}
    checked = lockstep.check(audited(row.name).to_json(), model, inputs, **same)
    assert checked is not None


@pytest.mark.parametrize("row", REFUSED)
def test_refused(row):
    model, inputs, kwargs = row.make()
    with pytest.raises(row.error, match=r"\S") as caught:
        lockstep.audit(model, inputs, **kwargs)
    missing = [phrase for phrase in row.phrases if phrase not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


def assert_training_agrees(row: Case) -> None:
    model, inputs, kwargs = row.make()
    optimizers = ADDITIVE if kwargs.get("update") == "additive" else ANY
    seen = observe(model, inputs, optimizers=optimizers, steps=row.steps, loss=kwargs.get("loss"))
    seen.assert_clear()
    for name, classes in row.classes.items():
        assert seen.classes(name) == classes, name
    if row.frozen is not None:
        assert seen.still_counts() == {**row.frozen, **row.unread}
    for kind, where, units in row.locked:
        if kind == "mirror":
            assert units in seen.layers[where].mirrors


@pytest.mark.parametrize("row", TRAINED)
def test_training_shows_what_the_row_says(row):
    """The rows themselves are checked against float64 training, without the engine."""
    assert_training_agrees(row)
    assert row.classes or row.frozen is not None or row.kinds is not None or row.present


def test_names_are_unique():
    assert [name for name, n in Counter(row.name for row in EVERY).items() if n > 1] == []


def test_a_wrong_row_is_noticed():
    """Rows with one expectation turned round must fail, in the trainer's column and in the audit's."""
    rows = {row.name: row for row in ROWS}
    wrong = [
        replace(rows["course tied [any]"], classes={"0": ((0,), (1,))}),
        replace(rows["course random"], classes={"0": ((0, 1),)}),
        replace(rows["trial conv, batch norm"], frozen={}),
        replace(rows["course random"], frozen={"0.weight": 1}),
    ]
    for row in wrong:
        with pytest.raises(AssertionError, match=r"assert"):
            assert_training_agrees(row)
        model, inputs, kwargs = row.make()
        with pytest.raises(AssertionError, match=r"assert"):
            assert_expected(lockstep.audit(model, inputs, **kwargs), row)
