from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from report import made
from torch import Tensor, nn

from lockstep import Audit, audit, check
from lockstep.errors import UsageError
from lockstep.types import Group


@pytest.mark.parametrize(
    ("layer", "i", "j", "verdict", "step", "direction"),
    [
        ("0", 0, 1, "locked", None, "none"),
        ("0", 1, 0, "locked", None, "none"),
        ("0", 2, 2, "locked", None, "none"),
        ("0", 0, 3, "separates", 0, "forward"),
        ("0", 0, 2, "separates", 0, "backward"),
        ("mirror", 0, 2, "mirror", None, "none"),
        ("mirror", 0, 1, "separates", None, "none"),
        ("lstm[l0]", 2, 4, "locked", None, "none"),
    ],
)
def test_verdicts_come_from_classes_and_history(
    layer: str, i: int, j: int, verdict: str, step: int | None, direction: str
) -> None:
    reason = made.everything().reason(layer, i, j)
    assert (reason.verdict, reason.step, reason.direction) == (verdict, step, direction)


def test_equal_signs_in_a_mirror_group_are_twins() -> None:
    audit = made.audit(
        made.layer("0", 3, (0, 1)), locked=(Group("mirror", "0", (0, 1, 2), (1, 1, -1)),)
    )
    assert audit.reason("0", 0, 1).verdict == "locked"
    assert audit.reason("0", 1, 2).verdict == "mirror"


@pytest.mark.parametrize(
    ("missed", "because"),
    [((3,), "never reaches unit 3 of 0"), ((2, 3), "never reaches units 2 and 3 of 0")],
)
def test_units_that_were_not_reached_have_no_verdict(missed: tuple[int, ...], because: str) -> None:
    made_up = made.everything()
    layer = replace(made_up.layers["0"], unread=missed)
    found = replace(made_up, layers={**made_up.layers, "0": layer}).reason("0", 2, 3)
    assert (found.verdict, found.step) == ("undecided", None)
    assert because in found.because


class Experts(nn.Module):
    """Two experts; of each the first two units start equal and are read by different weights."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ModuleList(nn.Linear(3, 4) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(4, 2) for _ in range(2))
        with torch.no_grad():
            for up in self.up:
                up.weight[1], up.bias[1] = up.weight[0], up.bias[0]

    def forward(self, x: Tensor, expert: Tensor) -> Tensor:
        out = torch.zeros(len(x), 2)
        for e, (up, down) in enumerate(zip(self.up, self.down, strict=True)):
            rows = (expert == e).nonzero().view(-1)
            if len(rows):
                out = out.index_copy(0, rows, down(torch.tanh(up(x[rows]))))
        return out


def test_an_expert_that_the_example_leaves_out_is_not_said_to_separate() -> None:
    torch.manual_seed(0)
    model, example = Experts(), (torch.zeros(6, 3), torch.zeros(6, dtype=torch.long))
    found = audit(model, example)
    assert found.reason("up.0", 0, 1).verdict == "separates"
    assert found.reason("up.1", 0, 1).verdict == "undecided"
    assert [f.where for f in found.findings if f.code == "LS006"] == ["up.0"]
    read = Audit.from_json(found.to_json())
    assert read.reason("up.1", 0, 1) == found.reason("up.1", 0, 1)
    check(read, model, example)


def test_the_explainer_is_asked_first_then_the_stored_sentence() -> None:
    audit = made.everything()
    assert "outgoing weights differ (w5, w7)" in audit.reason("0", 0, 2).because
    asked = replace(audit, explainer=lambda layer, i, j: f"{layer} {i} {j}")
    assert asked.reason("0", 0, 2).because == "0 0 2"
    assert asked.reason("0", 0, 1).because != "0 0 1"  # a lock is not explained by a difference
    bare = replace(audit, because={})
    assert "unequal outgoing weights" in bare.reason("0", 0, 2).because
    assert "unequal incoming weights" in bare.reason("0", 0, 3).because


def test_a_lock_names_what_it_holds_for() -> None:
    because = made.everything().reason("0", 0, 1).because
    assert "any elementwise optimizer" in because
    assert "any data" in because


@pytest.mark.parametrize(
    ("layer", "i", "j", "phrases"),
    [
        ("mirorr", 0, 1, ["no layer 'mirorr'", "the layers are 'mirror'"]),
        ("0", 0, 9, ["'0' has no unit 9", "width is 4", "0 to 3"]),
        ("0", -1, 9, ["no unit -1 and 9"]),
    ],
)
def test_unknown_names_and_units_are_refused(
    layer: str, i: int, j: int, phrases: list[str]
) -> None:
    with pytest.raises(UsageError, match=phrases[0]) as caught:
        made.everything().reason(layer, i, j)
    assert all(phrase in str(caught.value) for phrase in phrases)


def test_a_reason_prints_as_a_sentence() -> None:
    reason = made.everything().reason("0", 0, 2)
    assert str(reason).startswith("separates at step 0 (backward): 2.weight[0,0] = 0.5")
