"""Rows of the table, how they are judged and written, and what every script does with them."""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# published: printed by the source. derived: follows from it by algebra. measured: our own earlier experiment.
Kind = Literal["published", "derived", "measured"]
NOTHING = 1e-18  # where 0 stands on a logarithmic axis
HEAD = "| quantity | published | ours | tolerance | agrees |\n| --- | --- | --- | --- | --- |"


@dataclass(frozen=True)
class Row:
    """One number of a source beside ours. ``agrees`` is None where there is nothing to agree with."""

    quantity: str
    stated: str
    ours: str
    tolerance: str
    agrees: bool | None
    kind: Kind = "published"
    note: str = ""  # why it may differ; shown only where it does

    def because(self, note: str) -> Row:
        """The same row with a reason for the case that it disagrees."""
        return replace(self, note=note)

    def __str__(self) -> str:
        stated = self.stated if self.kind == "published" else f"{self.stated} ({self.kind})"
        verdict = {True: "yes", False: "**no**", None: "–"}[self.agrees]
        return f"| {self.quantity} | {stated} | {self.ours} | {self.tolerance} | {verdict} |"


def shown(value: Any, digits: int = 6) -> str:
    """A number with the digits that matter, anything else as it prints."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:.{digits}g}"


def same(quantity: str, stated: Any, ours: Any, kind: Kind = "published") -> Row:
    """Equal, exactly."""
    return Row(quantity, shown(stated), shown(ours), "exact", bool(stated == ours), kind)


def near(
    quantity: str,
    stated: float,
    ours: float,
    *,
    rel: float | None = None,
    off: float | None = None,
    kind: Kind = "published",
) -> Row:
    """Within a relative (``rel``) or an absolute (``off``) tolerance."""
    limit = rel * abs(stated) if rel is not None else off
    assert limit is not None, "a tolerance is needed"
    text = f"{100 * rel:g} %" if rel is not None else f"± {limit:g}"
    digits = max(5, 1 + math.ceil(math.log10(abs(stated or 1) / limit)))
    agrees = abs(ours - stated) <= limit
    return Row(quantity, shown(stated, digits), shown(ours, digits), text, agrees, kind)


def factor(
    quantity: str, stated: float, ours: float, times: float = 3, kind: Kind = "published"
) -> Row:
    """Of the same size: for what depends on a stream of random numbers."""
    agrees = ours > 0 and abs(math.log(ours / stated)) <= math.log(times)
    return Row(quantity, f"{stated:.2g}", f"{ours:.2g}", f"factor {times:g}", agrees, kind)


def below(quantity: str, limit: float, ours: float, kind: Kind = "published") -> Row:
    """Under a limit; 0 as the limit means exactly 0."""
    if limit == 0:
        return Row(quantity, "0", f"{ours:.2g}", "exact", ours == 0, kind)
    return Row(quantity, f"below {limit:g}", f"{ours:.2g}", "–", ours < limit, kind)


def above(quantity: str, limit: float, ours: float, kind: Kind = "published") -> Row:
    """Over a limit."""
    return Row(quantity, f"above {limit:g}", f"{ours:.2g}", "–", ours > limit, kind)


def reported(quantity: str, stated: str, ours: str, kind: Kind = "measured") -> Row:
    """Shown, not judged: it depends on the machine."""
    return Row(quantity, stated, ours, "machine", None, kind)


def axes(
    title: str, x: str, y: str, *, log: bool = False, zero: bool = False
) -> tuple[Figure, Axes]:
    """A small figure with one pair of axes; with ``zero``, exact zeros are drawn at :data:`NOTHING`."""
    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    plot = figure.add_subplot()
    plot.set(title=title, xlabel=x, ylabel=f"{y} (0 drawn at {NOTHING:g})" if zero else y)
    plot.yaxis.label.set_fontsize(9)
    plot.title.set_fontsize(10)
    if log:
        plot.set_yscale("log")
    plot.spines[["top", "right"]].set_visible(False)
    return figure, plot


def save(figure: Figure, folder: Path, name: str) -> None:
    """Writes the figure, without anything that changes from run to run."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=90, metadata={"Software": None})


def about(doc: str) -> tuple[str, str, tuple[str, ...]]:
    """The title of a script, its explanation, and the bibliography keys that it names: ``[saad1995prl]``."""
    title, _, rest = doc.partition("\n")
    text = " ".join(rest.split("\nRun: ")[0].split())
    return title.rstrip("."), text, tuple(re.findall(r"\[([a-z]+[a-z0-9]*)\]", doc))


def run(name: str, folder: Path) -> list[Row]:
    """The rows of one script of this folder; its figure goes to ``folder``."""
    torch.set_num_threads(1)
    rows: list[Row] = importlib.import_module(f"{__package__}.{name}").reproduce(folder)
    return rows


def markdown(rows: Sequence[Row]) -> str:
    return "\n".join([HEAD, *map(str, rows)])


def main(reproduce: Callable[[Path], list[Row]]) -> None:
    """What ``python -m examples.papers.<name> [folder]`` does."""
    torch.set_num_threads(1)
    print(markdown(reproduce(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("."))))
