"""When symbolic training may stop: traps in which the start looks settled and is not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lockstep import audit
from lockstep.symbolic import training


def twins() -> nn.Sequential:
    """4-8-2 tanh with units 0 and 1 equal in and out."""
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    with torch.no_grad():
        net[0].weight[1], net[0].bias[1] = net[0].weight[0], net[0].bias[0]
        net[2].weight[:, 1] = net[2].weight[:, 0]
    return net


def trained(net: nn.Module, factor: float) -> torch.optim.Optimizer:
    """Adam after three steps; ``factor`` scales the second moment of unit 1's incoming weights."""
    optimizer = torch.optim.Adam(net.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.randn(9, 4)).pow(2).sum().backward()
        optimizer.step()
    optimizer.state[net[0].weight]["exp_avg_sq"][1] *= factor
    return optimizer


@pytest.mark.parametrize(("factor", "locked"), [(1.0, True), (4.0, False)])
def test_optimizer_state_is_part_of_the_parameters(factor: float, locked: bool) -> None:
    # FACTS F8: a second moment four times as large breaks the twins at the next step.
    net = twins()
    result = audit(net, torch.zeros(4, 4), optimizer=trained(net, factor))
    assert ((0, 1) in result.layers["0"].classes) is locked


def balanced_rows() -> nn.Sequential:
    """Sums agree by their numbers only: rows (5, 1, 2), (2, 4, 2), (1, 3, 4) over three twins."""
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
    rows = [[5.0, 1.0, 2.0], [2.0, 4.0, 2.0], [1.0, 3.0, 4.0]]
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[0.3, -0.2, 0.7]] * 3))
        net[0].bias.fill_(0.1)
        net[2].weight.copy_(torch.tensor(rows))
        net[2].bias.fill_(0.2)
        net[4].weight.fill_(0.5)
    return net


@pytest.mark.parametrize(("update", "classes"), [("any", 3), ("additive", 1)])
def test_sums_that_agree_by_their_numbers(update: str, classes: int) -> None:
    result = audit(balanced_rows(), torch.zeros(4, 3), update=update)
    assert [result.layers[n].effective_width for n in ("0", "2")] == [classes, classes]


def test_the_rule_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a pattern that never reports news, training stops before the zero layers have woken."""

    class Deaf(training.Pattern):
        def refine(self, colours: dict[str, torch.Tensor]) -> bool:
            return False

    monkeypatch.setattr(training, "Pattern", Deaf)
    net = nn.Sequential(
        nn.Linear(4, 4),
        nn.Tanh(),
        nn.Linear(4, 4),
        nn.Tanh(),
        nn.Linear(4, 4),
        nn.Tanh(),
        nn.Linear(4, 2),
    )
    with torch.no_grad():
        net[0].weight[1], net[0].bias[1] = net[0].weight[0], net[0].bias[0]
        net[4].weight.zero_()
        net[6].weight.zero_()
    early = audit(net, torch.zeros(4, 4)).layers["0"].classes
    monkeypatch.undo()
    assert ((0, 1) in early, (0, 1) in audit(net, torch.zeros(4, 4)).layers["0"].classes) == (
        True,
        False,
    )
