"""Published and measured trainings of small networks, reproduced by ``train`` within their tolerance."""

from __future__ import annotations

import importlib
import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lockstep.explain import History, train

from .nets import dense

XNOR = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64)
TRUTH = torch.tensor([[1], [0], [0], [1]], dtype=torch.float64)


def xnor(shifts: tuple[float, ...], epochs: int) -> History:
    """F21: sigmoid 2-4-1, one SGD step a sample, gradient of (t - y)²/2, learning rate 1."""
    net = dense([2, 4, 1], ["sigmoid", "sigmoid"])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(-1)
        net[2].weight += torch.tensor(shifts)
    sgd = partial(torch.optim.SGD, lr=1.0)
    return train(
        net,
        XNOR,
        TRUTH,
        loss=lambda out, y: ((out - y) ** 2).sum() / 2,
        optimizer=sgd,
        steps=4 * epochs,
        batch_size=1,
        shuffle=False,
    )


def error_after(history: History, epoch: int) -> float:
    """Mean of (t - y)² over the four samples after an epoch."""
    assert history.model is not None
    out = torch.func.functional_call(history.model, history.state(4 * epoch), (XNOR,))
    return F.mse_loss(out, TRUTH).item()


def test_f21_xnor_learns_after_728_epochs() -> None:
    history = xnor((-0.25, -0.25, -0.25, 0.75), 728)
    assert error_after(history, 727) > 0.01 >= error_after(history, 728)
    hidden = history.parameter("0.weight")
    assert torch.equal(hidden[:, 0], hidden[:, 1]) and torch.equal(hidden[:, 0], hidden[:, 2])
    assert not torch.equal(hidden[-1, 0], hidden[-1, 3])


@pytest.mark.slow
def test_f21_without_the_shift_it_never_learns() -> None:
    history = xnor((0.0, 0.0, 0.0, 0.0), 5000)
    assert error_after(history, 5000) == pytest.approx(0.1679, abs=1e-4)
    hidden = history.parameter("0.weight")
    assert torch.equal(hidden, hidden[:, :1].expand_as(hidden))


# optimizer, gap of the rows after one step (order of magnitude), at r = 2
F16 = [
    (partial(torch.optim.SGD, lr=0.05), 7.9e-3),
    (partial(torch.optim.Adam, lr=0.01), 9.5e-10),
    (partial(torch.optim.Adam, lr=0.01, eps=1e-3), 9.2e-5),
    (partial(torch.optim.Rprop, lr=0.01), 0.0),
]


@pytest.mark.parametrize("optimizer, gap", F16)
def test_f16_parallel_gradients(optimizer: partial[torch.optim.Optimizer], gap: float) -> None:
    net = dense([4, 8, 2], ["tanh", "identity"], bias=False)
    with torch.no_grad():
        net[0].weight[1] = net[0].weight[0]
        net[2].weight[:, 1] = 2 * net[2].weight[:, 0]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 4, generator=generator, dtype=torch.float64)
    y = (x @ torch.randn(4, 2, generator=generator, dtype=torch.float64)).sin()
    history = train(net, x, y, loss=F.mse_loss, optimizer=optimizer, steps=1)
    rows = history.parameter("0.weight")[-1]
    found = float((rows[0] - rows[1]).abs().max())
    assert found == 0 if gap == 0 else gap / 10 < found < gap * 10


def mod97(equal: bool, epochs: int) -> History:
    """F26: (a + b) mod 97 from two one-hots, 194-16-97, constant W1, SGD 0.1, batches of 256."""
    pairs = torch.tensor(list(itertools.product(range(97), range(97))))
    pairs = pairs[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))[:7527]]
    x = torch.cat([F.one_hot(pairs[:, k], 97) for k in range(2)], 1).double()
    y = pairs.sum(1) % 97
    net = nn.Sequential(nn.Linear(194, 16), nn.ReLU(), nn.Linear(16, 97)).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net[0].weight.fill_(194**-0.5)
        read_out = torch.rand(97, 16, generator=generator, dtype=torch.float64) - 0.5
        net[2].weight.copy_(read_out[:, :1].expand(97, 16) if equal else read_out / 2)
    return train(
        net,
        x,
        y,
        loss=F.cross_entropy,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        steps=30 * epochs,
        batch_size=256,
        record_every=30,
    )


