"""Published and measured numbers (FACTS, the ones marked audit): measured again in float64, beside the verdict.

Every fact has two halves: what training does, to a stated tolerance, and what the audit says of the same model.
Numbers that hang on a random stream are bounded within a factor, zeros are held to 1e-13.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import zoo
from oracle.training import Arbitrary
from torch import nn

from lockstep import audit

ZERO = 1e-13
part = functools.partial
SGD, ADAM, ADAMW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW


def train(model: nn.Module, x, y, make: Callable, steps: int, penalty: float = 0.0) -> nn.Module:
    """Plain training of ``model`` in place on the mean squared error, with an L1 ``penalty``."""
    optimizer = make(model.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        if penalty:
            loss = loss + penalty * sum(p.abs().sum() for p in model.parameters())
        loss.backward()
        optimizer.step()
    return model


def regression(inputs: int, outputs: int, samples: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, inputs, generator=generator, dtype=torch.float64)
    mix = torch.randn(inputs, outputs, generator=generator, dtype=torch.float64)
    return x, torch.sin(x @ mix)


def spread(units: torch.Tensor, groups) -> float:
    """Largest difference inside a group of rows."""
    units = units.detach()
    return max(float((units[list(g)] - units[g[0]]).abs().max()) for g in groups)


def hidden(model: nn.Sequential, x: torch.Tensor, layer: int) -> torch.Tensor:
    return model[: layer + 1](x).T


def classes(model: nn.Module, x, layer: str, **kwargs):
    return audit(model, x, **kwargs).layers[layer].classes


# -- F3, F5: balanced locks -----------------------------------------------------------------------

UPDATES = {  # name: (optimizer, L1 penalty, survives)
    "sgd": (part(SGD, lr=0.05), 0.0, True),
    "sgd + L2": (part(SGD, lr=0.05, weight_decay=1e-2), 0.0, True),
    "momentum + L2": (part(SGD, lr=0.02, momentum=0.9, weight_decay=1e-2), 0.0, True),
    "adam": (part(ADAM, lr=0.01), 0.0, True),
    "adamw": (part(ADAMW, lr=0.01, weight_decay=0.1), 0.0, True),
    "rmsprop": (part(torch.optim.RMSprop, lr=0.001), 0.0, True),
    "adam + L2": (part(ADAM, lr=0.01, weight_decay=1e-2), 0.0, False),
    "adagrad + L2": (part(torch.optim.Adagrad, lr=0.01, weight_decay=1e-2), 0.0, False),
    "sgd + L1": (part(SGD, lr=0.05), 1e-2, False),
}
THREES = ((0, 1, 2), (3, 4, 5))


def f5_data() -> tuple[torch.Tensor, torch.Tensor]:
    n = torch.arange(1, 65, dtype=torch.float64)
    x = torch.stack([n.sin(), (2 * n).cos(), (3 * n + 1).sin(), (5 * n + 2).cos()], dim=1)
    return x, torch.stack([x.sum(1).sin(), (x[:, 0] - x[:, 3]).cos()], dim=1)


@pytest.mark.parametrize("name", UPDATES)
def test_f5_a_balanced_lock_in_integers(name):
    make, penalty, survives = UPDATES[name]
    model, x = zoo.balanced()
    if not penalty:  # an L1 penalty is part of the loss, which the audit is not told here
        report = audit(model, x, optimizer=make)
        for layer in ("0", "2"):
            expected = THREES if survives else zoo.alone(6)
            assert report.layers[layer].classes == expected, layer
    x, y = f5_data()
    model = train(model.double(), x, y, make, 10, penalty)
    gaps = [spread(hidden(model, x, layer), THREES) for layer in (0, 2)]
    assert max(gaps) < 1e-14 if survives else min(gaps) > 1e-4


def test_f5_is_balanced_and_no_automorphism():
    """The rows of W2 are distinct as multisets, so no permutation of units explains the lock."""
    model, x = zoo.balanced()
    assert len({tuple(sorted(row)) for row in model[2].weight.tolist()}) == 6
    layer = {(g.kind, g.units) for g in audit(model, x, update="additive").locked if g.where == "2"}
    assert layer == {("balanced", THREES[0]), ("balanced", THREES[1])}


CLONES = tuple((k, k + 1, k + 2) for k in range(0, 12, 3))


def integer_clones(noise: bool) -> nn.Sequential:
    """F3, small: 6-4-4-3 with every hidden unit three times; integer noise whose rows and columns sum to 0."""
    torch.manual_seed(0)
    thrice = torch.arange(4).repeat_interleave(3)
    w1 = torch.randint(-24, 25, (4, 6))[thrice]
    w2 = torch.randint(-8, 9, (4, 4))[thrice][:, thrice]
    w3 = torch.randint(-8, 9, (3, 4))[:, thrice]
    if noise:
        d = torch.randint(-2, 3, (4, 3, 4, 3))
        d = 3 * d - d.sum(1, keepdim=True)
        w2 = w2 + (3 * d - d.sum(3, keepdim=True)).reshape(12, 12)
    model = nn.Sequential(
        nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 3)
    ).double()
    with torch.no_grad():
        for layer, w in zip((model[0], model[2], model[4]), (w1, w2, w3), strict=True):
            layer.weight.copy_(w / 64)
        for layer in (model[0], model[2]):
            layer.bias.copy_(torch.randint(-8, 9, (4,))[thrice] / 64)
    return model


@pytest.mark.parametrize(
    "make, survives",
    [
        (part(SGD, lr=0.05), True),
        (part(SGD, lr=0.05, weight_decay=1e-3), True),
        (part(SGD, lr=0.01, momentum=0.9, weight_decay=1e-3), True),
        (part(ADAM, lr=0.002), True),
        (part(ADAMW, lr=0.002, weight_decay=1e-2), True),
        (part(ADAM, lr=0.002, weight_decay=1e-3), False),
    ],
)
def test_f3_optimizer_by_partition(make, survives):
    x, y = regression(6, 3)
    model = integer_clones(noise=True)
    after = train(copy.deepcopy(model), x, y, make, 1)
    assert (spread(hidden(after, x, 2), CLONES) < 1e-13) == survives
    after = train(after, x, y, make, 19)
    moved = spread(hidden(after, x, 2), CLONES)
    assert moved < 1e-11 if survives else moved > 1e-4
    expected = CLONES if survives else zoo.alone(12)
    assert classes(model, x, "2", optimizer=make) == expected
    plain = integer_clones(noise=False)
    assert classes(plain, x, "2", optimizer=make) == CLONES, "equal weights survive them all"
    assert spread(hidden(train(plain, x, y, make, 100), x, 2), CLONES) < 1e-9


# -- F4: grades -----------------------------------------------------------------------------------


def pair_model(act: Callable[[], nn.Module], inn: float, out: float) -> nn.Sequential:
    torch.manual_seed(0)
    model, _ = zoo.related(act, inn, out)
    return model.double()


def pair_gap(model: nn.Sequential, inn: float, out: float) -> float:
    """How far unit 1 is from ``inn`` times unit 0 (incoming) and ``out`` times unit 0 (outgoing)."""
    w, b, o = model[0].weight, model[0].bias, model[2].weight
    gaps = (w[1] - inn * w[0], b[1] - inn * b[0], o[:, 1] - out * o[:, 0])
    return max(float(gap.detach().abs().max()) for gap in gaps)


F4 = {
    "sgd": part(SGD, lr=0.05),
    "momentum + decay": part(SGD, lr=0.05, momentum=0.9, weight_decay=1e-2),
    "adam": part(ADAM, lr=0.01),
    "adamw": part(ADAMW, lr=0.01, weight_decay=1e-2),
    "adagrad": part(torch.optim.Adagrad, lr=0.01),
    "adam + L2": part(ADAM, lr=0.01, weight_decay=1e-2),
    "adagrad + L2": part(torch.optim.Adagrad, lr=0.01, weight_decay=1e-2),
    "rprop": part(torch.optim.Rprop, lr=0.001),
    "arbitrary": Arbitrary,
}


@pytest.mark.parametrize("name", F4)
@pytest.mark.parametrize("inn, out, kind", [(1, 1, "twin"), (-1, -1, "mirror")])
def test_f4_twins_and_mirrors_survive_every_elementwise_optimizer(inn, out, kind, name):
    model = pair_model(nn.Tanh, inn, out)
    x, y = regression(4, 2)
    report = audit(model, x) if name == "arbitrary" else audit(model, x, optimizer=F4[name])
    assert [(g.kind, g.where, g.units) for g in report.locked] == [(kind, "0", (0, 1))]
    for steps in (1, 9, 190):
        assert pair_gap(train(model, x, y, F4[name], steps), inn, out) < ZERO


def test_f4_the_sgd_with_l1_keeps_twins_and_mirrors():
    x, y = regression(4, 2)
    for sign in (1, -1):
        model = train(pair_model(nn.Tanh, sign, sign), x, y, F4["sgd"], 100, penalty=1e-2)
        assert pair_gap(model, sign, sign) < ZERO


def test_f4_proportional_units_lock_under_sgd_only():
    """A documented limit: the engine's ReLU is not homogeneous, so it reports nothing locked, and no LS006."""
    x, y = regression(4, 2)
    for name in ("sgd", "momentum + decay"):
        model = pair_model(nn.ReLU, 2, 2)
        assert pair_gap(train(model, x, y, F4[name], 200), 2, 2) < 1e-10, name
    for name, size in (("adam", 1.0e-2), ("rprop", 1e-3), ("adagrad + L2", 1e-2)):
        gap = pair_gap(train(pair_model(nn.ReLU, 2, 2), x, y, F4[name], 1), 2, 2)
        assert size / 3 < gap < 3 * size, name
    report = audit(pair_model(nn.ReLU, 2, 2), x, update="additive")
    assert report.ok
    assert report.findings == ()


