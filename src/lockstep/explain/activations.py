"""Activations by name: the formula of ``g'(z)`` in letters, and its value without autograd.

A name that is elementwise but has no formula here gets ``g'(z)`` and its value from autograd, which is
exact for an elementwise function. Formulas: Goodfellow et al., Deep Learning (2016), section 6.3;
GELU: Hendrycks & Gimpel, arXiv 1606.08415.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Derivative = Callable[[Tensor, Tensor], Tensor]

# name -> (formula with {z} and {a}, derivative from z and a)
FORMULAS: dict[str, tuple[str, Derivative]] = {
    "sigmoid": ("{a} (1 - {a})", lambda z, a: a * (1 - a)),
    "tanh": ("1 - {a}^2", lambda z, a: 1 - a * a),
    "relu": ("1 if {z} > 0 else 0", lambda z, a: (z > 0).to(z.dtype)),
    "softplus": ("1 / (1 + exp(-{z}))", lambda z, a: torch.sigmoid(z)),
    "silu": (
        "s + {a} (1 - s), s = 1 / (1 + exp(-{z}))",
        lambda z, a: torch.sigmoid(z) + a * (1 - torch.sigmoid(z)),
    ),
    "exp": ("{a}", lambda z, a: a),
    "sin": ("cos({z})", lambda z, a: z.cos()),
    "cos": ("-sin({z})", lambda z, a: -z.sin()),
    "logsigmoid": ("1 - exp({a})", lambda z, a: 1 - a.exp()),
    "softsign": ("1 / (1 + |{z}|)^2", lambda z, a: (1 + z.abs()) ** -2),
    "relu6": ("1 if 0 < {z} < 6 else 0", lambda z, a: ((z > 0) & (z < 6)).to(z.dtype)),
    "neg": ("-1", lambda z, a: -torch.ones_like(z)),
    "square": ("2 {z}", lambda z, a: 2 * z),
    "gelu": (
        "Phi({z}) + {z} phi({z})",
        lambda z, a: (
            0.5 * (1 + torch.erf(z / math.sqrt(2)))
            + z * torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        ),
    ),
}

ELEMENTWISE = frozenset(FORMULAS) | frozenset(
    "leaky_relu elu selu celu mish hardtanh hardsigmoid hardswish erf log sqrt rsqrt reciprocal pow abs"
    " add sub mul div truediv rsub radd rmul rtruediv log1p expm1 sinh cosh atan clamp tanhshrink"
    " softshrink hardshrink threshold clone contiguous to double float identity asinh true_divide".split()
)

RESHAPE = frozenset(
    "flatten view reshape squeeze unsqueeze contiguous clone identity view_as reshape_as ravel".split()
)

ROWWISE = frozenset({"softmax", "log_softmax"})


def rule_for(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, Derivative] | None:
    """Formula and derivative of an activation as called, None when autograd has to give the value.

    >>> rule_for("sigmoid", (None,), {})[0].format(a="a1")
    'a1 (1 - a1)'
    """
    settings = list(args[1:]) + list(kwargs.values())
    if name == "leaky_relu":
        slope = next((v for v in settings if isinstance(v, float)), 0.01)
        return f"1 if {{z}} > 0 else {slope:g}", lambda z, a: torch.where(z > 0, 1.0, slope).to(
            z.dtype
        )
    if (name == "gelu" and "tanh" in settings) or (
        name == "softplus" and settings not in ([], [1.0, 20.0])
    ):
        return None
    return FORMULAS.get(name)
