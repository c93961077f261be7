"""Published and measured numbers, by the public functions."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lockstep import audit, forecast, rounding

from .nets import difference, measured, problem, tied_net

SGD = torch.optim.SGD


# -- F15: locked, and unstable ----------------------------------------------------------------------


class Mixture(nn.Module):
    """log of a mixture of four equal unit Gaussians in five dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.full((4, 5), 0.3, dtype=torch.float64))
        self.logits = nn.Parameter(torch.zeros(4, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        far = (x[:, None] - self.mu).square().sum(-1) / 2
        return torch.logsumexp(self.logits.log_softmax(0) - far, 1)


def minus_mean(output: Tensor) -> Tensor:
    return -output.mean()


def test_f15_a_lock_can_be_unstable() -> None:
    """Locked for ever in exact arithmetic, and yet a small difference grows as forecast."""
    x = 2 * torch.randn(32, 5, dtype=torch.float64)
    net, make, steps, size = Mixture(), partial(SGD, lr=0.05), 100, 1e-8
    assert audit(net, x).layers["mu"].effective_width == 1
    start = torch.randn(4, 5, dtype=torch.float64)
    start = (start - start.mean(0)) / (start - start.mean(0)).norm()
    one = forecast(
        net, x, loss=minus_mean, optimizer=make, steps=steps, start={"mu": start}
    ).groups[0]
    assert one.verdict == "separates"
    assert torch.equal(net.mu, torch.full((4, 5), 0.3, dtype=torch.float64))
    with torch.no_grad():
        net.mu += size * start
    optimizer = make(net.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        minus_mean(net(x)).backward()
        optimizer.step()
    parts = [(p - p.mean(0)).detach().square().sum() for p in net.parameters()]
    seen = math.sqrt(sum(map(float, parts)))
    assert seen > 10 * size
    assert size * math.exp(one.log_growth[-1]) == pytest.approx(seen, rel=1e-3)


def test_f15_adam_meets_its_eps_where_gradients_are_zero() -> None:
    """The logits are frozen: their gradient is exactly 0, and Adam answers a difference by lr / eps, up to lr."""
    x = 2 * torch.randn(32, 5, dtype=torch.float64)
    found = forecast(
        Mixture(), x, loss=minus_mean, optimizer=partial(torch.optim.Adam, lr=0.05), steps=5
    )
    assert found.groups[0].verdict == "separates" and found.groups[0].linear < 1e-6
    assert "linear up to a difference of" in str(found)
    plain = forecast(Mixture(), x, loss=minus_mean, optimizer=partial(SGD, lr=0.05), steps=5)
    assert plain.groups[0].linear == math.inf and "linear up to" not in str(plain)


class Reordered(nn.Module):
    """Two equal units, one of which sums its terms backwards: rounding differs on every machine."""

    def __init__(self) -> None:
        super().__init__()
        row = torch.linspace(0.1, 1.3, 7) / 3
        self.w = nn.Parameter(torch.stack([row, row]))
        self.v = nn.Parameter(torch.full((2,), 0.7))

    def forward(self, x: Tensor) -> Tensor:
        forth, back = (x * self.w[0]).unbind(1), (x * self.w[1]).unbind(1)[::-1]
        z = torch.stack([sum(forth[1:], forth[0]), sum(back[1:], back[0])], 1)
        return torch.tanh(z) @ self.v


def test_rounding_alone_separates_units_when_predicted() -> None:
    x = torch.randn(30, 7)
    y = 30 * (3 * x[:, 0]).sin()
    seen = rounding(
        Reordered(), x, y, loss=F.mse_loss, optimizer=partial(SGD, lr=0.05), steps=100, groups=[("w", (0, 1))], threshold=1e-6
    )  # fmt: skip
    assert [e.leak.dtype for e in seen.escapes] == ["float32", "float64"] and not seen.bitwise
    single, double = seen.escapes
    assert single.leak.step is not None and double.leak.step is not None
    assert 1e-9 < single.leak.size < 1e-6 and 1e-18 < double.leak.size < 1e-14
    assert single.seen is not None and single.predicted == pytest.approx(
        single.seen, rel=0.1, abs=2
    )
    assert double.seen is not None and double.predicted == pytest.approx(double.seen, rel=0.1)
    assert "float32: first differ at step" in str(seen)


# -- F16: parallel gradients -------------------------------------------------------------------------


def gap(make: partial[torch.optim.Optimizer]) -> float:
    """Incoming difference after one step for an outgoing difference of 1."""
    net, (x, y) = tied_net(nn.Tanh, 0, (4, 8, 2)), problem(0)
    x = torch.randn(64, 4, dtype=torch.float64)
    y = torch.randn(64, 2, dtype=torch.float64)
    start = {"2.weight": difference(net, 0)["2.weight"]}
    # Along the outgoing weights themselves, so that the gradients of the rows stay parallel.
    start["2.weight"] = torch.zeros(2, 8, dtype=torch.float64)
    start["2.weight"][:, 0], start["2.weight"][:, 1] = net[2].weight[:, 0], -net[2].weight[:, 0]
    one = forecast(net, x, y, loss=F.mse_loss, optimizer=make, steps=1, start=start).groups[0]
    outgoing, incoming = (float(one.grown[n].norm()) for n in ("2.weight", "0.weight"))
    return incoming / outgoing


def test_f16_adam_hides_unequal_outgoing_weights() -> None:
    plain = gap(partial(SGD, lr=0.05))
    adam = {eps: gap(partial(torch.optim.Adam, lr=0.01, eps=eps)) for eps in (1e-16, 1e-8, 1e-3)}
    assert plain > 1e-4
    assert adam[1e-8] < 1e-5 * plain * 10
    assert adam[1e-16] < 1e-6 * adam[1e-8]
    assert adam[1e-3] > 1e3 * adam[1e-8]


# -- F18, F19: the product of tangent maps -----------------------------------------------------------


def test_f19_the_lowest_eigenvalue_is_no_forecast() -> None:
    """At the start it promises a growth that the run does not keep; the product is right to four digits."""
    from lockstep import transverse_hessian

    net, (x, y), steps = tied_net(nn.Tanh, 1), problem(1), 200
    make, start = partial(SGD, lr=0.2), difference(net, 3)
    found = forecast(net, x, y, loss=F.mse_loss, optimizer=make, steps=steps, start=start).groups[0]
    seen = measured(net, lambda _: (x, y), make, steps, start, 1e-9)[-1] / 1e-9
    low = float(
        transverse_hessian(net, x, y, loss=F.mse_loss, layer="0", units=(0, 1)).eigenvalues[0]
    )
    assert math.exp(found.log_growth[-1]) == pytest.approx(seen, rel=1e-4)
    assert math.exp(-0.2 * low * steps) > 10 * seen


# -- F21: XNOR -------------------------------------------------------------------------------------


def xnor() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid()).double()
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(-1)
        net[2].weight.copy_(torch.tensor([[-1.25, -1.25, -1.25, -0.25]]))
    return net


def truth(step: int) -> tuple[Tensor, Tensor]:
    """One of the four samples, in order."""
    x = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1.0]], dtype=torch.float64)
    return x[step % 4][None], torch.tensor([[1.0], [0], [0], [1]], dtype=torch.float64)[step % 4][
        None
    ]


