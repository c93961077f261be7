"""How long it takes until the chosen units are apart: ``forecast`` of the start, in two sentences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from lockstep.errors import UsageError
from lockstep.explain.training import batches_of
from lockstep.forecast import GroupForecast, forecast
from lockstep.lab import network as nets
from lockstep.lab.badge import certificate
from lockstep.lab.datasets import points
from lockstep.lab.state import State
from lockstep.types import Group

FOLLOWED = 400  # updates followed one by one: seconds; beyond them the last rate is continued
SMALL = 1e-8  # the difference that is followed where there is none, as a part of the weights


def ahead(state: State, level: int, units: Sequence[int], *, steps: int = FOLLOWED) -> str:
    """What is to come for the units of hidden layer ``level`` (from 1); where that is unknown, why."""
    if len(units) < 2:
        return "Choose two or more units of one layer first."
    if state.dropout:
        return "No forecast: dropout gives each unit noise of its own, which parts them at once."
    where = nets.layers(state)[level - 1]
    x, y = points(state.data, state.samples, state.noise, state.data_seed)
    batches = list(islice(batches_of(x, y, state.batch or None, True, state.seed), steps))
    try:
        found = forecast(
            nets.network(state),
            x,
            y,
            loss=nets.LOSSES[state.loss],
            optimizer=nets.optimizer(state),
            steps=steps,
            groups=[locked(state, where, units) or (where, tuple(units))],
            batches=batches,
        )
    except UsageError as error:
        return f"No forecast: {error}."
    return in_words(found.groups[0])


def locked(state: State, where: str, units: Sequence[int]) -> Group | None:
    """The group of the certificate that holds these units, if one does."""
    groups = (g for g in certificate(state).locked if g.where == where)
    return next((g for g in groups if set(units) <= set(g.units)), None)


def in_words(one: GroupForecast) -> str:
    """When a difference is 1 % of the weights concerned, counted in updates from the start."""
    if one.verdict == "unknown":
        return f"Forecast: unknown, because {one.because}."
    if not one.scale > 0:
        return f"Forecast: {one.because}."
    if one.size > 0:
        now = f"the units' weights differ by {one.size:.2g} at the start."
        what, step = "The difference", one.separates_at()
    else:
        now = "what is tied stays tied."
        what = f"Had they a difference of {SMALL:g} of their weights, it"
        step = one.separates_at(SMALL * one.scale)
    if step == 0:
        return f"Forecast: {now} That is more than 1 % of them: they are apart already."
    when = "never reaches 1 %" if step is None else f"reaches 1 % of them at about step {step}"
    return f"Forecast: {now} {what} {when} ({one.because})."
