"""``untie``: no lock is left, along the fastest direction the loss falls as predicted, random ones do worse."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import zoo
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

import lockstep
from lockstep.errors import UsageError
from lockstep.treat import untie
from lockstep.treat.curvature import spread

LOCKED = {
    row.name: row
    for row in zoo.ROWS
    if row.error is None
    and ((row.kinds or set()) or {"LS001", "LS002", "LS003", "LS005"} & set(row.present))
}


def rows() -> list:
    return [
        pytest.param(name, marks=[] if n % 8 == 0 else [pytest.mark.slow])
        for n, name in enumerate(LOCKED)
    ]


@pytest.mark.parametrize("name", rows())
def test_no_lock_of_the_zoo_is_left(name: str) -> None:
    model, inputs, kwargs = LOCKED[name].make()
    kwargs.pop("data", None)
    plan = untie(model, inputs, direction="random", **kwargs)
    before = copy.deepcopy(model.state_dict())
    if plan.empty:
        assert plan.refused or not plan.before.locked
        return
    receipt = plan.apply()
    assert receipt.after is not None
    assert receipt.after.locked == (), [str(g) for g in receipt.after.locked]
    receipt.undo()
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def digits() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """F18, F20: 64-8-10 tanh, 300 full-batch steps, then unit 0 copied with its outgoing weights halved."""
    data = load_digits()
    x, y = torch.tensor(data.data / 16), torch.tensor(data.target)
    draw = np.random.default_rng(0)
    w = torch.tensor(draw.standard_normal((8, 65)) / 8).requires_grad_()
    v = torch.tensor(draw.standard_normal((10, 8)) / np.sqrt(8)).requires_grad_()
    ones = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    for _ in range(300):
        loss = cross_entropy(torch.tanh(ones @ w.t()) @ v.t(), y)
        gradients = torch.autograd.grad(loss, [w, v])
        with torch.no_grad():
            for p, g in zip((w, v), gradients, strict=True):
                p -= 0.5 * g
    net = nn.Sequential(nn.Linear(64, 9), nn.Tanh(), nn.Linear(9, 10, bias=False)).double()
    with torch.no_grad():
        v[:, 0] /= 2
        net[0].weight.copy_(torch.cat([w, w[:1]])[:, :64])
        net[0].bias.copy_(torch.cat([w, w[:1]])[:, 64])
        net[2].weight.copy_(torch.cat([v, v[:, :1]], 1))
    return net, x, y


def closed_form(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """F17: [[B, C], [C', 0]] of unit 0, from the formulas, without autograd."""
    with torch.no_grad():
        ones = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
        z = net[0](x)[:, 0]
        e = (net(x).softmax(1) - nn.functional.one_hot(y, 10)) / len(y)
        first = 1 - torch.tanh(z) ** 2
        second = -2 * torch.tanh(z) * first
        b = (ones * ((e @ net[2].weight[:, 0]) * second)[:, None]).t() @ ones
        c = (ones * first[:, None]).t() @ e
        return torch.cat([torch.cat([b, c], 1), torch.cat([c.t(), torch.zeros(10, 10)], 1)])


def test_f20_splitting_digits() -> None:
    """Two copies at plus and minus eps along the lowest eigenvector change the loss by eps^2 lambda_min."""
    net, x, y = digits()
    value = float(torch.linalg.eigvalsh(closed_form(net, x, y))[0])
    expected = {0.1: 0.943, 0.03: 0.9948, 0.01: 0.9994}
    for eps, ratio in expected.items():
        plan = untie(net, x, loss=cross_entropy, targets=y, size=eps, relative=False)
        measured = plan.dry_run().measured
        predicted = measured["loss change predicted"]
        assert predicted == pytest.approx(eps**2 * value, rel=1e-6)
        assert measured["loss change measured"] / predicted == pytest.approx(ratio, abs=0.01)


def test_f20_a_random_direction_mostly_raises_the_loss() -> None:
    net, x, y = digits()
    falls = 0
    matrix = closed_form(net, x, y)
    for seed in range(40):
        v = torch.randn(75, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
        falls += float(v @ matrix @ v) < 0
    assert falls <= 10
    plan = untie(net, x, loss=cross_entropy, targets=y, direction="random", size=0.03, seed=3)
    measured = plan.dry_run().measured
    ratio = measured["loss change measured"] / measured["loss change predicted"]
    assert ratio == pytest.approx(1, abs=0.1)


def conv() -> tuple[nn.Module, torch.Tensor]:
    model, x = zoo.conv(2, nn.Tanh())
    return model.double(), x.double()


def lstm() -> tuple[nn.Module, torch.Tensor]:
    model, x = zoo.twin_recurrent("lstm")
    return model.double(), x.double()


def heads() -> tuple[nn.Module, torch.Tensor]:
    model, x = zoo.twin_heads(True)
    return model.double(), x.double()


def triple() -> tuple[nn.Module, torch.Tensor]:
    model, x = zoo.fill(zoo.mlp(3, 3, 2), 0.3)
    return model.double(), x.double()


@pytest.mark.parametrize("build", [conv, lstm, heads, triple])
def test_the_loss_changes_as_predicted_and_falls(build) -> None:
    model, x = build()
    with torch.no_grad():
        y = torch.randn_like(model(x))
    plan = untie(model, x, loss=mse_loss, targets=y, size=3e-3)
    receipt = plan.dry_run()
    predicted = receipt.measured["loss change predicted"]
    assert predicted < 0
    assert receipt.measured["loss change measured"] == pytest.approx(predicted, rel=0.05)
    assert receipt.after.locked == ()


def test_experts_are_moved_apart() -> None:
    model, x = zoo.Routed(4, True), torch.randn(64, 8)
    receipt = untie(model, x).apply()
    assert receipt.before.locked and not receipt.after.locked
    gaps = [
        float((a - b).abs().max().detach())
        for a, b in zip(model.experts[0].parameters(), model.experts[1].parameters(), strict=True)
    ]
    assert min(gaps) > 0


def test_training_separates_what_was_untied() -> None:
    """And the loss that one unit cannot reach is reached by two."""
    torch.manual_seed(0)
    model, _ = zoo.fill(zoo.mlp(3, 6, 1), 0.3)
    x = torch.randn(32, 3)
    y = torch.sin(2 * x[:, :1]) * x[:, 1:2]
    end = {}
    for name in ("locked", "untied"):
        net = copy.deepcopy(model)
        if name == "untied":
            untie(net, x, loss=mse_loss, targets=y).apply()
        optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
        for _ in range(600):
            optimizer.zero_grad()
            mse_loss(net(x), y).backward()
            optimizer.step()
        end[name] = float(mse_loss(net(x), y).detach())
    assert end["untied"] < 0.5 * end["locked"]


@pytest.mark.parametrize("count", [2, 3, 6])
def test_coefficients_differ_and_sum_to_zero(count: int) -> None:
    c = spread(count)
    assert abs(float(c.sum())) < 1e-12 and len(set(c.tolist())) == count


@pytest.mark.parametrize(
    "options, message",
    [
        ({"direction": "down"}, "direction='down': give 'fastest' or 'random'"),
        ({"direction": "fastest"}, "the fastest direction is one of a loss"),
        ({"size": 0.0}, "give a positive number"),
        ({"loss": lambda out: out}, "must be a single number"),
    ],
)
def test_wrong_use(options, message) -> None:
    model, x = zoo.cloned()
    with pytest.raises(UsageError, match=message):
        untie(model, x, **options)


def test_a_healthy_network_is_left_alone() -> None:
    plan = untie(*zoo.mlp(3, 4, 2))
    assert plan.empty and lockstep.audit(*zoo.mlp(3, 4, 2)).ok
