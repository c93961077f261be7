"""The record of a training: every weight and the loss over time, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lockstep.errors import UsageError
from lockstep.explain.derivation import number
from lockstep.explain.naming import Index, course_names, find_weight, size_of
from lockstep.explain.network import SMALL, Network
from lockstep.explain.replay import Replay, replay

from ..symbolic.gradients import unravelled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPLAYED = 400  # records at which distances are measured, evenly spread
SAME = 1e-9  # units closer than this, relative to the layer's largest value, count as one
LISTED = 12  # entries of a table


@dataclass(frozen=True, eq=False)
class History:
    """What :func:`train` recorded. ``R`` records, ``P`` weights in all, ``U`` units of a layer.

    ``shapes`` names the parameters in order; ``steps`` (R,) are the recorded steps, ``weights`` (R, P)
    the flat parameters *before* that step's update, ``losses`` (R,) the loss they give.

    Shapes: ``steps`` (R,), ``weights`` (R, P), ``losses`` (R,); distances and effective widths (R,).

    Source: ``docs/why/index.md``.

    >>> import torch, lockstep
    >>> from lockstep.explain.bundled import coffee, course_network
    >>> net = course_network()
    >>> seen = lockstep.train(net, *coffee(), loss=torch.nn.functional.mse_loss,
    ...                       optimizer=lambda p: torch.optim.SGD(p, lr=0.1), steps=3, progress=False)
    >>> seen.weights.shape, seen.before("w1") == seen.after("w1")
    (torch.Size([4, 9]), False)
    """

    shapes: dict[str, tuple[int, ...]]
    steps: tuple[int, ...]
    weights: Tensor
    losses: Tensor
    optimizer: str
    model: nn.Module | None = field(default=None, repr=False)
    x: Any = field(default=None, repr=False)
    measured: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def parameter(self, name: str) -> Tensor:
        """All values of one parameter over time, shape (R, *shape)."""
        start = 0
        for known, shape in self.shapes.items():
            size = int(torch.Size(shape).numel())
            if known == name:
                return self.weights[:, start : start + size].reshape(-1, *shape)
            start += size
        raise UsageError(f"there is no parameter {name!r}. Parameters: {', '.join(self.shapes)}.")

    def __getitem__(self, weight: str) -> Tensor:
        """One weight over time, shape (R,): ``history["w1"]`` or ``history["0.weight[0,0]"]``."""
        empty = {name: torch.empty(shape) for name, shape in self.shapes.items()}
        name, index = find_weight(weight, empty, self.network)
        everywhere: tuple[slice | int, ...] = (slice(None), *index)
        return self.parameter(name)[everywhere]

    def before(self, weight: str) -> float:
        """A weight before training."""
        return float(self[weight][0])

    def after(self, weight: str) -> float:
        """A weight after training."""
        return float(self[weight][-1])

    @cached_property
    def course(self) -> dict[str, tuple[str, Index]]:
        """``w1``, ``b1``, … of a small network of dense layers; empty for others."""
        return course_names(self.network) if size_of(self.network) <= SMALL else {}

    @cached_property
    def network(self) -> Network:
        """The dense layers, as read from a pass over x."""
        return self.replayed.network if self.model is not None else Network()

    @cached_property
    def replayed(self) -> Replay:
        """Passes over ``x`` with the recorded weights, at up to :data:`REPLAYED` records."""
        if self.model is None:
            raise UsageError(
                "this History was loaded from a file: it has no model to pass x through."
            )
        rows = (
            torch.linspace(0, len(self.steps) - 1, min(len(self.steps), REPLAYED)).long().unique()
        )
        states = [self.state(int(row)) for row in rows]
        return replay(self.model, self.x, rows, states)

    def state(self, row: int) -> dict[str, Tensor]:
        """All parameters at one record."""
        return {name: self.parameter(name)[row] for name in self.shapes}

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose units are followed."""
        return tuple(self.replayed.outputs)

    def activations(self, layer: str) -> Tensor:
        """Outputs of the units of a layer on x, shape (R', N, U), at the replayed records."""
        if layer not in self.replayed.outputs:
            raise UsageError(f"there is no layer {layer!r}. Layers: {', '.join(self.layers)}.")
        return self.replayed.outputs[layer]

    def distance(self, layer: str, i: int, j: int) -> Tensor:
        """Largest difference over x between two units' activations, shape (R',)."""
        a = self.activations(layer)
        if not all(-a.shape[-1] <= unit < a.shape[-1] for unit in (i, j)):
            raise UsageError(f"layer {layer!r} has units 0 to {a.shape[-1] - 1}, got {i} and {j}.")
        return (a[..., i] - a[..., j]).abs().amax(1)

    def effective_width(self, layer: str) -> Tensor:
        """How many different units the layer has at each replayed record, shape (R',)."""
        counts = []
        for a in self.activations(layer):
            limit = SAME * float(a.abs().max())
            apart = (a.T[:, None] - a.T[None]).abs().amax(-1) > limit
            counts.append(int((apart | ~torch.ones_like(apart).tril(-1).bool()).all(1).sum()))
        return torch.tensor(counts)

    def table(self) -> str:
        """Weights before and after, as text; the units' largest distances below."""
        names = list(self.course) if 0 < len(self.course) <= SMALL else self.entries()
        rows = [("weight", "before", "after")]
        rows += [(n, number(self.before(n)), number(self.after(n))) for n in names]
        rows.append(("loss", number(float(self.losses[0])), number(float(self.losses[-1]))))
        sizes = [max(len(r[k]) for r in rows) for k in range(3)]
        return "\n".join(
            "  ".join(c.rjust(n) for c, n in zip(r, sizes, strict=True)).rstrip() for r in rows
        )

    def widths(self) -> str:
        """Effective width of each layer before and after, and the least distance of two units after."""
        lines = []
        for layer in self.layers:
            width = self.effective_width(layer)
            units = self.activations(layer).shape[-1]
            ends = f"{int(width[0])} -> {int(width[-1])}"
            lines.append(f"layer {layer!r}: {ends} different units of {units}")
            if units == 2:
                gap = self.distance(layer, 0, 1)
                ends = f"{number(float(gap[0]))} -> {number(float(gap[-1]))}"
                lines.append(f"    largest difference of their activations: {ends}")
        return "\n".join(lines)

    def entries(self) -> list[str]:
        """The first entries of each parameter."""
        found = []
        for name, shape in self.shapes.items():
            for flat in range(min(LISTED, int(torch.Size(shape).numel()))):
                index = unravelled(torch.tensor(flat), shape)
                found.append(f"{name}[{','.join(str(int(k)) for k in index)}]")
        return found

    def save(self, path: str | Path) -> None:
        """Writes Parquet: a row a record, a column a weight, with distances and effective widths."""
        from lockstep.explain.parquet import write

        write(self, Path(path))

    @staticmethod
    def load(path: str | Path) -> History:
        """Reads what :meth:`save` wrote; the model is not in the file."""
        from lockstep.explain.parquet import read

        return read(Path(path))

    def plot(self) -> Figure:
        """Weights, distances between units (log scale), loss and, for two features, boundaries."""
        from lockstep.explain.plots import overview

        return overview(self)

    def __str__(self) -> str:
        head = f"{self.steps[-1]} steps of {self.optimizer}"
        return f"{head}\n{self.table()}"
