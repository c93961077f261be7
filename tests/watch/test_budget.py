"""The share of the time that a watch may take: the rule on a clock of our own, and in a loop whose sink is slow."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from watch.runs import mlp

from lockstep.errors import UsageError
from lockstep.watch import budget as rule
from lockstep.watch import near, watch


class Clock:
    """Seconds that pass when we say so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(rule.time, "perf_counter", lambda: self.now)

    def run(self, budget: rule.Budget, steps: int, row: float, look: float = 0.0) -> list[int]:
        """Steps of one second, rows due every hundred; the steps that got one."""
        taken = []
        for step in range(steps):
            self.now += 1.0
            with budget.spending():
                if look and budget.look_is_due():
                    with budget.looking(step):
                        self.now += look
                if step % 100 == 0 and budget.row_is_due(step):
                    budget.row_begins()
                    self.now += row
                    budget.row_ends()
                    taken.append(step)
        return taken


@pytest.mark.parametrize(
    "row, look", [(3.0, 0.0), (12.0, 0.0), (40.0, 0.0), (4.0, 0.2), (12.0, 2.0)]
)
def test_the_share_is_kept_and_the_steps_left_out_are_told(monkeypatch, row, look) -> None:
    clock, budget = Clock(monkeypatch), rule.Budget(0.05)
    taken = clock.run(budget, 20_000, row, look)
    assert sorted(taken + budget.skipped) == list(range(0, 20_000, 100))
    # Everything counts, what is taken unasked too; room for the last row is kept.
    assert clock.now - 20_000 + row <= 0.05 * 20_000
    assert taken[0] == 0 and len(taken) > 2
    assert any(step > 2000 for step in budget.skipped) == (row > 4 or look > 0)
    # And it is used: at least half of what may be spent is.
    assert row < 5 or clock.now - 20_000 > 0.025 * 20_000


def test_setting_up_counts_and_time_between_two_trainings_does_not(monkeypatch) -> None:
    clock = Clock(monkeypatch)
    budget = rule.Budget(0.05)
    with budget.spending():
        clock.now += 30.0  # setting up
    clock.now += 1000.0  # not training
    budget.begin()
    first = clock.run(budget, 400, 1.0)
    budget.end()
    clock.now += 100_000.0
    budget.begin()
    assert first == [0]
    assert clock.run(budget, 601, 1.0) == [500, 600]  # (30 + 2 + 2) / .04 = 850 steps


def test_without_a_share_everything_is_taken(monkeypatch) -> None:
    clock, budget = Clock(monkeypatch), rule.Budget(None)
    assert len(clock.run(budget, 1000, 500.0, 3.0)) == 10
    assert clock.now == 1000 + 5000 + 3000 and not budget.skipped


def slowly(every: int | None, by: str = "optimizer", **settings) -> tuple[list[int], list[int]]:
    """Steps with rows, and those left out, of 400 updates with a sink that takes longer than many of them."""
    import time

    model = mlp(4, 3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def slow(values, *, step):
        time.sleep(0.02)

    with watch(model, every, sinks=slow, activations=False, **settings) as w:
        for _ in range(400):
            optimizer.zero_grad()
            model(torch.ones(2, 4)).sum().backward()
            if by == "optimizer":
                optimizer.step()
            elif by == "loop":
                w.step()
            else:
                w.before_update(None), w.after_update(None)
    state = w.state_dict()
    assert state["skipped"] == w.skipped
    again = watch(mlp(4, 3, 2), every, **settings)
    again.load_state_dict(state)
    assert again.skipped == w.skipped
    if w.skipped:
        assert f"{len(w.skipped)} rows" in str(w) and "left out" in w.html()
    return [row["step"] for row in w["0"]], w.skipped


@pytest.mark.parametrize("by", ["optimizer", "loop", "callback"])
def test_the_default_stretches_the_interval(by: str) -> None:
    taken, skipped = slowly(None, by)
    assert taken[0] == 0 and taken[-1] == 400
    assert skipped and sorted({*taken, *skipped}) == [0, 100, 200, 300, 400]


@pytest.mark.parametrize("every, settings", [(100, {}), (100, {"budget": None}), (40, {})])
def test_an_interval_that_is_asked_for_is_obeyed(every, settings) -> None:
    taken, skipped = slowly(every, **settings)
    assert taken == list(range(0, 401, every)) and not skipped


@pytest.mark.parametrize("budget", [0, 1, -0.1, "5 %", True])
def test_wrong_budgets(budget) -> None:
    with pytest.raises(UsageError, match="budget is a share of the training's time, between 0 and"):
        watch(nn.Linear(2, 2), budget=budget)


def test_a_wide_layer_is_sketched_and_its_near_units_are_found() -> None:
    w = torch.randn(700, 900)
    w[650] = w[3] + 1e-5 * torch.randn(900)
    w[640] = w[3] - 1e-5 * torch.randn(900)
    w[100] = w[99] + 0.01 * torch.randn(900)
    found = near(w)
    exact = torch.cdist(w.double(), w.double()).fill_diagonal_(torch.inf)
    assert found.pair == tuple(sorted(divmod(int(exact.argmin()), 700)))
    scale = float(w.double().square().sum(1).mean()) ** 0.5
    assert found.nearest == pytest.approx(float(exact.min()) / scale, rel=1e-3)
    assert found.within == 698
    assert near(w, 0.1).within == 697


def test_a_layer_of_many_near_units_is_measured_in_full() -> None:
    w = torch.randn(3, 80).repeat(200, 1)
    w[1:] += 1e-7 * torch.randn(599, 80)
    assert near(w).within == 3
    w[:] = w[0]
    assert (near(w).within, near(w).nearest) == (1, 0.0)
