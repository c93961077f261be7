"""The network as a graph: units as circles, weights as edges, one sample's values, one weight's chain.

SVG is written by hand (no dependency); matplotlib draws the same layout. Only networks of dense layers
are drawn; of a wide layer the first :data:`SHOWN` units, with a note.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lockstep.errors import UsageError
from lockstep.explain.derivation import number
from lockstep.explain.guest import admitted, as_guest, run
from lockstep.explain.naming import Names, find_weight, names_for
from lockstep.explain.network import Network, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 8
ACROSS, DOWN, RADIUS, MARGIN = 230, 110, 30, 60
POSITIVE, NEGATIVE, CHAIN, PALE = "#1f5fa8", "#b4451f", "#d99a00", "#8a8f98"


@dataclass(frozen=True)
class Node:
    """One unit or input: its place, symbol and value lines."""

    at: tuple[float, float]
    symbol: str
    lines: tuple[str, ...]
    marked: bool


@dataclass(frozen=True)
class Edge:
    """One weight between two nodes."""

    start: tuple[float, float]
    end: tuple[float, float]
    symbol: str
    value: float
    marked: bool


@dataclass(frozen=True)
class Drawing:
    """Nodes and edges with coordinates; ``svg()``, ``matplotlib()``, and a picture in notebooks."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    size: tuple[float, float]
    title: str

    def svg(self) -> str:
        """The picture as an SVG document."""
        width, height = self.size
        parts = [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}"'
                f' height="{height:g}" font-family="sans-serif" role="img" aria-label="{escape(self.title)}">'
            ),
            f'<rect width="{width:g}" height="{height:g}" fill="white"/>',
            f'<text x="{width / 2:g}" y="24" text-anchor="middle" font-size="15">{escape(self.title)}</text>',
        ]
        parts += [edge_svg(edge) for edge in sorted(self.edges, key=lambda e: e.marked)]
        parts += [label_svg(edge) for edge in self.edges]
        parts += [node_svg(node) for node in self.nodes]
        return "\n".join([*parts, "</svg>\n"])

    def _repr_svg_(self) -> str:
        return self.svg()

    def matplotlib(self, axes: Axes | None = None) -> Axes:
        """The same picture on matplotlib axes (new ones if none are given)."""
        from lockstep.explain.plots import drawing_on

        return drawing_on(self, axes)


def draw(
    model: nn.Module,
    x: Any,
    *,
    weight: str | None = None,
    sample: int = 0,
    notation: str | None = None,
) -> Drawing:
    """The network of dense layers as a graph, with the values of one sample of ``x`` (N, I).

    ``weight`` marks the chain from that weight to the output. Blue edges are positive weights, red ones
    negative; the thicker, the larger.

    >>> import torch
    >>> from lockstep.explain.bundled import course_network
    >>> picture = draw(course_network(), torch.tensor([[1.0, 2.0]]), weight="w1")
    >>> [node.symbol for node in picture.nodes], sum(edge.marked for edge in picture.edges)
    (['x1', 'x2', 'unit 1', 'unit 2', 'unit 3'], 2)

    Raises :class:`~lockstep.errors.UsageError` for a network with other layers, or an unknown weight.
    """
    with as_guest():
        subject, total = admitted(model, torch.sum)
        observed = run(subject, x, None, total)
        network = read(observed)
        if not network.dense_only:
            raise UsageError(
                f"only networks of dense layers are drawn; {type(model).__name__} has others. "
                "explain(…).text() shows a weight's chain in any network."
            )
        names = names_for(network, notation)
        marked = None
        if weight is not None:
            parameter, index = find_weight(weight, observed.parameters, network)
            marked = (parameter, index)
    values = sample_values(observed.tape.ops, network, sample)
    return laid_out(network, names, values, observed.inputs[0], sample, marked)


Marked = tuple[str, tuple[int, ...]] | None


def sample_values(ops: list[Any], network: Network, sample: int) -> dict[tuple[str, int], Tensor]:
    """("z" or "a", layer) → values (U,) of one sample."""
    found = {}
    for op in ops:
        place = network.place(op.outputs[0])
        if place.kind in ("z", "a"):
            width = network.layers[place.layer - 1].width
            found[place.kind, place.layer] = op.outputs[0].detach().reshape(-1, width)[sample]
    return found


