"""First defence: what a claim says about itself. No model is needed to see that it does not add up.

The form of a file (types, partitions, counts) is judged in ``form.py``; here the parts are held against
one another: groups against classes, findings against groups, the bound against its factors.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from lockstep.certificate import primes
from lockstep.certificate.claim import document
from lockstep.certificate.form import consistency_problems, form_problems
from lockstep.certificate.question import ANY_OPTIMIZER, MIRRORS, TIES, few
from lockstep.types import LOCKING_CODES, Audit, Classes, Frozen, Group, Layer

CODES = tuple(f"LS00{n}" for n in range(1, 10))
HINT = "(a certificate lists all findings: write it without --select, --ignore and --baseline)"


def inconsistencies(claim: Audit) -> list[str]:
    """Every contradiction within the claim."""
    plain = document(claim)
    malformed = list(form_problems(plain))
    if malformed:  # the questions below would stumble over it
        return malformed
    return [
        *consistency_problems(plain),
        *_names(claim),
        *(problem for group in claim.locked for problem in _group(claim, group)),
        *_groups(claim),
        *(problem for frozen in claim.frozen for problem in _frozen(frozen)),
        *_twice("frozen", (frozen.parameter for frozen in claim.frozen)),
        *_findings(claim),
        *_assumptions(claim),
        *_evidence(claim),
    ]


def tied(layer: Layer) -> Classes:
    """Classes of two and more."""
    return tuple(members for members in layer.classes if len(members) > 1)


def _names(claim: Audit) -> Iterator[str]:
    for name, layer in claim.layers.items():
        if layer.name != name:
            yield f"layers/{name}: holds the layer {layer.name!r}"
        if any(step > claim.evidence.steps + 1 for step, _, _ in layer.history):
            yield f"layers/{name}/history: goes beyond the {claim.evidence.steps} steps of the run"


def _twice(place: str, names: Iterable[object]) -> Iterator[str]:
    for name, times in Counter(names).items():
        if times > 1:
            yield f"{place}: {name} is listed {times} times"


def _group(claim: Audit, group: Group) -> Iterator[str]:
    place = f"locked/{group}"
    if len(group.units) < 2 or list(group.units) != sorted(set(group.units)):
        yield f"{place}: a group is two or more units, ascending"
    if not isinstance(group.where, str):
        if group.kind != "module":
            yield f"{place}: kind {group.kind!r} is about units, and this lists modules"
        if group.units != tuple(range(len(group.where))) or len(set(group.where)) < len(
            group.where
        ):
            yield f"{place}: must name each of its modules once"
        return
    layer = claim.layers.get(group.where)
    if group.kind == "module" or layer is None:
        return  # said by form.py
    if group.kind == "balanced" and claim.assumptions.update == "any":
        yield f"{place}: balanced units separate under update 'any'; no such claim can hold"
    if group.kind in TIES and not any(set(group.units) <= set(c) for c in layer.classes):
        yield f"{place}: these units are not in one class of layer {group.where}"
    if group.kind in TIES and group.signs:
        yield f"{place}: signs belong to mirror groups"
    if group.kind in MIRRORS:
        sides = [_side(group, sign) for sign in (1, -1)]
        if any(side not in layer.classes for side in sides):
            yield f"{place}: its two sides {sides[0]} and {sides[1]} must be classes of the layer"


def _side(group: Group, sign: int) -> tuple[int, ...]:
    pairs = zip(group.units, group.signs, strict=False)
    return tuple(unit for unit, given in pairs if given == sign)


def _groups(claim: Audit) -> Iterator[str]:
    """Every class of two and more is a group, and under any update nothing else is."""
    yield from _twice("locked", claim.locked)
    for name, layer in claim.layers.items():
        groups = {g.units: g.kind for g in claim.locked if g.where == name and g.kind in TIES}
        for members in tied(layer):
            if members not in groups:
                yield f"layers/{name}: the class {few(members)} is missing from locked"
        for units, kind in groups.items():
            # Under additive updates twins may be part of a larger, balanced class.
            whole = units in layer.classes
            if not whole and (claim.assumptions.update == "any" or kind == "balanced"):
                yield f"locked/{kind} in {name}: {few(units)} is not a class of the layer"


def _frozen(frozen: Frozen) -> Iterator[str]:
    place, indices = f"frozen/{frozen.parameter}", frozen.indices
    if frozen.count < 1:
        yield f"{place}: no entry is claimed frozen"
    if len(indices) != min(frozen.count, Frozen.SHOWN):
        yield f"{place}: {len(indices)} indices listed for {frozen.count} entries"
    if list(indices) != sorted(set(indices)) or len({len(index) for index in indices}) > 1:
        yield f"{place}: indices must be distinct, in order and of one length"


def _findings(claim: Audit) -> Iterator[str]:
    given = {(finding.code, finding.where) for finding in claim.findings}
    wanted = set(_wanted(claim))
    for code, where in sorted(wanted - given):
        yield f"findings: {code} of {where or 'the model'} is missing {HINT}"
    for code, where in sorted(given - wanted):
        if code in LOCKING_CODES:
            yield f"findings: {code} of {where or 'the model'} has nothing in the claim to stand on"
        elif code not in CODES:
            yield f"findings: there is no code {code}"
        elif code == "LS008" and not (claim.assumptions.noise and where in claim.layers):
            yield f"findings: LS008 of {where}: no noise is listed, or no such layer"
    yield from _twice("findings", (f"{f.code} of {f.where}" for f in claim.findings))
    explained = set(claim.because)
    if lost := explained - {where for code, where in given if code == "LS006"}:
        yield f"because: explains {few(sorted(lost))}, which LS006 does not name"
    if lost := explained - set(forward_twins(claim)):
        yield f"because: explains {few(sorted(lost))}, where nothing parts in the claim"


def _wanted(claim: Audit) -> Iterator[tuple[str, str]]:
    """(code, where) of the findings that the claim's own tables demand."""
    codes = {"twin": "LS001", "mirror": "LS002", "module": "LS003", "balanced": "LS005"}
    for group in claim.locked:
        heads = group.kind == "twin" and str(group.where).endswith("[heads]")
        where = group.where if isinstance(group.where, str) else (*group.where, "")[0]
        yield "LS003" if heads else codes[group.kind], where
    for frozen in claim.frozen:
        yield "LS004", frozen.parameter


