"""Nonlinear functions are uninterpreted: a fixed random function of the operand's residue.

What is kept of each is in the table: parity (1 odd, -1 even) and whether f(0) = 0. Three more identities are
kept because people write the same function both ways: ``sigmoid(x) = (1 + tanh(x / 2)) / 2``,
``silu(x) = x sigmoid(x)``, ``erfc(x) = 1 - erf(x)``. Derivatives are in ``derivatives.py``, functions with a corner
(relu and its kin) in ``piecewise.py``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field
from ..mixing import stable_key
from ..registry import rule
from ..running import active, choosing, rule_name
from .operands import Operand, any_infinite, finite, residues

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
    "special_i0e": (-1, False),
    "special_i1": (1, True),
    "special_i1e": (1, True),
    "gelu": (0, True),
    "mish": (0, True),
    "elu": (0, True),
    "celu": (0, True),
    "hardswish": (0, True),
    "expm1": (0, True),
    "log1p": (0, True),
    "exp": (0, False),
    "exp2": (0, False),
    "log": (0, False),
    "log2": (0, False),
    "log10": (0, False),
    "softplus": (0, False),
    "hardsigmoid": (0, False),
    "acos": (0, False),
    "acosh": (0, False),
    "lgamma": (0, False),
    "digamma": (0, False),
    "polygamma": (0, False),
    "special_ndtri": (0, False),
    "special_log_ndtr": (0, False),
    "special_erfcx": (0, False),
    "special_entr": (0, True),
    "logit": (0, False),
    "hardtanh": (1, True),
    "hardshrink": (1, True),
    "softshrink": (1, True),
}

PIECEWISE = frozenset("elu celu hardswish hardsigmoid hardtanh hardshrink softshrink".split())
"""Linear or constant somewhere: their values may be equal to others."""

AT_MINUS_INFINITY = {
    "exp": 0,
    "exp2": 0,
    "softplus": 0,
    "gelu": 0,
    "mish": 0,
    "tanh": -1,
    "erf": -1,
}
AT_INFINITY = {"tanh": 1, "erf": 1}


def _parity(name: str, settings: tuple[Any, ...]) -> tuple[int, bool]:
    parity, zero = UNARY[name]
    if name == "hardtanh" and settings:
        low, high = settings[0], settings[1] if len(settings) > 1 else 1
        if low != -high:
            return 0, low <= 0 <= high  # not symmetric any more
    return parity, zero


def setting_key(name: str, settings: tuple[Any, ...], more: dict[str, Any]) -> int:
    """One function for each name and settings; whole numbers and floats that are equal are one setting."""
    numbers = [float(s) if isinstance(s, (int, float)) else str(s) for s in settings]
    return stable_key(name, *numbers, *sorted((k, str(v)) for k, v in more.items()))


def _define(name: str) -> None:
    @rule(name, degree="one", infinite=name in AT_MINUS_INFINITY)
    def unary(f: Field, x: Operand, *settings: Any, **more: Any) -> Tensor:
        if name == "polygamma":
            settings, x = (x,), settings[0]  # the order comes first
        assert isinstance(x, Tensor)
        if name in PIECEWISE:
            choosing()
        for argument, softmax in active().normalised if name == "exp" else ():
            if torch.equal(argument, x):
                return softmax.clone()
        parity, zero = _parity(name, settings)
        key = setting_key(name, settings, more)
        if not any_infinite(x):
            return f.function(x, key, parity=parity, zero=zero)
        y = f.function(finite(x), key, parity=parity, zero=zero)
        y = y.masked_fill(x == -torch.inf, float(AT_MINUS_INFINITY[name]))
        return y.masked_fill(x == torch.inf, float(AT_INFINITY.get(name, torch.inf)))


for _name in UNARY:
    _define(_name)


@rule("sigmoid", "special_expit", degree="one", infinite=True)
def sigmoid(f: Field, x: Tensor) -> Tensor:
    half = f.scalar(0.5)
    odd = f.function(f.scale(finite(x), half), setting_key("tanh", (), {}), parity=1)
    out = f.scale(f.add(odd, torch.ones(())), half)
    return torch.where(torch.isinf(x), (x > 0).to(x.dtype), out) if any_infinite(x) else out


@rule("silu", degree="more")
def silu(f: Field, x: Tensor) -> Tensor:
    return f.mul(x, sigmoid(f, x))


@rule("erfc", "special_erfc", degree="one")
def erfc(f: Field, x: Tensor) -> Tensor:
    return f.sub(torch.ones(()), f.function(x, setting_key("erf", (), {}), parity=1))


@rule("log_sigmoid", degree="more")
def log_sigmoid(f: Field, x: Tensor) -> Tensor:
    """``x / 2`` plus an even function: ``log sigmoid(x) - log sigmoid(-x) = x``."""
    even = f.function(x, stable_key("log_sigmoid"), parity=-1)
    return f.add(f.scale(x, f.scalar(0.5)), even)


@rule("log_sigmoid_forward", degree="more")
def log_sigmoid_forward(f: Field, x: Tensor) -> tuple[Tensor, Tensor]:
    """The second result is a buffer that only the backward formula reads, and ours does not."""
    return log_sigmoid(f, x), torch.zeros(0)


# -- functions of two operands ------------------------------------------------------------------------


def pair(f: Field, a: Tensor, b: Tensor, name: str) -> Tensor:
    """A random function of an ordered pair of residues: hash one, add the other, hash again."""
    return f.function(f.add(f.function(b, stable_key(name, "second")), a), stable_key(name))


@rule("atan2", "special_zeta", "igamma", "igammac", "nextafter", degree="one")
def binary(f: Field, a: Operand, b: Operand) -> Tensor:
    """Uninterpreted in the ordered pair."""
    return pair(f, residues(f, a), residues(f, b), rule_name())


@rule("hypot", degree="one")
def hypot(f: Field, a: Tensor, b: Tensor) -> Tensor:
    return f.function(f.add(f.mul(a, a), f.mul(b, b)), stable_key("sqrt"), zero=True)


@rule("xlogy", "special_xlogy", degree="more")
def xlogy(f: Field, a: Operand, b: Operand) -> Tensor:
    return f.mul(residues(f, a), f.function(residues(f, b), setting_key("log", (), {})))


@rule("special_xlog1py", degree="more")
def xlog1py(f: Field, a: Operand, b: Operand) -> Tensor:
    return f.mul(
        residues(f, a), f.function(residues(f, b), setting_key("log1p", (), {}), zero=True)
    )


@rule("logaddexp", "logaddexp2", degree="more")
def logaddexp(f: Field, a: Tensor, b: Tensor) -> Tensor:
    """The mean plus an even function of the gap: symmetric, and equivariant under a common shift."""
    centre = f.scale(f.add(a, b), f.scalar(0.5))
    return f.add(centre, f.function(f.sub(a, b), stable_key(rule_name()), parity=-1))
