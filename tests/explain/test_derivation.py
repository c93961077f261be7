"""explain against the path-sum oracle, F9's numbers, autograd on other architectures, and its texts."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.chainrule import Net, gradient
from torch import Tensor, nn
from torch.nn import functional as F

from lockstep.errors import UndecidedError, UsageError
from lockstep.explain import Derivation, Term, explain
from lockstep.explain import chain as chain_module
from lockstep.explain.bundled import course_network

from .nets import (
    MODULES,
    Convolved,
    Detached,
    InPlace,
    Matmul,
    Noisy,
    Recurrent,
    Residual,
    Shared,
    data,
    dense,
    half_square,
)

LOSS = {"mse": F.mse_loss, "bce": F.binary_cross_entropy}
COURSE = (0.5, -0.25, 0.5, -0.25, 0.5, 1.0)
X, Y = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0]])


@st.composite
def cases(draw: st.DrawFn) -> tuple[nn.Sequential, list[str], str, int, int]:
    depth = draw(st.integers(1, 3))
    widths = [draw(st.integers(1, 3)) for _ in range(depth + 1)]
    loss = draw(st.sampled_from(sorted(LOSS)))
    names = [draw(st.sampled_from(sorted(MODULES))) for _ in range(depth)]
    if loss == "bce":
        names[-1] = "sigmoid"
    seed, samples = draw(st.integers(0, 10**6)), draw(st.sampled_from([1, 2, 7]))
    bias = draw(st.booleans())
    return dense(widths, names, seed, bias), names, loss, samples, seed


def as_oracle(net: nn.Sequential, names: list[str]) -> Net:
    linear = [m for m in net if isinstance(m, nn.Linear)]
    biases = [m.bias.tolist() if m.bias is not None else [0.0] * m.out_features for m in linear]
    return Net([m.weight.tolist() for m in linear], biases, names)


@settings(max_examples=60)
@given(cases())
def test_agrees_with_the_sum_over_paths(
    case: tuple[nn.Sequential, list[str], str, int, int],
) -> None:
    net, names, loss, samples, seed = case
    x, y = data(samples, net[0].in_features, net[-2].out_features, seed)
    oracle = as_oracle(net, names)
    for layer, module in enumerate(m for m in net if isinstance(m, nn.Linear)):
        unit, source = module.out_features - 1, module.in_features // 2
        wanted = gradient(oracle, x.tolist(), y.tolist(), loss, layer, unit, source)
        found = explain(net, x, y, LOSS[loss], f"{2 * layer}.weight[{unit},{source}]")
        assert found.gradient == pytest.approx(wanted, rel=1e-6, abs=1e-13)
        assert reduced(found) == pytest.approx(wanted, rel=1e-6, abs=1e-13)
        assert_terms_add_up(found)
        if module.bias is not None:
            wanted = gradient(oracle, x.tolist(), y.tolist(), loss, layer, unit, None)
            found = explain(net, x, y, LOSS[loss], f"{2 * layer}.bias[{unit}]")
            assert found.gradient == pytest.approx(wanted, rel=1e-6, abs=1e-13)


def reduced(derivation: Derivation) -> float:
    """The product of the factors, reduced over the batch as the derivation says."""
    product = derivation.product
    own = product.reshape(len(product), -1).sum(1)  # positions belong to their sample
    return float(own.mean() if derivation.reduction == "mean" else own.sum())


def assert_terms_add_up(derivation: Derivation) -> None:
    """Shares sum to the gradient, each term's factors to its value, at every level."""
    if derivation.terms:
        shares = sum(term.share for term in derivation.terms)
        assert shares == pytest.approx(derivation.gradient, rel=1e-6, abs=1e-13)
        sizes = [abs(term.share) for term in derivation.terms]
        assert sizes == sorted(sizes, reverse=True)
    for term in derivation.terms:
        assert_term(term)


def assert_term(term: Term) -> None:
    product = torch.ones_like(term.value)
    for factor in term.factors:
        product = product * factor.value
    assert torch.allclose(product, term.value, rtol=1e-9, atol=1e-13)
    if term.terms:
        total = sum(below.share for below in term.terms)
        assert total == pytest.approx(term.share, rel=1e-6, abs=1e-13)
    for below in term.terms:
        assert_term(below)