def forward_twins(claim: Audit) -> Iterator[str]:
    """Layers with units that are equal at the start and not at the end, as the claim tells it."""
    for name, layer in claim.layers.items():
        final = {unit: members for members in layer.classes for unit in members}
        for step, direction, classes in layer.history:
            twins = (c for c in classes if len({final.get(unit) for unit in c}) > 1)
            if (step, direction) == (0, "forward") and any(twins):
                yield name


def _assumptions(claim: Audit) -> Iterator[str]:
    given = claim.assumptions
    if given.mode not in ("train", "eval"):
        yield f"assumptions/mode: {given.mode!r} is neither 'train' nor 'eval'"
    if given.data not in ("any", "given"):
        yield f"assumptions/data: {given.data!r} is neither 'any' nor 'given'"
    if (given.optimizer, given.update) == (ANY_OPTIMIZER[0], "additive"):
        yield (
            f"assumptions: optimizer {given.optimizer!r} goes beyond update {given.update!r}: coupled "
            "decay, for one, breaks balanced locks"
        )
    for word in ("optimizer", "loss"):
        if not getattr(given, word):
            yield f"assumptions/{word}: is empty"


def _evidence(claim: Audit) -> Iterator[str]:
    evidence = claim.evidence
    lanes = [prime for prime, _ in evidence.lanes]
    if not lanes:
        yield "evidence/lanes: no prime is named"
        return
    # Uninterpreted functions depend on the prime alone: another seed over the same prime is no
    # independent run.
    yield from _twice("evidence/lanes: prime", lanes)
    for prime in dict.fromkeys(lanes):
        if problem := primes.objection(prime):
            yield f"evidence/lanes: {prime} {problem}"
    claims = sum(len(g.units) - 1 for g in claim.locked) + sum(f.count for f in claim.frozen)
    if evidence.claims != claims:
        yield f"evidence/claims: says {evidence.claims}, the tables hold {claims}"
    bound = min(1.0, claims * (evidence.degree / min(lanes)) ** len(lanes))
    if not math.isclose(evidence.bound, bound, rel_tol=1e-9, abs_tol=0.0):
        yield f"evidence/bound: says {evidence.bound:.3g}, its own factors give {bound:.3g}"
