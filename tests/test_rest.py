"""What has not moved at the start: the quick answer, where every entry is a symbol, and the whole course agree."""

from __future__ import annotations

import pytest
import torch
import zoo
from torch import nn

from lockstep import Audit, audit
from lockstep.symbolic.training import Training


class Block(nn.Module):
    """Attention with biases, a residual branch behind a ``gate``, a norm; the first of two tokens is read out."""

    def __init__(self, gate: float, kept: float) -> None:
        super().__init__()
        self.mix, self.norm = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)
        self.gate = nn.Parameter(torch.tensor(gate))
        self.read = nn.Linear(8, 3)
        nn.init.constant_(self.down.bias, kept)

    def forward(self, x):
        x = x + self.mix(x, x, x)[0]
        x = x + self.gate * self.down(torch.tanh(self.up(self.norm(x))))
        return self.read(x[:, 0])


class Chain(nn.Module):
    """Gates behind gates, all zero: each wakes up one step after the last."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(5, 5) for _ in range(length))
        self.gates = nn.ParameterList(torch.zeros(5) for _ in range(length))
        self.norm = nn.BatchNorm1d(5)

    def forward(self, x):
        y = self.norm(self.layers[0](x))
        for layer, gate in zip(self.layers[1:], self.gates, strict=False):
            y = gate * torch.tanh(layer(y))
        return x + y


ROWS = {
    "key bias": lambda: (Block(0.5, 0.1), torch.zeros(4, 2, 8)),
    "key bias, a closed gate": lambda: (Block(0.0, 0.1), torch.zeros(4, 2, 8)),
    "key bias, a closed gate and zeros": lambda: (Block(0.0, 0.0), torch.zeros(4, 2, 8)),
    "gates behind gates": lambda: (Chain(4), torch.zeros(6, 5)),
    "bias before a norm": lambda: (
        nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2)),
        torch.zeros(5, 3),
    ),
    **{row.name: row.build for row in zoo.ROWS if "frozen: " in row.name},
}


def told(result: Audit) -> object:
    return result.layers, result.locked, result.frozen, result.findings


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("update", ["any", "additive"])
def test_both_ways_agree(name: str, update: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, inputs = ROWS[name]()
    quick = audit(model, inputs, update=update)
    monkeypatch.setattr(Training, "_rest_for_ever", lambda self, trace: False)
    assert told(quick) == told(audit(model, inputs, update=update))


def test_a_point_that_is_not_generic_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Training, "_generic", lambda self, f, zeros: self._point(f, 0, None))
    with pytest.raises(AssertionError, match="Frozen"):
        test_both_ways_agree("key bias, a closed gate", "any", monkeypatch)