def half_square(output: Tensor, y: Tensor) -> Tensor:
    return (output - y).square().sum() / 2


def test_f21_first_epochs() -> None:
    """Two of four singular values (each twice: three copies have two differences) are above 1 in epoch 1."""
    found = forecast(
        xnor(), torch.randn(4, 2, dtype=torch.float64), loss=half_square, optimizer=partial(SGD, lr=1.0),
        steps=4, batches=truth,
    ).groups[0]  # fmt: skip
    assert found.dimension == 8 and found.group.units == (0, 1, 2)
    assert sum(value > 0 for value in found.spectrum) == 2 * 2
    pairs = torch.tensor(found.spectrum).view(4, 2)
    assert torch.allclose(pairs[:, 0], pairs[:, 1], atol=1e-9)


@pytest.mark.slow
def test_f21_whole_run() -> None:
    given = {
        "loss": half_square,
        "optimizer": partial(SGD, lr=1.0),
        "steps": 4 * 728,
        "batches": truth,
    }
    x = torch.randn(4, 2, dtype=torch.float64)
    found = forecast(xnor(), x, **given).groups[0]
    published = [34.70305, 24.19985, 0.320047, 7.185e-8]
    assert [math.exp(v) for v in found.spectrum[::2]] == pytest.approx(published, rel=1e-4)
    start = torch.tensor([[2.0, -1, -1, 0]], dtype=torch.float64) / math.sqrt(6)
    one = forecast(xnor(), x, **given, start={"2.weight": start}).groups[0]
    assert math.exp(one.log_growth[-1]) == pytest.approx(15.155691, rel=1e-4)


