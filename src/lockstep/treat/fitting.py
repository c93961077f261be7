"""The sizes that go with rewritten tensors, found and tried on a float64 copy."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from torch import nn

from ..errors import UsageError
from . import function
from .edits import Attribute, Rewrite, carry_out
from .plan import Plan
from .shapes import attributes, grouped, shared_heads
from .wiring import doubled, duplicate


def fitted(
    start: Plan,
    rewrites: Sequence[Rewrite],
    more: Sequence[Attribute] = (),
    *,
    exact: bool = True,
) -> Plan:
    """The plan with ``more`` and the sizes that make the rewritten model run and compute the same, or why not."""
    model = start.model
    inputs = doubled(start.inputs)
    big = duplicate(model)
    tolerance = max(function.precision(big, inputs), function.EXACT)
    before = function.outputs(big, inputs)
    reasons: list[str] = []
    divided = grouped(model, rewrites)
    for around, whole in product((False, True), (False, True) if divided else (False,)):
        try:
            sizes = attributes(model, rewrites, around=around, whole=whole)
            sizes += tuple(s for s in shared_heads(model, rewrites) if s not in sizes)
            sizes += tuple(more)
            small = duplicate(model)
            carry_out(small, tuple(rewrites), sizes)
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # a size that does not fit, says torch
                found = function.change(before, function.outputs(small, inputs), tolerance)
        except UsageError as error:
            reasons.append(str(error))
            continue
        except Exception as error:  # noqa: BLE001 - the user's forward may raise anything; it is reported
            said = str(error).strip().splitlines() or [""]
            reasons.append(f"the changed model does not run ({type(error).__name__}: {said[0]})")
            continue
        if found.kept or not exact:
            return replace(start, edits=tuple(rewrites), attributes=sizes)
        reasons.append(f"the function would not be kept ({found})")
    why = "; of groups, whole ones must go or come, or as many channels of each" if divided else ""
    raise UsageError(f"{reasons[0]}{why}")


def require_module(model: Any) -> None:
    """Treatments change modules in place: of other frameworks' models they could not."""
    if not isinstance(model, nn.Module) or hasattr(model, "stateless_call"):
        raise UsageError(
            f"a treatment needs a torch.nn.Module, got {type(model).__name__}: treat the PyTorch model, or set "
            "the weights of a Keras model yourself"
        )
    if isinstance(getattr(model, "_orig_mod", None), nn.Module):
        raise UsageError("treat the module that was given to torch.compile, then compile it again")
