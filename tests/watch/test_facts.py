"""Published and measured numbers (FACTS, the ones marked watch), reproduced by a watch.

Numbers that hang on a random stream have the tolerance that the fact states; which shapes round unequally depends
on the machine, so there the watch is compared with what the very run did.
"""

from __future__ import annotations

import itertools
import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from watch.runs import digits, mlp, steps

from lockstep import audit, watch
from lockstep.watch import activity

SGD, ADAM = torch.optim.SGD, torch.optim.Adam


def cloned(base: nn.Sequential, dropout: float = 0.0) -> nn.Sequential:
    """Every hidden unit twice, outgoing weights halved: the same function."""
    layers: list[nn.Module] = []
    dense = [m for m in base if isinstance(m, nn.Linear)]
    for n, layer in enumerate(dense):
        wide = 2 if layer is not dense[-1] else 1
        fan = 2 if n else 1
        copy = nn.Linear(layer.in_features * fan, layer.out_features * wide).double()
        with torch.no_grad():
            copy.weight.copy_(layer.weight.repeat(wide, fan) / fan)
            copy.bias.copy_(layer.bias.repeat(wide))
        layers += [copy, nn.Tanh(), nn.Dropout(dropout)][: 3 if layer is not dense[-1] else 1]
    return nn.Sequential(*layers)


