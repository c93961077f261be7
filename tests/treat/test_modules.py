"""Members of ensembles and experts with their rows of a router: one of a class stays, and weighs as much as all did."""

from __future__ import annotations

import copy

import pytest
import torch
import zoo
from torch import nn

from lockstep import merge


class Experts(nn.Module):
    """Four experts, two of them one, weighed by softmax or sigmoid of a router's logits, or just added up."""

    def __init__(self, gate: str, bias: bool = True, twins: tuple[int, int] = (0, 2)) -> None:
        super().__init__()
        self.gate, self.num_experts = gate, 4
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)) for _ in range(4)
        )
        self.router = nn.Linear(5, 4, bias=bias)
        stays, gone = twins
        self.experts[gone].load_state_dict(self.experts[stays].state_dict())
        with torch.no_grad():
            for p in self.router.parameters():
                p[gone] = p[stays]

    def forward(self, x):
        logits = self.router(x)
        weight = {"softmax": logits.softmax(-1), "sigmoid": logits.sigmoid()}.get(self.gate)
        weight = torch.ones_like(logits) if weight is None else weight
        parts = [weight[:, n : n + 1] * e(x) for n, e in enumerate(self.experts)]
        return torch.stack(parts).sum(0)


class Sum(zoo.Ensemble):
    def forward(self, x):
        return sum(member(x) for member in self.members)


CASES = {
    "ensemble, mean": (lambda: zoo.Ensemble(True), 3, 1),
    "ensemble, sum": (lambda: Sum(True), 3, 1),
    "experts, softmax": (lambda: Experts("softmax"), 5, 3),
    "experts, softmax of a router without bias": (lambda: Experts("softmax", bias=False), 5, 3),
    "experts, sigmoid": (lambda: Experts("sigmoid", twins=(1, 3)), 5, 3),
    "experts, all chosen": (lambda: zoo.Routed(4, True), 8, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_members_go_and_training_follows(name: str) -> None:
    build, width, left = CASES[name]
    big, x = build().double(), torch.randn(16, width, dtype=torch.double)
    small = copy.deepcopy(big)
    before = copy.deepcopy(small.state_dict())
    optimizers = [torch.optim.Adam(m.parameters(), lr=3e-3) for m in (big, small)]
    for m, optimizer in zip((big, small), optimizers, strict=True):
        for _ in range(3):
            optimizer.zero_grad()
            (m(x) - torch.sin(3 * x).sum(-1, keepdim=True)).square().mean().backward()
            optimizer.step()
    weights, state = copy.deepcopy(small.state_dict()), copy.deepcopy(optimizers[1].state_dict())
    plan = merge(small, x)
    plan.apply(optimizer=optimizers[1]).undo()
    assert small.state_dict().keys() == before.keys()
    assert all(torch.equal(weights[k], v) for k, v in small.state_dict().items())
    ours = {id(p) for group in optimizers[1].param_groups for p in group["params"]}
    assert ours == {id(p) for p in small.parameters()}
    after = optimizers[1].state_dict()["state"]
    assert after.keys() == state["state"].keys()
    assert all(torch.equal(state["state"][n]["exp_avg"], after[n]["exp_avg"]) for n in after)
    receipt = plan.apply(optimizer=optimizers[1])
    members = small.members if hasattr(small, "members") else small.experts
    assert len(members) == left and receipt.function.kept
    assert not receipt.plan.refused and not receipt.after.locked
    receipt.follow(optimizers[1])
    for _ in range(100):
        for m, optimizer in zip((big, small), optimizers, strict=True):
            optimizer.zero_grad()
            (m(x) - torch.sin(3 * x).sum(-1, keepdim=True)).square().mean().backward()
            optimizer.step()
    assert float((big(x) - small(x)).abs().max().detach()) <= 1e-9


@pytest.mark.parametrize(
    "build, reason",
    [
        (lambda: (zoo.Branches(True), zoo.data(5, 4)), "called by their names"),
        (zoo.routed(2, True), "does not weigh the one that stays"),
    ],
)
def test_what_cannot_be_taken_out_is_refused(build, reason) -> None:
    model, x = build()
    plan = merge(model, x)
    assert plan.empty and reason in " ".join(r.reason for r in plan.refused)
