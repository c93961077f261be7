"""Runs every script, two at a time, and writes the table: python -m examples.papers [page [folder for the figures]]."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import numpy
import torch

from .table import Row, about, markdown, run

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
# Longest first, so that two workers end at about the same time; the page has the order of ORDER.
SLOW = ("xnor", "digits_pair", "mod97", "plateau", "cloning", "splitting")
ORDER = (
    "course_network", "constant_start", "series", "experts", "lora", "balanced", "one_sided", "zero_start",
    "redundancy", "hidden_by_adam", "widening", "splitting", "digits_pair", "xnor", "plateau", "condensation",
    "mod97", "mixture", "cloning", "rounding",
)  # fmt: skip


def section(name: str, rows: Sequence[Row], figures: str) -> str:
    """One script as it stands on the page."""
    title, text, _ = about(import_module(f"{__package__}.{name}").__doc__ or "")
    notes = [f"- {row.quantity}: {row.note}" for row in rows if row.note and row.agrees is False]
    parts = [
        f"## {title}",
        f"{text} Script: `examples/papers/{name}.py`.",
        markdown(rows),
        f"![{title}]({figures}/{name}.png)",
    ]
    if notes:
        parts.insert(3, "\n".join(["Where ours differs:", "", *notes]))
    return "\n\n".join(parts)


def page(results: Mapping[str, Sequence[Row]], figures: str) -> str:
    """The whole table."""
    rows = [row for found in results.values() for row in found]
    judged = [row for row in rows if row.agrees is not None]
    agree = sum(bool(row.agrees) for row in judged)
    head = f"""# Papers, run again

<!-- Written by `make papers`; change the scripts, not this page. -->

Numbers that a source prints, beside ours. *Derived* ones follow from the source by algebra, *measured* ones come from
earlier experiments of our own: there the row says that the result does not hang on one piece of code. Names in square
brackets are keys of [the bibliography](papers.md). Where ours disagrees, the table says so.

{agree} of {len(judged)} numbers agree, {len(rows) - len(judged)} more are shown without judgement because they depend
on the machine. Python {platform.python_version()}, torch {torch.__version__.split("+")[0]}, NumPy {numpy.__version__},
CPU, float64 unless said otherwise."""
    return "\n\n".join([head, *(section(name, results[name], figures) for name in ORDER)]) + "\n"


def main(target: Path, folder: Path, workers: int = 2) -> None:
    first = sorted(ORDER, key=lambda name: SLOW.index(name) if name in SLOW else len(SLOW))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        results = dict(zip(first, pool.map(partial(run, folder=folder), first), strict=True))
    target.write_text(page(results, folder.name), "utf-8")
    for name, rows in results.items():
        wrong = [row.quantity for row in rows if row.agrees is False]
        print(f"{name}: {len(rows)} rows" + "".join(f"\n  disagrees: {what}" for what in wrong))


if __name__ == "__main__":
    arguments = [Path(a) for a in sys.argv[1:]]
    main(*arguments, *(DOCS / "papers-table.md", DOCS / "papers")[len(arguments) :])
