"""Data that several scripts learn from."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn


def digits() -> tuple[Tensor, Tensor]:
    """The 1797 handwritten digits of scikit-learn: x (1797, 64) in [0, 1] as float64, y (1797,)."""
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x / 16, dtype=torch.float64), torch.tensor(y)


def regression(inputs: int, outputs: int, samples: int = 64) -> tuple[Tensor, Tensor]:
    """Gaussian x (samples, inputs) and y = sin(x A) (samples, outputs), float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, inputs, generator=generator, dtype=torch.float64)
    mix = torch.randn(inputs, outputs, generator=generator, dtype=torch.float64)
    return x, torch.sin(x @ mix)


def dense(
    weights: list[list[list[float]]], biases: list[list[float]], scale: float
) -> nn.Sequential:
    """A tanh network from integer weights and biases, each divided by ``scale``; float64."""
    layers: list[nn.Module] = []
    for weight, bias in zip(weights, biases, strict=True):
        layer = nn.Linear(len(weight[0]), len(weight)).double()
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(weight) / scale)
            layer.bias.copy_(torch.tensor(bias) / scale)
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def spread(units: Tensor, groups: list[list[int]]) -> float:
    """The largest difference inside a group of rows (U, …)."""
    units = units.detach()
    return max(float((units[list(g)] - units[g[0]]).abs().max()) for g in groups)