# -- F22: the symmetric plateau ---------------------------------------------------------------------


class Erf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(x / math.sqrt(2))


@pytest.mark.parametrize(
    ("k", "rate"), [(2, 0.0657498), pytest.param(3, 0.0461179, marks=pytest.mark.slow)]
)
def test_f22_saad_solla_escape_rate(k: int, rate: float) -> None:
    """Small-rate online learning of an orthonormal teacher from the plateau; averages by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(24 if k == 2 else 16)
    grid = torch.tensor(np.stack(np.meshgrid(*[nodes] * k), -1).reshape(-1, k))
    mass = torch.tensor(np.stack(np.meshgrid(*[weights] * k), -1).reshape(-1, k)).prod(1)
    mass = mass / mass.sum()
    net = nn.Sequential(nn.Linear(k, k, bias=False), Erf(), nn.Linear(k, 1, bias=False)).double()
    with torch.no_grad():
        net[0].weight.fill_(1 / math.sqrt(k * (2 * k - 1)))
        net[2].weight.fill_(1)
    net[2].weight.requires_grad_(False)
    teacher = Erf()(grid).sum(1, keepdim=True)

    def population(output: Tensor, y: Tensor) -> Tensor:
        return (mass * (output - y).square().squeeze(1)).sum() / 2

    found = forecast(
        net, grid, teacher, loss=population, optimizer=partial(SGD, lr=1.0), steps=40
    ).groups[0]
    expected = 2 * k / math.pi / math.sqrt((2 * k - 1) * (2 * k + 1) ** 3)
    assert expected == pytest.approx(rate, abs=5e-8)
    assert found.dimension == k * (k - 1)
    assert math.exp(found.spectrum[0] / 40) - 1 == pytest.approx(rate, rel=2e-3)
    escaping = sum(v == pytest.approx(found.spectrum[0], rel=1e-3) for v in found.spectrum)
    assert escaping == (k - 1) ** 2


# -- F25: condensation ------------------------------------------------------------------------------


def test_f25_condensation_rate() -> None:
    """At rest at zero every weight is frozen; differences wake at the rate |v|, v = mean of y x."""
    x = torch.rand(80, 5, dtype=torch.float64) * 6 - 4
    y = (3.5 * torch.sin(5 * x + 1)).sum(1, keepdim=True)
    x = torch.cat([x, torch.ones(80, 1, dtype=torch.float64)], 1)
    net = nn.Sequential(
        nn.Linear(6, 50, bias=False), nn.Tanh(), nn.Linear(50, 1, bias=False)
    ).double()
    for p in net.parameters():
        nn.init.zeros_(p)
    frozen = audit(net, x).frozen
    assert sum(f.count for f in frozen) == 350
    found = forecast(
        net, x, y, loss=lambda o, t: (o - t).square().mean() / 2, optimizer=partial(SGD, lr=5e-2), steps=60, groups=frozen
    ).groups[0]  # fmt: skip
    v = (x * y).mean(0).norm()
    assert found.dimension == 350 and found.verdict == "separates"
    assert math.expm1(found.rate) / 5e-2 == pytest.approx(float(v), rel=5e-3)


# -- F31: constant starts drift by width --------------------------------------------------------------


def test_f31_a_bitwise_equal_width_is_reported_as_such() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 1))
    for p in net.parameters():
        nn.init.constant_(p, 0.1)
    x = torch.randn(64, 10)
    seen = rounding(
        net,
        x,
        x[:, :1].sin(),
        loss=F.mse_loss,
        optimizer=partial(torch.optim.Adam, lr=0.01),
        steps=20,
    )
    assert len(seen.escapes) == 2
    for escape in seen.escapes:
        assert (escape.leak.step is None) == (escape.sizes[-1] == 0 and not any(escape.sizes))
        assert "bitwise equal for 20 steps" in str(escape) or escape.leak.size > 0
