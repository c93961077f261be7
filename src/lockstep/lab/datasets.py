"""Two features, two classes. Each set takes samples, noise and a seed, and gives the same points for the same."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lockstep.explain.bundled import coffee

Points = tuple[Tensor, Tensor]


def points(name: str, samples: int, noise: float, seed: int) -> Points:
    """``x`` (N, 2) and ``y`` (N, 1) of 0 and 1, both float64.

    >>> x, y = points("xor", 200, 0.0, 0)
    >>> tuple(x.shape), bool(((x[:, 0] * x[:, 1] > 0).double() == y[:, 0]).all())
    ((200, 2), True)
    """
    generator = torch.Generator().manual_seed(seed)
    x, y = SETS[name](samples, seed, generator)
    if noise:
        x = x + noise * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return x, y


def roasts(samples: int, seed: int, generator: torch.Generator) -> Points:
    """Temperature and duration, standardised; good or not."""
    return coffee(samples, seed=seed)


def xor(samples: int, seed: int, generator: torch.Generator) -> Points:
    """1 where the features have one sign."""
    x = 2 * torch.rand(samples, 2, generator=generator, dtype=torch.float64) - 1
    return x, (x.prod(1, keepdim=True) > 0).double()


def circles(samples: int, seed: int, generator: torch.Generator) -> Points:
    """A disc of ones inside a ring of zeros."""
    y = torch.arange(samples).reshape(-1, 1) % 2
    turn = 2 * math.pi * torch.rand(samples, 1, generator=generator, dtype=torch.float64)
    radius = 0.5 * torch.rand(samples, 1, generator=generator, dtype=torch.float64).sqrt()
    radius = torch.where(y == 1, radius, 0.8 + radius / 2)
    return torch.cat([radius * turn.cos(), radius * turn.sin()], 1), y.double()


def spiral(samples: int, seed: int, generator: torch.Generator) -> Points:
    """Two arms, one turn and a half each."""
    y = torch.arange(samples).reshape(-1, 1) % 2
    radius = torch.rand(samples, 1, generator=generator, dtype=torch.float64).sqrt()
    turn = 3 * math.pi * radius + math.pi * y
    return torch.cat([radius * turn.cos(), radius * turn.sin()], 1), y.double()


def gaussians(samples: int, seed: int, generator: torch.Generator) -> Points:
    """Two clouds, side by side."""
    y = torch.arange(samples).reshape(-1, 1) % 2
    x = 0.35 * torch.randn(samples, 2, generator=generator, dtype=torch.float64)
    return x + 0.6 * (2 * y - 1), y.double()


SETS: dict[str, Callable[[int, int, torch.Generator], Points]] = {
    "coffee": roasts,
    "xor": xor,
    "circles": circles,
    "spiral": spiral,
    "gaussians": gaussians,
}
