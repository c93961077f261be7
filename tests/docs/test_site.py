"""The site builds strict and alone. What its pages print is held by test_blocks.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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
