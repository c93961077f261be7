"""Every Python block of README.md runs, and prints what the text block behind it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", README, flags=re.DOTALL)


def printed_by(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("code, printed", BLOCKS, ids=[f"block{n}" for n in range(len(BLOCKS))])
def test_python_blocks_print_what_the_readme_says(code: str, printed: str) -> None:
    assert printed_by(code) == printed


def test_a_wrong_block_would_be_noticed() -> None:
    code, printed = BLOCKS[0]
    assert printed_by(code.replace("0.1", "float('nan')")) != printed


@pytest.mark.slow
def test_story_lines_are_printed_by_the_command() -> None:
    story = README.split("```text")[2].split("```")[0]
    command = [sys.executable, "-W", "ignore", "-m", "lockstep", "story"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    missing = [line for line in story.strip().splitlines() if line.strip() not in done.stdout]
    assert (missing, done.returncode) == ([], 0)


def test_commands_in_the_readme_exist() -> None:
    commands = set(re.findall(r"^lockstep (\w+)", README, flags=re.MULTILINE))
    help_text = subprocess.run(
        [sys.executable, "-m", "lockstep", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert {c for c in commands if not re.search(rf"^\s*{c}\s", help_text, re.MULTILINE)} == set()
