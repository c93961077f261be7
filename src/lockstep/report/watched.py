"""A finished watch as one self-contained HTML page with plots, and as a table for the terminal."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from lockstep.errors import UsageError
from lockstep.watch.rows import COLUMNS

if TYPE_CHECKING:
    from lockstep.watch.rows import Row
    from lockstep.watch.watching import Watch

LINES = 24  # layers in one panel
NAMED = 10  # with a legend entry each
INK, LINE = "#1c1f23", "#e3e6ea"
COLOURS = ("#6fb1e0", "#f4a259", "#7cc48d", "#d58bc4", "#e58a86", "#8f9be8", "#63c5bf", "#c9a93e")

# title, value of a row or None, settings of the axis
Panel = tuple[str, Callable[["Row"], float | None], dict[str, Any]]


def _share(metric: str) -> Callable[[Row], float | None]:
    return lambda row: None if row[metric] is None else row[metric] / row["width"]


def _plain(metric: str) -> Callable[[Row], float | None]:
    return lambda row: row[metric]


def _or_floor(metric: str) -> Callable[[Row], float | None]:
    """For a log scale: an exact 0 is drawn at the bottom."""
    return lambda row: None if row[metric] is None else max(row[metric], FLOOR)


FLOOR = 1e-17
SHARE: dict[str, Any] = {"ylim": (-0.04, 1.04)}
LOG: dict[str, Any] = {"yscale": "log"}
PANELS: tuple[Panel, ...] = (
    ("distinct units / width", _share("distinct"), SHARE),
    ("clusters within the tolerance / width", _share("distinct_within"), SHARE),
    ("distance of the nearest pair", _or_floor("nearest"), LOG),
    ("mean |cosine| of weight rows", _plain("abs_cosine"), SHARE),
    ("effective rank / width", _share("effective_rank"), SHARE),
    ("independent units / width", _share("independent"), SHARE),
    ("dormant units, share", _plain("dormant"), SHARE),
    ("dead units, share", _plain("dead"), SHARE),
    ("saturated units, share", _plain("saturated"), SHARE),
    ("gradient twins / width", _share("gradient_twins"), SHARE),
    ("cloning R²", _plain("cloning_r2"), {}),
    ("spread inside groups", _or_floor("spread"), LOG),
    ("drift by rounding", _or_floor("drift"), LOG),
)


def page(w: Watch) -> str:
    """The whole page: events, plots, the last row of every layer, what was withheld."""
    name = type(w.model).__name__
    body = _head(w, name) + _events(w) + _plots(w) + _last(w) + _withheld(w) + _failures(w)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)} - Lockstep watch</title>"
        f"<style>body{{margin:0}}{_style()}{EXTRA}</style></head>\n"
        f'<body><div class="lockstep">{body}</div></body></html>\n'
    )


EXTRA = (
    ".lockstep svg.plots{width:100%;height:auto;display:block}"
    ".lockstep td.number,.lockstep th.number{text-align:right;font-variant-numeric:tabular-nums}"
)


@functools.cache
def _style() -> str:
    return resources.files("lockstep.report").joinpath("style.css").read_text("utf-8")


def _head(w: Watch, name: str) -> str:
    tied = [e for e in w.events if e.kind == "separated"]
    facts = [f"{len(w.layers)} layers", f"{w.updates:,} updates", f"a row every {w.every}"]
    facts += [skipped] if (skipped := left_out(w)) else []
    if not tied:
        verdict, state = "no tied units came apart", "ok"
    else:
        rounding = sum(e.cause == "rounding" for e in tied)
        verdict = (
            f"{len(tied)} groups of tied units came apart, {rounding} of them by rounding only"
        )
        state = "bad" if rounding else "ok"
    return (
        f'<h1>{escape(name)}, watched</h1><p class="facts">{escape(" · ".join(facts))}</p>'
        f'<p class="verdict {state}">{escape(verdict)}</p>'
    )


def left_out(w: Watch) -> str:
    """How many rows the budget did not allow; empty if none."""
    if not w.skipped:
        return ""
    rows = "1 row" if len(w.skipped) == 1 else f"{len(w.skipped)} rows"
    return f"{rows} left out to stay within the budget"


def _events(w: Watch) -> str:
    if not w.events:
        return ""
    rows = "".join(
        f'<tr><td class="number">{e.step}</td><td class="place">{escape(e.layer)}</td>'
        f'<td class="code">{escape(e.kind)}<small>{escape(e.cause)}</small></td>'
        f"<td>{escape(e.message)}</td></tr>"
        for e in w.events[:50]
    )
    more = f'<p class="under">and {len(w.events) - 50} more</p>' if len(w.events) > 50 else ""
    return (
        '<h2>What happened</h2><table><thead><tr><th class="number">Step</th><th>Layer</th>'
        f"<th>What</th><th>How</th></tr></thead><tbody>{rows}</tbody></table>{more}"
    )


def _plots(w: Watch) -> str:
    if not w.rows:
        return ""
    return f'<h2>Over the run</h2><div class="scroll">{svg(w)}</div>'


def svg(w: Watch) -> str:
    """All panels as one inline SVG in the page's colours."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("plots need matplotlib: pip install 'lockstep[watch]'.") from error
    panels = [(panel, lines) for panel in PANELS if (lines := _lines(w, panel[1]))]
    settings = {
        "svg.fonttype": "none", "svg.hashsalt": "lockstep", "text.color": INK, "axes.edgecolor": LINE,
        "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "font.size": 9,
        "font.family": "sans-serif", "axes.titlesize": 10, "grid.color": LINE,
    }  # fmt: skip
    with mpl.rc_context(settings):
        rows = (len(panels) + 1) // 2
        figure = Figure(figsize=(10, 2.5 * rows + 0.6), layout="constrained")
        grid = figure.subplots(rows, 2, squeeze=False).flat
        for axes, (panel, lines) in zip(grid, panels, strict=False):
            _draw(axes, panel, lines)
        for axes in list(grid)[len(panels) :]:
            axes.axis("off")
        _legend(figure, w)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :].replace(INK, "var(--ink)").replace(LINE, "var(--line)")
    return text.replace("<svg", '<svg class="plots" role="img" aria-label="plots of the run"', 1)