def add_noise(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Every gradient entry gets normal noise of ``share`` of the whole gradient's norm."""
    generator = torch.Generator().manual_seed(0)
    parameters = optimizer.param_groups[0]["params"]

    def noise(*_) -> None:
        norm = torch.cat([p.grad.flatten() for p in parameters]).norm()
        for p in parameters:
            p.grad += share * norm * torch.randn(p.shape, generator=generator, dtype=p.dtype)

    optimizer.register_step_pre_hook(noise)


F27 = {  # after 500 and 2000 updates
    "plain": (0.0, 0.0, 1.0, 1.0),
    "noise": (0.01, 0.0, 0.9998, 0.9995),
    "dropout": (0.0, 0.1, 0.9989, 0.9985),
}


@pytest.mark.parametrize("kind", F27)
def test_f27_cloning_r2_and_f28_dormancy_is_blind_to_copies(kind: str) -> None:
    noise, dropout, early, late = F27[kind]
    x, y = digits(torch.float64)
    base = mlp(64, 16, 16, 10, act=nn.Tanh).double()
    for _ in steps(base, SGD(base.parameters(), 0.05), 400, x, y):
        pass
    net = cloned(base, dropout)
    optimizer = SGD(net.parameters(), 0.05)
    if noise:
        add_noise(optimizer, noise)
    with watch(net, every=500, probe=x) as w:
        for _ in steps(net, optimizer, 2000, x, y):
            pass
    found = w.column("0", "cloning_r2")
    assert found[0] == 1.0
    assert (found[500], found[2000]) == pytest.approx((early, late), abs=0.002)
    first = w["0"][0]
    assert (first["dormant"], first["distinct"], first["width"]) == (0.0, 16, 32)
    if kind == "plain":
        assert (found[2000], w["0"][-1]["spread"], w.events) == (1.0, 0.0, [])
    else:
        assert {e.cause for e in w.events} == {"gradients"}
        assert {e.step for e in w.events} == {1}


def test_f28_dormancy_scores_average_one() -> None:
    h = torch.rand(50, 30).double() ** 4
    h[:, 3] = 0
    assert float(activity.dormancy_scores(h).mean()) == pytest.approx(1.0)
    assert activity.dormant(h, 0.0).nonzero().flatten().tolist() == [3]


def modular(equal_readout: bool, seed: int = 0) -> tuple[nn.Sequential, Tensor, Tensor]:
    """(a + b) mod 97 from two one-hots, 194-16-97 ReLU; ``W1`` constant."""
    torch.manual_seed(seed)
    a, b = (t.flatten() for t in torch.meshgrid(*2 * [torch.arange(97)], indexing="ij"))
    kept = torch.randperm(97 * 97)[: int(0.8 * 97 * 97)]
    x = torch.cat([F.one_hot(a, 97), F.one_hot(b, 97)], 1).float()
    net = mlp(194, 16, 97, seed=seed)
    for layer in (net[0], net[2]):
        layer.register_parameter("bias", None)
    with torch.no_grad():
        net[0].weight.fill_(194**-0.5)
        net[2].weight.uniform_(-0.25, 0.25)
        if equal_readout:
            net[2].weight.copy_(net[2].weight[:, :1].expand(-1, 16))
    return net, x[kept], ((a + b) % 97)[kept]


def train_modular(net: nn.Sequential, x: Tensor, y: Tensor, epochs: int, every: int):
    optimizer, batches = SGD(net.parameters(), 0.1), math.ceil(len(x) / 256)
    with watch(net, every=every * batches) as w:
        for _ in range(epochs):
            for chosen in torch.randperm(len(x)).split(256):
                optimizer.zero_grad()
                F.cross_entropy(net(x[chosen]), y[chosen]).backward()
                optimizer.step()
    return w, {step // batches: value for step, value in w.column("0", "cosine").items()}


def test_f26_equal_readout_keeps_the_units_together() -> None:
    w, cosine = train_modular(*modular(equal_readout=True), epochs=20, every=10)
    assert cosine == pytest.approx({0: 1.0, 10: 1.0, 20: 1.0}, abs=1e-6)
    assert set(w.column("0", "distinct").values()) == {1}
    assert set(w.column("0", "spread").values()) == {0.0}
    assert w.events == []


@pytest.mark.slow
def test_f26_random_readout_takes_them_apart() -> None:
    runs = [train_modular(*modular(False, seed), epochs=400, every=100) for seed in range(4)]
    mean = {epoch: sum(c[epoch] for _, c in runs) / len(runs) for epoch in runs[0][1]}
    want = {0: 1.0, 100: 0.922, 200: 0.760, 300: 0.589, 400: 0.444}
    assert mean == pytest.approx(want, abs=0.05)
    w = runs[0][0]
    assert [(e.step, e.cause, len(e.units)) for e in w.events] == [(1, "gradients", 16)]


class Mixture(nn.Module):
    """Log-likelihood of four Gaussians that start on one point."""

    def __init__(self) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.full((4, 5), 0.3, dtype=torch.float64))
        self.logits = nn.Parameter(torch.zeros(4, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        squared = (x[:, None] - self.mu).square().sum(-1)
        return -(torch.logsumexp(F.log_softmax(self.logits, 0) - squared / 2, 1)).mean()


@pytest.mark.parametrize("certified", [False, True])
@pytest.mark.parametrize("kind, make, count", [("sgd", SGD, 1000), ("adam", ADAM, 60)])
def test_f15_escape_by_rounding_is_called_rounding(kind, make, count, certified: bool) -> None:
    torch.manual_seed(0)
    model, x = Mixture(), 2 * torch.randn(32, 5, dtype=torch.float64)
    groups = audit(model, x) if certified else None
    optimizer = make(model.parameters(), lr=0.05)
    with watch(model, every=count, groups=groups) as w:
        for _ in range(count):
            optimizer.zero_grad()
            model(x).backward()
            optimizer.step()
    mu = model.mu.detach()
    assert float((mu.amax(0) - mu.amin(0)).max()) > 0.1  # it did escape
    assert {e.cause for e in w.events} == {"rounding"}
    assert [e.layer for e in w.events if e.layer == "mu"] == ["mu"]
    assert w["mu"][0]["distinct"] == 1
    assert w["mu"][-1]["distinct"] > 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [16, 33, 65])
def test_f31_constant_starts_drift_by_rounding_or_not_at_all(dtype, width: int) -> None:
    net = mlp(10, width, width, 1, act=nn.Tanh).to(dtype)
    for p in net.parameters():
        nn.init.constant_(p, 0.1)
    x = torch.randn(64, 10, dtype=dtype)
    y, optimizer = torch.sin(x.sum(1, keepdim=True)), ADAM(net.parameters(), 0.01)
    with watch(net, every=100) as w:
        for _ in range(200):
            optimizer.zero_grad()
            F.mse_loss(net(x), y).backward()
            optimizer.step()
    for layer in ("0", "2"):
        dense = net[int(layer)]
        equal = all(bool((p == p[0]).all()) for p in (dense.weight, dense.bias))
        apart = [e for e in w.events if e.layer == layer and e.kind == "separated"]
        assert (w[layer][-1]["distinct"] == 1) == equal == (not apart)
        assert all(e.cause == "rounding" for e in apart)
    if width == 16:
        assert [e for e in w.events if e.kind == "separated"] == []


def test_f30_equal_units_with_unequal_bits_are_reported() -> None:
    reported = []
    for inputs, units, samples in itertools.product([31, 64], [16, 33, 66], [50, 51]):
        net = mlp(inputs, units, 3, act=nn.Tanh)
        with torch.no_grad():
            half = units // 2
            net[0].weight[half : 2 * half] = net[0].weight[:half].clone()
            net[0].bias[half : 2 * half] = net[0].bias[:half].clone()
        groups = {"0": [(i, i + half) for i in range(half)]}
        x = torch.randn(samples, inputs)
        z = net[0](x).detach()
        gap = float((z[:, :half] - z[:, half : 2 * half]).abs().max())
        with watch(net, every=1, groups=groups) as w:
            net(x).square().mean().backward()
            SGD(net.parameters(), 0.0).step()
        events = [e for e in w.events if e.kind == "bits"]
        assert len(events) == (gap > 0), (inputs, units, samples, gap)
        assert all(e.cause == "rounding" for e in events)
        reported.append(gap > 0)
    assert w["0"][0]["cloning_r2"] == pytest.approx(1.0)


class Attention(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(16, 4, batch_first=True, dtype=dtype)
        self.out = nn.Linear(16, 3, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.attn(x, x, x, need_weights=False)[0])


F11 = {
    "adam, float32": (torch.float32, ADAM, 1e-4, 1e-2),
    "adam, float64": (torch.float64, ADAM, 1e-14, 1e-10),
    "sgd, float32": (torch.float32, SGD, 0.0, 1e-9),
}


@pytest.mark.parametrize("case", F11)
def test_f11_the_key_bias_moves_under_adam_though_its_gradient_is_rounding(case: str) -> None:
    dtype, make, least, most = F11[case]
    torch.manual_seed(0)
    model, x = Attention(dtype), torch.randn(8, 6, 16, dtype=dtype)
    optimizer, y = make(model.parameters(), lr=1e-3), torch.randn(8, 6, 3, dtype=dtype)
    with watch(model, every=50) as w:
        for _ in range(100):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
    drift = w["attn[k]"][-1]["drift"]
    assert least <= drift <= most
    assert drift <= float(model.attn.in_proj_bias.detach()[16:32].abs().max())
    assert w["attn[q]"][-1]["drift"] is None
    told = [e.layer for e in w.events if e.kind == "drift"]
    assert told == (["attn[k]"] if case == "adam, float32" else [])


def test_f25_condensed_units_are_parallel_and_not_called_twins() -> None:
    torch.manual_seed(0)
    x = torch.rand(80, 5) * 6 - 4
    y = 3.5 * torch.sin(5 * x + 1).sum(1, keepdim=True)
    net = mlp(5, 50, 1, act=nn.Tanh)
    for p in net.parameters():
        nn.init.normal_(p, 0, 0.005)
    optimizer = ADAM(net.parameters(), 1e-3)
    with watch(net, every=50) as w:
        for _ in range(100):
            optimizer.zero_grad()
            (F.mse_loss(net(x), y) / 2).backward()
            optimizer.step()
    found = w.column("0", "abs_cosine")
    assert found[0] == pytest.approx(0.34, abs=0.03)
    assert found[100] > 0.94
    assert w["0"][-1]["distinct"] == w["0"][-1]["distinct_within"] == 50
    assert w.events == []


@pytest.mark.parametrize("make", [SGD, partial(ADAM, eps=1e-8)])
def test_f16_unequal_outgoing_weights_are_gradients_however_small_the_gap(make) -> None:
    net = mlp(4, 8, 2, act=nn.Tanh).double()
    with torch.no_grad():
        net[0].weight[1], net[0].bias[1] = net[0].weight[0], net[0].bias[0]
        net[2].weight[:, 1] = 2 * net[2].weight[:, 0]
    x = torch.randn(64, 4, dtype=torch.float64)
    y, optimizer = torch.sin(x[:, :2]), make(net.parameters(), lr=0.01)
    with watch(net, every=10) as w:
        for _ in range(3):
            optimizer.zero_grad()
            F.mse_loss(net(x), y).backward()
            optimizer.step()
    assert [(e.step, e.units, e.cause) for e in w.events] == [(1, (0, 1), "gradients")]
