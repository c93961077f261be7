"""Randomness: every element drawn in ``forward`` is a fresh symbol of its own.

Dropout multiplies each element by its own symbol. The symbols come from torch's global generator, seeded
for each run and step, so that gradient checkpointing repeats them when it repeats a forward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..registry import NOISE


def _like(
    engine: Any, func: Any, x: Tensor, *_: Any, dtype: torch.dtype | None = None, **__: Any
) -> Any:
    return engine.fresh(x.shape, dtype or x.dtype)


def _bernoulli(engine: Any, func: Any, x: Tensor, *more: Any, **named: Any) -> Any:
    """Each element a symbol for 0 or 1, so that ``mask.bool()`` depends on it."""
    drawn = _like(engine, func, x, *more, **named)
    drawn.cell.whole = True
    return drawn


def _sized(
    engine: Any, func: Any, size: Any, *_: Any, dtype: torch.dtype | None = None, **__: Any
) -> Any:
    return engine.fresh(size, dtype or torch.get_default_dtype())


def _normal(
    engine: Any, func: Any, mean: Any, std: Any = 1.0, size: Any = None, **more: Any
) -> Any:
    """``normal_`` on a tensor, or ``torch.normal``: with tensors for mean or standard deviation, or with a size."""
    if func._schema.name.endswith("normal_") or func._schema.name.endswith("normal_functional"):
        return engine.fresh(mean.shape, mean.dtype)
    tensors = [x for x in (mean, std) if isinstance(x, Tensor)]
    shape = torch.broadcast_shapes(*(x.shape for x in tensors)) if tensors else size
    dtype = more.get("dtype") or (tensors[0].dtype if tensors else torch.get_default_dtype())
    return torch.add(mean, torch.mul(engine.fresh(shape, dtype), std))


def _native_dropout(engine: Any, func: Any, x: Tensor, p: float, train: bool | None = True) -> Any:
    if train is False or p == 0:
        return x.clone(), torch.ones(x.shape, dtype=torch.bool)
    mask = engine.fresh(x.shape, x.dtype)
    return torch.ops.aten.mul(x, mask), mask


def _rrelu(
    engine: Any, func: Any, x: Tensor, noise: Tensor, lower: float = 1 / 8, upper: float = 1 / 3,
    training: bool = False, *_: Any,
) -> Any:  # fmt: skip
    """The slope of each negative element is a fresh symbol, kept in ``noise`` for the backward pass."""
    if not training:
        return torch.nn.functional.leaky_relu(x, (lower + upper) / 2)
    factor = torch.where(x > 0, torch.ones_like(x), engine.fresh(x.shape, x.dtype))
    noise.copy_(factor)
    return torch.mul(x, factor)


NOISE["bernoulli"] = _bernoulli
for _name in ("uniform", "exponential", "cauchy", "log_normal", "geometric", "random"):
    NOISE[_name] = _like
for _name in (
    "rand_like",
    "randn_like",
    "poisson",
    "binomial",
    "_standard_gamma",
    "_sample_dirichlet",
):
    NOISE[_name] = _like
for _name in ("rand", "randn"):
    NOISE[_name] = _sized
NOISE["normal"] = _normal
NOISE["native_dropout"] = _native_dropout
NOISE["rrelu_with_noise"] = _rrelu
NOISE["rrelu_with_noise_functional"] = _rrelu
