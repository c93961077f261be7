"""What the pages and docstrings print is what the code prints."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lockstep.explain.commands import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "why").glob("*.md"))
MODULES = [info.name for info in pkgutil.iter_modules(sys.modules["lockstep.explain"].__path__)]
CONSOLE = re.compile(r"```console\n\$ (.+?)\n(.*?)```", re.DOTALL)
COMMANDS = [
    pytest.param(
        page,
        *found,
        id=f"{page.name}: {found[0]}",
        marks=[] if "why w" in found[0] else [pytest.mark.slow, pytest.mark.extras],
    )
    for page in PAGES
    for found in CONSOLE.findall(page.read_text("utf-8"))
]


@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples(module: str) -> None:
    found = doctest.testmod(importlib.import_module(f"lockstep.explain.{module}"))
    assert found.failed == 0


def test_there_are_docstring_examples() -> None:
    module = importlib.import_module("lockstep.explain.derive")
    assert doctest.testmod(module).attempted >= 5


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_python_on_pages(page: Path) -> None:
    text = page.read_text("utf-8")
    example = "\n".join(re.findall(r"```pycon\n(.*?)```", text, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(example, {}, page.name, str(page), 0)
    assert doctest.DocTestRunner().run(test).failed == 0


@pytest.mark.parametrize("page, command, printed", COMMANDS)
def test_commands_on_pages(page: Path, command: str, printed: str, tmp_path: Path) -> None:
    program, *arguments = shlex.split(command)
    if program == "lockstep":
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert result.stdout.rstrip() == printed.rstrip()
        return
    run = [sys.executable, str(ROOT / arguments[0]), str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip() == printed.rstrip()
    assert list(tmp_path.glob("*.png"))