@pytest.mark.parametrize(
    "act, inn, out, gap",
    [
        (nn.Tanh, -1, 1, 2.9e-2),
        (nn.ReLU, 2, 0.5, 1.4e-2),
        (nn.Sigmoid, -1, -1, 2.0e-2),
        (nn.GELU, -1, -1, 4.7e-3),
    ],
)
def test_f4_no_relation(act, inn, out, gap):
    x, y = regression(4, 2)
    model = pair_model(act, inn, out)
    assert audit(model, x).locked == ()
    assert audit(model, x, update="additive").locked == ()
    measured = pair_gap(train(model, x, y, F4["sgd"], 1), inn, out)
    assert gap / 10 < measured < 10 * gap


class Dropped(nn.Module):
    def __init__(self, model: nn.Sequential) -> None:
        super().__init__()
        self.first, self.last, self.noise = model[0], model[2], nn.Dropout(0.2)

    def forward(self, x):
        return self.last(self.noise(torch.tanh(self.first(x))))


def test_f4_dropout_breaks_twins():
    x, y = regression(4, 2)
    model = Dropped(pair_model(nn.Tanh, 1, 1))
    report = audit(model, x)
    assert "LS008" in {finding.code for finding in report.findings}
    assert report.layers["first"].classes == zoo.alone(8)
    assert classes(model.eval(), x, "first") == zoo.pair(8)
    train(model.train(), x, y, F4["sgd"], 1)
    gap = spread(model.first.weight, [(0, 1)])
    assert 2.1e-3 / 10 < gap < 2.1e-3 * 10


