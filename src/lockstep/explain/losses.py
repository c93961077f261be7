"""How J reduces over the batch, and dJ/d(output) in letters.

The loss is the user's own function, so both are *recognised*, never assumed: the reduction by evaluating
the loss on single samples, the formula by comparing a few well-known derivatives with autograd's values
on every sample. An unknown loss keeps its values and is labelled as autograd's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from lockstep.errors import LockstepError
from lockstep.explain.chain import Chain, gradient
from lockstep.explain.guest import Loss, Run, evaluate
from lockstep.explain.tape import tensors_in

Reduction = Literal["mean", "sum", "as given"]
PROBED = 8  # samples on which the reduction is recognised


def reduction_of(run: Run, loss: Loss) -> Reduction:
    """``"mean"`` if J is the mean of the samples' own losses, ``"sum"``, or ``"as given"`` if neither."""
    outputs = list(tensors_in(run.output))
    if len(outputs) != 1 or outputs[0] is not run.output or run.output.dim() == 0:
        return "as given"
    count = run.output.shape[0]
    if run.target is not None and not (
        isinstance(run.target, Tensor) and run.target.dim() and run.target.shape[0] == count
    ):
        return "as given"
    whole = gradient(run.J, run.output)
    if count == 1 and run.output.dim() > 1:
        return "mean"
    factors = {one_sample(run, loss, n, whole[n]) for n in range(min(count, PROBED))} - {"zero"}
    if factors <= {"mean"}:
        return "mean"
    return "sum" if factors == {"sum"} else "as given"


def one_sample(run: Run, loss: Loss, n: int, given: Tensor) -> str:
    """How ``dJ/d output[n]`` relates to the gradient of sample n's own loss."""
    out = run.output[n : n + 1].detach().clone().requires_grad_()
    try:
        own = gradient(
            evaluate(loss, out, None if run.target is None else run.target[n : n + 1]), out
        )
    except LockstepError:
        return "neither"
    count = run.output.shape[0]
    if not own.any() and not given.any():
        return "zero"
    rounding = 1e-9 if given.dtype == torch.float64 else 1e-5
    if torch.allclose(given * count, own[0], rtol=rounding, atol=0):
        return "mean"
    return "sum" if torch.allclose(given, own[0], rtol=rounding, atol=0) else "neither"


Candidate = tuple[str, Callable[[Tensor, Tensor], Tensor]]

# {o} output, {y} target, {k} output's index, {O} number of outputs
DENSE_TARGET: tuple[Candidate, ...] = (
    ("{o} - {y}", lambda o, y: o - y),
    ("2 ({o} - {y})", lambda o, y: 2 * (o - y)),
    ("2 ({o} - {y}) / {O}", lambda o, y: 2 * (o - y) / o.shape[1]),
    ("({o} - {y}) / ({o} (1 - {o}))", lambda o, y: (o - y) / (o * (1 - o))),
    ("({o} - {y}) / ({o} (1 - {o})) / {O}", lambda o, y: (o - y) / (o * (1 - o)) / o.shape[1]),
    ("1 / (1 + exp(-{o})) - {y}", lambda o, y: torch.sigmoid(o) - y),
    ("(1 / (1 + exp(-{o})) - {y}) / {O}", lambda o, y: (torch.sigmoid(o) - y) / o.shape[1]),
    ("softmax_{k} - {y}", lambda o, y: o.softmax(1) - y),
    ("sign({o} - {y})", lambda o, y: (o - y).sign()),
    ("sign({o} - {y}) / {O}", lambda o, y: (o - y).sign() / o.shape[1]),
)
CLASS_TARGET: tuple[Candidate, ...] = (
    ("softmax_{k} - [y = {k}]", lambda o, y: o.softmax(1) - y),
    ("-[y = {k}]", lambda o, y: -y),
)


def loss_formula(chain: Chain, target: Any, values: Tensor) -> str:
    """The formula whose values equal ``values`` (R, U) = dJ/d output a sample on every sample."""
    o = chain.end.detach().reshape(values.shape)
    if not chain.reaches_output or not isinstance(target, Tensor):
        return "1" if chain.reaches_output and bool((values == 1).all()) else FROM_AUTOGRAD
    candidates = DENSE_TARGET
    if not target.is_floating_point() and target.numel() == o.shape[0] and o.shape[1] > 1:
        inside = bool(((target >= 0) & (target < o.shape[1])).all())
        if target.dtype != torch.int64 or not inside:
            return FROM_AUTOGRAD
        y = torch.nn.functional.one_hot(target.reshape(-1), o.shape[1]).to(o)
        candidates = CLASS_TARGET
    elif target.numel() == o.numel():
        y = target.reshape(o.shape).to(o)
    else:
        return FROM_AUTOGRAD
    for formula, candidate in candidates:
        rounding = (1e-7, 1e-12) if values.dtype == torch.float64 else (1e-4, 1e-7)
        if torch.allclose(candidate(o, y), values, *rounding):
            return formula
    return FROM_AUTOGRAD


FROM_AUTOGRAD = "of the loss, by autograd"
