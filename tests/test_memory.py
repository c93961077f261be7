"""What a model keeps from call to call: seen by the audit, and left as it was found."""

from __future__ import annotations

from collections import OrderedDict

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


class Listens(nn.Module):
    """Hooks its layers at the first call, as backbones of transformers do, and mixes what they heard."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.hooked, self.calls, self.seen = False, OrderedDict(), set()
        nn.init.constant_(self.layers[1].weight, 0.3)  # ties, so that symbolic steps are taken

    def forward(self, x):
        heard = []
        if not self.hooked:
            self.hooked = True
            for layer in self.layers:
                layer.register_forward_hook(lambda *given: self.calls[None].append(given[-1]))
        self.calls[None] = heard
        self.seen.add(len(self.seen))
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return torch.cat(heard[1:3], 1)


def test_hooks_that_forward_registers_are_gone_afterwards():
    torch.manual_seed(0)
    model = Listens()
    found = lockstep.audit(model, torch.zeros(5, 4))
    assert not any(layer._forward_hooks for layer in model.layers)
    assert (model.hooked, model.calls, model.seen) == (False, {}, set())
    # Heard twice, the second call's outputs would be those of the first two layers alone.
    assert found.frozen == ()
    assert not any("counts in" in note for note in found.assumptions.notes)