# -- F7, F8 ---------------------------------------------------------------------------------------


def test_f7_one_sided_tests_are_unsound():
    model, x = zoo.one_sided()
    for update in ("any", "additive"):
        report = audit(model, x, update=update)
        assert report.layers["0"].classes == zoo.alone(3)
        assert "LS006" in {finding.code for finding in report.findings}
    reason = audit(model, x).reason("0", 0, 1)
    assert (reason.verdict, reason.direction) == ("separates", "backward")
    assert "2.weight" in reason.because
    n = torch.arange(1, 65, dtype=torch.float64)
    x = torch.stack([n.sin(), (2 * n).cos(), (3 * n + 1).sin()], dim=1)
    y = x.sum(1, keepdim=True).sin()
    model = model.double()
    assert spread(hidden(model, x, 0), [(0, 1)]) == 0
    loss = F.mse_loss(model(x), y)
    assert loss.item() == pytest.approx(0.690579904331, abs=1e-11)
    loss.backward()
    assert spread(model[0].weight.grad, [(0, 1)]) == pytest.approx(0.0990147892, abs=1e-9)
    model.zero_grad()
    for steps, gap in ((1, 0.00495074), (99, 0.09297)):
        train(model, x, y, part(SGD, lr=0.05), steps)
        assert spread(model[0].weight, [(0, 1)]) == pytest.approx(gap, rel=1e-3)


