"""What a model keeps from call to call: seen by the audit, and left as it was found."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import lockstep
from lockstep.errors import UndecidedError


class Keeps(nn.Module):
    """Counts and averages in tensors of its own, none of them registered."""

    def __init__(self, average: bool = False) -> None:
        super().__init__()
        self.inner, self.head, self.averages = nn.Linear(3, 4), nn.Linear(4, 2), average
        nn.init.constant_(self.inner.weight, 0.3)  # ties, so that symbolic steps are taken
        nn.init.zeros_(self.inner.bias)
        self.count, self.counts = torch.zeros(()), {"calls": torch.zeros(2, dtype=torch.long)}
        self.listed, self.mean = [torch.ones(2)], torch.zeros(4)

    def forward(self, x):
        self.count += 1
        self.counts["calls"].add_(1)
        self.listed[0].mul_(2)
        h = torch.tanh(self.inner(x))
        if self.averages:
            self.mean.mul_(0.9).add_(h.detach().mean(0))
        return self.head(h)


def test_plain_tensors_changed_in_place_are_put_back():
    model = Keeps()
    own = [model.count, model.counts["calls"], model.listed[0]]
    before = [t.clone() for t in own]
    lockstep.audit(model, torch.zeros(4, 3))
    now = [model.count, model.counts["calls"], model.listed[0]]
    assert all(a is b for a, b in zip(own, now, strict=True))
    assert all(map(torch.equal, before, now))


def test_values_written_into_a_plain_tensor_are_refused():
    model = Keeps(average=True)
    with pytest.raises(UndecidedError, match="register that tensor as a buffer"):
        lockstep.audit(model, torch.zeros(4, 3))
    assert not model.mean.any()
    assert not model.count.any()


def test_a_counter_is_noted():
    class Counts(nn.Linear):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    model = nn.Sequential(Counts(3, 2), nn.BatchNorm1d(2))
    notes = lockstep.audit(model, torch.zeros(4, 3)).assumptions.notes
    assert [note for note in notes if "counts in 0.calls" in note]
    assert not [note for note in notes if "num_batches_tracked" in note]
    assert model[0].calls == 0
