"""The first look, from a coarse point: it settles healthy networks, and never tells apart what is locked."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from test_zoo import ANSWERED, assert_consistent, assert_expected, audited
from torch import nn

import lockstep
from lockstep.field import coarse
from lockstep.field.arithmetic import FIRST, Field
from lockstep.symbolic import training


@pytest.fixture(autouse=True)
def _every_network_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MANY", 0)


# Four minutes for all of them: one in eight unless the slow ones are asked for.
ROWS = [
    p if n % 8 == 0 else pytest.param(*p.values, id=p.id, marks=[*p.marks, pytest.mark.slow])
    for n, p in enumerate(ANSWERED)
]


@pytest.mark.parametrize("row", ROWS)
def test_the_same_verdict(row) -> None:
    model, inputs, kwargs = row.make()
    found = lockstep.audit(model, inputs, **kwargs)
    exact = audited(row.name)
    assert_expected(found, row)
    assert_consistent(found)
    assert {n: layer.classes for n, layer in found.layers.items()} == {
        n: layer.classes for n, layer in exact.layers.items()
    }
    assert (found.locked, found.frozen) == (exact.locked, exact.frozen)


def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The points that audits start passes from, as they do."""
    seen: list[str] = []

    def watched(name: str):
        method = getattr(training.Training, name)

        def noted(self, *given):
            seen.append(name)
            return method(self, *given)

        return noted

    for name in ("_coarse", "_point"):
        monkeypatch.setattr(training.Training, name, watched(name))
    return seen


