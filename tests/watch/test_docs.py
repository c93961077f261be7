"""docs/watch.md explains every metric, and the example runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from lockstep.watch.rows import COLUMNS, METRICS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "watch.md").read_text("utf-8")


def test_the_page_explains_every_metric() -> None:
    told = set(re.findall(r"`(\w+)`", PAGE))
    assert set(METRICS) - told == set()
    assert {"nearest_i", "nearest_j", "function", "withheld"} <= told & set(COLUMNS)


def test_the_example(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "watch_digits.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "distinct units of 16: 14 at first, 15 in the end" in done.stdout
    assert "gradient twins to the last: 2" in done.stdout
    assert "units 2, 3 were equal and differ by" in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["watch.html", "watch.png"]