def _lines(w: Watch, value: Callable[[Row], float | None]) -> dict[int, list[tuple[int, float]]]:
    """Number of the layer → (step, value), for layers that have values."""
    found = {}
    for n, layer in enumerate(w.layers[:LINES]):
        known = [(row["step"], value(row)) for row in w[layer]]
        points = [(step, v) for step, v in known if v is not None]
        if points:
            found[n] = points
    return found


def _draw(axes: Any, panel: Panel, lines: dict[int, list[tuple[int, float]]]) -> None:
    title, _, settings = panel
    settings = dict(settings)
    values = [v for points in lines.values() for _, v in points]
    if settings.get("yscale") == "log" and max(values) <= FLOOR:
        title, settings = f"{title}: exactly 0", {"yticks": []}
    elif settings.get("yscale") == "log" and min(values) <= FLOOR:
        title = f"{title} (exact 0 drawn at 1e-17)"
    for n, points in lines.items():
        steps, heights = zip(*points, strict=True)
        mark = "." if len(steps) < 30 else ""
        axes.plot(steps, heights, color=COLOURS[n % len(COLOURS)], linewidth=1.5, marker=mark,
                  linestyle=("-", "--", ":")[n // len(COLOURS) % 3])  # fmt: skip
    axes.set(title=title, **settings)
    axes.set_xlabel("updates")
    axes.grid(True, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Any, w: Watch) -> None:
    from matplotlib.lines import Line2D

    shown = w.layers[:LINES]
    handles = [
        Line2D(
            [],
            [],
            color=COLOURS[n % len(COLOURS)],
            linestyle=("-", "--", ":")[n // len(COLOURS) % 3],
        )
        for n in range(len(shown))
    ]
    names = list(shown)
    if len(w.layers) > LINES:
        names[-1] += f" (and {len(w.layers) - LINES} more layers, in the table only)"
    figure.legend(
        handles, names, loc="outside upper center", ncols=min(len(names), 6), frameon=False
    )


SHOWN = ("width", "distinct", "distinct_within", "nearest", "gradient_twins", "dormant", "dead",
         "duplicates", "saturated", "effective_rank", "cloning_r2")  # fmt: skip


def number(value: Any) -> str:
    """As few digits as are of use."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1e4 else f"{value:.2e}"
    return str(value)


def latest(w: Watch) -> list[Row]:
    """One row a layer: of every value the last that was known."""
    found = []
    for layer in w.layers:
        row: Row = {}
        for one in w[layer]:
            row |= {name: value for name, value in one.items() if value is not None}
        if row:
            found.append({**dict.fromkeys(COLUMNS), **row})
    return found


def _last(w: Watch) -> str:
    head = "".join(f'<th class="number">{escape(name.replace("_", " "))}</th>' for name in SHOWN)
    body = "".join(
        f'<tr><td class="place">{escape(row["layer"])}</td>'
        + "".join(f'<td class="number">{number(row[name])}</td>' for name in SHOWN)
        + "</tr>"
        for row in latest(w)
    )
    return (
        '<h2>Where it stands</h2><div class="scroll"><table><thead><tr><th>Layer</th>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
        '<p class="under">Of each value the last that was known.</p>'
    )


def _withheld(w: Watch) -> str:
    """Each reason once, with its layers."""
    found: dict[str, dict[str, None]] = {}
    for row in w.rows:
        for reason in filter(None, row["withheld"].split("; ")):
            found.setdefault(reason, {})[row["layer"]] = None
    if not found:
        return ""
    body = "".join(
        f'<tr><td>{escape(reason)}</td><td class="place">{escape(", ".join(layers))}</td></tr>'
        for reason, layers in found.items()
    )
    return (
        "<h2>What is missing, and why</h2><table><thead><tr><th>Reason</th><th>Layers</th></tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _failures(w: Watch) -> str:
    if not w.failures:
        return ""
    body = "".join(f"<p>{escape(failure)}</p>" for failure in w.failures[:20])
    return f"<h2>What went wrong</h2>{body}"


def table(w: Watch) -> Table:
    """The latest values for the terminal."""
    made = Table(title=f"{type(w.model).__name__}: {w.updates} updates")
    made.add_column("layer")
    for name in SHOWN:
        made.add_column(name.replace("_", " "), justify="right")
    for row in latest(w):
        made.add_row(row["layer"], *(number(row[name]) for name in SHOWN))
    said = [*map(str, w.events[:10]), *([skipped] if (skipped := left_out(w)) else [])]
    if said:
        made.caption = "\n".join(said)
        made.caption_justify = "left"
    return made


def plain(w: Watch) -> str:
    """The same as text."""
    out = io.StringIO()
    Console(file=out, width=140, color_system=None).print(table(w))
    return out.getvalue()
