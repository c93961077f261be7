"""compare: what is the same, what differs, the sentence, and what the audit adds."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lockstep.explain import compare
from lockstep.explain.bundled import coffee, course_network

from .nets import Convolved, data, dense

X, Y = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0]])
A = (0.5, -0.25, 0.5, -0.25)
CERTIFIED = (
    " And the audit certifies that they stay equal: on any data, under any loss and any elementwise"
    " optimizer."
)

# weights w1 … w6, pair, verdict, symbols of a's differing factors
VERDICTS = [
    (
        (*A, 0.3, -0.8),
        "w1 w3",
        "dJ/dw1 and dJ/dw3 differ because w5 = 0.3 and w6 = -0.8 differ.",
        ["dz3/da1"],
    ),
    ((*A, 0.3, -0.8), "w1 w2", "dJ/dw1 and dJ/dw2 differ because x1 and x2 differ.", ["dz1/dw1"]),
    (
        (*A, 0.5, 0.5),
        "w1 w3",
        "dJ/dw1 and dJ/dw3 are equal: every factor is equal." + CERTIFIED,
        [],
    ),
    (
        (*A, 0.5, 0.5),
        "w5 w6",
        "dJ/dw5 and dJ/dw6 are equal: every factor is equal." + CERTIFIED,
        [],
    ),
    (
        (*A, 0.3, -0.8),
        "w5 w6",
        (
            "dJ/dw5 and dJ/dw6 are equal: every factor is equal. The audit does not certify that they stay "
            "equal: they may separate later."
        ),
        [],
    ),
    (
        (0.5, -0.25, 0.1, 0.2, 0.5, 0.7),
        "w1 w3",
        (
            "dJ/dw1 and dJ/dw3 differ because w5 = 0.5 and w6 = 0.7 differ, and da1/dz1 = a1 (1 - a1) and "
            "da2/dz2 = a2 (1 - a2) differ."
        ),
        ["dz3/da1", "da1/dz1"],
    ),
    (
        (*A, 0.3, -0.8),
        "w1 w5",
        "dJ/dw1 and dJ/dw5 differ because their chains part: w5 · a1 (1 - a1) · x1 against a1.",
        ["dz3/da1", "da1/dz1", "dz1/dw1", None],
    ),
    (
        (*A, 0.5, 0.500001),
        "w1 w3",
        "dJ/dw1 and dJ/dw3 differ because w5 = 0.5 and w6 = 0.500001 differ.",
        ["dz3/da1"],
    ),
    ((*A, 0.3, -0.8), "w1 w1", "dJ/dw1 is compared with itself: every factor is the same.", []),
]


@pytest.mark.parametrize("weights, pair, verdict, differ", VERDICTS)
def test_the_verdict(
    weights: tuple[float, ...], pair: str, verdict: str, differ: list[str | None]
) -> None:
    found = compare(course_network(bias=False, weights=weights), X, Y, F.mse_loss, *pair.split())
    assert found.verdict == verdict
    assert [pair.a.symbol if pair.a else None for pair in found.differ] == differ
    assert verdict in str(found)


def test_why_factors_are_the_same() -> None:
    net = course_network(bias=False, weights=(*A, 0.5, 0.5))
    reasons = {p.a.symbol: p.why for p in compare(net, X, Y, F.mse_loss, "w1", "w3").same if p.a}
    assert reasons == {
        "dJ/da3": "the same symbol",
        "da3/dz3": "the same symbol",
        "dz3/da1": "equal values",
        "da1/dz1": "equal values",
        "dz1/dw1": "the same symbol",
    }


def test_a_branching_chain_names_the_outgoing_weights() -> None:
    net, (x, y) = dense([2, 2, 2, 1], ["tanh", "tanh", "sigmoid"]), data(5, 2, 1)
    with torch.no_grad():
        net[0].weight[1] = net[0].weight[0]
        net[0].bias[1] = net[0].bias[0]
        net[2].weight[0, 1] = net[2].weight[0, 0]
    found = compare(net, x, y, F.mse_loss, "w1", "w3")
    (pair,) = found.differ
    assert pair.a is not None and pair.b is not None
    assert (pair.a.formula, pair.b.formula) == ("w7", "w8")
    assert "because w7 = " in found.verdict and "and w8 = " in found.verdict


def test_equal_on_this_data_although_factors_differ() -> None:
    net = course_network("relu", bias=False, weights=(-1, -1, -1, -1, 0.3, -0.8))
    found = compare(net, X, Y, F.mse_loss, "w1", "w3", certify=False)
    assert found.equal
    assert found.verdict == (
        "dJ/dw1 and dJ/dw3 are equal on this data, although w5 = 0.3 and w6 = -0.8 differ "
        "(da1/dz1 is 0 on every sample and hides it)."
    )


@pytest.mark.parametrize(
    "w6, words",
    [
        (1.0, "units 1 and 2 are parallel (ratio 2): plain SGD separates them, but a sign update"),
        (-0.5, "units 1 and 2 are antiparallel (ratio -1)"),
    ],
)
def test_notes_on_parallel_gradients(w6: float, words: str) -> None:
    net = course_network(bias=False, weights=(*A, 0.5, w6))
    x, y = coffee(20)
    (note,) = compare(net, x, y, F.mse_loss, "w1", "w3").notes
    assert words in note


def test_no_note_where_gradients_are_not_parallel() -> None:
    x, y = coffee(20)
    assert compare(course_network(), x, y, F.mse_loss, "w1", "w3").notes == ()


def test_f7_one_sided_tests_would_call_these_units_equal() -> None:
    quarter = [
        [[1, -2, 1], [1, -2, 1], [2, 1, -1]], [1, 1, 0],
        [[4, 0, 3], [0, 4, -1]], [1, -2],
        [[3, 3]], [0],
    ]  # fmt: skip
    net = dense([3, 3, 2, 1], ["tanh", "tanh", "identity"])[:5]
    with torch.no_grad():
        for parameter, values in zip(net.parameters(), quarter, strict=True):
            parameter.copy_(torch.tensor(values, dtype=torch.float64) / 4)
    n = torch.arange(1, 65, dtype=torch.float64)
    x = torch.stack([n.sin(), (2 * n).cos(), (3 * n + 1).sin()], 1)
    y = x.sum(1, keepdim=True).sin()
    assert F.mse_loss(net(x), y).item() == pytest.approx(0.690579904331, abs=1e-12)
    pairs = [compare(net, x, y, F.mse_loss, f"w{i}", f"w{i + 3}") for i in (1, 2, 3)]
    gap = max(abs(found.a.gradient - found.b.gradient) for found in pairs)
    assert gap == pytest.approx(0.0990147892, abs=1e-9)
    assert "w10 = 1 and w11 = 0 differ" in pairs[0].verdict


def test_other_architectures() -> None:
    torch.manual_seed(0)
    net, x = Convolved(), torch.randn(4, 2, 7, 7)
    net(x)
    y = torch.zeros(4, 2)
    found = compare(net, x, y, F.mse_loss, "conv.weight[0,0,0,0]", "conv.weight[1,0,0,0]")
    assert found.verdict.endswith("differ because the deltas differ.")
    assert found.latex().startswith(r"\begin{gathered}")
    found = compare(net, x, y, F.mse_loss, "conv.weight[0,0,0,0]", "conv.weight[0,0,0,1]")
    assert found.verdict.endswith("differ because the inputs differ.")


def test_the_audit_is_asked_about_inputs_too() -> None:
    net, (x, y) = dense([2, 2, 2, 1], ["tanh", "tanh", "sigmoid"]), data(5, 2, 1)
    with torch.no_grad():
        for linear in (net[0], net[2], net[4]):
            assert isinstance(linear, nn.Linear)
            linear.weight.fill_(0.5)
            linear.bias.fill_(0.1)
        net[0].weight.copy_(torch.tensor([[0.2, 0.3], [0.2, 0.3]]))
    assert compare(net, x, y, F.mse_loss, "w5", "w8").verdict.endswith(CERTIFIED)
