"""Predicted growth against ordinary training of a displaced pair, for every optimizer and activation."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lockstep
from lockstep import forecast

from .nets import ACTIVATIONS, OPTIMIZERS, difference, measured, problem, tied_net

STEPS = 40


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_growth_of_a_given_difference_to_four_digits(name: str) -> None:
    make, net, (x, y) = OPTIMIZERS[name], tied_net(nn.Tanh, seed=1), problem(1)
    start = difference(net, seed=2)
    found = forecast(net, x, y, loss=F.mse_loss, optimizer=make, steps=STEPS, start=start)
    seen = measured(net, lambda _: (x, y), make, STEPS, start, 1e-8)
    assert len(found.groups) == 1 and found.groups[0].dimension == 6
    for predicted, size in zip(found.groups[0].log_growth, seen, strict=True):
        assert math.exp(predicted) == pytest.approx(size / 1e-8, rel=1e-4)


def test_a_wrong_optimizer_is_noticed() -> None:
    net, (x, y) = tied_net(nn.Tanh, seed=1), problem(1)
    start = difference(net, seed=2)
    found = forecast(
        net, x, y, loss=F.mse_loss, optimizer=OPTIMIZERS["SGD"], steps=STEPS, start=start
    )
    seen = measured(net, lambda _: (x, y), OPTIMIZERS["momentum"], STEPS, start, 1e-8)
    assert math.exp(found.groups[0].log_growth[-1]) != pytest.approx(seen[-1] / 1e-8, rel=1e-2)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name: str) -> None:
    make, net, (x, y) = OPTIMIZERS["AdamW"], tied_net(ACTIVATIONS[name], seed=3), problem(3)
    start = difference(net, seed=4)
    found = forecast(net, x, y, loss=F.mse_loss, optimizer=make, steps=STEPS, start=start)
    seen = measured(net, lambda _: (x, y), make, STEPS, start, 1e-8)
    assert math.exp(found.groups[0].log_growth[-1]) == pytest.approx(seen[-1] / 1e-8, rel=1e-3)


def test_batches_and_label_noise() -> None:
    """A loader-like list is gone through again and again, a function is asked for each step."""
    net, (x, y) = tied_net(nn.Tanh, seed=1), problem(1)
    start, make = difference(net, seed=2), OPTIMIZERS["Adam"]
    rows = [(x[k::4], y[k::4]) for k in range(4)]
    noise = [torch.randn(10, 2, dtype=torch.float64) * 0.3 for _ in range(STEPS)]

    def noisy(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return rows[step % 4][0], rows[step % 4][1] + noise[step]

    for given, shown in ((rows, lambda t: rows[t % 4]), (noisy, noisy)):
        found = forecast(
            net, x, loss=F.mse_loss, optimizer=make, steps=STEPS, start=start, batches=given
        )
        seen = measured(net, shown, make, STEPS, start, 1e-8)
        assert math.exp(found.groups[0].log_growth[-1]) == pytest.approx(seen[-1] / 1e-8, rel=1e-4)


def test_an_instance_with_state_goes_on_from_its_state() -> None:
    """Resumed Adam: the moments count, and neither they nor the model change."""
    net, (x, y) = tied_net(nn.Tanh, seed=1), problem(1)
    adam = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(5):
        adam.zero_grad()
        F.mse_loss(net(x), y).backward()
        adam.step()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    start = difference(net, seed=2)
    found = forecast(net, x, y, loss=F.mse_loss, optimizer=adam, steps=20, start=start)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert int(adam.state[net[0].weight]["step"]) == 5

    def resumed(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        made = torch.optim.Adam(parameters, lr=0.01)
        made.load_state_dict(adam.state_dict())
        return made

    seen = measured(net, lambda _: (x, y), resumed, 20, start, 1e-8)
    assert math.exp(found.groups[0].log_growth[-1]) == pytest.approx(seen[-1] / 1e-8, rel=1e-4)


@pytest.mark.parametrize("name", ["momentum", "Adam", "RMSprop"])
def test_the_difference_that_the_units_have_now(name: str) -> None:
    """Nearly equal units and an optimizer in the middle of a run, whose moments differ too: five digits."""
    net, (x, y) = tied_net(nn.Tanh, seed=6), problem(6)
    with torch.no_grad():
        for key, p in net.named_parameters():
            p.add_(difference(net, 7).get(key, torch.zeros_like(p)), alpha=1e-6)
    optimizer = OPTIMIZERS[name](net.parameters())
    sizes = []
    for step in range(STEPS + 7):
        if step == 7:
            one = forecast(
                net, x, y, loss=F.mse_loss, optimizer=optimizer, steps=STEPS, groups=[("0", (0, 1))]
            ).groups[0]
        optimizer.zero_grad()
        F.mse_loss(net(x), y).backward()
        optimizer.step()
        squares = sum(
            float((p.select(axis, 0) - p.select(axis, 1)).detach().square().sum()) / 2
            for p, axis in ((net[0].weight, 0), (net[0].bias, 0), (net[2].weight, 1))
        )
        sizes.append(math.sqrt(squares))
    assert one.size == pytest.approx(sizes[6], rel=1e-9)
    predicted = [one.size * math.exp(log) for log in one.own_growth]
    assert predicted == pytest.approx(sizes[7:], rel=1e-5)
    generic = one.size * math.exp(one.log_growth[-1])
    assert generic != pytest.approx(sizes[-1], rel=1e-2)
    reached = max(sizes[7:])
    if reached > 1.2 * one.size:
        assert one.separates_at(threshold=reached * (1 - 1e-6)) == sizes[7:].index(reached) + 1


def test_the_forecast_is_public() -> None:
    assert lockstep.forecast is forecast


def test_direction_grows_most() -> None:
    """A small space is followed whole: no other start grows as much, and the growth is the first singular value."""
    net, (x, y), make = tied_net(nn.Tanh, seed=1), problem(1), OPTIMIZERS["momentum"]
    found = forecast(net, x, y, loss=F.mse_loss, optimizer=make, steps=60).groups[0]
    best = measured(net, lambda _: (x, y), make, 60, found.direction, 1e-8)[-1] / 1e-8
    assert math.log(best) == pytest.approx(found.spectrum[0], abs=1e-4)
    others = [
        measured(net, lambda _: (x, y), make, 60, difference(net, seed), 1e-8)[-1] / 1e-8
        for seed in range(5)
    ]
    assert max(others) < best


def test_direction_of_a_large_space() -> None:
    """Twelve outputs: fifteen or more dimensions, followed by random vectors and the transpose."""
    torch.manual_seed(0)
    net = tied_net(nn.Tanh, 5, (3, 6, 12))
    x, _ = problem(1)
    y = torch.randn(40, 12, dtype=torch.float64)
    make = OPTIMIZERS["momentum"]
    few = forecast(net, x, y, loss=F.mse_loss, optimizer=make, steps=80).groups[0]
    whole = forecast(net, x, y, loss=F.mse_loss, optimizer=make, steps=80, vectors=16).groups[0]
    assert few.dimension == whole.dimension == 16
    assert len(few.spectrum) == 1 and len(whole.spectrum) == 16
    assert few.spectrum[0] == pytest.approx(whole.spectrum[0], rel=0.05)
    inner = sum(float((few.direction[n] * whole.direction[n]).sum()) for n in few.direction)
    assert abs(inner) > 0.95
