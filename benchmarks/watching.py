"""What ``watch(model)`` adds to training: equal models in one process, one of them watched, a step of each in turn.

Whole runs one after the other tell little on a machine that others use: the same plain run takes a third more or less
from minute to minute, and most of all when it is the first. Here all arms meet the same weather. A second plain arm
shows what the method makes of no difference at all. While the plain arms train, the watch is not there: its hooks on
optimizers are hidden, and its budget is told that training pauses.
"""

from __future__ import annotations

import copy
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest import mock

import torch
from torch import Tensor, nn
from torch.optim import optimizer as global_hooks

from lockstep import watch
from lockstep.watch import Watch

from .models import GPT, ids, resnet18

Step = Callable[[], object]


@dataclass
class Arm:
    """Seconds of each step, by the clock on the wall and by the processor's."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def run(self, step: Step) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)


@dataclass(frozen=True)
class Run:
    """What one run showed: ``rows`` taken, ``left_out``, and the seconds of its arms."""

    layers: int
    rows: list[int]
    left_out: int
    plain: Arm
    control: Arm
    watched: Arm

    def row(self) -> float:
        """A row between the first and the last, in steps; by the processor's clock."""
        base = statistics.median(self.plain.cpu)
        costs = [self.watched.cpu[1 + step] for step in self.rows[1:-1]]
        return statistics.median(costs) / base - 1 if costs else float("nan")

    def added(self, arm: Arm) -> tuple[float, float]:
        """Share of the plain arm's time that ``arm`` took more: wall, processor."""
        return sum(arm.wall) / sum(self.plain.wall) - 1, sum(arm.cpu) / sum(self.plain.cpu) - 1


@contextmanager
def training(w: Watch) -> Iterator[None]:
    """The watched arm's turn."""
    w._budget.begin()
    yield
    w._budget.end()


@contextmanager
def unwatched() -> Iterator[None]:
    """Optimizers call nobody."""
    with (
        mock.patch.object(global_hooks, "_global_optimizer_pre_hooks", {}),
        mock.patch.object(global_hooks, "_global_optimizer_post_hooks", {}),
    ):
        yield


def trainer(model: nn.Module, x: Tensor, y: Tensor) -> Step:
    """One step of AdamW towards ``y``."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def one() -> None:
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()

    return one


def run(model: nn.Module, x: Tensor, count: int) -> Run:
    """``count`` steps of each arm, in random order within each round."""
    y = torch.randn_like(model(x).detach())
    models = [copy.deepcopy(model) for _ in range(3)]
    steps = [trainer(one, x, y) for one in models]
    arms = plain, control, watched = Arm(), Arm(), Arm()
    for step in steps * 3:
        step()
    order = random.Random(0)
    watches: list[Watch] = []
    watched.run(lambda: watches.append(watch(models[2]).__enter__()))
    (w,) = watches
    w._budget.end()
    for _ in range(count):
        for n in order.sample(range(3), 3):
            with training(w) if n == 2 else unwatched():
                arms[n].run(steps[n])
    w._budget.begin()
    watched.run(lambda: w.__exit__(None, None, None))
    return Run(
        len(w.layers), sorted({r["step"] for r in w.rows}), len(w.skipped), plain, control, watched
    )


def mlp(width: int = 256, twins: bool = False) -> nn.Sequential:
    """64-width-width-10 with ReLU; with ``twins`` each unit of the hidden layers has a copy."""
    layers = [nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    half = width // 2
    with torch.no_grad():
        for layer in (model[0], model[2]) if twins else ():
            layer.weight[half:], layer.bias[half:] = layer.weight[:half], layer.bias[:half]
        for layer in (model[2], model[4]) if twins else ():
            layer.weight[:, half:] = layer.weight[:, :half]
    return model


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], int]] = {
    "dense 64-256-256-10, 128 samples": (mlp, lambda: torch.randn(128, 64), 1000),
    "dense 64-16-16-10, 50 samples": (lambda: mlp(16), lambda: torch.randn(50, 64), 2000),
    "dense 64-256-256-10, half twins": (
        lambda: mlp(256, twins=True),
        lambda: torch.randn(128, 64),
        1000,
    ),
    "dense 64-2048-2048-10, 64 samples": (lambda: mlp(2048), lambda: torch.randn(64, 64), 300),
    "GPT-like, 2 layers, width 256, 8 x 32": (
        lambda: GPT(256, 2, 1000, 4),
        lambda: ids(8, 32, 1000),
        300,
    ),
    "ResNet-18, 8 x 3 x 32 x 32": (resnet18, lambda: torch.randn(8, 3, 32, 32), 200),
}
"""Name → model, inputs, steps of a run."""