def test_the_oracle_sees_a_wrong_weight() -> None:
    net, (x, y) = dense([2, 2, 1], ["tanh", "tanh"]), data(3, 2, 1)
    oracle = as_oracle(net, ["tanh", "tanh"])
    oracle.weights[1][0][0] += 0.1
    wanted = gradient(oracle, x.tolist(), y.tolist(), "mse", 0, 0, 0)
    found = explain(net, x, y, F.mse_loss, "w1").gradient
    assert found != pytest.approx(wanted, rel=1e-3)


F9 = [-0.0087381694, -0.0174763388, -0.0174763388, -0.0349526777, -0.0349526777, -0.0349526777]
F9_TIED = [-0.0110904323, -0.0221808647, -0.0110904323, -0.0221808647, -0.0443617293, -0.0443617293]


@pytest.mark.parametrize("w6, wanted", [(1.0, F9), (0.5, F9_TIED)])
def test_f9_the_course_network_in_numbers(w6: float, wanted: list[float]) -> None:
    net = course_network(bias=False, weights=(*COURSE[:5], w6))
    found = [explain(net, X, Y, half_square, f"w{n}").gradient for n in range(1, 7)]
    assert found == pytest.approx(wanted, abs=1e-10)


def test_f9_factor_by_factor() -> None:
    why = explain(course_network(bias=False, weights=COURSE), X, Y, half_square, "w1")
    rows = [(f.symbol, f.formula, float(f.value)) for f in why.factors]
    assert [row[:2] for row in rows] == [
        ("dJ/da3", "a3 - y"),
        ("da3/dz3", "a3 (1 - a3)"),
        ("dz3/da1", "w5"),
        ("da1/dz1", "a1 (1 - a1)"),
        ("dz1/dw1", "x1"),
    ]
    values = [row[2] for row in rows]
    assert values == pytest.approx([-0.3208213008, 0.2178949938, 0.5, 0.25, 1.0], abs=1e-10)
    assert len(explain(course_network(), X, Y, half_square, "w6").factors) == 3


TEXT = """\
dJ/dw3 = dJ/da3 · da3/dz3 · dz3/da2 · da2/dz2 · dz2/dw3

factor   formula      value a sample
dJ/da3   a3 - y       -0.3208
da3/dz3  a3 (1 - a3)  0.2179
dz3/da2  w6           1
da2/dz2  a2 (1 - a2)  0.25
dz2/dw3  x1           1
------------------------------------
product               -0.01748

dJ/dw3 = -0.01748 (one sample; autograd: -0.01748)
w3 := w3 - alpha dJ/dw3 = 0.5 + 0.01748 alpha"""


def test_text_in_both_notations() -> None:
    why = explain(course_network(bias=False, weights=COURSE), X, Y, half_square, "w3")
    assert why.text() == str(why) == TEXT
    assert why.text(notation="index").startswith(
        "dJ/dW[1][1,0] = dJ/da[2][0] · da[2][0]/dz[2][0] · dz[2][0]/da[1][1] · "
    )


def test_latex_in_both_notations() -> None:
    why = explain(course_network(bias=False, weights=COURSE), X, Y, half_square, "w5")
    assert why.latex() == (
        r"\frac{\partial J}{\partial w_{5}} = \frac{\partial J}{\partial a_{3}} \cdot "
        r"\frac{\partial a_{3}}{\partial z_{3}} \cdot \frac{\partial z_{3}}{\partial w_{5}} = "
        r"\left(a_{3} - y\right) \cdot \left(a_{3} (1 - a_{3})\right) \cdot \left(a_{1}\right) = "
        r"(-0.3208) \cdot (0.2179) \cdot (0.5) = -0.03495"
    )
    assert r"\frac{\partial z^{[2]}_{0}}{\partial W^{[2]}_{0,0}}" in why.latex(notation="index")
    assert why._repr_latex_().startswith("$")


