"""``recycle``: dormant and duplicate units start afresh, the function stays, nothing else moves."""

from __future__ import annotations

import copy

import pytest
import torch
import zoo
from torch import nn

from lockstep.errors import UsageError
from lockstep.treat import recycle


def with_dead(*dead: int) -> tuple[nn.Module, torch.Tensor]:
    model, _ = zoo.mlp(3, 6, 2, act=nn.ReLU)
    with torch.no_grad():
        model[0].bias[list(dead)] = -100.0
    return model, torch.randn(32, 3)


def test_dead_units_are_redrawn_and_their_outgoing_weights_zero() -> None:
    model, x = with_dead(1, 4)
    before = copy.deepcopy(model.state_dict())
    receipt = recycle(model, x).apply()
    assert receipt.plan.what == ("0 {1, 4}: dormant, redrawn",) and receipt.function.largest == 0
    after = model.state_dict()
    assert (after["2.weight"][:, [1, 4]] == 0).all()
    moved = (after["0.weight"] != before["0.weight"]).all(1)
    assert moved.tolist() == [False, True, False, False, True, False]
    assert after["0.weight"][[1, 4]].abs().max() <= 3**-0.5 >= after["0.bias"][[1, 4]].abs().max()
    alive = [0, 2, 3, 5]
    assert torch.equal(after["2.weight"][:, alive], before["2.weight"][:, alive])
    # The gradient wakes the outgoing weights first; then the units learn.
    model(x).square().sum().backward()
    assert (model[2].weight.grad[:, [1, 4]] != 0).any()


def test_sokars_tau() -> None:
    """Score: mean absolute activation over the layer's mean; at most tau is dormant."""
    model, x = with_dead()
    with torch.no_grad():
        model[0].weight[2] *= 1e-3
        model[0].bias[2] *= 1e-3
    assert recycle(model, x).empty
    plan = recycle(model, x, dormant=0.025)
    assert plan.what == ("0 {2}: dormant, redrawn",) and not plan.keeps
    assert 0 < plan.dry_run().function.largest < 1e-2
    assert recycle(model, x, dormant=None, duplicates=False).empty


@pytest.mark.parametrize(
    "build",
    [
        zoo.cloned,
        lambda: zoo.twin_heads(True),
        lambda: zoo.conv(2, nn.BatchNorm2d(4), nn.ReLU()),
        lambda: zoo.twin_recurrent("lstm"),
        lambda: (zoo.Grouped(), zoo.data(4, 5, 8)),
        zoo.glu_twins,
        lambda: zoo.related(nn.Tanh, -1.0, -1.0),
    ],
    ids=["dense", "heads", "conv and norm", "lstm", "grouped query", "gated", "mirror"],
)
def test_duplicates_give_their_weights_away_and_differ_from_then_on(build) -> None:
    model, x = build()
    receipt = recycle(model, x).apply()
    assert receipt.function.kept and receipt.before.locked and receipt.after.locked == ()
    model.double()
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == sum(p.numel() for p in build()[0].parameters())


def test_moments_of_the_redrawn_are_forgotten_those_of_the_others_stay() -> None:
    model, x = zoo.tied(zoo.mlp(3, 4, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)
    model(x).square().sum().backward()
    optimizer.step()
    before = {n: optimizer.state[p]["exp_avg"].clone() for n, p in model.named_parameters()}
    recycle(model, x).apply(optimizer=optimizer)
    after = {n: optimizer.state[p]["exp_avg"] for n, p in model.named_parameters()}
    assert (after["0.weight"][1] == 0).all() and (after["2.weight"][:, 1] == 0).all()
    keep = [0, 2, 3]
    assert torch.equal(after["0.weight"][keep], before["0.weight"][keep])
    assert torch.equal(after["2.weight"][:, keep], before["2.weight"][:, keep])


def test_undo() -> None:
    model, x = with_dead(3)
    before = copy.deepcopy(model.state_dict())
    recycle(model, x).apply().undo()
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_refusals_and_wrong_use() -> None:
    plan = recycle(zoo.Autoencoder(True), zoo.data(5, 6))
    assert plan.empty and "tied weights" in plan.refused[0].reason
    model, x = with_dead(1)
    with pytest.raises(UsageError, match="dormant=-1: give tau"):
        recycle(model, x, dormant=-1)
    with pytest.raises(UsageError, match="no layer 7; the layers are 0, 2"):
        recycle(model, x, layers=["7"])


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(8, 10), nn.Linear(8, 10), nn.Linear(10, 8)

    def forward(self, x):
        return self.down(nn.functional.silu(self.gate(x)) * self.up(x))


def upcycled() -> tuple[nn.Module, torch.Tensor]:
    model = zoo.Routed(4, True)
    first = Gated()
    model.experts = nn.ModuleList([copy.deepcopy(first) for _ in range(4)])
    return model, torch.randn(64, 8)


def test_a_share_of_each_copied_expert_is_redrawn() -> None:
    """Drop-Upcycling: half of the hidden units, the same in gate and value, others in each expert; the rest stays."""
    model, x = upcycled()
    optimizer = torch.optim.Adam(model.parameters())
    model(x).square().sum().backward()
    optimizer.step()
    before = copy.deepcopy(model.state_dict())
    whole = recycle(model, x)
    assert whole.empty and "redraw=0.5" in whole.refused[-1].reason
    receipt = recycle(model, x, redraw=0.5).apply(optimizer=optimizer)
    assert receipt.before.locked and not receipt.after.locked
    assert not receipt.function.kept and receipt.function.largest > 0
    redrawn = []
    for n, expert in enumerate(model.experts):
        rows = [
            (layer.weight != before[f"experts.{n}.{name}.weight"]).any(1)
            for name, layer in (("gate", expert.gate), ("up", expert.up))
        ]
        columns = (expert.down.weight != before[f"experts.{n}.down.weight"]).any(0)
        assert torch.equal(rows[0], rows[1]) and torch.equal(rows[0], columns)
        assert torch.equal(expert.down.bias, before[f"experts.{n}.down.bias"])
        moments = optimizer.state[expert.up.weight]["exp_avg"]
        assert bool((moments[rows[1]] == 0).all()) and bool((moments[~rows[1]] != 0).any())
        redrawn.append(rows[0].tolist())
    assert [sum(r) for r in redrawn] == [0, 5, 5, 5] and redrawn[1] != redrawn[2]
    receipt.undo()
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize("share", [0, 1.5, -1])
def test_a_share_that_is_none(share) -> None:
    with pytest.raises(UsageError, match=r"redraw=.*share of hidden units"):
        recycle(*upcycled(), redraw=share)
