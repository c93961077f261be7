"""Derivatives of nonlinear functions: ``grad * d(saved)``, linear in the incoming gradient.

``d`` is a polynomial in what PyTorch saved where it is one (tanh, sigmoid, silu), else uninterpreted in it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field
from ..mixing import stable_key
from ..registry import rule
from .functions import setting_key, sigmoid

ONE = torch.ones(())

DERIVATIVES: dict[str, int] = {
    # name: parity in what PyTorch saves for backward
    "hardtanh_backward": -1,
    "hardshrink_backward": -1,
    "softshrink_backward": -1,
    "gelu_backward": 0,
    "mish_backward": 0,
    "hardswish_backward": 0,
    "hardsigmoid_backward": 0,
    "softplus_backward": 0,
    "logit_backward": 0,
}


def _define(name: str) -> None:
    @rule(name, degree="sum")
    def derivative(f: Field, grad: Tensor, saved: Tensor, *settings: Any, **more: Any) -> Tensor:
        parity = DERIVATIVES[name]
        if name == "hardtanh_backward" and settings[0] != -settings[1]:
            parity = 0
        return f.mul(grad, f.function(saved, setting_key(name, settings, more), parity=parity))


for _name in DERIVATIVES:
    _define(_name)


@rule("tanh_backward", degree="sum")
def tanh_backward(f: Field, grad: Tensor, output: Tensor) -> Tensor:
    return f.mul(grad, f.sub(ONE, f.mul(output, output)))


@rule("sigmoid_backward", degree="sum")
def sigmoid_backward(f: Field, grad: Tensor, output: Tensor) -> Tensor:
    return f.mul(grad, f.mul(output, f.sub(ONE, output)))


@rule("silu_backward", degree="sum")
def silu_backward(f: Field, grad: Tensor, x: Tensor) -> Tensor:
    """``s + x s (1 - s)`` with ``s = sigmoid(x)``."""
    s = sigmoid(f, x)
    slope = f.mul(s, f.add(ONE, f.mul(x, f.sub(ONE, s))))
    return f.mul(grad, slope)


@rule("log_sigmoid_backward", degree="sum")
def log_sigmoid_backward(f: Field, grad: Tensor, x: Tensor, _buffer: Tensor) -> Tensor:
    """``sigmoid(-x)``."""
    return f.mul(grad, sigmoid(f, -x))


@rule("elu_backward", degree="sum")
def elu_backward(
    f: Field,
    grad: Tensor,
    alpha: float,
    scale: float,
    input_scale: float,
    is_result: bool,
    saved: Tensor,
) -> Tensor:
    key = stable_key("elu derivative", float(alpha), float(scale), float(input_scale), is_result)
    return f.mul(grad, f.function(saved, key))
