"""dJ/dw of a dense network as the sum over all paths from J to the weight: plain floats, no tensors.

For a weight w_ji of layer l every path runs J <- output unit <- ... <- unit j of layer l, and contributes
the product of what it meets: dJ/da of its output unit, g' of every unit on it, the weights between them,
and the activation i that w multiplies. That is the chain rule and nothing else; the number of paths is
the product of the later widths, so keep networks small.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

Vector = list[float]
Matrix = list[Vector]  # one row a unit


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


# name -> (g, g')
ACTIVATIONS: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "identity": (lambda z: z, lambda z: 1.0),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "tanh": (math.tanh, lambda z: 1 - math.tanh(z) ** 2),
    "relu": (lambda z: max(z, 0.0), lambda z: float(z > 0)),
    "leaky_relu": (lambda z: z if z > 0 else 0.01 * z, lambda z: 1.0 if z > 0 else 0.01),
    "elu": (lambda z: z if z > 0 else math.expm1(z), lambda z: 1.0 if z > 0 else math.exp(z)),
    "silu": (
        lambda z: z * sigmoid(z),
        lambda z: sigmoid(z) + z * sigmoid(z) * (1 - sigmoid(z)),
    ),
    "softplus": (lambda z: math.log1p(math.exp(z)), sigmoid),
    "gelu": (
        lambda z: z * 0.5 * (1 + math.erf(z / math.sqrt(2))),
        lambda z: (
            0.5 * (1 + math.erf(z / math.sqrt(2)))
            + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        ),
    ),
}


# name -> dJ/da of one output, for N samples of O outputs
LOSSES: dict[str, Callable[[float, float, int, int], float]] = {
    "mse": lambda a, y, n, o: 2 * (a - y) / (n * o),
    "bce": lambda a, y, n, o: (a - y) / (a * (1 - a)) / (n * o),
}


@dataclass
class Net:
    """Weights (U, I) and biases (U) layer by layer, and the activation after each layer."""

    weights: list[Matrix]
    biases: list[Vector]
    activations: list[str]

    def forward(self, x: Vector) -> tuple[list[Vector], list[Vector]]:
        """Pre-activations of every layer; activations, with the inputs first."""
        z_all, a_all = [], [x]
        for rows, bias, name in zip(self.weights, self.biases, self.activations, strict=True):
            z = [
                b + sum(w * a for w, a in zip(row, a_all[-1], strict=True))
                for row, b in zip(rows, bias, strict=True)
            ]
            z_all.append(z)
            a_all.append([ACTIVATIONS[name][0](value) for value in z])
        return z_all, a_all


def gradient(
    net: Net, xs: Matrix, ys: Matrix, loss: str, layer: int, unit: int, source: int | None
) -> float:
    """dJ/d w[layer][unit, source], or of the unit's bias when ``source`` is None."""
    total = 0.0
    for x, y in zip(xs, ys, strict=True):
        z, a = net.forward(x)
        last = 1.0 if source is None else a[layer][source]
        outputs = len(a[-1])
        later = [range(len(z[k])) for k in range(layer + 1, len(z))]
        for path in itertools.product([unit], *later):
            product = LOSSES[loss](a[-1][path[-1]], y[path[-1]], len(xs), outputs)
            for k, u in enumerate(path):
                product *= ACTIVATIONS[net.activations[layer + k]][1](z[layer + k][u])
                if k:
                    product *= net.weights[layer + k][u][path[k - 1]]
            total += product * last
    return total
