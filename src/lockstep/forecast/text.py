"""A forecast in words and as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

from ..types import Leak
from .result import Forecast, GroupForecast

SCHEMA = 1


def report(forecast: Forecast) -> str:
    """What ``lockstep forecast`` prints."""
    lines = [f"forecast over {forecast.steps} steps of {forecast.optimizer}"]
    if forecast.losses:
        lines[0] += (
            f" (loss {forecast.losses[0]:.4g} -> {forecast.losses[-1]:.4g} on the symmetric trajectory)"
        )
    if not forecast.groups:
        lines += ["", forecast.because]
    for one in forecast.groups:
        lines += ["", *of_group(one)]
    lines += ["", "assumed:", *(f"  {text}" for text in forecast.assumptions)]
    return "\n".join(lines)


def of_group(one: GroupForecast) -> list[str]:
    """One group: verdict, growth, when."""
    lines = [title(one), f"  {one.verdict}: {one.because}"]
    if one.others:
        lines.append("  together with: " + "; ".join(str(group) for group in one.others))
    if not one.log_growth:
        return lines
    lines.append(
        f"  a generic difference ({one.dimension} dimensions): x {factor(one.log_growth[-1])} after "
        f"{len(one.log_growth)} steps; at the end {one.rate:+.4g} a step{pace(one.rate)}"
    )
    if one.spectrum:
        lines.append(f"  the difference that grows most: x {factor(one.spectrum[0])}")
    if one.linear < 1e-3 * one.scale:
        lines.append(
            f"  linear up to a difference of {one.linear:.1e} only: gradients that are exactly 0 meet the optimizer's "
            "eps; above it growth is slower, and the steps below are early bounds"
        )
    if one.size > 0:
        steps = len(one.own_growth)
        grown = f" (x {factor(one.own_growth[-1])} after {steps} steps)" if steps else ""
        lines.append(f"  the units differ by {one.size:.2g} now{grown}{when(one.separates_at())}")
    elif one.leak is not None and one.scale > 0:
        lines.append(f"  rounding, {one.leak}{when(one.separates_at()) if one.leak.step else ''}")
    for size in (1e-8, 1e-4) if one.scale > 0 else ():
        lines.append(
            f"  a difference of {size:.0e} of the weights{when(one.separates_at(size * one.scale))}"
        )
    return lines


def title(one: GroupForecast) -> str:
    """The group's own line."""
    if not isinstance(one.group, tuple):
        return str(one.group)
    return "at rest: " + ", ".join(f.parameter for f in one.group)


def factor(log: float) -> str:
    """``exp(log)`` for reading, also where it is no float."""
    if -80 < log < 80:
        return f"{math.exp(log):.4g}"
    return "0" if log == -math.inf else f"1e{log / math.log(10):+.1f}"


def pace(rate: float) -> str:
    """How many steps a factor of ten takes."""
    if not math.isfinite(rate) or rate == 0:
        return ""
    steps = math.log(10) / abs(rate)
    return f" (x {'10' if rate > 0 else '0.1'} every {steps:.4g} steps)"


def when(step: int | None) -> str:
    """The predicted step, or never."""
    return (
        ": not seen to reach 1 %"
        if step is None
        else f": reaches 1 % of the weights at step {step}"
    )


def to_json(forecast: Forecast) -> str:
    """Numbers that are not finite are null."""
    groups = []
    for one in forecast.groups:
        groups.append(
            {
                "group": title(one),
                "others": [str(group) for group in one.others],
                "verdict": one.verdict,
                "because": one.because,
                "rate": number(one.rate),
                "dimension": one.dimension,
                "log_growth": [number(value) for value in one.log_growth],
                "own_growth": [number(value) for value in one.own_growth],
                "spectrum": [number(value) for value in one.spectrum],
                "size": one.size,
                "scale": one.scale,
                "leak": leak(one.leak),
                "linear": number(one.linear),
                "separates_at": one.separates_at() if one.log_growth and one.scale else None,
            }
        )
    document = {
        "schema": SCHEMA,
        "steps": forecast.steps,
        "optimizer": forecast.optimizer,
        "because": forecast.because,
        "assumptions": list(forecast.assumptions),
        "losses": [number(value) for value in forecast.losses],
        "groups": groups,
    }
    return json.dumps(document, indent=1)


def number(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if math.isfinite(value) else None


def leak(found: Leak | None) -> dict[str, Any] | None:
    """The measured rounding."""
    if found is None:
        return None
    return {"dtype": found.dtype, "steps": found.steps, "step": found.step, "size": found.size}
