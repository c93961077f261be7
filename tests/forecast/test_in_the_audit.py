"""``audit(..., rounding=True)``: what training copies in floats showed, in every form of the report."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

from lockstep import Audit, UsageError, audit, rounding
from lockstep.cli import app
from lockstep.report.html import page

from .nets import problem, tied_net

GIVEN = {"loss": F.mse_loss, "optimizer": partial(torch.optim.Adam, lr=0.01)}
NET = """
import torch
from torch import nn

def tied():
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    for p in net.parameters():
        nn.init.constant_(p, 0.3)
    return net, torch.randn(8, 2)
"""


def test_it_is_what_rounding_says_and_survives_json() -> None:
    net, (x, y) = tied_net(torch.nn.Tanh, 3), problem(3)
    seen = audit(net, x, targets=y, rounding=7, **GIVEN)
    assert seen.rounding == rounding(net, x, y, steps=7, groups=seen.locked, **GIVEN)
    assert [escape.leak.dtype for escape in seen.rounding.escapes] == ["float32", "float64"]
    assert Audit.from_json(seen.to_json()) == seen
    plain = audit(net, x, targets=y, **GIVEN)
    assert plain.rounding is None and "rounding" not in json.loads(plain.to_json())
    assert "rounding over" not in str(plain)
    for form in (str(seen), page(seen)):
        assert "rounding over 7 steps on torch" in form and "float64: " in form


def test_nothing_locked_leaves_nothing_to_train() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 2))
    seen = audit(net, torch.randn(4, 3), targets=torch.randn(4, 2), rounding=True, **GIVEN)
    assert "no locked units: nothing could drift apart" in str(seen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": None}, "rounding=True trains copies of the model and needs loss="),
        ({"loss": None, "optimizer": None}, "needs loss= and optimizer="),
        ({"rounding": -1}, "rounding=-1: give True, or a number of steps"),
        ({"rounding": "yes"}, "rounding='yes': give True"),
    ],
)
def test_bad_requests(change: dict[str, Any], message: str) -> None:
    net, (x, y) = tied_net(torch.nn.Tanh, 3), problem(3)
    with pytest.raises(UsageError, match=re.escape(message)):
        audit(net, x, targets=y, **{"rounding": True, **GIVEN, **change})


def test_command(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET, "utf-8")
    target, file = f"{tmp_path / 'net.py'}:tied", tmp_path / "out.json"
    options = ["audit", target, "--rounding"]
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 2 and "say how, as in --rounding --loss mse" in done.stderr
    options += ["--loss", "mse", "--optimizer", "sgd", "--lr", "0.1"]
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 1 and "rounding over 100 steps on torch" in done.stdout
    done = CliRunner().invoke(app, [*options, "-o", str(file)])
    assert done.exit_code == 1
    assert len(json.loads(file.read_text("utf-8"))["rounding"]["escapes"]) == 2
    options = ["--loss", "mse", "--optimizer", "sgd", "--lr", "0.1"]
    assert CliRunner().invoke(app, ["check", str(file), target, *options]).exit_code == 0