def laid_out(
    network: Network,
    names: Names,
    values: dict[tuple[str, int], Tensor],
    x: Tensor,
    sample: int,
    marked: Marked,
) -> Drawing:
    """Columns of nodes, edges between neighbouring columns."""
    widths = [int(network.layers[0].matrix.shape[1]), *(d.width for d in network.layers)]
    tall = max(min(w, SHOWN) for w in widths)
    places = [
        [
            (MARGIN + ACROSS * c, 60 + DOWN * (tall - min(w, SHOWN)) / 2 + DOWN * (r + 0.4))
            for r in range(min(w, SHOWN))
        ]
        for c, w in enumerate(widths)
    ]
    on_chain = chain_units(network, names, marked, widths)
    row = x.detach().reshape(-1, widths[0])[sample]
    place = network.place(network.layers[0].source)
    nodes = [
        Node(at, names.value(place, i), (number(float(row[i])),), i in on_chain[0])
        for i, at in enumerate(places[0])
    ]
    edges: list[Edge] = []
    for level, dense in enumerate(network.layers, 1):
        for j, at in enumerate(places[level]):
            nodes.append(unit_node(names, values, level, j, at, j in on_chain[level]))
            for i, start in enumerate(places[level - 1]):
                index = (i, j) if dense.transposed else (j, i)
                both = i in on_chain[level - 1] and j in on_chain[level]
                value = float(dense.matrix[j, i])
                edges.append(Edge(start, at, names.weight(dense.weight, index), value, both))
    size = (2 * MARGIN + ACROSS * (len(widths) - 1), 60 + DOWN * (tall + 0.2))
    hidden = sum(max(0, w - SHOWN) for w in widths)
    title = "-".join(map(str, widths)) + (
        f" network ({hidden} units not drawn)" if hidden else " network"
    )
    return Drawing(tuple(nodes), tuple(edges), size, title)


def unit_node(
    names: Names,
    values: dict[tuple[str, int], Tensor],
    level: int,
    j: int,
    at: tuple[float, float],
    marked: bool,
) -> Node:
    """A unit with its z and a."""
    unit = names.first_unit(level) + j + 1 if names.course else f"{level}.{j}"
    lines = tuple(
        f"{kind} = {number(float(values[kind, level][j]))}"
        for kind in "za"
        if (kind, level) in values
    )
    return Node(at, f"unit {unit}", lines, marked)


def chain_units(
    network: Network, names: Names, marked: Marked, widths: list[int]
) -> list[set[int]]:
    """Units on a path from the marked weight to the output, one set a column."""
    units: list[set[int]] = [set() for _ in widths]
    dense = network.layer_of(marked[0]) if marked else None
    if marked is None or dense is None:
        return units
    j, i = names.oriented(dense, *marked)
    if marked[0] == dense.weight:
        units[dense.number - 1] = {i}
    units[dense.number] = {j}
    for level in range(dense.number + 1, len(widths)):
        units[level] = set(range(widths[level]))
    return units


def edge_svg(edge: Edge) -> str:
    """A line; the chain's is drawn on a wide band."""
    (x1, y1), (x2, y2) = edge.start, edge.end
    line = f'x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"'
    band = (
        f'<line {line} stroke="{CHAIN}" stroke-width="11" stroke-opacity="0.45"/>'
        if edge.marked
        else ""
    )
    color = POSITIVE if edge.value >= 0 else NEGATIVE
    return f'{band}<line {line} stroke="{color}" stroke-width="{thickness(edge.value):.2f}"/>'


def label_svg(edge: Edge) -> str:
    """``w1 = 0.5`` near the start of the edge, where edges are still apart."""
    x, y = label_at(edge)
    text = escape(f"{edge.symbol} = {number(edge.value)}")
    place = f'x="{x:g}" y="{y:g}" text-anchor="middle" font-size="12"'
    # Twice, the halo first: not every renderer knows paint-order.
    halo = f'<text {place} stroke="white" stroke-width="4" aria-hidden="true">{text}</text>'
    return f"{halo}<text {place}>{text}</text>"


def label_at(edge: Edge, along: float = 0.36) -> tuple[float, float]:
    """A point on the edge nearer to its start, just above it."""
    (x1, y1), (x2, y2) = edge.start, edge.end
    return x1 + along * (x2 - x1), y1 + along * (y2 - y1) - 4


def node_svg(node: Node) -> str:
    """A circle with its symbol, values below it."""
    x, y = node.at
    color, wide = (CHAIN, 4) if node.marked else (PALE, 1.5)
    text = [
        f'<circle cx="{x:g}" cy="{y:g}" r="{RADIUS}" fill="white" stroke="{color}" stroke-width="{wide}"/>',
        f'<text x="{x:g}" y="{y + 5:g}" text-anchor="middle" font-size="13">{escape(node.symbol)}</text>',
    ]
    for n, line in enumerate(node.lines):
        y_line = y + RADIUS + 15 + 14 * n
        text.append(
            f'<text x="{x:g}" y="{y_line:g}" text-anchor="middle" font-size="11">{escape(line)}</text>'
        )
    return "".join(text)


def thickness(value: float) -> float:
    """Line width from 0.6 to 5."""
    return 0.6 + 4.4 * abs(value) / (1 + abs(value))
