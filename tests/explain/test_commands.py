"""why, train and story as commands: results on stdout, refusals on stderr with their exit code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lockstep.explain import History
from lockstep.explain.commands import app

RUN = CliRunner()

# arguments, phrases of stdout
DONE = [
    (
        "why w1",
        ["dJ/dw1 = dJ/da3 · da3/dz3 · dz3/da1 · da1/dz1 · dz1/dw1", "w1 := w1 - alpha dJ/dw1"],
    ),
    ("why", ["dJ/dw1 and dJ/dw3 differ because w5 = -0.1455 and w6 = 0.3597 differ"]),
    (
        "why w1 w3 --tie incoming",
        ["dJ/dw1 and dJ/dw3 differ because w5 = -0.1455 and w6 = 0.3597 differ."],
    ),
    (
        "why w1 w3 --tie both",
        ["equal: every factor is equal. And the audit certifies that they stay equal"],
    ),
    ("why w5 --latex", [r"\frac{\partial J}{\partial w_{5}} ="]),
    ("why w1 --notation index --activation relu --no-bias", ["1 if z[1][0] > 0 else 0"]),
    ("train --steps 5", ["5 steps of Adam", "weight", "before", "after"]),
    (
        "train --steps 5 --tie both --optimizer sgd",
        ["units 0, 1 of '0' tied:", "1 -> 1 different units of 2"],
    ),
    ("train --steps 5 --batch-size 20 --optimizer rmsprop --lr 0.01", ["5 steps of RMSprop"]),
]


@pytest.mark.parametrize("line, phrases", DONE, ids=[row[0] for row in DONE])
def test_commands_without_a_target(line: str, phrases: list[str]) -> None:
    result = RUN.invoke(app, line.split())
    assert result.exit_code == 0, result.output
    assert [phrase for phrase in phrases if phrase not in result.stdout] == []


REFUSED = [
    ("why w9", "there is no weight 'w9'. Closest: w"),
    ("why w1 w2 w3", "name one weight to explain or two to compare, got 3"),
    ("why w1 --loss nothing", "no such loss"),
    ("train --tie both --units 0,x", "give unit numbers as 0,1"),
    ("train --tie both --layer 7", "there is no Linear or Conv layer '7'"),
    ("train --optimizer nothing", "no such optimizer"),
    ("why w1 --data data.py:pair", "--data goes with a TARGET"),
]


@pytest.mark.parametrize("line, words", REFUSED, ids=[row[0] for row in REFUSED])
def test_refusals(line: str, words: str) -> None:
    result = RUN.invoke(app, line.split())
    assert result.exit_code == 2
    assert words in result.stderr and result.stdout == ""


@pytest.fixture
def target(tmp_path: Path) -> str:
    file = tmp_path / "model.py"
    file.write_text(
        "import torch\n"
        "def net():\n"
        "    made = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))\n"
        "    return made, torch.randn(5, 3)\n"
    )
    return f"{file}:net"


def test_a_target_of_ones_own(target: str) -> None:
    result = RUN.invoke(app, ["why", target, "0.weight[0,0]", "0.weight[1,0]"])
    assert result.exit_code == 0, result.output
    assert re.search(
        r"dJ/dw1 and dJ/dw4 differ because w1\d = \S+ and w1\d = \S+ differ", result.stdout
    )
    result = RUN.invoke(app, ["train", target, "--steps", "3", "--loss", "mse"])
    assert result.exit_code == 0 and "layer '0': 4 -> 4 different units of 4" in result.stdout


@pytest.mark.parametrize(
    "line, words", [("why w1", "(mean of 7 samples"), ("train --steps 3", "3 steps of Adam")]
)
def test_data_of_ones_own(line: str, words: str, target: str, tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(
        "import torch\npair = torch.ones(7, 3), torch.zeros(7, 2)\nlonely = torch.ones(7, 3)\n"
    )
    command, *rest = line.split()
    result = RUN.invoke(app, [command, target, *rest, "--data", f"{tmp_path / 'data.py'}:pair"])
    assert result.exit_code == 0, result.output
    assert words in result.stdout and "random" not in result.stderr
    result = RUN.invoke(app, [command, target, *rest, "--data", f"{tmp_path / 'data.py'}:lonely"])
    assert result.exit_code == 2 and "expected a pair (x, y), got Tensor" in result.stderr


@pytest.mark.extras
def test_files(tmp_path: Path) -> None:
    names = {"--save": "h.parquet", "--plot": "h.png"}
    options = [part for key, name in names.items() for part in (key, str(tmp_path / name))]
    assert RUN.invoke(app, ["train", "--steps", "4", *options]).exit_code == 0
    assert History.load(tmp_path / "h.parquet").steps[-1] == 4
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")
    assert RUN.invoke(app, ["why", "w1", "--svg", str(tmp_path / "n.svg")]).exit_code == 0
    assert (tmp_path / "n.svg").read_text("utf-8").startswith("<svg")


def test_the_story() -> None:
    result = RUN.invoke(app, ["story", "--steps", "40"])
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert text.count("w1 = w3 and w2 = w4, bit for bit: before yes, after yes") == 1
    assert text.count("w1 = w3 and w2 = w4, bit for bit: before yes, after no") == 1
    assert "dJ/dw1 and dJ/dw3 differ because w5 = -0.1455 and w6 = 0.3597 differ.\n" in text
    assert "2 units in 1 class, for ever" in text
    rows = [line.split() for line in text.splitlines() if line.strip().endswith(" 0")]
    grid = [row for row in rows if row[0].rstrip(",") in ("sigmoid", "tanh", "relu")]
    assert len(grid) == 6 and all(float(row[-2]) > 0 for row in grid)
