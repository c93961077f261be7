"""What the certificate says of the chosen units, in the words of a badge. Audits of one start are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import combinations
from typing import Any

from lockstep.lab import network as nets
from lockstep.lab.datasets import points
from lockstep.lab.state import State
from lockstep.pipeline import audit
from lockstep.types import Audit, Finding, Reason

UNITS = re.compile(
    r"\bunits? (?:\{[\d, ]+\}|\d+)"
)  # and the units, which it counts layer by layer, from 0
ENTRY = re.compile(r"([\w.]+\[[\d,]+\]) = ")  # the entries that a reason names


def certificate(state: State) -> Audit:
    """The audit of the network as it starts: on any data, under any loss and any elementwise optimizer."""
    return of_structure(
        State(
            hidden=state.hidden,
            activation=state.activation,
            bias=state.bias,
            dropout=state.dropout,
            loss=state.loss,
            seed=state.seed,
            weights=state.weights,
        )
    )


@lru_cache(maxsize=128)
def of_structure(state: State) -> Audit:
    """Only what the verdict depends on is in ``state``, so that other changes find it here."""
    return audit(nets.network(state), points(state.data, 4, 0.0, 0)[0])


def badges(
    state: State, level: int, units: Sequence[int], symbols: Mapping[str, str]
) -> dict[str, Any]:
    """The badge of the chosen units of hidden layer ``level`` (from 1), and what else is certain.

    ``symbols`` says what the page calls an entry (``"2.weight[0,1]"`` → ``"w6"``).
    """
    found = certificate(state)
    quiet = certificate(replace(state, dropout=0.0)) if state.dropout else found
    layer = nets.layers(state)[level - 1]
    paths = dict(zip(nets.layers(state), nets.layers(replace(state, dropout=0.0)), strict=True))
    shown = badge(found, layer, units, symbols)
    if shown["kind"] == "separates" and state.dropout:
        without = badge(quiet, paths[layer], units, symbols)
        if without["kind"] in ("locked", "mirror"):
            shown |= {
                "kind": "noise",
                "text": "will separate, because dropout draws other noise for each unit",
                "statement": f"Without dropout: {without['text']}. {without['statement']}",
            }
    shown["statement"] = counted(shown["statement"], state, level)
    return {
        **shown,
        "groups": [
            {"kind": g.kind, "level": nets.layers(state).index(g.where) + 1, "units": list(g.units)}
            for g in found.locked
            if isinstance(g.where, str)
        ],
        "widths": [
            f"{found.layers[path].effective_width} of {found.layers[path].width}"
            for path in nets.layers(state)[:-1]
        ],
        "findings": [line(finding, state, symbols) for finding in found.findings],
        "evidence": f"{found.assumptions} {found.evidence}",
    }


def badge(
    found: Audit, layer: str, units: Sequence[int], symbols: Mapping[str, str]
) -> dict[str, str]:
    """*locked for ever*, *mirror*, *will separate, because …*: the weakest verdict of all pairs."""
    if len(units) < 2:
        return {"kind": "none", "text": "choose two units of one layer", "statement": ""}
    reasons = [found.reason(layer, i, j) for i, j in combinations(units, 2)]
    apart = next((r for r in reasons if r.verdict == "separates"), None)
    if apart is not None:
        return separating(apart, symbols)
    missed = next((r for r in reasons if r.verdict == "undecided"), None)
    if missed is not None:
        return {"kind": "none", "text": "not exercised", "statement": missed.because}
    kind = "mirror" if any(r.verdict == "mirror" for r in reasons) else "locked"
    text = {"mirror": "mirror: each other's negative for ever", "locked": "locked for ever"}[kind]
    because = next(r for r in reasons if r.verdict == kind).because
    return {"kind": kind, "text": text, "statement": because}


def separating(reason: Reason, symbols: Mapping[str, str]) -> dict[str, str]:
    """Which two entries part them, and whether they have parted already."""
    entries = [symbols.get(path, path) for path in ENTRY.findall(reason.because)]
    why = f"{entries[0]} ≠ {entries[1]}" if len(entries) == 2 else reason.because
    already = reason.step == 0 and reason.direction == "forward"
    text = f"separate from the start, because {why}" if already else f"will separate, because {why}"
    step = "" if reason.step is None else f" (at step {reason.step} of the symbolic training)"
    return {
        "kind": "apart" if already else "separates",
        "text": text,
        "statement": f"{named(reason.because, symbols)}{step}",
    }


def named(text: str, symbols: Mapping[str, str]) -> str:
    """PyTorch's names of entries replaced by the page's."""
    return re.sub(r"[\w.]+\[[\d,]+\]", lambda m: symbols.get(m[0], m[0]), text)


def line(found: Finding, state: State, symbols: Mapping[str, str]) -> str:
    """A finding in the page's names."""
    text, paths = named(str(found), symbols), nets.layers(state)[:-1]
    if found.where not in paths:
        return text
    level = paths.index(found.where) + 1
    text = text.replace(f"{found.code} {found.where}:", f"{found.code} hidden layer {level}:")
    return counted(text, state, level)


def counted(text: str, state: State, level: int) -> str:
    """Units of hidden layer ``level`` numbered as on the page.

    >>> counted("units {0, 1} can never differentiate", State(hidden=(3, 2)), 2)
    'units {4, 5} can never differentiate'
    """
    first = sum(state.hidden[: level - 1]) + 1
    return UNITS.sub(lambda m: re.sub(r"\d+", lambda n: str(int(n[0]) + first), m[0]), text)
