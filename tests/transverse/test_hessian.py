"""The closed form against automatic differentiation, and the facts on scikit-learn's digits."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from lockstep import UsageError, forecast, transverse_hessian


def digits() -> tuple[Tensor, Tensor]:
    """1797 x 65 with a column of ones, and the classes."""
    raw = load_digits()
    x = torch.tensor(np.hstack([raw.data / 16, np.ones((len(raw.data), 1))]))
    return x, torch.tensor(raw.target)


def trained_pair() -> nn.Sequential:
    """FACTS F18: 64-8-10 after 300 steps, unit 0 duplicated with halved outgoing weights (units 0 and 8)."""
    x, y = digits()
    rng = np.random.default_rng(0)
    net = nn.Sequential(
        nn.Linear(65, 8, bias=False), nn.Tanh(), nn.Linear(8, 10, bias=False)
    ).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor(rng.standard_normal((8, 65)) / 8))
        net[2].weight.copy_(torch.tensor(rng.standard_normal((10, 8)) / math.sqrt(8)))
    sgd = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(300):
        sgd.zero_grad()
        F.cross_entropy(net(x), y).backward()
        sgd.step()
    big = nn.Sequential(
        nn.Linear(65, 9, bias=False), nn.Tanh(), nn.Linear(9, 10, bias=False)
    ).double()
    with torch.no_grad():
        w, v = net[0].weight, net[2].weight.clone()
        v[:, 0] /= 2
        big[0].weight.copy_(torch.cat([w, w[:1]]))
        big[2].weight.copy_(torch.cat([v, v[:, :1]], 1))
    return big


@pytest.fixture(scope="module")
def pair() -> nn.Sequential:
    torch.set_num_threads(1)
    return trained_pair()


def test_f18_eigenvalues(pair: nn.Sequential) -> None:
    """FACTS: loss .1317, -.01358 to .06838, 22 negative, 49 positive, on a net whose random stream is not told."""
    x, y = digits()
    h = transverse_hessian(pair, x, y, loss=F.cross_entropy, layer="0", units=(0, 8))
    assert F.cross_entropy(pair(x), y).item() == pytest.approx(0.1317, abs=2e-4)
    assert h.matrix.shape == (75, 75)
    assert float(h.eigenvalues[0]) == pytest.approx(-0.0136, rel=0.05)
    assert float(h.eigenvalues[-1]) == pytest.approx(0.0684, rel=0.05)
    assert abs(int((h.eigenvalues < -1e-10).sum()) - 22) <= 1
    assert abs(int((h.eigenvalues > 1e-10).sum()) - 49) <= 1


def test_f20_splitting_changes_the_loss_by_the_eigenvalue(pair: nn.Sequential) -> None:
    x, y = digits()
    h = transverse_hessian(pair, x, y, loss=F.cross_entropy, layer="0", units=(0, 8))
    low = float(h.eigenvalues[0])
    before = F.cross_entropy(pair(x), y).item()
    for eps, ratio in ((0.1, 0.943), (0.03, 0.9948), (0.01, 0.9994)):
        moved = {
            n: p.detach() + eps * 2**0.5 * h.displacement(h.eigenvectors[:, 0])[n]
            for n, p in pair.named_parameters()
        }
        after = F.cross_entropy(torch.func.functional_call(pair, moved, (x,)), y).item()
        assert (after - before) / (eps**2 * low) == pytest.approx(ratio, abs=2e-3)
    assert float(torch.linalg.eigvalsh(h.B)[0]) / low == pytest.approx(1 / 2.3, rel=0.2)


def test_f18_the_product_and_the_closed_form_agree(pair: nn.Sequential) -> None:
    """One step of gradient descent multiplies a difference by ``I - lr H_t``."""
    x, y = digits()
    h = transverse_hessian(pair, x, y, loss=F.cross_entropy, layer="0", units=(0, 8))
    vector = torch.randn(75, dtype=torch.float64)
    vector /= vector.norm()
    found = forecast(
        pair, x, y, loss=F.cross_entropy, optimizer=partial(torch.optim.SGD, lr=0.5), steps=1,
        groups=[("0", (0, 8))], start=h.displacement(vector),
    )  # fmt: skip
    expected = float((vector - 0.5 * h.matrix @ vector).norm())
    assert math.exp(found.groups[0].log_growth[0]) == pytest.approx(expected, rel=1e-9)


def dense(act: nn.Module, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(3, 5, bias=bias), act, nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)
    ).double()
    with torch.no_grad():
        for p, axis in ((net[0].weight, 0), (net[0].bias, 0), (net[2].weight, 1)):
            for copy in (1, 2) if p is not None else ():
                p.select(axis, copy).copy_(p.select(axis, 0))
    return net


@pytest.mark.parametrize(
    "act", [nn.Tanh(), nn.GELU(), nn.Softplus(), nn.Sigmoid(), nn.ReLU()], ids=str
)
@pytest.mark.parametrize("bias", [True, False])
def test_closed_form_against_the_full_hessian(act: nn.Module, bias: bool) -> None:
    """The whole Hessian of the loss by autograd, restricted to differences of units 0 and 1."""
    net = dense(act, bias)
    x, y = torch.randn(30, 3, dtype=torch.float64), torch.randn(30, 2, dtype=torch.float64)
    h = transverse_hessian(net, x, y, loss=F.mse_loss, layer="0", units=(0, 1, 2), decay=0.01)
    names = [n for n, _ in net.named_parameters()]
    shapes = [p.shape for p in net.parameters()]
    flat = torch.cat([p.detach().reshape(-1) for p in net.parameters()])

    def J(theta: Tensor) -> Tensor:
        parts = theta.split([s.numel() for s in shapes])
        given = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        return (
            F.mse_loss(torch.func.functional_call(net, given, (x,)), y)
            + 0.005 * theta.square().sum()
        )

    whole = torch.autograd.functional.hessian(J, flat)
    basis = []
    for unit in torch.eye(len(h.matrix), dtype=torch.float64):
        move = h.displacement(unit)
        basis.append(
            torch.cat(
                [
                    move.get(n, torch.zeros(s)).reshape(-1)
                    for n, s in zip(names, shapes, strict=True)
                ]
            )
        )
    restricted = torch.stack(basis) @ whole @ torch.stack(basis).T
    assert torch.allclose(restricted, h.matrix, atol=1e-12)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.a(x))
        return h + self.b(h)


@pytest.mark.parametrize(
    ("net", "layer", "units", "phrases"),
    [
        (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), "1", (0, 1), "no dense layer '1'; the model has '0', '2'"),
        (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), "0", (0, 9), "different ones of 0 to 3"),
        (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), "0", (0, 1), "no copies: their incoming weights differ"),
        (nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1)), "0", (0, 1), "a norm, a residual"),
        (Residual(), "a", (0, 1), r"forecast\(\) does"),
    ],
)  # fmt: skip
def test_refusals(net: nn.Module, layer: str, units: tuple[int, ...], phrases: str) -> None:
    x = torch.randn(5, 3)
    with pytest.raises(UsageError, match=phrases):
        transverse_hessian(net, x, loss=lambda out: out.square().mean(), layer=layer, units=units)
