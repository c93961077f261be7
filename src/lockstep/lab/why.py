"""One gradient as a chain, or two side by side, at the weights of now: ``explain`` and ``compare`` as rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from lockstep.errors import UsageError
from lockstep.explain import Comparison, Derivation, compare, draw, explain
from lockstep.explain.derivation import Factor, number, numbers
from lockstep.lab import network as nets
from lockstep.lab.experiment import Experiment

QUIET = "Dropout is switched off for this view."


def why(now: Experiment, weights: list[str], sample: int | None) -> dict[str, Any]:
    """For one weight its chain, for two both; of one sample (an index) or of all. Where there is none, why not."""
    try:
        return chains(now, weights, sample)
    except UsageError as error:
        return {"heads": [], "rows": [], "verdict": f"No chain: {error}", "notes": [], "chains": []}


def chains(now: Experiment, weights: list[str], sample: int | None) -> dict[str, Any]:
    """What :func:`why` says where the library can."""
    picked = slice(None) if sample is None else slice(sample, sample + 1)
    model = without_dropout(now)
    given = (model, now.x[picked], now.y[picked], now.loss)
    if len(weights) == 1:
        shown = one(explain(*given, weights[0]))
    else:
        shown = two(compare(*given, weights[0], weights[1], certify=not now.state.dropout))
    shown["chains"] = [
        [edge.symbol for edge in draw(model, now.x[:1], weight=weight).edges if edge.marked]
        for weight in weights
    ]
    if now.state.dropout:
        shown["notes"] = [*shown["notes"], QUIET]
    return shown


def without_dropout(now: Experiment) -> nn.Sequential:
    """The network of now as a chain can be read off it: nothing random in it."""
    return nets.network(replace(now.state, dropout=0.0, weights=nets.weights_of(now.model)))


def one(found: Derivation) -> dict[str, Any]:
    """The factors of a chain as rows, its product, and the update."""
    return {
        "heads": [found.weight],
        "chain": f"dJ/d{found.weight} = {found.chain}",
        "rows": [{"cells": [cell(f)], "why": "", "differ": False} for f in found.factors],
        "products": [numbers(found.product, 2)],
        "gradients": [number(found.gradient)],
        "reduction": found.reduction,
        "verdict": "",
        "notes": found.summary().split("\n"),
    }


def two(found: Comparison) -> dict[str, Any]:
    """Two chains, factor by factor from the loss down, each pair with why it is the same or differs."""
    order = {id(f): n for side in (found.a, found.b) for n, f in enumerate(side.factors)}
    branch = next((n for n, f in enumerate(found.a.factors) if f.sum), 0)
    rows = []
    for differ, pairs in ((False, found.same), (True, found.differ)):
        for pair in pairs:
            places = [order[id(f)] for f in (pair.a, pair.b) if f is not None and id(f) in order]
            row = {"cells": [cell(pair.a), cell(pair.b)], "why": pair.why, "differ": differ}
            rows.append((min(places, default=branch), row))
    return {
        "heads": [found.a.weight, found.b.weight],
        "chain": "",
        "rows": [row for _, row in sorted(rows, key=lambda item: item[0])],
        "products": [numbers(side.product, 2) for side in (found.a, found.b)],
        "gradients": [number(side.gradient) for side in (found.a, found.b)],
        "reduction": found.a.reduction,
        "verdict": found.verdict,
        "notes": list(found.notes),
    }


def cell(factor: Factor | None) -> list[str]:
    """Symbol, formula and value of a factor."""
    if factor is None:
        return ["", "–", ""]
    return [factor.symbol, factor.formula, numbers(factor.value, 2)]
