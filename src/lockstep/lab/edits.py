"""Changes of single weights. Each makes the weights of now, so changed, the start of a new run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from lockstep.errors import UsageError
from lockstep.explain import tie
from lockstep.lab import network as nets
from lockstep.lab.experiment import Experiment
from lockstep.lab.state import MOST_WEIGHT, State


def with_weight(now: Experiment, at: int, value: float) -> State:
    """One entry of the flat weights changed."""
    weights = list(nets.weights_of(now.model))
    weights[at] = value
    return started(now, weights)


def nudged(now: Experiment, at: int, by: float) -> State:
    """One entry of the flat weights made more by so much."""
    return with_weight(now, at, round(nets.weights_of(now.model)[at] + by, 6))


def twins(
    now: Experiment, level: int, units: Sequence[int], incoming: bool, outgoing: bool
) -> State:
    """The units made equal in what they read, in what is read of them, or both."""
    model = copy.deepcopy(now.model)
    path = nets.layers(now.state)[level - 1]
    tie(model, path, units, incoming=incoming, outgoing=outgoing)
    return started(now, nets.weights_of(model))


def mirrored(now: Experiment, level: int, units: Sequence[int]) -> State:
    """Every unit but the first made the negative of the first."""
    model = copy.deepcopy(now.model)
    tie(model, nets.layers(now.state)[level - 1], units, how="first")
    for dense, rows in parts(model, level):
        with torch.no_grad():
            for unit in units[1:]:
                if rows:
                    dense.weight[unit].neg_()
                    if dense.bias is not None:
                        dense.bias[unit].neg_()
                else:
                    dense.weight[:, unit].neg_()
    return started(now, nets.weights_of(model))


def untied(now: Experiment, level: int, units: Sequence[int]) -> State:
    """Every unit but the first given the weights that the seed draws for it."""
    model, drawn = copy.deepcopy(now.model), nets.network(replace(now.state, weights=None))
    for (dense, rows), (fresh, _) in zip(parts(model, level), parts(drawn, level), strict=True):
        with torch.no_grad():
            for unit in units[1:]:
                if rows:
                    dense.weight[unit] = fresh.weight[unit]
                    if dense.bias is not None:
                        dense.bias[unit] = fresh.bias[unit]
                else:
                    dense.weight[:, unit] = fresh.weight[:, unit]
    return started(now, nets.weights_of(model))


def parts(model: nn.Sequential, level: int) -> list[tuple[nn.Linear, bool]]:
    """The layer whose rows, and the layer whose columns, belong to the units of ``level``."""
    dense = nets.dense_of(model)
    return [(dense[level - 1], True), (dense[level], False)]


def started(now: Experiment, weights: Sequence[float]) -> State:
    """A new run from these weights, if a state can hold them."""
    if not all(abs(w) <= MOST_WEIGHT for w in weights):  # nor is NaN
        raise UsageError(
            f"a start's weights lie between -{MOST_WEIGHT:,.0f} and {MOST_WEIGHT:,.0f}, and these do not. "
            "If training took them there, go back to the same start and change it"
        )
    return replace(now.state, weights=tuple(weights), steps=0)
