"""Where an assumption fails the verdict is unknown and says why; what cannot be used is refused in words."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lockstep import Group, UsageError, forecast

from .nets import problem, tied_net

SGD = partial(torch.optim.SGD, lr=0.1)


class Through(nn.Module):
    """A straight-through estimator: the gradient is not that of the values."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) + (x.sin() - torch.tanh(x)).detach()


def noisy() -> nn.Sequential:
    return nn.Sequential(tied_net(nn.Tanh, 0), nn.Dropout(0.5))


def plain() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 2, bias=False))
    for p in net.parameters():
        nn.init.constant_(p, 0.3)
    return net.double()


def hooked() -> nn.Sequential:
    """Its gradient is scaled before the optimizer sees it."""
    net = tied_net(nn.Tanh, 0)
    net[0].weight.register_hook(lambda g: g / 2)
    return net


@pytest.mark.parametrize(
    ("net", "make", "phrases"),
    [
        (lambda: tied_net(nn.Tanh, 0), torch.optim.Rprop, ["Rprop takes signs", "neither grows nor shrinks"]),
        (lambda: tied_net(nn.Tanh, 0), torch.optim.LBFGS, ["LBFGS does not move each entry", "needs a closure"]),
        (plain, torch.optim.Muon, ["Muon does not move each entry", "whole matrix"]),
        (hooked, SGD, ["'0.weight' have hooks", "register_hook"]),
        (lambda: tied_net(nn.Tanh, 0), torch.optim.Adafactor, ["Adafactor does not move each entry", "'0.weight'"]),
        (lambda: tied_net(nn.ReLU, 0), partial(torch.optim.SGD, lr=1e3), ["not finite at step", "smaller learning rate"]),
        (noisy, SGD, ["draws random numbers", "'1' (Dropout)", "model.eval()"]),
        (lambda: tied_net(Through, 0), SGD, ["is not what its derivative says", "straight-through"]),
    ],
    ids=["signs", "closure", "Muon", "hooks", "whole tensors", "diverges", "noise", "detach"],
)  # fmt: skip
def test_unknown_because(net: Callable[[], nn.Sequential], make: Any, phrases: list[str]) -> None:
    x, y = problem(0)
    model = net()
    layer = "0" if isinstance(model[0], nn.Linear) else "0.0"
    found = forecast(
        model, x, y, loss=F.mse_loss, optimizer=make, steps=30, groups=[(layer, (0, 1))]
    )
    (one,) = found.groups
    assert (
        one.verdict == "unknown" and one.log_growth == () and one.separates_at(1e-8, 1e-2) is None
    )
    assert all(phrase in one.because for phrase in phrases), one.because
    assert one.because in str(found)


def test_hooks_of_the_optimizer_are_not_followed() -> None:
    net, (x, y) = tied_net(nn.Tanh, 0), problem(0)
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    assert forecast(net, x, y, loss=F.mse_loss, optimizer=sgd, steps=3).groups[0].log_growth
    sgd.register_step_pre_hook(lambda *_: None)
    one = forecast(net, x, y, loss=F.mse_loss, optimizer=sgd, steps=3).groups[0]
    assert one.verdict == "unknown" and "hooks around its step" in one.because


def test_untrained_incoming_weights_leave_nothing_to_follow() -> None:
    net, (x, y) = tied_net(nn.Tanh, 0), problem(0)
    one = forecast(
        net, x, y, loss=F.mse_loss, optimizer=torch.optim.SGD([net[2].weight], lr=0.1), steps=3
    ).groups[0]
    assert one.verdict == "unknown" and "no trainable entry of theirs can differ" in one.because


def test_nothing_tied() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    found = forecast(
        net, torch.randn(5, 3), torch.randn(5, 2), loss=F.mse_loss, optimizer=SGD, steps=3
    )
    assert found.groups == () and "no locked units" in str(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps=0: expected a whole number"),
        ({"steps": 0, "loss": 3}, r"(?s)loss=3: expected a function.*steps=0"),
        ({"groups": [("9", (0, 1))]}, "there is no layer '9'; the model has '0', '2'"),
        ({"groups": [("0", (0, 7))]}, "it has units 0 to 5"),
        ({"groups": [3]}, "3 is no group"),
        ({"groups": [Group("twin", "0", (0,))]}, "at least two different ones"),
        ({"optimizer": 3}, "optimizer=3: expected a torch.optim.Optimizer"),
        ({"y": torch.zeros(7, 5)}, "the model or the loss failed on the data"),
        ({"x": torch.full((40, 3), float("nan"))}, "NaN or infinity in 120 of 120"),
        ({"loss": lambda o, y: o}, "the loss must be one number, got"),
        ({"start": {"0.weight": torch.ones(6, 3)}}, "not a difference between the tied units"),
        ({"start": {"q": torch.ones(1)}}, "'q' is no trainable parameter"),
        ({"batches": []}, "batches: there are none"),
        ({"batches": [1, 2]}, r"each must be a pair \(x, y\), got int"),
    ],
)
def test_bad_requests(change: dict[str, Any], message: str) -> None:
    x, y = problem(0)
    net = tied_net(nn.Tanh, 0)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    given: dict[str, Any] = {
        "x": x,
        "y": y,
        "loss": F.mse_loss,
        "optimizer": SGD,
        "steps": 3,
        **change,
    }
    with pytest.raises(UsageError, match=message):
        forecast(net, given.pop("x"), given.pop("y"), **given)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_separates_at_wants_lengths() -> None:
    net, (x, y) = tied_net(nn.Tanh, 0), problem(0)
    one = forecast(net, x, y, loss=F.mse_loss, optimizer=SGD, steps=5).groups[0]
    assert one.separates_at(1.0, 0.5) == 0
    with pytest.raises(UsageError, match="lengths above 0"):
        one.separates_at(0.0, 1.0)
