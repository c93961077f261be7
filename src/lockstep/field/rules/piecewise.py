"""Piecewise linear functions: made of the predicate ``x > 0``, so that relu is relu whoever writes it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from .choices import choose
from .operands import Operand, any_infinite, finite, residues
from .predicates import gap, likely, negate, positive, sway


@rule("sign", "sgn", degree="one")
def sign(f: Field, x: Tensor) -> Tensor:
    """``2 sway``: so that ``|x| = 2 relu(x) - x``."""
    return f.scale(sway(f, x), 2)


@rule("abs", degree="more", infinite=True)
def absolute(f: Field, x: Tensor) -> Tensor:
    if any_infinite(x):
        return torch.where(torch.isinf(x), torch.inf, absolute(f, finite(x)))
    return f.mul(x, sign(f, x))


@rule("copysign", degree="more")
def copysign(f: Field, a: Tensor, b: Operand) -> Tensor:
    return f.mul(absolute(f, a), sign(f, residues(f, b)))


@rule("relu", degree="more", infinite=True)
def relu(f: Field, x: Tensor) -> Tensor:
    if any_infinite(x):
        return torch.where(torch.isinf(x), x.clamp(min=0), relu(f, finite(x)))
    return f.mul(x, likely(f, x))


@rule("leaky_relu", degree="more")
def leaky_relu(f: Field, x: Tensor, slope: float = 0.01) -> Tensor:
    return choose(f, positive(f, x), x, f.scale(x, f.scalar(slope)))


@rule("leaky_relu_backward", degree="sum")
def leaky_relu_backward(f: Field, grad: Tensor, saved: Tensor, slope: float, *_: Any) -> Tensor:
    return choose(f, positive(f, saved), grad, f.scale(grad, f.scalar(slope)))


@rule("prelu", "_prelu_kernel", degree="sum")
def prelu(f: Field, x: Tensor, w: Tensor) -> Tensor:
    return choose(f, positive(f, x), x, f.mul(w, x))


@rule("_prelu_kernel_backward", degree="sum")
def prelu_backward(f: Field, grad: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    c = positive(f, x)
    return choose(f, c, grad, f.mul(w, grad)), f.mul(negate(f, c), f.mul(x, grad))


@rule("threshold", degree="more")
def threshold(f: Field, x: Tensor, limit: float, value: float) -> Tensor:
    return choose(f, positive(f, gap(f, x, limit)), x, residues(f, value))


@rule("threshold_backward", degree="sum")
def threshold_backward(f: Field, grad: Tensor, saved: Tensor, limit: float) -> Tensor:
    d = gap(f, saved, limit) if limit else saved
    return f.mul(grad, likely(f, d))


@rule("rrelu_with_noise_backward", degree="sum")
def rrelu_backward(
    f: Field,
    grad: Tensor,
    x: Tensor,
    noise: Tensor,
    lower: float,
    upper: float,
    training: bool,
    *_: Any,
) -> Tensor:
    """In training the factor of each element was kept in ``noise``; otherwise the slope is the mean of the bounds."""
    if training:
        return f.mul(grad, noise)
    return leaky_relu_backward(f, grad, x, (lower + upper) / 2)