@pytest.mark.parametrize("activation", sorted(MODULES))
@pytest.mark.extras
def test_matplotlib_can_typeset_the_latex(activation: str) -> None:
    from matplotlib import mathtext

    net, (x, y) = dense([2, 3, 2, 1], [activation, activation, "sigmoid"]), data(1, 2, 1)
    latex = explain(net, x, y, F.mse_loss, "w1").latex()
    plain = latex.replace(r"\text", r"\mathrm").replace(r"\operatorname", r"\mathrm")
    width, *_ = mathtext.MathTextParser("path").parse(
        f"${plain.replace(chr(92) + 'textstyle', '')}$"
    )
    assert width > 0


# loss, target, what dJ/d(output) must be called
FORMULAS: list[tuple[Callable[..., Tensor], str, str]] = [
    (F.mse_loss, "one", "2 (a3 - y)"),
    (half_square, "one", "a3 - y"),
    (F.binary_cross_entropy, "one", "(a3 - y) / (a3 (1 - a3))"),
    (F.l1_loss, "one", "sign(a3 - y)"),
    (lambda a, y: (a - y).pow(4).mean(), "one", "of the loss, by autograd"),
    (F.binary_cross_entropy_with_logits, "logit", "1 / (1 + exp(-z3)) - y"),
    (F.cross_entropy, "class", "softmax_0 - [y = 0]"),
    (F.mse_loss, "two", "z3 - y1"),
]


@pytest.mark.parametrize("loss, kind, formula", FORMULAS)
def test_the_loss_is_recognised(loss: Callable[..., Tensor], kind: str, formula: str) -> None:
    outputs = 1 if kind in ("one", "logit") else 2
    net = dense([2, 2, outputs], ["tanh", "sigmoid" if kind == "one" else "identity"])
    x, y = data(5, 2, outputs)
    target = y if kind != "class" else torch.tensor([0, 1, 1, 0, 1])
    if kind != "one":
        net = net[:3]
    factor = explain(net, x, target, loss, "w5").factors[0]
    assert factor.formula == formula


@pytest.mark.parametrize("reduction, scale", [("mean", 1.0), ("sum", 6.0)])
def test_reduction_follows_the_loss(reduction: str, scale: float) -> None:
    net, (x, y) = dense([2, 2, 1], ["tanh", "sigmoid"]), data(6, 2, 1)
    mean = explain(net, x, y, F.mse_loss, "w1")
    found = explain(net, x, y, lambda a, t: F.mse_loss(a, t, reduction=reduction), "w1")
    assert found.reduction == reduction
    assert torch.allclose(found.product, mean.product)
    assert found.gradient == pytest.approx(scale * mean.gradient)


def test_a_weighted_loss_is_taken_as_given() -> None:
    net, (x, y) = dense([2, 2, 1], ["tanh", "sigmoid"]), data(6, 2, 1)
    weights = torch.arange(1.0, 7.0, dtype=torch.float64).reshape(-1, 1)
    found = explain(net, x, y, lambda a, t: (weights * (a - t) ** 2).mean(), "w1")
    assert found.reduction == "as given"
    assert float(found.product.sum()) == pytest.approx(found.autograd, rel=1e-9)


OTHERS: list[tuple[str, Callable[[], nn.Module], tuple[int, ...], list[str]]] = [
    ("in place", InPlace, (5, 3), ["first.weight[1,2]", "first.bias[3]", "second.weight[0,1]"]),
    ("matmul", Matmul, (5, 3), ["v[2,3]", "b[1]", "w[1,0]", "c[1]"]),
    ("residual", Residual, (5, 3), ["first.weight[1,2]", "inner.weight[0,0]", "norm.weight[2]"]),
    ("shared", Shared, (5, 4), ["cell.weight[1,2]", "cell.bias[0]", "out.weight[0,3]"]),
    (
        "tokens",
        lambda: dense([3, 4, 2], ["tanh", "identity"]),
        (5, 6, 3),
        ["0.weight[1,2]", "2.bias[1]"],
    ),
    ("conv", Convolved, (4, 2, 7, 7), ["conv.weight[1,0,2,1]", "top.weight[1,5]", "norm.bias[2]"]),
    ("conv stride", lambda: Convolved(stride=2, padding=1), (4, 2, 9, 9), ["conv.weight[3,1,0,2]"]),
    (
        "conv groups",
        lambda: Convolved(groups=2, dilation=2, padding="same"),
        (4, 2, 7, 7),
        ["conv.weight[3,0,0,2]", "conv.bias[1]"],
    ),
    ("softmax", lambda: nn.Sequential(nn.Linear(3, 4), nn.Softmax(1)), (5, 3), ["0.weight[2,1]"]),
    (
        "log softmax",
        lambda: nn.Sequential(nn.Linear(3, 4), nn.LogSoftmax(-1)),
        (5, 3),
        ["0.bias[2]"],
    ),
]


