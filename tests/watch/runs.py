"""Small trainings that the tests of the watch share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F


def digits(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """scikit-learn digits, ``x`` (1797, 64) in 0 to 1, ``y`` (1797,) classes."""
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x / 16, dtype=dtype), torch.tensor(y)


def mlp(*widths: int, act: Callable[[], nn.Module] = nn.ReLU, seed: int = 0) -> nn.Sequential:
    """Dense layers ``"0"``, ``"2"``, … with an activation between them."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


def steps(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    count: int,
    x: Tensor,
    y: Tensor,
    batch: int = 50,
    seed: int = 0,
) -> Iterator[int]:
    """``count`` updates on random batches; yields after each."""
    generator = np.random.default_rng(seed)
    for n in range(count):
        chosen = generator.integers(0, len(x), batch)
        optimizer.zero_grad()
        F.cross_entropy(model(x[chosen]), y[chosen]).backward()
        optimizer.step()
        yield n


def run(model: nn.Module, count: int = 20, lr: float = 0.1, **kwargs) -> nn.Module:
    """Plain training on digits."""
    x, y = digits(next(model.parameters()).dtype)
    for _ in steps(model, torch.optim.SGD(model.parameters(), lr=lr), count, x, y, **kwargs):
        pass
    return model


def hooks(model: nn.Module) -> int:
    """Hooks of all kinds on all modules, and on optimizers everywhere."""
    from torch.optim import optimizer

    found = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    return found + len(optimizer._global_optimizer_pre_hooks) + len(
        optimizer._global_optimizer_post_hooks
    )  # fmt: skip


def clone_rows(layer: nn.Linear, sources: list[int], copies: list[int]) -> None:
    """Incoming weights and bias of ``copies`` become those of ``sources``."""
    with torch.no_grad():
        layer.weight[copies] = layer.weight[sources]
        layer.bias[copies] = layer.bias[sources]