def clipped(params, by_norm: bool):
    optimizer = SGD(params, lr=0.5)
    clip = nn.utils.clip_grad_norm_ if by_norm else nn.utils.clip_grad_value_

    def hook(*_) -> None:
        clip([p for group in optimizer.param_groups for p in group["params"]], 0.01)

    optimizer.register_step_pre_hook(hook)
    return optimizer


@pytest.mark.parametrize("by_norm", [True, False])
def test_f8_clipping_keeps_twins(by_norm):
    x, y = regression(4, 2)
    model = pair_model(nn.Tanh, 1, 1)
    train(model, x, y, part(clipped, by_norm=by_norm), 50)
    assert pair_gap(model, 1, 1) < ZERO


def test_f8_gradient_noise_breaks_twins_at_once():
    x, y = regression(4, 2)
    model = pair_model(nn.Tanh, 1, 1)
    F.mse_loss(model(x), y).backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= 0.05 * (p.grad + 1e-3 * torch.randn_like(p))
    assert pair_gap(model, 1, 1) > 1e-5


def test_f8_unequal_state_breaks_twins():
    x, y = regression(4, 2)
    model = pair_model(nn.Tanh, 1, 1)
    optimizer = ADAM(model.parameters(), lr=0.01)
    assert classes(model, x, "0", optimizer=optimizer) == zoo.pair(8)
    train(model, x, y, lambda _: optimizer, 5)
    assert pair_gap(model, 1, 1) < ZERO
    assert classes(model, x, "0", optimizer=optimizer) == zoo.pair(8)
    optimizer.state[model[0].weight]["exp_avg_sq"][1] *= 4
    report = audit(model, x, optimizer=optimizer)
    assert report.layers["0"].classes == zoo.alone(8)
    assert report.locked == ()
    train(model, x, y, lambda _: optimizer, 1)
    assert 4.7e-3 / 10 < pair_gap(model, 1, 1) < 4.7e-3 * 10


@pytest.mark.parametrize("outgoing", [True, False])
def test_f8_duplicated_heads(outgoing):
    torch.manual_seed(0)
    model, x = zoo.twin_heads(outgoing)
    verdict = classes(model, x, "attn[heads]")
    model, x = model.double(), x.double()
    train(model, x, torch.sin(x), part(ADAM, lr=1e-3), 100)
    q = model.attn.in_proj_weight.detach()[:16]
    gap = float((q[:4] - q[4:8]).abs().max())
    assert (verdict == ((0, 1), (2,), (3,))) == outgoing
    assert gap < ZERO if outgoing else gap > 1e-4


# -- F10 to F15 -----------------------------------------------------------------------------------


@pytest.mark.parametrize("act, frozen", [(nn.Tanh, True), (nn.ReLU, True), (nn.Sigmoid, False)])
def test_f10_zero_start(act, frozen):
    model, x = zoo.fill(zoo.mlp(4, 3, 2, act=act), 0.0)
    report = audit(model, x)
    x, y = regression(4, 2)
    train(model.double(), x, y, part(SGD, lr=0.1), 100)
    moved = {name: float(p.detach().abs().max()) for name, p in model.named_parameters()}
    assert {name for name, size in moved.items() if size == 0} == {
        e.parameter for e in report.frozen
    }
    assert set(moved) - {e.parameter for e in report.frozen} == (
        {"2.bias"} if frozen else set(moved)
    )
    assert report.layers["0"].classes == zoo.together(3)
    assert spread(model[0].weight, [(0, 1, 2)]) < ZERO


