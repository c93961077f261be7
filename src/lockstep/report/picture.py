"""The network as rows of cells, one cell a unit: inline SVG, coloured by class.

Units of one locked class share a colour and a letter (so that the picture does not rest on colour
alone), units alone in their class are grey, negatives in a mirror group are hatched. A layer of more
units than fit becomes a bar whose segments are as long as the classes are large.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from lockstep.report.shorten import ranges
from lockstep.types import Audit, Layer

CELL, GAP = 15, 2
MOST_CELLS = 40  # beyond it a layer is a bar of the same length
COLOURS = 8  # classes of style.css: k0 to k7
LETTER, MOST_LETTERS = 7.3, 33  # of a layer's name, in a monospaced font of 12 px
COUNTS = 112  # width of the column between names and cells
ROW = 30
HATCH = (
    '<pattern id="lockstep-hatch" width="5" height="5" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect class="hatch" width="2" height="5"/></pattern>'
)


@dataclass(frozen=True)
class Shade:
    """How a unit is drawn: ``rank`` of its class among the tied ones (-1: alone), negative or not."""

    rank: int
    negative: bool = False

    @property
    def style(self) -> str:
        return "alone" if self.rank < 0 else f"k{self.rank % COLOURS}"

    @property
    def letter(self) -> str:
        return "" if self.rank < 0 else chr(ord("A") + self.rank % 26)


def network(audit: Audit, layers: list[Layer]) -> str:
    """One row a layer, inputs on top: name, effective width of width, cells."""
    wide = max([_length(layer) for layer in layers], default=CELL)
    names = int(LETTER * min(max(len(layer.name) for layer in layers), MOST_LETTERS)) + 4
    left = names + COUNTS
    width, height = left + wide, ROW * len(layers)
    rows = "".join(_row(audit, layer, n * ROW, names) for n, layer in enumerate(layers))
    return (
        f'<svg class="net" role="img" aria-label="layers and the classes of their units" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<defs>{HATCH}</defs>{rows}</svg>"
    )


def shades(audit: Audit, layer: Layer) -> list[Shade]:
    """The shade of each unit: classes of two and more, joined across the signs of mirror groups."""
    negative: set[int] = set()
    together = [set(members) for members in layer.classes if len(members) > 1]
    for group in audit.locked:
        if group.where == layer.name and group.kind == "mirror":
            units = set(group.units)
            negative |= {
                unit for unit, sign in zip(group.units, group.signs, strict=False) if sign < 0
            }
            units = units.union(*(members for members in together if members & units))
            together = [members for members in together if not members & units] + [units]
    together.sort(key=min)
    rank = {unit: n for n, members in enumerate(together) for unit in members}
    return [Shade(rank.get(unit, -1), unit in negative) for unit in range(layer.width)]


def _length(layer: Layer) -> int:
    return min(layer.width, MOST_CELLS) * (CELL + GAP)


def _row(audit: Audit, layer: Layer, top: int, names: int) -> str:
    middle, left = top + ROW // 2, names + COUNTS
    long = len(layer.name) > MOST_LETTERS
    name = "…" + layer.name[1 - MOST_LETTERS :] if long else layer.name
    whole = layer.effective_width == layer.width
    draw = _cells if layer.width <= MOST_CELLS else _bar
    count = f"{layer.effective_width} of {layer.width}"
    return (
        f"<g><title>{escape(layer.name)}: effective width {count}</title>"
        f'<text class="name" x="{names}" y="{middle}">{escape(name)}</text>'
        f"{draw(audit, layer, top, left)}"
        f'<text class="count{"" if whole else " less"}" x="{left - 14}" y="{middle}">'
        f"{count}</text></g>"
    )


def _cells(audit: Audit, layer: Layer, top: int, left: int) -> str:
    y = top + (ROW - CELL) // 2
    parts = []
    for unit, shade in enumerate(shades(audit, layer)):
        x = left + unit * (CELL + GAP)
        title = _title(layer, unit, shade)
        parts.append(f"<g>{title}{_box(x, y, CELL, shade)}")
        if shade.letter:
            at = f'x="{x + CELL / 2:g}" y="{y + CELL / 2 + 0.5:g}"'
            parts.append(f'<text class="letter" {at}>{shade.letter}</text>')
        parts.append("</g>")
    return "".join(parts)


def _title(layer: Layer, unit: int, shade: Shade) -> str:
    sign = ", the negative of its class" if shade.negative else ""
    members = layer.class_of(unit)
    if shade.rank < 0:
        return f"<title>unit {unit}: alone</title>"
    others = f" with {ranges(members)}" if len(members) > 1 else ""
    return f"<title>unit {unit}: locked{others}{sign}</title>"


def _bar(audit: Audit, layer: Layer, top: int, left: int) -> str:
    """Segments in order of size, the units that are alone last, each as long as its share."""
    sizes: dict[int, int] = {}
    for shade in shades(audit, layer):
        sizes[shade.rank] = sizes.get(shade.rank, 0) + 1
    alone = sizes.pop(-1, 0)
    order = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    segments = [(Shade(rank), size, f"{size} locked units") for rank, size in order]
    if alone:
        segments.append((Shade(-1), alone, f"{alone} units, each alone"))
    y, x, total = top + (ROW - CELL) // 2, float(left), _length(layer) - GAP
    parts = []
    for shade, size, title in segments:
        length = total * size / layer.width
        parts.append(f"<g><title>{title}</title>{_box(x, y, max(length - 1, 0.5), shade)}")
        if length > 30:
            label = f"{shade.letter} × {size}" if shade.letter else f"{size} apart"
            at = f'x="{x + length / 2:g}" y="{y + CELL / 2 + 0.5:g}"'
            parts.append(
                f'<text class="letter{" faint" if shade.rank < 0 else ""}" {at}>{label}</text>'
            )
        parts.append("</g>")
        x += length
    return "".join(parts)


def _box(x: float, y: float, length: float, shade: Shade) -> str:
    place = f'x="{x:g}" y="{y:g}" width="{length:g}" height="{CELL}" rx="3"'
    hatched = f'<rect {place} fill="url(#lockstep-hatch)"/>' if shade.negative else ""
    return f'<rect class="{shade.style}" {place}/>{hatched}'