def cosine(rows: Tensor) -> float:
    """Mean pairwise cosine of the rows (U, I)."""
    unit = rows / rows.norm(dim=1, keepdim=True)
    upper = (unit @ unit.T)[torch.ones(len(rows), len(rows)).triu(1).bool()]
    return float(upper.mean())


@pytest.mark.slow
def test_f26_mod_97_control() -> None:
    rows = mod97(True, 50).parameter("0.weight")
    assert torch.equal(rows, rows[:, :1].expand_as(rows))
    assert cosine(rows[-1]) == pytest.approx(1)


@pytest.mark.slow
def test_f26_mod_97_random_read_out() -> None:
    rows = mod97(False, 400).parameter("0.weight")
    found = [cosine(rows[epoch]) for epoch in (0, 100, 200, 300, 400)]
    assert found == pytest.approx([1.0, 0.922, 0.760, 0.589, 0.444], abs=0.05)


def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits / 16, the first 1500 of a permutation."""
    datasets = importlib.import_module("sklearn.datasets")
    x, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))[:1500]
    return torch.tensor(x[order] / 16), torch.tensor(y[order])


def cloned(blocks: float) -> tuple[nn.Sequential, Tensor, Tensor]:
    """F3: 64-12-12-10 trained 400 steps, every hidden unit cloned three times, with centred noise."""
    x, y = digits()
    torch.manual_seed(0)
    base = dense([64, 12, 12, 10], ["tanh", "tanh", "identity"])
    with torch.no_grad():
        for k in (0, 2, 4):
            base[k].weight.normal_(0, (2 / base[k].in_features) ** 0.5)
    sgd = partial(torch.optim.SGD, lr=0.05)
    train(base, x, y, loss=F.cross_entropy, optimizer=sgd, steps=400, batch_size=50)
    net = dense([64, 36, 36, 10], ["tanh", "tanh", "identity"])
    with torch.no_grad():
        for k in (0, 2, 4):
            weight, bias = base[k].weight, base[k].bias
            if k < 4:
                weight, bias = weight.repeat_interleave(3, 0), bias.repeat_interleave(3)
            if k > 0:
                weight = weight.repeat_interleave(3, 1) / 3
            net[k].weight.copy_(weight)
            net[k].bias.copy_(bias)
        noise = blocks * torch.randn(12, 3, 12, 3, dtype=torch.float64)
        noise -= noise.mean(1, keepdim=True)
        noise -= noise.mean(3, keepdim=True)
        net[2].weight += noise.reshape(36, 36)
    return net, x, y


def spread(history: History) -> float:
    """Largest difference inside a block of three after training."""
    a = torch.cat([history.activations(layer)[-1] for layer in ("0", "2")], 1)
    triples = a.reshape(len(a), -1, 3)
    return float((triples - triples[..., :1]).abs().max())


F3 = [
    (partial(torch.optim.SGD, lr=0.05), True),
    (partial(torch.optim.SGD, lr=0.05, weight_decay=1e-3), True),
    (partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=1e-3), True),
    (partial(torch.optim.Adam, lr=0.002), True),
    (partial(torch.optim.Adam, lr=0.002, weight_decay=1e-3), False),
    (partial(torch.optim.AdamW, lr=0.002, weight_decay=1e-2), True),
]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer, kept", F3)
@pytest.mark.extras
def test_f3_optimizer_and_partition(optimizer: partial[torch.optim.Optimizer], kept: bool) -> None:
    net, x, y = cloned(0.2)
    options = {"loss": F.cross_entropy, "optimizer": optimizer, "batch_size": 50}
    found = spread(train(net, x, y, steps=2000, record_every=2000, **options))  # type: ignore[arg-type]
    assert found < 1e-12 if kept else found > 1e-3


@pytest.mark.parametrize("optimizer, kept", F3[3:])
@pytest.mark.extras
def test_f3_the_break_is_immediate(optimizer: partial[torch.optim.Optimizer], kept: bool) -> None:
    net, x, y = cloned(0.2)
    history = train(net, x, y, loss=F.cross_entropy, optimizer=optimizer, batch_size=50, steps=1)
    found = spread(history)
    assert found < 1e-14 if kept else 6.7e-3 / 3 < found < 3 * 6.7e-3