@pytest.mark.parametrize("name, make, shape, weights", OTHERS, ids=[row[0] for row in OTHERS])
def test_any_module_gives_autograds_gradient(
    name: str, make: Callable[[], nn.Module], shape: tuple[int, ...], weights: list[str]
) -> None:
    torch.manual_seed(0)
    net, x = make().float(), torch.randn(shape)
    with torch.no_grad():
        net(x)  # lazy layers
    net = net.double()
    x = x.double()
    y = torch.rand_like(net(x))
    for weight in weights:
        assert_is_autograds(net, x, y, weight)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_weights_are_sums_over_time(kind: str, both: bool) -> None:
    torch.manual_seed(0)
    net = Recurrent(kind, num_layers=2, bidirectional=both, batch_first=both).double()
    x = torch.randn(5, 6, 3, dtype=torch.float64)
    y = torch.rand_like(net(x))
    for weight in ["weight_ih_l0[1,2]", "weight_hh_l1[3,2]", "bias_hh_l0[3]", "bias_ih_l1[0]"]:
        found = assert_is_autograds(net, x, y, f"rnn.{weight}")
        assert len(found.terms) == (6 if both else 5)
        assert "time steps" in found.factors[0].formula


def assert_is_autograds(net: nn.Module, x: Tensor, y: Tensor, weight: str) -> Derivation:
    """explain's product is the gradient that a plain backward gives."""
    found = explain(net, x, y, F.mse_loss, weight)
    name, index = weight[:-1].rsplit("[", 1)
    parameter = net.get_parameter(name)
    (plain,) = torch.autograd.grad(F.mse_loss(net(x), y), parameter)
    wanted = float(plain[tuple(int(k) for k in index.split(","))])
    assert found.gradient == pytest.approx(wanted, rel=1e-6, abs=1e-12)
    assert reduced(found) == pytest.approx(wanted, rel=1e-6, abs=1e-12)
    return found


def test_a_wrong_local_derivative_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = chain_module.local_derivative
    monkeypatch.setattr(chain_module, "local_derivative", lambda *args: 1.001 * right(*args))
    net, (x, y) = dense([2, 2, 1], ["tanh", "sigmoid"]), data(6, 2, 1)
    with pytest.raises(UndecidedError, match="autograd's gradient is"):
        explain(net, x, y, F.mse_loss, "w1")


def test_a_gradient_changed_by_the_users_hook_is_refused() -> None:
    net, (x, y) = Detached().double(), data(6, 3, 1)
    with pytest.raises(UndecidedError, match="hooks"):
        explain(net, x, y, F.mse_loss, "first.weight[0,0]")


def test_what_is_cut_is_stated() -> None:
    net, (x, y) = dense([3, 12, 12, 2], ["tanh", "tanh", "identity"]), data(6, 3, 2)
    text = explain(net, x, y, F.mse_loss, "0.weight[0,0]").text(depth=1, width=3)
    assert re.search(r"\(9 more cut: together \S+, \S+ % of the absolute shares\)", text)
    assert "(cut here: dJ/da[2][" in text
    assert text.count("via ") == 3


