"""Long lists of units and of findings, in the space a reader has for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lockstep.types import Finding, Layer


def ranges(units: Iterable[int], most: int = 8) -> str:
    """Ascending indices with runs of three and more joined.

    >>> ranges([0, 1, 2, 3, 7, 9, 10])
    '0-3, 7, 9, 10'
    """
    runs: list[list[int]] = []
    for unit in units:
        if runs and unit == runs[-1][-1] + 1:
            runs[-1].append(unit)
        else:
            runs.append([unit])
    parts: list[str] = []
    for run in runs:
        parts += [f"{run[0]}-{run[-1]}"] if len(run) > 2 else [str(unit) for unit in run]
    hidden = len(parts) - most
    return ", ".join(parts[:most]) + (f", +{hidden}" if hidden > 0 else "")


def tied(layer: Layer, most: int = 4) -> str:
    """The classes of two and more units: ``{0, 1} {4-9} +2 more``; empty when all are apart.

    >>> tied(Layer("0", 5, ((0, 3), (1,), (2,), (4,))))
    '{0, 3}'
    """
    classes = [members for members in layer.classes if len(members) > 1]
    shown = " ".join("{" + ranges(members) + "}" for members in classes[:most])
    hidden = len(classes) - most
    return shown + (f" +{hidden} more" if hidden > 0 else "")


@dataclass(frozen=True)
class Entry:
    """Findings that say the same of several places: twelve key biases are one thing to read."""

    code: str
    places: tuple[str, ...]
    message: str
    cure: str


def entries(findings: Sequence[Finding]) -> list[Entry]:
    """Findings in order of code, those joined that differ in nothing but the place.

    >>> rows = entries([Finding("LS004", "a", "all 2 of a"), Finding("LS004", "b", "all 2 of b")])
    >>> rows[0].places, rows[0].message
    (('a', 'b'), 'all 2 of each')
    """
    joined: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        message = _without_place(finding, "each")
        joined.setdefault((finding.code, message, finding.cure), []).append(finding)
    rows = [
        Entry(
            code,
            tuple(dict.fromkeys(finding.where for finding in members)),
            message if len(members) > 1 else members[0].message,
            cure,
        )
        for (code, message, cure), members in joined.items()
    ]
    return sorted(rows, key=lambda entry: entry.code)  # stable: places keep the model's order


def _without_place(finding: Finding, word: str) -> str:
    place = re.escape(finding.where)
    return re.sub(rf"(?<![\w.]){place}(?![\w\[]|\.\w)", word, finding.message) if place else ""


def families(places: Sequence[str]) -> list[str]:
    """Places that differ in one number only, as one: the same module of every block.

    >>> families(["h.0.key.bias", "h.1.key.bias", "h.2.key.bias", "head"])
    ['h.{0-2}.key.bias', 'head']
    """
    # A template is the place with one of its numbers left open; the earliest place claims it.
    members: dict[tuple[str, str], list[int]] = {}
    for place in places:
        for number in re.finditer(r"\d+", place):
            template = (place[: number.start()], place[number.end() :])
            members.setdefault(template, []).append(int(number.group()))
    told: set[str] = set()
    shown: list[str] = []
    for place in places:
        if place in told:
            continue
        numbers = list(re.finditer(r"\d+", place))
        templates = [(place[: n.start()], place[n.end() :]) for n in numbers]
        best = max(templates, key=lambda template: len(members[template]), default=None)
        family = sorted(set(members[best])) if best is not None else []
        if best is None or len(family) < 3:
            shown.append(place)
            continue
        told |= {f"{best[0]}{number}{best[1]}" for number in family}
        shown.append(f"{best[0]}{{{ranges(family)}}}{best[1]}")
    return shown
