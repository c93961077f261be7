"""Every Python block of docs/watch.md prints what the text block behind it says, and the example runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lockstep.watch.rows import COLUMNS, METRICS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "watch.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, flags=re.DOTALL)


def printed_by(code: str, folder: Path) -> str:
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    return done.stdout if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("code, printed", BLOCKS, ids=[f"block{n}" for n in range(len(BLOCKS))])
def test_blocks_print_what_the_page_says(code: str, printed: str, tmp_path: Path) -> None:
    assert printed_by(code, tmp_path) == printed


def test_every_block_has_its_output() -> None:
    assert len(BLOCKS) == PAGE.count("```python") == 2


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