F32 = torch.float32
REFUSED: list[tuple[str, Callable[[], object], str]] = [
    ("unknown", lambda: explain(course_network(), X, Y, F.mse_loss, "w7"), r"'w7'. Closest: w\d"),
    (
        "typo",
        lambda: explain(course_network(), X, Y, F.mse_loss, "0.wieght[0,1]"),
        r"Closest: 0.weight",
    ),
    (
        "index",
        lambda: explain(course_network(), X, Y, F.mse_loss, "0.weight[2,0]"),
        r"shape \(2, 2\)",
    ),
    (
        "parameter without entry",
        lambda: explain(course_network(), X, Y, F.mse_loss, "0.weight"),
        r"name one entry of it, from '0.weight\[0,0\]' to '0.weight\[1,1\]'",
    ),
    (
        "no name",
        lambda: explain(course_network(), X, Y, F.mse_loss, 3),  # type: ignore[arg-type]
        r"named by a text.*got 3 \(int\)",
    ),
    (
        "loss by name",
        lambda: explain(course_network(), X, Y, "mse", "w1"),  # type: ignore[arg-type]
        r"got 'mse' \(str\)",
    ),
    (
        "detached loss",
        lambda: explain(course_network(), X, Y, lambda a, y: a.detach().mean(), "w1"),
        "detaches what it is given",
    ),
    (
        "loss that takes the output only",
        lambda: explain(course_network(), X, Y, torch.mean, "w1"),
        "the loss refused the network's output and y",
    ),
    (
        "x as a list",
        lambda: explain(course_network(), [[1.0, 2.0]], Y, F.mse_loss, "w1"),
        r"Use torch.tensor\(x\)",
    ),
    (
        "no samples",
        lambda: explain(course_network(), X[:0], Y[:0], F.mse_loss, "w1"),
        r"x holds no samples",
    ),
    (
        "vector loss",
        lambda: explain(course_network(), X, Y, lambda a, y: (a - y).repeat(2, 1), "w1"),
        r"one number, but it has shape \(2, 1\).*\.mean\(\)",
    ),
    (
        "y of another shape",
        lambda: explain(course_network(), X.repeat(4, 1), torch.ones(4), F.mse_loss, "w1"),
        r"output \(4, 1\), y \(4,\).*reshape\(-1, 1\)",
    ),
    (
        "x that does not fit",
        lambda: explain(course_network(), torch.ones(4, 3), Y, F.mse_loss, "w1"),
        r"refused x of shape \(4, 3\)",
    ),
    (
        "one sample for a batch norm",
        lambda: explain(
            nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), X, Y, F.mse_loss, "0.bias[0]"
        ),
        r"refused x of shape \(1, 2\): Expected more than 1 value",
    ),
    (
        "an index that an embedding does not have",
        lambda: explain(nn.Embedding(3, 1), torch.tensor([7]), Y, F.mse_loss, "weight[0,0]"),
        r"refused x of shape \(1,\): index out of range",
    ),
    (
        "two inputs for one",
        lambda: explain(course_network(), (X, X), Y, F.mse_loss, "w1"),
        r"refused x of shape \(1, 2\), \(1, 2\): .*positional argument",
    ),
    (
        "noise",
        lambda: explain(Noisy(), torch.ones(4, 3), torch.ones(4, 1), F.mse_loss, "linear.bias[0]"),
        r"'drop' \(Dropout\) draws random numbers.*model\.eval\(\)",
    ),
    (
        "NaN in x",
        lambda: explain(course_network(), X * torch.nan, Y, F.mse_loss, "w1"),
        "x holds NaN",
    ),
    (
        "NaN in y",
        lambda: explain(course_network(), X, Y * torch.nan, F.mse_loss, "w1"),
        "y holds NaN",
    ),
    (
        "NaN loss",
        lambda: explain(course_network(), X, Y, lambda a, y: (a - 2).log().mean(), "w1"),
        "J is nan",
    ),
    ("no parameters", lambda: explain(nn.Tanh(), X, Y, F.mse_loss, "w1"), "no parameters"),
    ("not a module", lambda: explain(len, X, Y, F.mse_loss, "w1"), "must be a torch.nn.Module"),  # type: ignore[arg-type]
    (
        "notation",
        lambda: explain(course_network(), X, Y, F.mse_loss, "w1", notation="x"),
        "'course' or 'index'",
    ),
    (
        "course on a CNN",
        lambda: explain(
            Shared(),
            torch.ones(4, 4),
            torch.ones(4, 1),
            F.mse_loss,
            "out.bias[0]",
            notation="course",
        ),
        "numbers dense layers only",
    ),
]


