"""One tab's network in training: what the page shows of it, as JSON values.

Every number comes from another stage: distances and activations from ``History``, names from ``naming``,
updates from ``train``'s loop. Runs in the worker process.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lockstep.explain.derivation import number
from lockstep.explain.history import History
from lockstep.explain.naming import names_for
from lockstep.explain.training import Training, objective
from lockstep.lab import network as nets
from lockstep.lab.datasets import points
from lockstep.lab.state import MOST_STEPS, State

from ..symbolic.gradients import unravelled

GRID = 20  # points of a map along each feature
SHADES = 255


class Experiment:
    """A state with its network, data and training. ``steps`` counts the updates done."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.x, self.y = points(state.data, state.samples, state.noise, state.data_seed)
        self.model = nets.network(state)
        self.loss = nets.LOSSES[state.loss]
        self.side = side_by_side(state)
        self.copies = {id(self.model): copy.deepcopy(self.model)}  # for passes with other modes
        self.runs = [self.training(self.model, self.loss)]
        if self.side is not None:
            self.copies[id(self.side)] = copy.deepcopy(self.side)
            self.runs.append(self.training(self.side, for_each(self.loss)))
        self.steps = 0
        self.diverged = False
        self.reach = 1.15 * float(self.x.abs().max())
        ticks = torch.linspace(-self.reach, self.reach, GRID, dtype=torch.float64)
        across, up = torch.meshgrid(ticks, ticks.flip(0), indexing="xy")
        self.grid = torch.stack([across.reshape(-1), up.reshape(-1)], 1)

    def training(self, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> Training:
        """The loop of ``train`` on this state's data."""
        state = self.state
        return Training(
            model,
            self.x,
            self.y,
            loss=loss,
            optimizer=nets.optimizer(state),
            batch_size=state.batch or None,
            seed=state.seed,
        )

    def advance(self, updates: int, seconds: float) -> None:
        """Up to so many updates, for about so long; stops before an update that is not finite."""
        stop = time.perf_counter() + seconds
        for _ in range(min(updates, MOST_STEPS - self.steps)):
            if self.diverged or time.perf_counter() > stop:
                return
            self.update()

    def update(self) -> None:
        """One update of every network, or none."""
        gradients = []
        for run in self.runs:
            with run.going_on():
                gradients.append(run.objective())
        if not all(bool(torch.isfinite(J)) for J in gradients):
            self.diverged = True
            return
        for run, J in zip(self.runs, gradients, strict=True):
            with run.going_on():
                run.update(J)
        self.steps += 1

    def history(self, model: nn.Module, x: Tensor) -> History:
        """The one record of now, on ``x``."""
        shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
        weights = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
        return History(
            shapes,
            (self.steps,),
            weights.reshape(1, -1),
            torch.full((1,), self.loss_now(), dtype=torch.float64),
            self.state.optimizer,
            self.copies[id(model)],
            x,
        )

    def loss_now(self) -> float:
        """J over all samples, without dropout."""
        self.model.eval()
        with torch.no_grad():
            J = float(objective(self.loss, self.model, self.x, self.y))
        self.model.train()
        return J

    def frame(self, layer: str, maps: bool) -> dict[str, Any]:
        """What moves while it trains; ``layer`` is the one whose distances are shown."""
        now = self.history(self.model, self.x)
        self.diverged |= not bool(torch.isfinite(now.weights).all())
        shown: dict[str, Any] = {
            "step": self.steps,
            "loss": finite(float(now.losses[0])),
            "weights": [number(w) for w in now.weights[0].tolist()],
            "distances": distances(now, layer),
        }
        if self.side is not None:
            side = self.history(self.side, self.x)
            shown["side"] = [number(w) for w in side.weights[0].tolist()]
            shown["side_distances"] = distances(side, "0")
        if maps:
            shown["maps"] = self.maps()
        if self.diverged:
            shown["stopped"] = (
                f"Training diverged at step {self.steps}: the numbers are no longer finite. Go back to the same "
                f"start, and use a smaller learning rate than {self.state.lr:g}."
            )
        elif self.steps >= MOST_STEPS:
            shown["stopped"] = f"{MOST_STEPS} updates are the most that the lab does in one run."
        return shown

    def maps(self) -> list[list[str]]:
        """For each layer and unit, its value over the plane of the features, a shade a point, in hex."""
        seen = self.history(self.model, self.grid)
        found = []
        for layer in nets.layers(self.state):
            values = seen.activations(layer)[0]
            last = layer == nets.layers(self.state)[-1]
            found.append(shades(values, kind_of(self.state, last)))
        return found

    def structure(self) -> dict[str, Any]:
        """What stays while it trains: names, places, data."""
        seen = self.history(self.model, self.x[:1])
        names = names_for(seen.network)
        weights, biases, at = [], [], 0
        for level, dense in enumerate(seen.network.layers, 1):
            for parameter, shape in seen.shapes.items():
                if parameter not in (dense.weight, dense.bias):
                    continue
                for flat in range(math.prod(shape)):
                    index = tuple(int(k) for k in unravelled(torch.tensor(flat), shape))
                    entry = {
                        "name": names.weight(parameter, index),
                        "path": f"{parameter}[{','.join(map(str, index))}]",
                        "at": at,
                        "unit": [level, index[0]],
                    }
                    if parameter == dense.weight:
                        weights.append({**entry, "from": [level - 1, index[1]]})
                    else:
                        biases.append(entry)
                    at += 1
        count = [0, *(names.first_unit(level) for level in range(1, len(self.state.sizes) + 1))]
        return {
            "sizes": list(self.state.sizes),
            "layers": list(nets.layers(self.state)),
            "weights": weights,
            "biases": biases,
            "units": [
                [
                    f"x{unit + 1}" if level == 0 else f"unit {count[level] + unit + 1}"
                    for unit in range(width)
                ]
                for level, width in enumerate(self.state.sizes)
            ],
            "regressions": self.state.regressions,
            "grid": GRID,
            "reach": self.reach,
            "points": [
                [round(float(p), 4), round(float(q), 4), int(y)]
                for (p, q), y in zip(self.x.tolist(), self.y[:, 0].tolist(), strict=True)
            ],
        }


def side_by_side(state: State) -> nn.Sequential | None:
    """Regressions beside the network: units of one layer that share no weight and no loss."""
    if not state.regressions:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(state.seed + 1)
        dense = nn.Linear(2, state.regressions, bias=state.bias)
    return nn.Sequential(dense, *nets.output(state)).double()


def for_each(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The sum of each output's own loss, so that no output's gradient depends on another."""

    def total(output: Tensor, y: Tensor) -> Tensor:
        return loss(output, y.expand_as(output)) * output.shape[1]

    return total


def distances(now: History, layer: str) -> dict[str, float]:
    """``"0,1"`` → largest difference over the data between two units' activations, where it is finite."""
    width = now.activations(layer).shape[-1]
    pairs = ((i, j) for i in range(width) for j in range(i + 1, width))
    apart = {f"{i},{j}": float(now.distance(layer, i, j)[0]) for i, j in pairs}
    return {pair: float(f"{far:.4g}") for pair, far in apart.items() if math.isfinite(far)}


def kind_of(state: State, last: bool) -> str:
    """Which range the values of a layer have; the target, and so the output, lies between 0 and 1."""
    return "sigmoid" if last else state.activation


def shades(values: Tensor, kind: str) -> list[str]:
    """(points, units) → one hex string a unit; the middle shade is 0.5 for a sigmoid, else 0."""
    if kind == "sigmoid":
        centred = 2 * values - 1
    elif kind == "tanh":
        centred = values
    else:
        centred = values / values.abs().max().clamp_min(1e-12)
    level = ((centred.clamp(-1, 1) + 1) / 2 * SHADES).round().to(torch.uint8)
    return [bytes(column).hex() for column in level.T.tolist()]


def finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