def net(*sizes: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    return nn.Sequential(*[m for layer in layers for m in (layer, nn.Tanh())][:-1])


def with_frozen_numbers() -> nn.Module:
    """Rows of the frozen second layer differ, but not what they make of the frozen first: ``3 + 1 = 2 + 2``."""
    model = net(5, 3, 2, 4)
    first, second = model[0], model[2]
    with torch.no_grad():
        for p in (*first.parameters(), *second.parameters()):
            p.requires_grad_(False).zero_()
        first.weight[:, 0] = torch.tensor([3.0, 1.0, 2.0])
        second.weight[0] = torch.tensor([1.0, 1.0, 0.0])
        second.weight[1] = torch.tensor([0.0, 0.0, 2.0])
    model[1] = nn.Identity()
    return model


class Differences(nn.Module):
    """Two layers of unlike scale share row 0, in weights and gradients: what reads their difference rests there."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.other, self.read = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(3, 2)
        with torch.no_grad():
            self.other.weight.mul_(50.0)
            for p in (self.one, self.other):
                p.weight[0], p.bias[0] = torch.tensor([0.1, 0.2, 0.3, 0.4]), 0.5

    def forward(self, x):
        one, other = self.one(x), self.other(x)
        return one + other, self.read((one - other).detach())


CASES = [
    ("healthy", lambda: net(4, 6, 3), 4, {}, ["_coarse"]),
    ("additive", lambda: net(4, 6, 3), 4, {"update": "additive"}, ["_point"]),
    ("float64", lambda: net(4, 6, 3).double(), 4, {}, ["_point"]),
    ("bfloat16", lambda: net(4, 6, 3).bfloat16(), 4, {}, ["_coarse"]),
    ("an optimizer that is additive", lambda: net(4, 6, 3), 4,
     {"optimizer": lambda p: torch.optim.SGD(p, lr=0.1)}, ["_point"]),
]  # fmt: skip


@pytest.mark.parametrize(("build", "size", "kwargs", "wanted"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])  # fmt: skip
def test_where_it_starts(build, size, kwargs, wanted, monkeypatch) -> None:
    model = build()
    inputs = torch.zeros(5, size, dtype=next(model.parameters()).dtype)
    seen = looks(monkeypatch)
    assert lockstep.audit(model, inputs, **kwargs).ok
    assert list(dict.fromkeys(seen)) == wanted


def test_small_networks_are_looked_at_as_they_are(monkeypatch) -> None:
    monkeypatch.setattr(training, "MANY", 1000)
    seen = looks(monkeypatch)
    lockstep.audit(net(4, 6, 3), torch.zeros(5, 4))
    assert seen == ["_point"]


def test_what_does_not_train_keeps_its_numbers() -> None:
    found = lockstep.audit(with_frozen_numbers(), torch.zeros(5, 5))
    assert found.layers["2"].classes == ((0, 1),)


def test_frozen_numbers_made_coarse_would_be_seen(monkeypatch) -> None:
    monkeypatch.setattr(Field, "embed", lambda f, x: f.coarse(x).float())
    with pytest.raises(AssertionError, match="assert"):
        test_what_does_not_train_keeps_its_numbers()


def test_equal_entries_of_different_tensors_stay_equal() -> None:
    found = lockstep.audit(Differences(), torch.zeros(5, 4))
    assert {entry.parameter: entry.count for entry in found.frozen} == {"read.weight": 2}


def test_a_scale_for_each_tensor_would_be_seen(monkeypatch) -> None:
    def scaled(f: Field, x: torch.Tensor) -> torch.Tensor:
        return (x.detach() * (100 / x.abs().max())).to(coarse.BYTE)

    monkeypatch.setattr(Field, "coarse", scaled)
    with pytest.raises(AssertionError, match="weight"):
        test_equal_entries_of_different_tensors_stay_equal()


def test_weights_of_a_layer_called_in_unusual_ways(monkeypatch) -> None:
    """Views, writes in place and ops without bytes see residues."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.a = nn.Linear(6, 6)
            self.b = nn.Parameter(torch.randn(6, 6))
            self.c = nn.Conv2d(2, 4, 3, padding=1, groups=2)
            self.d = nn.ConvTranspose2d(4, 2, 3)
            self.e = nn.Conv1d(3, 4, 3)

        def forward(self, x):
            y = x @ self.b[:, ::2] + torch.einsum("ni,ij->nj", x, self.b.tril())[:, ::2]
            y = torch.cat([self.a(x), y, (self.a.weight * self.b).sum(1).expand(len(x), 6)], 1)
            z = self.d(torch.relu(self.c(y[:, :8].reshape(-1, 2, 2, 2))))
            return y, z, self.e(y.reshape(-1, 3, 5))

    found = lockstep.audit(Odd(), torch.zeros(5, 6))
    monkeypatch.setattr(training, "MANY", 1 << 30)
    exact = lockstep.audit(Odd(), torch.zeros(5, 6))
    assert (found.layers, found.locked, found.frozen) == (exact.layers, exact.locked, exact.frozen)
    assert found.findings == exact.findings


class Unlike(nn.Module):
    """Two rows of numbers ``a`` and ``b``, all unlike one another but often one byte, and what ``made`` makes of them."""

    def __init__(self, made) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = (nn.Parameter(torch.randn(300, 4)) for _ in range(3))
        self.read, self.made = nn.Linear(300, 2), made

    def forward(self, x):
        return self.read(torch.tanh(x @ self.made(self, self.a, self.b, self.c).t()))


def branching(model, a, b, c):
    return c + b if bool((a == b).any()) else c


def asserting(model, a, b, c):
    assert not bool((a == b).any())
    return c + a


def written(model, a, b, c):
    with torch.no_grad():
        c[0] = c[1]
    return c


def convolved(model, a, b, c):
    return torch.conv2d(a.view(1, 3, 20, 20), b.view(3, 100, 2, 2)[:, :3]).view(-1)[:4] + c


def leaky(x):
    return nn.functional.leaky_relu(x, 0.25)


MEETINGS = {
    "a quotient": lambda model, a, b, c: c + (a - b) / (a - b),
    "a mask of equals": lambda model, a, b, c: c + b * (a == b.flip(0)),
    "greater or less": lambda model, a, b, c: a + c * ((a > b) * 1.0 + (b > a) * 1.0 - 1),
    "both sides of a kink": lambda model, a, b, c: c + leaky(a - b) - leaky(b - a) - 1.25 * (a - b),
    "an order": lambda model, a, b, c: c + a.sort(1)[0] - a.sort(1, descending=True)[0].flip(1),
    "a branch": branching,
    "an error": asserting,
    "weights written in place": written,
    "a convolution of a parameter": convolved,
}


@pytest.mark.parametrize("made", MEETINGS.values(), ids=list(MEETINGS))
def test_unlike_numbers_of_one_byte(made, monkeypatch) -> None:
    """What hangs on two values being equal is not read off a coarse point."""
    found = lockstep.audit(Unlike(made), torch.zeros(5, 4))
    monkeypatch.setattr(training, "MANY", 1 << 30)
    exact = lockstep.audit(Unlike(made), torch.zeros(5, 4))
    assert (found.layers, found.locked, found.frozen) == (exact.layers, exact.locked, exact.frozen)
    assert (found.findings, found.because) == (exact.findings, exact.because)


class Narrow(nn.Module):
    """Two readers of width 1 with equal weights, and one whose features are switched off: matrices of a single row."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.o, self.u = nn.Linear(8, 6), nn.Linear(2, 3), nn.Linear(1, 3)
        self.v = nn.Parameter(torch.randn(6, 1))
        self.w = nn.Parameter(self.v.detach().clone())
        self.z = nn.Parameter(torch.randn(6, 1))
        self.register_buffer("gate", torch.zeros(6))
        with torch.no_grad():
            self.o.weight[:, 1] = self.o.weight[:, 0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.a(x))
        return self.o(torch.tanh(torch.cat([h @ self.v, h @ self.w], -1))) + self.u(
            (h * self.gate) @ self.z
        )


def test_a_single_row_of_bytes() -> None:
    """PyTorch's product of bytes reads one row with the strides of a column wrongly."""
    torch.manual_seed(0)
    found = lockstep.audit(Narrow(), torch.zeros(5, 8))
    assert {e.parameter: e.count for e in found.frozen} == {"z": 6, "u.weight": 3}
    assert len(found.locked) == 1


def test_small_numbers_are_not_zero() -> None:
    """A weight of 1e-40 or 1e-6 has a byte of its own sign."""
    model = net(4, 6, 3)
    with torch.no_grad():
        model[2].weight.mul_(1e-6)
        model[0].weight.mul_(1e-40)
    assert bool(Field(FIRST).coarse(model[0].weight).all())
    assert bool(Field(FIRST).coarse(model[2].weight).all())
