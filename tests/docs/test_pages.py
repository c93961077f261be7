"""Every Python block of the pages runs and prints what the page says; the site builds strict and alone."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Those of docs/why have tests of their own, with their commands (tests/explain/test_docs.py).
PAGES = [p for p in sorted(DOCS.rglob("*.md")) if p.parent.name not in ("why", "decisions")]
BLOCK = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)
PYCON = re.compile(r"```pycon\n(.*?)```", re.DOTALL)


def rows() -> list[object]:
    """A row for each block; those that need an optional package are marked."""
    found: list[object] = []
    for page in PAGES:
        for n, (code, printed) in enumerate(BLOCK.findall(page.read_text("utf-8"))):
            extras = (
                [pytest.mark.extras]
                if re.search(r"import (keras|lightning)|transformers|nicegui", code)
                else []
            )
            name = f"{page.relative_to(DOCS).as_posix()}:{n}"
            found.append(pytest.param(code, printed, marks=extras, id=name))
    return found


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.parametrize("code, printed", rows())
def test_blocks_print_what_the_page_says(code: str, printed: str, tmp_path: Path) -> None:
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not printed or done.stdout == printed


PROMPTS = [p for p in PAGES if PYCON.search(p.read_text("utf-8"))]


@pytest.mark.parametrize("page", PROMPTS, ids=[p.name for p in PROMPTS])
def test_prompts_print_what_the_page_says(page: Path) -> None:
    example = "\n".join(PYCON.findall(page.read_text("utf-8")))
    test = doctest.DocTestParser().get_doctest(example, {}, page.name, str(page), 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


@pytest.mark.slow
@pytest.mark.extras
def test_the_site_builds_strict_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-d", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    built = {p: p.read_text("utf-8") for p in tmp_path.rglob("*.html")}
    assert {"reference.html", "rules.html", "tutorial.html"} <= {p.name for p in built}
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]+src=\"(https?:)?//|<link[^>]+href=\"(?:https?:)?//(?![^>]*canonical)"
    )
    assert [str(p) for p, text in built.items() if loads.search(text)] == []
    assert 'id="lockstep.pipeline.audit"' in (tmp_path / "reference.html").read_text("utf-8")
