"""``examples/treat.py`` shows what its head says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_example_shows_what_its_head_says() -> None:
    run = [sys.executable, "-W", "ignore", str(ROOT / "examples" / "treat.py")]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    losses = [float(loss) for loss in re.findall(r"loss (\d\.\d+),", done.stdout)]
    alone, halved, untied, opposite = losses
    assert halved > 0.9 * alone and max(untied, opposite) < 0.5 * alone
    assert "8 units, copies halved   loss" in done.stdout and "4 of 8 {0, 1}" in done.stdout
