"""Nonlinear functions are uninterpreted: a fixed random function of the operand's residue.

What is kept of each is in the table: parity (1 odd, -1 even) and whether f(0) = 0. ReLU and its kin are
``x * c(x)`` with the predicate ``c`` of ``compare.py``. A derivative is linear in the incoming gradient:
``grad * d(saved)``, with ``d`` uninterpreted in whatever PyTorch saved (input or output), even where f is odd.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..arithmetic import Field, stable_key
from ..registry import rule

UNARY: dict[str, tuple[int, bool]] = {
    # name: (parity, f(0) = 0)
    "tanh": (1, True),
    "erf": (1, True),
    "erfinv": (1, True),
    "sin": (1, True),
    "sinh": (1, True),
    "asin": (1, True),
    "asinh": (1, True),
    "atan": (1, True),
    "atanh": (1, True),
    "tan": (1, True),
    "sinc": (-1, False),
    "cos": (-1, False),
    "cosh": (-1, False),
    "i0": (-1, False),
    "silu": (0, True),
    "gelu": (0, True),
    "mish": (0, True),
    "elu": (0, True),
    "celu": (0, True),
    "hardswish": (0, True),
    "expm1": (0, True),
    "log1p": (0, True),
    "sqrt": (0, True),
    "sigmoid": (0, False),
    "exp": (0, False),
    "exp2": (0, False),
    "log": (0, False),
    "log2": (0, False),
    "log10": (0, False),
    "rsqrt": (0, False),
    "softplus": (0, False),
    "log_sigmoid": (0, False),
    "hardsigmoid": (0, False),
    "erfc": (0, False),
    "acos": (0, False),
    "acosh": (0, False),
    "lgamma": (0, False),
    "digamma": (0, False),
    "special_ndtri": (0, False),
    "special_log_ndtr": (0, False),
    "logit": (0, False),
    "round": (1, True),
    "trunc": (1, True),
    "floor": (0, True),
    "ceil": (0, True),
    "frac": (1, True),
    "hardtanh": (1, True),
    "hardshrink": (1, True),
    "softshrink": (1, True),
    "special_i0e": (-1, False),
    "special_i1": (1, True),
    "special_erfcx": (0, False),
}

AT_MINUS_INFINITY = {"exp": 0, "exp2": 0, "sigmoid": 0, "softplus": 0, "silu": 0, "gelu": 0, "tanh": -1}


def _parity(name: str, settings: tuple[Any, ...]) -> tuple[int, bool]:
    parity, zero = UNARY[name]
    if name == "hardtanh" and settings and settings[0] != -settings[1]:
        return 0, settings[0] <= 0 <= settings[1]  # not symmetric any more
    return parity, zero


def _define(name: str) -> None:
    @rule(name, degree="one", infinite=name in AT_MINUS_INFINITY)
    def unary(f: Field, x: Tensor, *settings: Any, **more: Any) -> Tensor:
        from .operands import finite

        key = stable_key(name, *map(str, settings), *sorted((k, str(v)) for k, v in more.items()))
        parity, zero = _parity(name, settings)
        if name in AT_MINUS_INFINITY and bool((x == -float("inf")).any()):
            y = f.function(finite(x), key, parity=parity, zero=zero)
            return y.masked_fill(x == -float("inf"), float(AT_MINUS_INFINITY[name]))
        return f.function(x, key, parity=parity, zero=zero)


for _name in UNARY:
    _define(_name)


@rule("log_sigmoid_forward", degree="one")
def log_sigmoid_forward(f: Field, x: Tensor) -> tuple[Tensor, Tensor]:
    """The second result is a buffer that only the backward formula reads."""
    return f.function(x, stable_key("log_sigmoid")), x.clone()


DERIVATIVES: dict[str, int] = {
    # name: parity in what PyTorch saves for backward (tanh saves its output: 1 - out^2 is even)
    "tanh_backward": -1,
    "hardtanh_backward": -1,
    "hardshrink_backward": -1,
    "softshrink_backward": -1,
    "sigmoid_backward": 0,
    "gelu_backward": 0,
    "silu_backward": 0,
    "mish_backward": 0,
    "hardswish_backward": 0,
    "hardsigmoid_backward": 0,
    "softplus_backward": 0,
    "logit_backward": 0,
}


def _define_derivative(name: str) -> None:
    @rule(name, degree="sum")
    def derivative(f: Field, grad: Tensor, saved: Tensor, *settings: Any, **more: Any) -> Tensor:
        key = stable_key(name, *map(str, settings), *sorted((k, str(v)) for k, v in more.items()))
        parity = DERIVATIVES[name]
        if name == "hardtanh_backward" and settings[0] != -settings[1]:
            parity = 0
        return f.mul(grad, f.function(saved, key, parity=parity))


for _name in DERIVATIVES:
    _define_derivative(_name)


@rule("log_sigmoid_backward", degree="sum")
def log_sigmoid_backward(f: Field, grad: Tensor, x: Tensor, _buffer: Tensor) -> Tensor:
    return f.mul(grad, f.function(x, stable_key("log_sigmoid derivative")))


@rule("elu_backward", degree="sum")
def elu_backward(
    f: Field, grad: Tensor, alpha: float, scale: float, input_scale: float, is_result: bool, saved: Tensor
) -> Tensor:
    key = stable_key("elu derivative", alpha, scale, input_scale, is_result)
    return f.mul(grad, f.function(saved, key))


@rule("atan2", "hypot", "xlogy", "special_xlog1py", "logaddexp", "logaddexp2", "polar", degree="one")
def binary(f: Field, a: Tensor, b: Tensor) -> Tensor:
    """Uninterpreted in the ordered pair."""
    return pair(f, a, b, "binary")


def pair(f: Field, a: Tensor, b: Tensor, name: str) -> Tensor:
    """A random function of an ordered pair of residues: hash one, add the other, hash again."""
    return f.function(f.add(f.function(b, stable_key(name, "second")), a), stable_key(name))