def test_f10_constant_start():
    model, x = zoo.fill(zoo.mlp(4, 6, 6, 2), 0.1)
    report = audit(model, x)
    x, y = regression(4, 2)
    train(model.double(), x, y, part(SGD, lr=0.05), 50)
    for layer in (0, 2):
        assert report.layers[str(layer)].classes == zoo.together(6)
        assert spread(hidden(model, x, layer), [range(6)]) < 1e-12
    assert report.layers["4"].classes == zoo.alone(2)
    assert spread(model[4].weight, [(0, 1)]) > 1e-2


def test_f11_frozen_by_algebra():
    """Key biases and biases before a batch norm: rounding beside true gradients, and frozen to the audit."""
    torch.manual_seed(0)
    model = zoo.Mha(16, 4)
    x = torch.randn(8, 6, 16)
    assert {e.parameter: e.count for e in audit(model, x).frozen} == {"attn.in_proj_bias": 16}
    model, x = model.double(), x.double()
    model(x).pow(3).sum().backward()
    query, key, value = model.attn.in_proj_bias.grad.chunk(3)
    assert float(key.abs().max()) < 1e-12 * float(value.abs().max())
    assert float(query.abs().max()) > 1e-6 * float(value.abs().max())


def test_f11_adam_turns_rounding_into_motion():
    """Frozen is about the gradient in exact arithmetic, not about the stored value."""
    moved = {}
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        model = zoo.Mha(16, 4)
        x = torch.randn(8, 6, 16)
        model, x = model.to(dtype), x.to(dtype)
        before = model.attn.in_proj_bias.detach().clone()
        train(model, x, torch.sin(x), part(ADAM, lr=1e-3), 100)
        change = (model.attn.in_proj_bias.detach() - before).abs().chunk(3)
        moved[dtype] = float(change[1].max())
        assert float(change[0].max()) > 1e-3
    assert moved[torch.float32] > 1e-5
    assert moved[torch.float64] < 1e-8


def test_f12_identical_in_series_is_not_locked():
    torch.manual_seed(0)
    model, x = zoo.copied_layers()
    report = audit(model, x)
    codes = {finding.code for finding in report.findings}
    assert "LS007" in codes
    assert not codes & {"LS001", "LS003"}
    model, x = model.double(), x.double()
    optimizer, gaps = SGD(model.parameters(), lr=0.01), []
    for _ in range(3):
        optimizer.zero_grad()
        model(x).pow(3).mean().backward()
        optimizer.step()
        first, second = model.layers[0].linear1.weight, model.layers[1].linear1.weight
        gaps.append(float((first - second).detach().abs().max()))
    assert 4e-4 / 4 < gaps[0] < gaps[1] < gaps[2] < 1.2e-3 * 4


def expert_gap(model: zoo.Routed, i: int, j: int) -> float:
    pairs = zip(model.experts[i].parameters(), model.experts[j].parameters(), strict=True)
    return max(float((p - q).detach().abs().max()) for p, q in pairs)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("router_zero", [False, True])
def test_f13_routing_separates_experts_or_not(k, router_zero):
    torch.manual_seed(0)
    model, x = zoo.routed(k, router_zero)()
    report = audit(model, x)
    members = [len(g.units) for g in report.locked if g.kind == "module"]
    model, x = model.double(), x.double()
    router = model.router.weight.detach().clone()
    first = copy.deepcopy(model)
    train(model, x, torch.sin(x), part(ADAM, lr=1e-2), 50)
    gaps = {(i, j): expert_gap(model, i, j) for i in range(4) for j in range(i)}
    reached = [i for i in range(4) if _moved(first.experts[i], model.experts[i])]
    if not router_zero:
        assert members == []
        assert min(gaps.values()) > 0.1
        return
    assert len(reached) == k
    assert members == [k], "experts that serve are locked to one another; which ones is a tie rule"
    assert max(gap for (i, j), gap in gaps.items() if i in reached and j in reached) < ZERO
    assert {e.parameter for e in report.frozen} == {"router.weight"}
    assert torch.allclose(model.router.weight, router, atol=1e-6)
    unread = [finding for finding in report.findings if finding.code == "LS009"]
    assert bool(unread) == (k == 2)


def _moved(before: nn.Module, after: nn.Module) -> bool:
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    return any(not torch.equal(p, q) for p, q in pairs)


