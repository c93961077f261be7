"""The lint in a reader's CI: the assertion, the Action's shell steps, the pre-commit hook, baselines."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from typer.testing import CliRunner

from lockstep import UsageError, assert_no_locked_units
from lockstep.cli import app

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
MODEL = """
import torch
def net(fill={fill}):
    made = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    for p in made.parameters():
        if fill: torch.nn.init.constant_(p, 0.5)
    return made
"""


def net(locked: bool) -> nn.Sequential:
    made = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    for p in made.parameters() if locked else ():
        nn.init.constant_(p, 0.5)
    return made


X = torch.zeros(4, 3)


def test_a_clean_model_passes_and_returns_the_audit() -> None:
    assert assert_no_locked_units(net(False), X).layers["0"].effective_width == 4


def test_a_locked_one_fails_with_every_finding() -> None:
    with pytest.raises(AssertionError, match=r"LS001 0: units \{0, 1, 2, 3\} can never"):
        assert_no_locked_units(net(True), X)


def test_what_is_meant_is_ignored_or_in_a_baseline(tmp_path: Path) -> None:
    audit = assert_no_locked_units(net(True), X, ignore=["LS001"])
    assert not any(f.code == "LS001" for f in audit.findings)
    file = tmp_path / "baseline.json"
    (tmp_path / "model.py").write_text(MODEL.format(fill=True))
    command = f"-m lockstep audit model.py:net --input 4,3 --write-baseline {file}"
    run = [sys.executable, *shlex.split(command)]
    assert subprocess.run(run, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    assert assert_no_locked_units(net(True), X, baseline=file).ok


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"baseline": "none.json"}, "there is no such file; write one with"),
    ({"ignore": ["XX1"]}, "no such code"),
    ({"ignore": "LS001"}, "must be a list of codes"),
]


@pytest.mark.parametrize("options, words", REFUSED)
def test_wrong_use_is_no_assertion(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        assert_no_locked_units(net(True), X, **options)


def environment(**more: str) -> dict[str, str]:
    """This interpreter is the ``python`` of the shell."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **more}


@pytest.mark.parametrize("locked, ignore, code", [(False, "", 0), (True, "", 1), (True, "LS00", 0)])
def test_the_action_as_its_shell_runs_it(
    locked: bool, ignore: str, code: int, tmp_path: Path
) -> None:
    (tmp_path / "model.py").write_text(MODEL.format(fill=locked))
    (step,) = (s for s in ACTION["runs"]["steps"] if s["name"] == "audit")
    given = {"target": "model.py:net", "input": "4,3", "ignore": ignore}
    inputs = {n: given.get(n, i.get("default", "")) for n, i in ACTION["inputs"].items()}
    values = {
        key: inputs[text.removeprefix("${{ inputs.").removesuffix(" }}")]
        for key, text in step["env"].items()
    }
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(**values),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "sarif" in (tmp_path / "lockstep.sarif").read_text("utf-8")


def test_no_input_reaches_a_shell_as_text() -> None:
    assert not [s["name"] for s in ACTION["runs"]["steps"] if "${{" in s["run"]]


def git(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    who = ["-c", "user.name=Reader", "-c", "user.email=reader@example.org"]
    return subprocess.run(
        ["git", *who, *arguments],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
    )


def committed(folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    git(folder, "add", "--all")
    return git(folder, "commit", "--message", "A change of the model", **more)


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    """A repository with the configuration of the page, whose hook is a clone of a local copy of ours."""
    ours, theirs = tmp_path / "lockstep", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
        git(folder, "init", "--quiet")
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", ours)
    assert committed(ours).returncode == 0
    page = (ROOT / "docs" / "howto" / "ci.md").read_text("utf-8")
    (config,) = re.findall(r"```yaml\n(repos:.*?)```", page, re.DOTALL)
    head = git(ours, "rev-parse", "HEAD").stdout.strip()
    config = config.replace("https://github.com/OWNER/lockstep", str(ours)).replace("HASH", head)
    (theirs / ".pre-commit-config.yaml").write_text(config)
    return theirs


def test_pre_commit_runs_the_hook_of_the_page(
    reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = {"PRE_COMMIT_HOME": str(tmp_path / "cache")}
    monkeypatch.chdir(reader)
    model = MODEL.replace("Linear(3,", "Linear(8,")
    Path("model.py").write_text(model.format(fill=False))
    baseline = "audit model.py:net --input 4,8 --write-baseline lockstep-baseline.json"
    assert CliRunner().invoke(app, shlex.split(baseline)).exit_code == 0
    install = [sys.executable, "-m", "pre_commit", "install"]
    done = subprocess.run(install, env=environment(**home), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr

    done = committed(reader, **home)
    assert done.returncode == 0, done.stderr
    assert re.search(r"lockstep audit\.+Passed", done.stderr)

    Path("model.py").write_text(model.format(fill=True))
    done = committed(reader, **home)
    assert done.returncode == 1
    assert re.search(r"lockstep audit\.+Failed", done.stderr)
    assert "units {0, 1, 2, 3} can never differentiate" in " ".join(done.stderr.split())
    assert len(git(reader, "log", "--oneline").stdout.splitlines()) == 1
