"""On random dense nets with planted structure the audit equals exact two-sided refinement."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, reject
from hypothesis import strategies as st
from oracle.refinement import Verdict, refine
from properties.nets import Planted, balanced, build, constant, examples, planted, relabelled

from lockstep import Audit, audit

UPDATES = ("any", "additive")


def mirrors_of(report: Audit, layer: str) -> set[tuple[int, int]]:
    """All pairs of opposite sign, whether or not a group spells out every member of a class."""
    classes = report.layers[layer].class_of
    found = set()
    for group in report.locked:
        if group.kind == "mirror" and group.where == layer:
            for u, s in zip(group.units, group.signs, strict=True):
                for v, t in zip(group.units, group.signs, strict=True):
                    if s != t:
                        found |= {tuple(sorted((a, b))) for a in classes(u) for b in classes(v)}
    return found


def assert_equals(report: Audit, verdict: Verdict, case: Planted) -> None:
    frozen = {entry.parameter: set(entry.indices) for entry in report.frozen}
    for layer, name in enumerate(case.names()):
        assert report.layers[name].classes == verdict.classes[layer], f"classes of {name}"
        assert frozen.get(f"{name}.weight", set()) == verdict.frozen_weights[layer], name
        biases = {(u,) for u in verdict.frozen_biases[layer]}
        assert frozen.get(f"{name}.bias", set()) == biases, f"frozen biases of {name}"
        if case.net.odd:
            assert mirrors_of(report, name) == verdict.mirrors[layer], f"mirrors of {name}"


def assert_audit_is_exact(case: Planted, update: str) -> None:
    report = audit(case.module(), case.inputs(), update=update)
    assert_equals(report, refine(case.net, update), case)


@pytest.mark.parametrize("update", UPDATES)
@examples(20)
@given(case=planted())
def test_audit_equals_refinement(case, update):
    assert_audit_is_exact(case, update)


@pytest.mark.slow
@pytest.mark.parametrize("update", UPDATES)
@examples(1500)
@given(case=planted())
def test_audit_equals_refinement_often(case, update):
    assert_audit_is_exact(case, update)


def only_additive(seed: int) -> Planted:
    """A net whose balanced blocks lock under additive updates and not under any."""
    case = build(seed, "sigmoid", 2, kinds=(balanced,), largest=4)
    if refine(case.net, "any").classes == refine(case.net, "additive").classes:
        reject()
    return case


@examples(5)
@given(seed=st.integers(0, 10**6))
def test_balanced_locks_are_additive_only(seed):
    """Nothing in the pattern of these weights ever changes: one look at the start is not enough."""
    case = only_additive(seed)
    for update in UPDATES:
        assert_audit_is_exact(case, update)
    report = audit(case.module(), case.inputs(), update="additive")
    fine = refine(case.net, "any")
    groups = {(group.where, group.units): group.kind for group in report.locked}
    for layer, name in enumerate(case.names()):
        for members in report.layers[name].classes:
            if len(members) > 1:
                is_twin = any(set(members) <= set(c) for c in fine.classes[layer])
                assert groups[name, members] == ("twin" if is_twin else "balanced")


@pytest.mark.parametrize("update", UPDATES)
def test_a_changed_weight_is_noticed(update):
    """The comparison can fail: audit one net, refine another whose planted lock is broken."""
    case = build(5, "sigmoid", 2, kinds=(constant,), largest=3)
    assert any(len(c) > 1 for c in refine(case.net, update).classes[0])
    model = case.module()
    with torch.no_grad():
        model[2].weight[0] += torch.arange(model[2].in_features) / 64
    report = audit(model, case.inputs(), update=update)
    with pytest.raises(AssertionError, match="classes of"):
        assert_equals(report, refine(case.net, update), case)


@examples(7)
@given(case=planted())
def test_any_is_never_coarser_than_additive(case):
    fine = audit(case.module(), case.inputs(), update="any")
    coarse = audit(case.module(), case.inputs(), update="additive")
    for name in case.names():
        for members in fine.layers[name].classes:
            assert set(members) <= set(coarse.layers[name].class_of(members[0]))


@examples(10)
@given(seed=st.integers(0, 10**6), depth=st.integers(1, 3))
def test_pairs_cannot_tell_the_updates_apart(seed, depth):
    """FACTS F2: in blocks of two, equal sums are equal multisets; triples are needed to see a difference."""
    case = build(seed, "sigmoid", depth, largest=2)
    if any(len(c) > 2 for layer in refine(case.net, "additive").classes for c in layer):
        reject()
    reports = [audit(case.module(), case.inputs(), update=update) for update in UPDATES]
    assert reports[0].locked == reports[1].locked
    assert reports[0].frozen == reports[1].frozen


@examples(7)
@given(case=planted(), shuffle=st.randoms(use_true_random=False), update=st.sampled_from(UPDATES))
def test_relabelling_units_relabels_classes_and_nothing_else(case, shuffle, update):
    order = shuffle.sample(range(len(case.net.weights[0])), len(case.net.weights[0]))
    other = relabelled(case, 0, order)
    before = audit(case.module(), case.inputs(), update=update)
    after = audit(other.module(), other.inputs(), update=update)
    assert {tuple(sorted(order[k] for k in c)) for c in after.layers["0"].classes} == set(
        before.layers["0"].classes
    )
    for name in case.names()[1:]:
        assert after.layers[name].classes == before.layers[name].classes
    assert counts(after) == counts(before)
    assert kinds(after) == kinds(before)
    assert sorted(f.code for f in after.findings) == sorted(f.code for f in before.findings)


def counts(report: Audit) -> dict[str, int]:
    return {entry.parameter: entry.count for entry in report.frozen}


def kinds(report: Audit) -> list:
    return sorted((group.kind, group.where, len(group.units)) for group in report.locked)


@examples(7)
@given(case=planted(), seed=st.integers(1, 10**9))
def test_seeds_do_not_matter(case, seed):
    first, second = (audit(case.module(), case.inputs(), seed=s) for s in (0, seed))
    assert first.layers == second.layers
    assert first.locked == second.locked
    assert first.frozen == second.frozen
    assert first.findings == second.findings
    assert first.evidence.lanes != second.evidence.lanes


@examples(7)
@given(case=planted(), update=st.sampled_from(UPDATES))
def test_json_round_trip(case, update):
    report = audit(case.module(), case.inputs(), update=update)
    again = Audit.from_json(report.to_json())
    assert again == report
    assert again.to_json() == report.to_json()


@examples(7)
@given(case=planted())
def test_reasons_fit_the_classes(case):
    report = audit(case.module(), case.inputs())
    for name, layer in report.layers.items():
        for i in range(layer.width):
            for j in range(i):
                reason = report.reason(name, i, j)
                locked = layer.class_of(i) == layer.class_of(j)
                assert (reason.verdict == "locked") == locked
                if (j, i) in mirrors_of(report, name):
                    assert reason.verdict == "mirror"
                assert reason.because
