"""Facts marked *treat* that need a training run: F29 (lossy merging), F35 (upcycling), F36 (ZerO)."""

from __future__ import annotations

import copy

import pytest
import torch
import zoo
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import lockstep
from lockstep.errors import UsageError
from lockstep.treat import merge, recycle, untie
from lockstep.treat.lossy import pivots


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    data = load_digits()
    return torch.tensor(data.data / 16).float(), torch.tensor(data.target)


def trained(
    epochs: int = 20,
) -> tuple[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """F29's network on digits: 64-100-100-100-10 ReLU, Adam 1e-3; train and test parts."""
    torch.manual_seed(0)
    x, y = digits()
    order = torch.randperm(len(x))
    train, test = order[:1400], order[1400:]
    net = nn.Sequential(
        nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(),
        nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(train)).split(50):
            optimizer.zero_grad()
            cross_entropy(net(x[train][batch]), y[train][batch]).backward()
            optimizer.step()
    return net, x[train], y[train], x[test], y[test]


def accuracy(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    with torch.no_grad():
        return float((net(x).argmax(1) == y).float().mean())


def size(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_f29_half_the_parameters_at_the_same_accuracy() -> None:
    """Published for MNIST: 96.78 before, 96.33 with 49.7 % of the parameters. The loss here is no larger."""
    net, x, _, x_test, y_test = trained(12)
    before, whole = accuracy(net, x_test, y_test), size(net)
    small = copy.deepcopy(net)
    receipt = merge(small, x[:400], within=0.03).apply()
    assert size(small) <= 0.5 * whole
    assert accuracy(small, x_test, y_test) >= before - 0.0045
    assert not receipt.plan.keeps and "greedy" in str(receipt)
    exact = copy.deepcopy(net)
    lossless = merge(exact, x[:400], within=0).apply()
    assert size(exact) < whole and lossless.function.kept


@pytest.mark.slow
def test_f39_merging_more_is_bounded_and_worse() -> None:
    net, x, _, x_test, y_test = trained(5)
    sizes, bounds, found = [], [], []
    for within in (0.02, 0.1, 0.4):
        small = copy.deepcopy(net)
        receipt = merge(small, x, within=within).apply()
        sizes.append(size(small))
        bounds.append(receipt.plan.bound)
        found.append(accuracy(small, x_test, y_test))
    assert sizes == sorted(sizes, reverse=True) and bounds == sorted(bounds)
    assert found[0] > found[-1]


def test_the_bound_holds_for_the_layer_that_reads() -> None:
    """One hidden layer: the outputs are what reads it."""
    model, x = zoo.mlp(4, 12, 3)
    plan = merge(model, x, within=0.3)
    assert 0 < plan.dry_run().function.largest <= plan.bound


def test_merely_close_pairs_are_refused_unless_asked() -> None:
    model, x = zoo.tied(zoo.mlp(3, 4, 2))
    with torch.no_grad():
        model[0].weight[1] += 1e-4
    assert merge(model, x).empty
    assert merge(model, x, within=1e-2).dry_run().model[0].out_features == 3
    with pytest.raises(UsageError, match=r"within=1\.5: give a fraction"):
        merge(model, x, within=1.5)


@pytest.mark.parametrize("norm", [nn.LayerNorm(12), nn.GroupNorm(2, 12)])
def test_no_bound_is_claimed_where_a_norm_counts_the_units(norm) -> None:
    """What stays is read otherwise when its neighbours go; that change was ten times the bound."""
    model = nn.Sequential(nn.Linear(3, 12), norm, nn.Tanh(), nn.Linear(12, 2))
    with torch.no_grad():
        model[0].weight[6:] = model[0].weight[:6] + 0.01 * torch.randn(6, 3)
        model[0].bias[6:] = model[0].bias[:6]
    plan = merge(model, torch.randn(60, 3), within=0.1)
    assert plan.empty and "no bound can be given" in plan.refused[0].reason


def test_equal_now_but_certified_to_separate_is_refused_with_the_reason() -> None:
    model, x = zoo.widened(1 / 3, 2 / 3)
    plan = merge(model, x)
    assert plan.empty and "equal now, not locked" in plan.refused[0].reason
    assert merge(model, x, within=0).dry_run().function.kept


def test_pivots_need_no_more_than_the_rank() -> None:
    base = torch.randn(3, 20, dtype=torch.double)
    rows = torch.randn(10, 3, dtype=torch.double) @ base
    assert len(pivots(rows, 1e-9)) == 3


def test_f35_upcycled_experts_are_locked_until_untied() -> None:
    """Experts that start as exact copies behind a router of zeros: only untying lets them differ."""
    torch.manual_seed(0)
    model, x = zoo.Routed(4, True), torch.randn(64, 8)
    y = torch.sin(3 * x)
    ends = {}
    for name in ("copied", "untied"):
        net = copy.deepcopy(model)
        if name == "untied":
            untie(net, x, size=0.1).apply()
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.mse_loss(net(x), y).backward()
            optimizer.step()
        first, second = (e[0].weight for e in net.experts[:2])
        ends[name] = float((first - second).abs().max().detach())
    assert ends["copied"] == 0.0 and ends["untied"] > 0.1


@pytest.mark.slow
def test_f36_partial_identity_caps_the_rank_until_recycled() -> None:
    """64-64-128-128-10 ReLU without biases: rank(W3 - I) stays at most 64; not after ``recycle``."""
    x, y = digits()

    def network() -> nn.Module:
        net = nn.Sequential(
            nn.Linear(64, 64, bias=False), nn.ReLU(), nn.Linear(64, 128, bias=False), nn.ReLU(),
            nn.Linear(128, 128, bias=False), nn.ReLU(), nn.Linear(128, 10, bias=False),
        )  # fmt: skip
        with torch.no_grad():
            for layer, weight in zip(
                net[::2],
                (torch.eye(64), torch.eye(128, 64), torch.eye(128), torch.zeros(10, 128)),
                strict=True,
            ):
                layer.weight.copy_(weight)
        return net

    ranks = {}
    for name in ("as it is", "recycled"):
        torch.manual_seed(0)
        net = network()
        if name == "recycled":
            assert lockstep.audit(net, x[:8]).layers["2"].effective_width == 65
            assert recycle(net, x[:200]).apply().function.kept
        start = net[4].weight.detach().clone()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(1000):
            batch = torch.randint(len(x), (64,))
            optimizer.zero_grad()
            cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
        change = (net[4].weight.detach() - start).double()
        ranks[name] = int(torch.linalg.matrix_rank(change, rtol=1e-5))
    assert ranks["as it is"] <= 64 < ranks["recycled"]
