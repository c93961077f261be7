"""``widen``: the function stays, ``merge`` takes it back, and the copies separate as their shares say."""

from __future__ import annotations

import copy

import pytest
import torch
import zoo
from torch import nn

from lockstep.errors import UsageError
from lockstep.treat import merge, widen


def norms() -> tuple[nn.Module, torch.Tensor]:
    """Convolution, batch norm, a filter for each channel, pooling, flatten."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip
    return model, torch.randn(4, 2, 8, 8)


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(3, 5), nn.Linear(3, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.down(nn.functional.silu(self.gate(x)) * self.up(x))


CASES = {
    "dense": (lambda: zoo.mlp(4, 3, 3, 2), "2", [0, 2]),
    "norms": (norms, "0", [1, 3]),
    "transposed": (lambda: zoo.conv(2, first=nn.ConvTranspose2d(2, 4, 3), twins=False), "0", [2]),
    "lstm": (lambda: (zoo.Recurrent("lstm", 3, 4), zoo.data(4, 3, 3)), "lstm[l0]", [0, 3]),
    "lstm of two layers": (
        lambda: (zoo.Recurrent("lstm", 3, 4, num_layers=2), zoo.data(4, 3, 3)), "lstm[l1]", [0, 3],
    ),
    "gru both ways": (
        lambda: (zoo.Recurrent("gru", 3, 4, bidirectional=True), zoo.data(4, 3, 3)), "gru[l0]", [2],
    ),
    "multi-head attention": (zoo.mha, "attn[q]", [5]),
    "gru cell": (lambda: (zoo.Cells(nn.GRUCell), zoo.data(4, 3, 3)), "cell", [1]),
    "gated": (lambda: (Gated(), zoo.data(6, 3)), "up", [4]),
    "head": (zoo.attention, "v", [5]),
    "bare": (lambda: (zoo.Einsum(False), zoo.data(5, 3)), "W1", [2]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_merge_after_widen_is_the_identity(name: str) -> None:
    build, layer, units = CASES[name]
    model, x = build()
    before = copy.deepcopy(model.state_dict())
    sizes = repr(model)
    receipt = widen(model, x, layer, units=units, split="halves").apply()
    assert receipt.function.kept and receipt.after.locked
    assert repr(model) != sizes or name == "bare"
    assert sum(p.numel() for p in model.parameters()) > sum(
        before[n].numel() for n, _ in model.named_parameters()
    )
    merge(model, x).apply()
    assert repr(model) == sizes
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


@pytest.mark.parametrize("split", [(1 / 3, 2 / 3), "opposite", (0.5, 0.25, 0.25)])
def test_unequal_shares_keep_the_function_and_a_merge_takes_them_back(split) -> None:
    model, x = zoo.mlp(4, 3, 2)
    before = copy.deepcopy(model.state_dict())
    receipt = widen(model, x, "0", units=[1], split=split).apply()
    assert receipt.function.kept
    assert bool(receipt.after.locked) == (split == (0.5, 0.25, 0.25))
    merge(model, x, within=0).apply()
    for key, value in model.state_dict().items():
        assert value.shape == before[key].shape


def gap(split, optimizer) -> float:
    """How far the rows of a unit and its copy are apart after one step (F33: 4-3-2 tanh)."""
    torch.manual_seed(0)
    model, x = zoo.mlp(4, 3, 2)
    model, x = model.double(), torch.randn(64, 4, dtype=torch.double)
    y = torch.randn(64, 2, dtype=torch.double)
    widen(model, x, "0", units=[0], split=split).apply()
    step = optimizer(model.parameters())
    nn.functional.mse_loss(model(x), y).backward()
    step.step()
    return float((model[0].weight[0] - model[0].weight[1]).abs().max().detach())


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05)


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.01)


def test_f33_f34_f16_how_fast_copies_separate() -> None:
    """Halves never; thirds at 1e-3 under SGD and at epsilon's size under Adam; opposite signs at once."""
    assert gap("halves", sgd) == gap("halves", adam) == 0.0
    assert 1e-4 < gap((1 / 3, 2 / 3), sgd) < 1e-1
    assert 0 < gap((1 / 3, 2 / 3), adam) < 1e-6
    assert gap("opposite", adam) == pytest.approx(0.02, rel=1e-3)
    assert gap("opposite", sgd) > 1e-3


def test_moments_of_copies_are_their_shares() -> None:
    """Adam's memory after widening is that of a network that had been wide all along."""
    torch.manual_seed(0)
    model, x = zoo.mlp(4, 3, 2)
    wide = copy.deepcopy(model)
    widen(wide, x, "0", units=[1]).apply()
    small_step = torch.optim.Adam(model.parameters(), lr=0.0)
    wide_step = torch.optim.Adam(wide.parameters(), lr=0.0)
    for net, step in ((model, small_step), (wide, wide_step)):
        net(x).square().sum().backward()
        step.step()
    widen(model, x, "0", units=[1]).apply(optimizer=small_step)
    for p, q in zip(model.parameters(), wide.parameters(), strict=True):
        for key in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(
                small_step.state[p][key], wide_step.state[q][key], rtol=1e-4, atol=1e-9
            )


def test_to_a_width() -> None:
    model, x = zoo.mlp(4, 6, 2)
    assert widen(model, x, "0", to=9).apply().function.kept
    assert model[0].out_features == 9


@pytest.mark.parametrize(
    "layer, options, message",
    [
        ("9", {"units": [0]}, "no layer '9' to widen; the layers are 0, 2"),
        ("0", {}, "say which units to copy"),
        ("0", {"units": [0], "to": 9}, "say which units to copy"),
        ("0", {"units": [7]}, "has units 0 to 5"),
        ("0", {"to": 20}, "from 7 to 12"),
        ("0", {"units": [0], "split": (0.5, 0.6)}, "sum to 1.1"),
        ("0", {"units": [0], "split": "thirds"}, "'opposite', 'halves'"),
    ],
)
def test_wrong_use(layer, options, message) -> None:
    model, x = zoo.mlp(4, 6, 2)
    with pytest.raises(UsageError, match=message):
        widen(model, x, layer, **options)


def test_a_whole_expert_is_refused_with_what_a_router_would_need() -> None:
    model, x = zoo.routed(2, True)()
    with pytest.raises(UsageError, match=r"'experts' is a module of several layers.*log 2 less"):
        widen(model, x, "experts", units=[0])


@pytest.mark.parametrize(
    "build, layer, reason",
    [
        (lambda: zoo.mlp(4, 3, 2), "2", "outputs of the model"),
        (lambda: (zoo.Autoencoder(False), zoo.data(5, 6)), "W", "tied weights"),
        (lambda: zoo.mha(add_bias_kv=True), "attn[v]", "add_bias_kv"),
    ],
)
def test_what_cannot_be_widened_is_refused(build, layer, reason) -> None:
    model, x = build()
    plan = widen(model, x, layer, units=[0])
    assert plan.empty and reason in plan.refused[0].reason
