"""Small tied nets and their measured differences: plain loops that share nothing with ``lockstep.forecast``."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "softplus": nn.Softplus,
}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": partial(torch.optim.SGD, lr=0.1),
    "momentum": partial(torch.optim.SGD, lr=0.02, momentum=0.9, weight_decay=1e-3),
    "Nesterov": partial(torch.optim.SGD, lr=0.02, momentum=0.9, nesterov=True),
    "Adam": partial(torch.optim.Adam, lr=0.005),
    "Adam, coupled decay": partial(torch.optim.Adam, lr=0.005, weight_decay=0.01),
    "AdamW": partial(torch.optim.AdamW, lr=0.005, weight_decay=0.1),
    "amsgrad": partial(torch.optim.Adam, lr=0.005, amsgrad=True),
    "RMSprop": partial(torch.optim.RMSprop, lr=0.002),
    "RMSprop, centered": partial(torch.optim.RMSprop, lr=0.002, centered=True, momentum=0.5),
    "Adagrad": partial(torch.optim.Adagrad, lr=0.05),
    "Adadelta": torch.optim.Adadelta,
    "Adamax": torch.optim.Adamax,
    "NAdam": partial(torch.optim.NAdam, lr=0.005),
    "RAdam": partial(torch.optim.RAdam, lr=0.01),
    "ASGD": torch.optim.ASGD,
    "dampening": partial(torch.optim.SGD, lr=0.05, momentum=0.9, dampening=0.3),
    "maximize": partial(torch.optim.SGD, lr=0.01, momentum=0.5, maximize=True),
    "fused": partial(torch.optim.Adam, lr=0.01, fused=True),
    "foreach": partial(torch.optim.AdamW, lr=0.01, weight_decay=0.3, amsgrad=True, foreach=True),
    "no second moment": partial(torch.optim.Adam, lr=0.002, betas=(0.9, 0.0), eps=1e-2),
    "groups": lambda p: torch.optim.Adam(
        [{"params": p[:1], "lr": 0.02}, {"params": p[1:], "weight_decay": 0.1}]
    ),
}


def tied_net(
    act: Callable[[], nn.Module], seed: int, sizes: tuple[int, int, int] = (3, 6, 2)
) -> nn.Sequential:
    """Float64 net of one hidden layer, units 0 and 1 equal in and out."""
    torch.manual_seed(seed)
    i, h, o = sizes
    net = nn.Sequential(nn.Linear(i, h), act(), nn.Linear(h, o)).double()
    with torch.no_grad():
        for p, axis in ((net[0].weight, 0), (net[0].bias, 0), (net[2].weight, 1)):
            p.select(axis, 1).copy_(p.select(axis, 0))
    return net


def problem(seed: int, samples: int = 40) -> tuple[Tensor, Tensor]:
    """x (N, 3), y (N, 2)."""
    x = torch.randn(samples, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x, torch.sin(2 * x[:, :2] + x[:, 2:])


def difference(net: nn.Module, seed: int) -> dict[str, Tensor]:
    """A random displacement of units 0 and 1 in opposite directions, of length 1 in all."""
    generator = torch.Generator().manual_seed(seed)
    out = {name: torch.zeros_like(p) for name, p in net.named_parameters() if name != "2.bias"}
    for name, axis in (("0.weight", 0), ("0.bias", 0), ("2.weight", 1)):
        if name not in out:
            continue
        part = torch.randn(
            out[name].select(axis, 0).shape, generator=generator, dtype=torch.float64
        )
        out[name].select(axis, 0).copy_(part)
        out[name].select(axis, 1).copy_(-part)
    size = math.sqrt(sum(float((v**2).sum()) for v in out.values()))
    return {name: value / size for name, value in out.items()}


def measured(
    net: nn.Module,
    batches: Callable[[int], tuple[Any, Any]],
    make: Callable[..., torch.optim.Optimizer],
    steps: int,
    start: dict[str, Tensor],
    size: float,
    loss: Callable[..., Tensor] = F.mse_loss,
) -> list[float]:
    """Length of the difference between units 0 and 1 after each step of an ordinary training loop."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name in start:
                p.add_(start[name], alpha=size)
    optimizer = make([p for p in net.parameters() if p.requires_grad])
    own = dict(net.named_parameters())
    out = []
    for step in range(steps):
        x, y = batches(step)
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()
        squares = 0.0
        for name, axis in (("0.weight", 0), ("0.bias", 0), ("2.weight", 1)):
            if name in own:
                p = own[name].detach()
                squares += float((p.select(axis, 0) - p.select(axis, 1)).square().sum()) / 2
        out.append(math.sqrt(squares))
    return out
