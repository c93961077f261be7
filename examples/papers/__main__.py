"""Runs the scripts, two at a time, and writes the table: python -m examples.papers [NAME ...], all by default."""

from __future__ import annotations

import platform
import re
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
SLOW = (
    "decay",
    "xnor",
    "merging",
    "digits_pair",
    "mod97",
    "plateau",
    "cloning",
    "balanced",
    "splitting",
)
ORDER = (
    "course_network", "constant_start", "equal_features", "series", "experts", "lora", "frozen", "grades",
    "balanced", "one_sided", "zero_start", "redundancy", "hidden_by_adam", "widening", "merging", "splitting",
    "digits_pair", "decay", "xnor", "plateau", "condensation", "mod97", "mixture", "cloning", "rounding",
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


def page(sections: Mapping[str, str]) -> str:
    """The whole table, from the section of each script."""
    ends = re.findall(r"^\|.*\| (yes|\*\*no\*\*|–) \|$", "\n".join(sections.values()), re.MULTILINE)
    judged = [end for end in ends if end != "–"]
    python, pytorch = platform.python_version(), torch.__version__.split("+")[0]
    head = f"""# Papers, run again

<!-- Written by `make papers`; change the scripts, not this page. -->

Numbers that a source prints, beside ours. *Derived* ones follow from the source by algebra, *measured* ones come from
earlier experiments of our own: there the row says that the result does not hang on one piece of code. Names in square
brackets are keys of [the bibliography](papers.md). Where ours disagrees, the table says so.

{judged.count("yes")} of {len(judged)} numbers agree, {len(ends) - len(judged)} more are shown without judgement
because they depend on the machine. Python {python}, torch {pytorch}, NumPy {numpy.__version__},
CPU, float64 unless said otherwise."""
    return "\n\n".join([head, *(sections[name] for name in ORDER)]) + "\n"


def sections_of(text: str) -> dict[str, str]:
    """The sections that a page holds, by the script that each names."""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    named = ((re.search(r"Script: `examples/papers/(\w+)\.py`", part), part) for part in parts)
    return {found[1]: part.rstrip("\n") for found, part in named if found}


def main(names: Sequence[str], target: Path, folder: Path, workers: int = 2) -> None:
    """Runs the scripts ``names``; the sections of others stay as the page has them."""
    first = sorted(names, key=lambda name: SLOW.index(name) if name in SLOW else len(SLOW))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        results = dict(zip(first, pool.map(partial(run, folder=folder), first), strict=True))
    kept = sections_of(target.read_text("utf-8")) if target.exists() else {}
    new = {name: section(name, rows, folder.name) for name, rows in results.items()}
    target.write_text(page(kept | new), "utf-8")
    for name, rows in results.items():
        wrong = [row.quantity for row in rows if row.agrees is False]
        print(f"{name}: {len(rows)} rows" + "".join(f"\n  disagrees: {what}" for what in wrong))


if __name__ == "__main__":
    if unknown := set(sys.argv[1:]) - set(ORDER):
        sys.exit(f"no such script: {', '.join(sorted(unknown))}; there are {', '.join(ORDER)}")
    main(sys.argv[1:] or ORDER, DOCS / "papers-table.md", DOCS / "papers")