def test_f13_zero_now_is_not_frozen():
    """Equal experts hide a random router at step 1 only."""
    torch.manual_seed(0)
    model, x = zoo.routed(4, False)()
    assert audit(model, x).frozen == ()
    model, x = model.double(), x.double()
    sizes = []
    for _ in range(2):
        optimizer = SGD(model.parameters(), lr=0.05)
        optimizer.zero_grad()
        F.mse_loss(model(x), torch.sin(x)).backward()
        sizes.append(float(model.router.weight.grad.abs().max()))
        optimizer.step()
    assert sizes[0] < 1e-15
    assert sizes[1] > 1e-7


@pytest.mark.parametrize(
    "rows, equal, rank", [(0, False, 0), (4, True, 1), (4, False, 4), (2, False, 2)]
)
def test_f14_lora_ranks(rows, equal, rank):
    torch.manual_seed(0)
    model = zoo.Adapter(rows, equal)
    x = torch.randn(32, 8)
    report = audit(model, x)
    model, x = model.double(), x.double()
    y = torch.sin(x @ torch.randn(8, 6, dtype=torch.float64))
    train(model, x, y, part(ADAM, lr=1e-2), 200)
    assert int(torch.linalg.matrix_rank(model.B @ model.A, rtol=1e-6)) == rank
    frozen = {e.parameter: e.count for e in report.frozen}
    assert frozen == ({} if rows == 4 else {"A": 8 * (4 - rows), "B": 6 * (4 - rows)})
    if rows == 4:
        assert report.layers["A"].effective_width == rank


def test_f15_an_unstable_lock():
    """Locked in exact arithmetic; float64 leaves it by rounding. The audit speaks of the former."""
    model, x = zoo.Mixture(), torch.randn(32, 5)
    report = audit(model, x)
    assert report.layers["mu"].classes == zoo.together(4)
    assert {e.parameter: e.count for e in report.frozen} == {"logits": 4}
    model, x = model.double(), 2 * x.double()
    optimizer, gaps = ADAM(model.parameters(), lr=0.05), []
    for _ in range(200):
        optimizer.zero_grad()
        (-model(x).mean()).backward()
        optimizer.step()
        gaps.append(spread(model.mu, [range(4)]))
    assert gaps[2] < 1e-8
    assert gaps[-1] > 0.1 or gaps[-1] == 0, "escaped, unless this machine rounds symmetrically"


# -- F16, F21, F31 to F37 -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ratio, sgd, adam, sign",
    [
        (2, 7.9e-3, 9.5e-10, 0),
        (1.1, 6.8e-4, 2.2e-10, 0),
        (0.5, 3.0e-3, 3.0e-9, 0),
        (-1, 9.5e-3, 2e-2, 2e-2),
    ],
)
def test_f16_unequal_outgoing_weights(ratio, sgd, adam, sign):
    """The verdict is "separates" whatever the size of the first gap."""
    x, y = regression(4, 2)
    makes = (part(SGD, lr=0.05), part(ADAM, lr=0.01), part(torch.optim.Rprop, lr=0.01))
    for make, expected in zip(makes, (sgd, adam, sign), strict=True):
        model = pair_model(nn.Tanh, 1, ratio)
        gap = spread(train(model, x, y, make, 1)[0].weight, [(0, 1)])
        assert gap == 0 if expected == 0 else expected / 20 < gap < expected * 20
    report = audit(pair_model(nn.Tanh, 1, ratio), x)
    assert report.layers["0"].classes == zoo.alone(8)
    assert "LS006" in {finding.code for finding in report.findings}
    assert report.reason("0", 0, 1).verdict == "separates"


def xnor_epochs(last: float, limit: int) -> tuple[int, nn.Sequential]:
    model, _ = zoo.xnor(last)
    model = nn.Sequential(*model, nn.Sigmoid()).double()
    cases = [((0, 0), 1), ((0, 1), 0), ((1, 0), 0), ((1, 1), 1)]
    x = torch.tensor([c for c, _ in cases], dtype=torch.float64)
    y = torch.tensor([[t] for _, t in cases], dtype=torch.float64)
    optimizer = SGD(model.parameters(), lr=1.0)
    for epoch in range(1, limit + 1):
        for k in range(4):
            optimizer.zero_grad()
            (F.mse_loss(model(x[k : k + 1]), y[k : k + 1]) / 2).backward()
            optimizer.step()
        with torch.no_grad():
            if F.mse_loss(model(x), y) <= 0.01:
                return epoch, model
    return limit, model