@pytest.mark.parametrize(
    "call, words", [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_bad_input_names_cause_and_cure(call: Callable[[], object], words: str) -> None:
    with pytest.raises(UsageError, match=re.compile(words, re.DOTALL)):
        call()


def test_integer_weights_and_nan_weights_are_named_together() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    net[0].weight = nn.Parameter(torch.ones(2, 2, dtype=torch.int8), requires_grad=False)
    net[1].bias.data.fill_(torch.nan)
    with pytest.raises(
        UsageError,
        match=re.compile(r"'0.weight' has dtype torch.int8.*'1.bias' holds NaN", re.DOTALL),
    ):
        explain(net, X, Y, F.mse_loss, "w1")


@pytest.mark.parametrize(
    "between", [nn.Dropout(), nn.Flatten(), nn.Sequential(nn.Dropout(), nn.Flatten())]
)
def test_what_changes_nothing_is_no_step_of_the_chain(between: nn.Module) -> None:
    """Dropout in evaluation, flatten of a matrix: they give back the very tensor that they were given."""
    torch.manual_seed(0)
    below, above = nn.Linear(3, 2), nn.Linear(2, 1)
    with_, without = (
        explain(nn.Sequential(*parts).eval(), torch.ones(4, 3), torch.ones(4, 1), F.mse_loss, "w1")
        for parts in ((below, between, nn.Tanh(), above), (below, nn.Tanh(), above))
    )
    assert with_.chain == without.chain == "dJ/dz3 · dz3/da1 · da1/dz1 · dz1/dw1"
    assert with_.gradient == without.gradient


def test_unused_weight() -> None:
    net = Shared()
    net.register_parameter("spare", nn.Parameter(torch.ones(2)))
    with pytest.raises(UsageError, match="does not depend on 'spare"):
        explain(net, torch.ones(4, 4), torch.ones(4, 1), F.mse_loss, "spare[0]")


def state(net: nn.Module) -> list[object]:
    """Everything a guest must leave alone."""
    hooks = [
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
        for m in net.modules()
    ]
    tensors = [t.clone() for t in net.state_dict().values()]
    grads = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    return [hooks, tensors, grads, [m.training for m in net.modules()], torch.get_rng_state()]


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_model_is_left_as_it_was(
    context: Callable[[], torch.autograd.grad_mode.no_grad],
) -> None:
    net, x = Convolved(), torch.randn(4, 2, 7, 7)
    F.mse_loss(net(x), torch.zeros(4, 2)).backward()
    before = state(net)
    with context():
        explain(net, x, torch.zeros(4, 2), F.mse_loss, "conv.weight[0,0,0,0]")
        with pytest.raises(UsageError, match="no weight"):
            explain(net, x, torch.zeros(4, 2), F.mse_loss, "nothing[0]")
    assert_same(before, state(net))
    assert torch.get_default_dtype() == torch.float32


def assert_same(before: object, after: object) -> None:
    if isinstance(before, list) and isinstance(after, list):
        assert len(before) == len(after)
        for p, q in zip(before, after, strict=True):
            assert_same(p, q)
    elif isinstance(before, Tensor) and isinstance(after, Tensor):
        assert torch.equal(before, after)
    else:
        assert before == after


def test_the_guest_check_can_fail() -> None:
    net = Convolved()
    net(torch.randn(4, 2, 7, 7))
    before = state(net)
    net(torch.randn(4, 2, 7, 7))  # BatchNorm's running statistics move
    with pytest.raises(AssertionError, match=r"torch\.equal|equal"):
        assert_same(before, state(net))


def test_dict_inputs_and_outputs() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 1)

        def forward(self, *, values: Tensor) -> dict[str, Tensor]:
            return {"logits": torch.tanh(self.linear(values))}

    x, y = data(5, 2, 1)
    found = explain(
        Named(), {"values": x}, y, lambda out, t: F.mse_loss(out["logits"], t), "linear.weight[0,1]"
    )
    assert [factor.symbol for factor in found.factors][1:] == ["da1/dz1", "dz1/dw2"]


def test_no_target_means_a_loss_of_the_output_alone() -> None:
    x, _ = data(5, 2, 1)
    found = explain(dense([2, 1], ["sigmoid"]), x, None, lambda out: out.mean(), "w1")
    assert found.factors[0].formula == "1"
