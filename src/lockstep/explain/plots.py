"""Figures with matplotlib, imported here only: a History's four panels and the drawn network."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lockstep.errors import UsageError
from lockstep.explain.derivation import number
from lockstep.explain.drawing import (
    CHAIN,
    NEGATIVE,
    PALE,
    POSITIVE,
    RADIUS,
    Drawing,
    label_at,
    thickness,
)
from lockstep.explain.network import read
from lockstep.explain.replay import one_pass

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lockstep.explain.history import History

LINES = 24  # curves in one panel
FLOOR = 1e-17  # where a distance of exactly 0 is drawn on a log scale


def pyplot() -> Any:
    """matplotlib.pyplot, or an error that says how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise UsageError("figures need matplotlib: pip install 'lockstep[plots]'.") from error
    return plt


def overview(history: History) -> Figure:
    """Weights, distances, loss and (for two features) boundaries, in one figure."""
    planar = isinstance(history.x, Tensor) and history.x.shape[-1:] == (2,)
    figure, axes = pyplot().subplots(2, 2, figsize=(11, 8), layout="constrained")
    plot_weights(history, axes[0, 0])
    plot_distances(history, axes[0, 1])
    plot_loss(history, axes[1, 0])
    if planar:
        plot_boundaries(history, axes[1, 1])
    else:
        plot_widths(history, axes[1, 1])
    return figure


def plot_weights(history: History, axes: Axes) -> None:
    """Every weight over time; of many, the first."""
    names = list(history.course) or history.entries()
    twins = itertools.cycle(["-", "--", ":"])
    for name in names[:LINES]:
        axes.plot(history.steps, history[name], next(twins), label=name, linewidth=1.6, alpha=0.85)
    title = "weights" if len(names) <= LINES else f"weights (first {LINES} shown)"
    axes.set(title=title, xlabel="step", ylabel="value")
    if len(names) <= 12:
        axes.legend(fontsize=8, ncols=2)


def plot_distances(history: History, axes: Axes) -> None:
    """Largest activation difference of each pair of units, log scale; exact zeros at the bottom."""
    steps = torch.tensor(history.steps)[history.replayed.rows]
    drawn = zero = 0
    for layer in history.layers:
        units = history.activations(layer).shape[-1]
        for i, j in itertools.combinations(range(units), 2):
            if drawn < LINES:
                values = history.distance(layer, i, j)
                zero += not bool(values.any())
                label = f"layer {layer}: units {i}, {j}" + ("" if values.any() else " (exactly 0)")
                axes.plot(steps, values.clamp(min=FLOOR), label=label, linewidth=1.6)
                drawn += 1
    axes.set(title="distance between units", xlabel="step", ylabel="max |a_i - a_j|", yscale="log")
    if zero:
        axes.axhline(FLOOR, color=PALE, linewidth=0.6)
        axes.text(0.01, 0.02, "exactly 0 is drawn here", transform=axes.transAxes, fontsize=8)
    if 0 < drawn <= 10:
        axes.legend(fontsize=8)


def plot_loss(history: History, axes: Axes) -> None:
    """The loss over time."""
    axes.plot(history.steps, history.losses, color=POSITIVE, linewidth=1.6)
    axes.set(title="loss", xlabel="step", ylabel="J")


def plot_widths(history: History, axes: Axes) -> None:
    """Effective width of each layer over time."""
    steps = torch.tensor(history.steps)[history.replayed.rows]
    for layer in history.layers:
        axes.plot(steps, history.effective_width(layer), label=f"layer {layer}", linewidth=1.6)
    axes.set(title="effective width", xlabel="step", ylabel="different units")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


def plot_boundaries(history: History, axes: Axes, row: int = -1) -> None:
    """Two features: where each unit of the first layer has z = 0, over the network's output."""
    x = history.x.detach()
    low, high = x.min(0).values - 0.4, x.max(0).values + 0.4
    a, b = (torch.linspace(float(low[k]), float(high[k]), 120, dtype=x.dtype) for k in range(2))
    grid = torch.cartesian_prod(a, b)
    output, z = grid_values(history, grid, row)
    shape = (len(a), len(b))
    axes.contourf(a, b, output.reshape(shape).T, levels=12, cmap="Greys", alpha=0.55)
    axes.scatter(x[:, 0], x[:, 1], s=7, color=CHAIN, label="data")
    colors = itertools.cycle([POSITIVE, NEGATIVE, "#2f855a", "#6b46c1"])
    styles = itertools.cycle(["-", "--", ":", "-."])
    for unit in range(z.shape[1]):
        values = z[:, unit].reshape(shape).T
        if values.min() < 0 < values.max():
            color, style = next(colors), next(styles)
            axes.contour(
                a, b, values, levels=[0.0], colors=[color], linestyles=[style], linewidths=2
            )
            axes.plot([], [], style, color=color, label=f"unit {unit}: z = 0")
    axes.set(title="boundaries after training", xlabel="feature 1", ylabel="feature 2")
    axes.legend(fontsize=8, loc="upper right")


def grid_values(history: History, grid: Tensor, row: int) -> tuple[Tensor, Tensor]:
    """Output (G,) and first layer's z (G, U) on a grid of points (G, 2)."""
    model = history.model
    if model is None:
        raise UsageError(
            "this History was loaded from a file: it has no model to draw boundaries of."
        )
    index = row % len(history.steps)
    dtypes = {name: p.dtype for name, p in model.named_parameters()}
    state = {name: t.to(dtypes[name]) for name, t in history.state(index).items()}
    with torch.inference_mode(False), torch.enable_grad():
        found = one_pass(model, grid, state)
    dense = read(found).layers[0]
    output = found.output if isinstance(found.output, Tensor) else next(iter(found.output))
    return output.detach().reshape(len(grid), -1)[:, 0], dense.output.detach()


def drawing_on(drawing: Drawing, axes: Axes | None) -> Axes:
    """A drawn network on matplotlib axes."""
    width, height = drawing.size
    if axes is None:
        _, axes = pyplot().subplots(figsize=(width / 80, height / 80), layout="constrained")
    for edge in sorted(drawing.edges, key=lambda e: e.marked):
        (x1, y1), (x2, y2) = edge.start, edge.end
        if edge.marked:
            axes.plot([x1, x2], [y1, y2], color=CHAIN, linewidth=9, alpha=0.45, zorder=1)
        color = POSITIVE if edge.value >= 0 else NEGATIVE
        axes.plot([x1, x2], [y1, y2], color=color, linewidth=thickness(edge.value), zorder=2)
        halo = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85}
        text = f"{edge.symbol} = {number(edge.value)}"
        axes.text(*label_at(edge), text, fontsize=8, ha="center", bbox=halo, zorder=3)
    for node in drawing.nodes:
        color, wide = (CHAIN, 3.0) if node.marked else (PALE, 1.2)
        style = {"facecolor": "white", "edgecolor": color, "linewidth": wide, "zorder": 4}
        axes.add_patch(pyplot().Circle(node.at, RADIUS, **style))
        axes.text(*node.at, node.symbol, ha="center", va="center", fontsize=9, zorder=5)
        below = "\n".join(node.lines)
        axes.text(
            node.at[0], node.at[1] + RADIUS + 5, below, ha="center", va="top", fontsize=8, zorder=5
        )
    axes.set(xlim=(0, width), ylim=(height, 0), title=drawing.title)
    axes.set_aspect("equal")
    axes.axis("off")
    return axes
