"""The grades of lock under optimizers (F4, F5) and zero and constant starts (F10), trained by ``train``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median

import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.nn import functional as F

from lockstep.explain import History, train

from .nets import MODULES

O = torch.optim  # noqa: E741
SGD = partial(O.SGD, lr=0.05)
MOMENTUM = partial(O.SGD, lr=0.05, momentum=0.9, weight_decay=1e-2)
SGD_L2 = partial(O.SGD, lr=0.05, weight_decay=1e-2)
ADAM, ADAMW = partial(O.Adam, lr=0.01), partial(O.AdamW, lr=0.01)
ADAM_L2 = partial(O.Adam, lr=0.01, weight_decay=1e-2)
ADAGRAD, RPROP = partial(O.Adagrad, lr=0.01), partial(O.Rprop, lr=0.001)
ADAGRAD_L2 = partial(O.Adagrad, lr=0.01, weight_decay=1e-2)
# Where this version of PyTorch has them.
YOUNGER = {
    name: partial(getattr(O, name), lr=0.01) for name in ("Muon", "Lion") if hasattr(O, name)
}
Relation = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
TWIN: Relation = lambda w, o: (w, o)  # noqa: E731
MIRROR: Relation = lambda w, o: (-w, -o)  # noqa: E731
PROPORTIONAL: Relation = lambda w, o: (2 * w, 2 * o)  # noqa: E731
HALF: Relation = lambda w, o: (2 * w, o / 2)  # noqa: E731
HALF_MIRROR: Relation = lambda w, o: (-w, o)  # noqa: E731


def related(
    relation: Relation,
    activation: str,
    optimizer: Callable[..., torch.optim.Optimizer],
    steps: int,
    *,
    l1: float = 0.0,
    dropout: float = 0.0,
    seed: int = 0,
) -> tuple[float, ...]:
    """Deviation of unit 1 from the relation to unit 0 after 1 and after all steps: 4-8-2, 64 samples."""
    torch.manual_seed(seed)
    muon = "Muon" in str(optimizer)  # it takes matrices only
    hidden = [MODULES[activation]()] + ([nn.Dropout(dropout)] if dropout else [])
    net = nn.Sequential(
        nn.Linear(4, 8, bias=not muon), *hidden, nn.Linear(8, 2, bias=not muon)
    ).double()
    first, last = net[0], net[-1]
    for parameter in net.parameters():  # the size of a break follows the start: N(0, 1/fan_in)
        spread = parameter.shape[-1] ** -0.5 if parameter.dim() == 2 else 0.0
        nn.init.normal_(parameter, 0, spread)
    with torch.no_grad():
        w, o = relation(first.weight[0], last.weight[:, 0])
        first.weight[1], last.weight[:, 1] = w.clone(), o.clone()
        if first.bias is not None:
            first.bias[1] = relation(first.bias[0], o)[0]
    x = torch.randn(64, 4, dtype=torch.float64)
    y = (x @ torch.randn(4, 2, dtype=torch.float64)).sin()

    def loss(out: Tensor, target: Tensor) -> Tensor:
        penalty = sum(p.abs().sum() for p in net.parameters()) if l1 else 0.0
        return F.mse_loss(out, target) + l1 * penalty

    history = train(net, x, y, loss=loss, optimizer=optimizer, steps=steps, progress=False)
    found = []
    for row in (1, -1):
        incoming, outgoing = (history.parameter(f"{n}.weight")[row] for n in (0, len(net) - 1))
        w, o = relation(incoming[0], outgoing[:, 0])
        found.append(float(max((incoming[1] - w).abs().max(), (outgoing[:, 1] - o).abs().max())))
    return tuple(found)


EVERY = [SGD, MOMENTUM, ADAM, ADAMW, ADAM_L2, ADAGRAD_L2, RPROP]
KEPT = [
    *((TWIN, "tanh", optimizer, 0.0) for optimizer in (*EVERY, ADAGRAD, *YOUNGER.values())),
    (TWIN, "tanh", SGD, 1e-2),
    *((MIRROR, "tanh", optimizer, 0.0) for optimizer in EVERY),
    (MIRROR, "tanh", SGD, 1e-2),
    *((PROPORTIONAL, "relu", optimizer, 0.0) for optimizer in (SGD, SGD_L2, MOMENTUM)),
]


@pytest.mark.parametrize("relation, activation, optimizer, l1", KEPT)
def test_f4_kept_exactly(
    relation: Relation,
    activation: str,
    optimizer: Callable[..., torch.optim.Optimizer],
    l1: float,
) -> None:
    assert related(relation, activation, optimizer, 200, l1=l1) == (0, 0)


# relation, activation, optimizer, options, deviation after step 1 and after step 10
BROKEN = [
    (TWIN, "tanh", SGD, {"dropout": 0.2}, 2.1e-3, 4.9e-3),
    (MIRROR, "tanh", SGD, {"dropout": 0.2}, 2.1e-3, 4.9e-3),
    (PROPORTIONAL, "relu", ADAM, {}, 1.0e-2, 9.3e-2),
    (PROPORTIONAL, "relu", RPROP, {}, 1e-3, None),
    (PROPORTIONAL, "relu", ADAGRAD_L2, {}, 1e-2, None),
    (PROPORTIONAL, "relu", SGD, {"l1": 1e-2}, 5e-4, None),
    (HALF_MIRROR, "tanh", SGD, {}, 2.9e-2, None),
    (HALF, "relu", SGD, {}, 1.4e-2, None),
    (MIRROR, "sigmoid", SGD, {}, 2.0e-2, None),
]


@pytest.mark.parametrize("relation, activation, optimizer, options, first, tenth", BROKEN)
def test_f4_broken_within_a_factor_of_three(
    relation: Relation,
    activation: str,
    optimizer: Callable[..., torch.optim.Optimizer],
    options: dict[str, float],
    first: float,
    tenth: float | None,
) -> None:
    found = related(relation, activation, optimizer, 10, **options)
    assert first / 3 < found[0] < 3 * first
    assert tenth is None or tenth / 3 < found[1] < 3 * tenth


def test_f4_gelu_is_not_odd() -> None:
    """The break is the even part of GELU, quadratic in the weights: one start in ten is off by more than a factor of 3.

    So the published size is held against the median of starts; examples/papers/grades.py has all rows so.
    """
    sizes = sorted(related(MIRROR, "gelu", SGD, 1, seed=seed)[0] for seed in range(21))
    assert 4.7e-3 / 3 < median(sizes) < 3 * 4.7e-3
    assert sizes[-1] > 3 * 4.7e-3


def balanced() -> tuple[nn.Sequential, Tensor, Tensor]:
    """F5: 4-6-6-2 tanh in integers over 64, equal block sums and no automorphism."""
    net = zoo.balanced()[0].double()
    n = torch.arange(1, 65, dtype=torch.float64)
    x = torch.stack([n.sin(), (2 * n).cos(), (3 * n + 1).sin(), (5 * n + 2).cos()], 1)
    return net, x, torch.stack([x.sum(1).sin(), (x[:, 0] - x[:, 3]).cos()], 1)


def gaps(history: History, row: int) -> list[float]:
    """Largest activation difference inside a block of three, in both hidden layers."""
    blocks = [history.activations(layer)[row].reshape(64, 2, 3) for layer in ("0", "2")]
    return [float((b - b[..., :1]).abs().max()) for b in blocks]


# optimizer, L1 penalty, gap in layers 1/2 at step 1 and at step 10; None: below 1e-15 at both
F5 = [
    (SGD, 0.0, None),
    (partial(O.SGD, lr=0.02, momentum=0.9), 0.0, None),
    (SGD_L2, 0.0, None),
    (ADAM, 0.0, None),
    (partial(O.AdamW, lr=0.01, weight_decay=0.1), 0.0, None),
    (partial(O.RMSprop, lr=0.001), 0.0, None),
    (ADAM_L2, 0.0, ((6e-17, 2e-2), (3e-3, 1e-1))),
    (ADAGRAD_L2, 0.0, ((0.0, 2e-2), (1e-2, 8e-2))),
    (SGD, 1e-2, ((0.0, 1e-3), (8e-4, 1e-2))),
]


@pytest.mark.parametrize("optimizer, l1, broken", F5)
def test_f5_balanced_locks(
    optimizer: Callable[..., torch.optim.Optimizer],
    l1: float,
    broken: tuple[tuple[float, float], tuple[float, float]] | None,
) -> None:
    net, x, y = balanced()

    def loss(out: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(out, target) + l1 * sum(p.abs().sum() for p in net.parameters())

    history = train(net, x, y, loss=loss, optimizer=optimizer, steps=10, progress=False)
    for row, stated in zip((1, 10), broken or (None, None), strict=True):
        for layer, gap in enumerate(gaps(history, row)):
            if stated is None or stated[layer] < 1e-15:
                assert gap < 2e-15
            else:
                assert stated[layer] / 3 < gap < 3 * stated[layer]


def started(fill: float, *layers: nn.Module, keep: str = " ") -> nn.Sequential:
    """All parameters at one value, but for those whose name begins with ``keep``."""
    torch.manual_seed(0)
    net = nn.Sequential(*layers).double()
    for name, parameter in net.named_parameters():
        if not name.startswith(keep):
            nn.init.constant_(parameter, fill)
    return net


def samples(inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """64 standard normal samples and smooth targets."""
    x = torch.randn(64, inputs, dtype=torch.float64)
    return x, (x @ torch.randn(inputs, outputs, dtype=torch.float64)).sin() + 0.5


@pytest.mark.parametrize("activation, moves", [("tanh", False), ("relu", False), ("sigmoid", True)])
def test_f10_zero_start(activation: str, moves: bool) -> None:
    net = started(0.0, nn.Linear(4, 3), MODULES[activation](), nn.Linear(3, 2))
    x, y = samples(4, 2)
    sgd = partial(O.SGD, lr=0.1)
    history = train(net, x, y, loss=F.mse_loss, optimizer=sgd, steps=100, progress=False)
    assert history.parameter("2.bias")[-1].abs().min() > 1e-2
    rows = history.parameter("0.weight")
    assert torch.equal(rows, rows[:, :1].expand_as(rows))
    still = [not history.parameter(n).any() for n in ("0.weight", "0.bias", "2.weight")]
    assert still == [not moves] * 3


def test_f10_constant_start_is_one_class_a_layer() -> None:
    net = started(0.1, nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    x, y = samples(4, 2)
    history = train(net, x, y, loss=F.mse_loss, optimizer=SGD, steps=50, progress=False)
    for layer in ("0", "2"):
        a = history.activations(layer)[-1]
        assert float((a - a[:, :1]).abs().max()) < 1e-14
        assert history.effective_width(layer)[-1] == 1
    first, last = history.parameter("0.weight")[-1], history.parameter("4.weight")[-1]
    assert float((first[0, 0] - first[0, 1:]).abs().max()) > 1e-2  # inputs differ
    assert float((last[0] - last[1]).abs().max()) > 1e-2  # outputs differ


def test_f10_constant_start_with_dropout_separates() -> None:
    net = started(0.1, nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 2))
    x, y = samples(4, 2)
    history = train(net, x, y, loss=F.mse_loss, optimizer=SGD, steps=3, progress=False)
    rows = history.parameter("0.weight")[-1]
    assert 3.1e-3 / 3 < float((rows - rows[:1]).abs().max()) < 3 * 3.1e-3


class Recurrent(nn.Module):
    """LSTM 4-5, the last state into a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


@pytest.mark.parametrize("random_head", [False, True])
def test_f10_constant_lstm(random_head: bool) -> None:
    torch.manual_seed(0)
    net = Recurrent().double()
    for name, parameter in net.named_parameters():
        if not (random_head and name == "head.weight"):
            nn.init.constant_(parameter, 0.1)
    x = torch.randn(64, 6, 4, dtype=torch.float64)
    y = x.sum((1, 2)).sin().reshape(-1, 1).expand(64, 2)
    history = train(net, x, y, loss=F.mse_loss, optimizer=SGD, steps=3, progress=False)
    gates = history.parameter("lstm.weight_ih_l0")[-1].reshape(4, 5, 4)
    apart = float((gates - gates[:, :1]).abs().max())
    assert 9.8e-3 / 3 < apart < 3 * 9.8e-3 if random_head else apart < 1e-15
    assert float((gates[0] - gates[1]).abs().max()) > 1e-6  # the gates themselves differ
