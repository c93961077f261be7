"""``lockstep forecast``: what it prints, its exit codes, and that the page about it is true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lockstep.cli import app

ROOT = Path(__file__).resolve().parents[2]
NET = """
import torch
from torch import nn

def tied():
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    with torch.no_grad():
        for p, axis in ((net[0].weight, 0), (net[0].bias, 0), (net[2].weight, 1)):
            p.select(axis, 1).copy_(p.select(axis, 0))
    return net, torch.zeros(16, 2)

def free():
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)), torch.zeros(16, 2)

def nobody():
    return torch.zeros(0, 2), torch.zeros(0, 1)

def broken():
    raise RuntimeError("my own mistake")

def needy(a):
    return a

def data():
    x = torch.randn(32, 2)
    return x, (2 * x[:, :1]).sin()

single = 3
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET, "utf-8")
    return str(tmp_path / "net.py")


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["forecast", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_text(net: str) -> None:
    code, out, _ = run(
        f"{net}:tied",
        "--data",
        f"{net}:data",
        "--optimizer",
        "sgd",
        "--lr",
        "0.1",
        "--steps",
        "20",
        "--rounding",
    )
    assert code in (0, 1)
    for phrase in (
        "twin in 0: {0, 1}",
        "over 20 steps",
        "assumed:",
        "rounding over 20 steps on torch",
    ):
        assert phrase in out
    assert "random x and y" not in out


def test_json_and_file(net: str, tmp_path: Path) -> None:
    file = tmp_path / "forecast.json"
    code, out, err = run(
        f"{net}:tied", "--steps", "4", "--format", "json", "--rounding", "-o", str(file)
    )
    assert code in (0, 1) and out == "" and "wrote" in err
    read = json.loads(file.read_text("utf-8"))
    assert read["schema"] == 1 and read["steps"] == 4
    (group,) = read["groups"]
    assert len(group["log_growth"]) == 4 and group["group"] == "twin in 0: {0, 1}"
    assert [one["dtype"] for one in read["rounding"]["escapes"]] == ["float32", "float64"]
    assert group["verdict"] in ("separates", "merges")


@pytest.mark.parametrize(
    ("arguments", "code", "phrase"),
    [
        (["{net}:free", "--steps", "3"], 0, "no locked units"),
        (["{net}:tied", "--steps", "3", "--optimizer", "rprop"], 3, "unknown: Rprop takes signs"),
        (["{net}:tied", "--units", "0"], 2, "give a layer and its units"),
        (["{net}:tied", "--units", "7:0,1"], 2, "there is no layer '7'"),
        (["{net}:tied", "--data", "{net}:single"], 2, r"expected a pair \(x, y\), got int"),
        (["{net}:tied", "--data", "{net}:nothing"], 2, "has no name 'nothing'"),
        (
            ["{net}:tied", "--data", "{net}:nobody"],
            2,
            r"an empty tensor of shape \(0, 2\): give at least",
        ),
        (
            ["{net}:tied", "--data", "{net}:broken"],
            2,
            r"(?s)called without arguments and raised.*my own mistake",
        ),
        (["{net}:tied", "--data", "{net}:needy"], 2, "Write a function without arguments"),
        (
            ["{net}:tied", "--lr", "-1"],
            2,
            "could not be made from the 4 trainable.*Invalid learning rate",
        ),
        (["{net}:tied", "--optimizer", "muon"], 2, "ValueError: Muon only supports 2D parameters"),
        (
            ["{net}:tied", "--optimizer", "lbfgs", "--steps", "3"],
            3,
            "unknown: LBFGS does not move each entry",
        ),
        (["{net}:tied", "-o", "{net}/no/x"], 2, "the folder '.*' does not exist"),
        (["{net}:tied", "-o", "/"], 2, "it is a folder; name a file"),
        (["{net}:tied", "--optimizer", "sdg"], 2, "no such optimizer"),
        (["{net}:tied", "--loss", "mes"], 2, "no such loss"),
        (["{net}:nowhere"], 2, "has no name 'nowhere'"),
        (["{net}:tied", "--steps", "0"], 2, "steps"),
    ],
)
def test_exit_codes(net: str, arguments: list[str], code: int, phrase: str) -> None:
    got, out, err = run(*(a.format(net=net) for a in arguments))
    assert got == code, out + err
    assert re.search(phrase, out + err)


def test_merging_units_are_a_finding(net: str) -> None:
    """Strong decay and a tiny rate: differences shrink, exit code 1."""
    code, out, _ = run(
        f"{net}:tied", "--optimizer", "sgd", "--lr", "0.01", "--weight-decay", "10", "--steps", "40"
    )
    assert code == 1 and "merges" in out


@pytest.mark.slow
@pytest.mark.extras
def test_the_example_runs(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "examples" / "forecast_plateau.py"), str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen, predicted = map(int, re.findall(r"at step (\d+), predicted (\d+)", done.stdout)[0])
    assert abs(seen - predicted) <= 0.03 * seen
    assert list(tmp_path.glob("*.png"))