def test_f21_xnor():
    epochs, model = xnor_epochs(-0.25, 1000)
    assert epochs == 728
    assert spread(model[0].weight, [(0, 1, 2)]) == 0
    assert spread(model[0].weight, [(0, 3)]) > 0.1
    net, x = zoo.xnor(-0.25)
    assert classes(net, x, "0") == ((0, 1, 2), (3,))


def test_f21_xnor_without_asymmetry_never_learns():
    epochs, model = xnor_epochs(-1.25, 800)
    assert epochs == 800
    assert spread(model[0].weight, [(0, 1, 2, 3)]) == 0
    net, x = zoo.xnor(-1.25)
    assert classes(net, x, "0") == zoo.together(4)


@pytest.mark.parametrize("width", [8, 31, 33, 48, 65])
def test_f31_constant_start_is_one_class_at_every_width(width):
    """Floats drift apart at some widths; exact arithmetic does not."""
    model, x = zoo.fill(zoo.mlp(10, width, width, 1), 0.1)
    report = audit(model, x)
    assert [report.layers[name].effective_width for name in ("0", "2")] == [1, 1]


def test_f32_primes_fit_to_embed_floats():
    model, x = zoo.mlp(3, 4, 2)
    for p, _ in audit(model, x).evidence.lanes:
        assert 8192 * p * p < 2**53 or p > 2**24, "inner products of 8192 stay exact in float64"
        factors = prime_factors(p - 1)
        assert prime_factors(p) == {p}
        assert all(pow(2, (p - 1) // q, p) != 1 for q in factors), "2 has order p - 1"


def prime_factors(n: int) -> set[int]:
    found, q = set(), 2
    while q * q <= n:
        while n % q == 0:
            found.add(q)
            n //= q
        q += 1
    return found | ({n} if n > 1 else set())


def test_f32_a_mersenne_prime_would_confuse_floats():
    p = 2**31 - 1
    assert pow(2, -31, p) == 1
    model, x = zoo.stack(zoo.linear([[1.0, 2.0], [2.0**-31, 2.0]]), zoo.linear([[1.0, 1.0]]))
    assert classes(model, x, "0") == zoo.alone(2)


def test_f33_widening():
    x, y = regression(4, 2)
    for first, second, equal in ((0.5, 0.5, True), (1 / 3, 2 / 3, False)):
        for make, low, high in (
            (part(SGD, lr=0.05), 1e-4, 1e-2),
            (part(ADAM, lr=0.01), 1e-11, 1e-5),
        ):
            torch.manual_seed(0)
            model, _ = zoo.widened(first, second)
            verdict = classes(model, x, "0")
            train(model.double(), x, y, make, 1)
            gap = spread(model[0].weight, [(0, 3)])
            assert gap < ZERO if equal else low < gap < high
            assert verdict == (zoo.pair(4, 0, 3) if equal else zoo.alone(4))


def test_f36_partial_identity_keeps_the_rank():
    model, x = zoo.partial_identity()
    report = audit(model, x)
    assert report.layers["2"].effective_width == 5, "four live units and one class of dead ones"
    x, y = regression(4, 2)
    train(model.double(), x, y, part(SGD, lr=0.1), 300)
    change = model[4].weight.detach() - torch.eye(8)
    assert int(torch.linalg.matrix_rank(change, rtol=1e-9)) <= 4
    assert float(change.abs().max()) > 1e-3
    assert float(change[4:, 4:].abs().max()) == 0


def test_f37_noise_lets_identical_features_train():
    model, x = zoo.dropped(lambda: nn.Dropout(0.2), True)()
    assert {finding.code for finding in audit(model, x).findings} >= {"LS008"}
    x, y = regression(4, 2)
    train(model.double(), x, y, part(SGD, lr=0.05), 3)
    model.eval()
    assert spread(model[:1](x).detach().T, [range(6)]) > 1e-5
