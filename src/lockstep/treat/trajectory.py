"""Does the merged network train as the one before? Both take the same few steps of SGD in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..errors import UsageError
from ..symbolic.subject import call_with, quarters
from . import function

STEPS = 4
SAME = 1e-7


def follows(big: nn.Module, small: nn.Module, inputs: Any, rates: Mapping[str, Tensor]) -> str:
    """One sentence: whether, with these rates, the small model's training follows the big one's."""
    rate = rate_for(big, inputs)
    if rate is None:
        return "training was not compared: the outputs have no gradient"
    rounding = function.precision(big, inputs)  # a norm may insist on float32
    same = SAME if rounding <= function.EXACT else rounding
    start = function.outputs(big, inputs)
    steps(big, inputs, rate, {})
    steps(small, inputs, rate, rates)
    end = function.outputs(big, inputs)
    gone = function.change(start, end, 0.0)
    gap = function.change(end, function.outputs(small, inputs), same)
    if gap.kept and (same == SAME or gap.largest <= 0.01 * gone.largest):
        return (
            f"training follows under SGD with the rates: {STEPS} steps moved the outputs by "
            f"{gone.largest:.2g}, and the two lie {gap.largest:.1g} apart"
        )
    raise UsageError(
        f"the function would be kept, the training would not: {gap.largest:.2g} apart after {STEPS} steps of SGD"
    )


def moved(model: nn.Module, inputs: Any) -> nn.Module | None:
    """The model after a few steps of SGD on a random linear loss; None if nothing can move."""
    rate = rate_for(model, inputs)
    if rate is None:
        return None
    steps(model, inputs, rate, {})
    return model


def rate_for(model: nn.Module, inputs: Any) -> float | None:
    """A learning rate at which weights move by some percent a step."""
    with quarters(), function.noiseless(model):
        parameters = _gradients(model, inputs, 0)
    moving = [p for p in parameters if p.grad is not None]
    size = sum(float(p.grad.square().sum()) for p in moving if p.grad is not None) ** 0.5
    weights = sum(float(p.detach().square().sum()) for p in moving) ** 0.5
    for p in parameters:
        p.grad = None
    if not moving or size == 0.0:
        return None
    return 0.02 * max(weights, 1e-3) / size


def steps(model: nn.Module, inputs: Any, rate: float, rates: Mapping[str, Tensor]) -> None:
    """SGD on random linear and quadratic functions of the outputs, drawn from a fixed seed."""
    named = dict(model.named_parameters())
    with quarters(), function.noiseless(model):
        for step in range(STEPS):
            _gradients(model, inputs, step)
            with torch.no_grad():
                for name, p in named.items():
                    if p.grad is not None and p.requires_grad:
                        factor = rates.get(name)
                        p.sub_(rate * (p.grad if factor is None else p.grad * factor.to(p)))
                        p.grad = None


def _gradients(model: nn.Module, inputs: Any, step: int) -> list[Tensor]:
    torch.manual_seed(step)
    result = function.plain(call_with(model, inputs))
    generator = torch.Generator().manual_seed(1000 + step)
    total: Tensor | None = None
    for t in tree_leaves(result):
        if isinstance(t, Tensor) and t.requires_grad and t.is_floating_point():
            draw = torch.randn(t.shape, generator=generator, dtype=torch.double).to(t)
            term = (draw * t).mean() + (draw * t.square()).mean() / 2
            total = term if total is None else total + term
    parameters: list[Tensor] = list(model.parameters())
    for p in parameters:
        p.grad = None
    if total is not None:
        total.backward()
    return parameters
