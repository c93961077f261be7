"""What ``docs/treat.md`` prints is what the code prints."""

from __future__ import annotations

import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lockstep.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "treat.md").read_text("utf-8")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def failures(text: str) -> int:
    example = "\n".join(re.findall(r"```pycon\n(.*?)```", text, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(example, {}, "treat.md", None, 0)
    return doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test).failed


def test_python_on_the_page() -> None:
    assert failures(PAGE) == 0


def test_a_wrong_number_on_the_page_is_noticed() -> None:
    first = PAGE[: PAGE.index("## Untie")].replace("1 of 4 units stay", "2 of 4 units stay")
    assert failures(first) >= 1


def test_the_command_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command, printed = re.findall(
        r"```console\n\$ lockstep (.+?)\n```\n\n```text\n(.*?)```", PAGE, re.DOTALL
    )[0]
    result = CliRunner().invoke(app, shlex.split(command))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(printed)


@pytest.mark.slow
def test_the_example_shows_what_its_head_says() -> None:
    run = [sys.executable, "-W", "ignore", str(ROOT / "examples" / "treat.py")]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    losses = [float(loss) for loss in re.findall(r"loss (\d\.\d+),", done.stdout)]
    alone, halved, untied, opposite = losses
    assert halved > 0.9 * alone and max(untied, opposite) < 0.5 * alone
    assert "8 units, copies halved   loss" in done.stdout and "4 of 8 {0, 1}" in done.stdout
