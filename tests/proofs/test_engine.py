"""Coq's definitions, PyTorch and the audit speak of the same networks.

Random networks of rational numbers are written in the words of ``proofs/Network.v``. Coq computes one
step of training with the definitions that the theorems are about; PyTorch computes it in float64 with
its own differentiation. Coq also decides whether the classes that the audit found are equitable, which
is the hypothesis of the theorem, and trains exactly to see that all other units do separate.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest
import torch
from properties.nets import balanced, build, circulant, constant
from torch import Tensor, nn

from lockstep import audit
from proofs import coq

pytestmark = pytest.mark.coq

ALPHA = Fraction(1, 8)
FUNCTIONS = {"identity": lambda z: z, "square": lambda z: z * z, "cube": lambda z: z * z * z}
Classes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Case:
    """A network, a batch, and an input on which the trained network is looked at."""

    net: coq.Network
    batch: list[coq.Sample]
    probe: coq.Vector


def case(seed: int, activation: str, depth: int, **planted) -> Case:
    exact = build(seed, "sigmoid", depth, **planted).net
    rng = random.Random(seed)

    def numbers(count: int) -> coq.Vector:
        return [Fraction(rng.choice([-3, -2, -1, 1, 2, 3])) for _ in range(count)]

    def short(rows: coq.Matrix) -> coq.Matrix:
        """Equal weights stay equal; block sums would not, so balanced blocks are left alone."""
        if planted.get("kinds") == (balanced,):
            return rows
        return [[Fraction(round(w * 16), 16) for w in row] for row in rows]

    weights, biases = [short(rows) for rows in exact.weights], short(exact.biases)
    net = coq.Network([activation] * depth + ["identity"], weights, biases)
    batch = [coq.Sample(numbers(3), Fraction(k, 2), numbers(2)) for k in (1, 3)]
    return Case(net, batch, numbers(3))


# Exact numbers grow fast with degree and depth: a cube in two layers would take a minute.
CASES = {
    "square, one hidden layer": case(1, "square", 1),
    "cube, one hidden layer": case(2, "cube", 1),
    "square, two hidden layers": case(3, "square", 2, kinds=(constant, circulant)),
    "blocks of one weight": case(4, "square", 2, kinds=(constant,)),
    "balanced blocks": case(7, "square", 2, kinds=(balanced,)),
    "a lock with one entry changed": case(8, "square", 2, kinds=(constant,), mutations=1),
    "cube, nothing planted": case(9, "cube", 1, largest=1),
}


class Rational(nn.Module):
    def __init__(self, function: str) -> None:
        super().__init__()
        self.function = function

    def forward(self, z: Tensor) -> Tensor:
        return FUNCTIONS[self.function](z)


def torch_model(net: coq.Network) -> nn.Sequential:
    parts: list[nn.Module] = []
    for function, rows, biases in zip(net.activations, net.weights, net.biases, strict=True):
        linear = nn.Linear(len(rows[0]), len(rows)).double()
        with torch.no_grad():
            linear.weight.copy_(floats(rows))
            linear.bias.copy_(floats(biases))
        parts += [linear, Rational(function)]
    return nn.Sequential(*parts)


def floats(rows) -> Tensor:
    exact = [[float(x) for x in row] if isinstance(row, list) else float(row) for row in rows]
    return torch.tensor(exact, dtype=torch.float64)


# -- what Coq computes ----------------------------------------------------------------------------


@cache
def classes_of(name: str) -> list[Classes]:
    net = CASES[name].net
    found = audit(torch_model(net), torch.zeros(6, net.inputs()).double(), update="additive")
    return [found.layers[str(2 * layer)].classes for layer in range(len(net.weights))]


def merged(classes: list[Classes]) -> list[Classes]:
    """Two classes of the first layer made one; with a single class, outputs are no longer alone."""
    layer = 0 if len(classes[0]) > 1 else len(classes) - 1
    first, second, *rest = classes[layer]
    return [*classes[:layer], ((*first, *second), *rest), *classes[layer + 1 :]]


def exported(name: str) -> str:
    case, classes = CASES[name], classes_of(name)
    n = case.net.inputs()
    decided = "; ".join(
        f"(if equitableb {n} id net {coq.labellings(c)} then 1 else 0)"
        for c in (classes, merged(classes))
    )
    return f"""
    Eval vm_compute in
      let net : network Q unit := {coq.network(case.net)} in
      let batch := {coq.batch(case.batch)} in
      let traces := flatten [seq of_trace net (backprop {n} net (input s) (dloss s)).2 | s <- batch] in
      let gradients := of_gradients {n} net (batch_gradient {n} net batch) in
      let after := train {n} (descent ({coq.number(ALPHA)})) (fun=> batch) net 1 in
      let answers := of_activations {n} after (vec {coq.vector(case.probe)}) in
      show (traces ++ gradients ++ answers).
    Eval vm_compute in let net : network Q unit := {coq.network(case.net)} in [:: {decided}].
    """


@pytest.fixture(scope="module")
def computed(compiled: Path) -> dict[str, list[list[int]]]:
    """For each case: the numbers of one step, and what Coq decides about the audit's classes."""
    text = coq.PRELUDE + "".join(exported(name) for name in CASES)
    printed = iter(coq.integers(compiled, text))
    return {name: [next(printed), next(printed)] for name in CASES}


# -- what PyTorch computes ------------------------------------------------------------------------


def of_torch(case: Case) -> Iterator[Tensor]:
    """The same numbers in the same order: traces, gradients of the batch, answers after one step."""
    model = torch_model(case.net)
    total = torch.zeros((), dtype=torch.float64)
    for s in case.batch:
        hidden, kept = floats(s.x), []
        for linear, activation in zip(model[::2], model[1::2], strict=True):
            z = linear(hidden)
            hidden = activation(z)
            kept.append((hidden, z))
        loss = ((hidden - floats(s.y)) ** 2).sum() / 2
        cotangents = torch.autograd.grad(loss, [z for _, z in kept], retain_graph=True)
        for (a, _), cotangent in zip(kept, cotangents, strict=True):
            yield from (a, cotangent)
        total = total + float(s.coefficient) * loss
    total.backward()
    for linear in model[::2]:
        yield from (linear.weight.grad, linear.bias.grad)
    torch.optim.SGD(model.parameters(), lr=float(ALPHA)).step()
    hidden = floats(case.probe)
    for part in model:
        hidden = part(hidden)
        if isinstance(part, Rational):
            yield hidden


def assert_same_numbers(exact: coq.Vector, tensors: list[Tensor]) -> None:
    assert len(exact) == sum(t.numel() for t in tensors)
    rest = iter(exact)
    for tensor in tensors:
        ours = floats([next(rest) for _ in range(tensor.numel())])
        theirs = tensor.detach().flatten()
        size = float(theirs.abs().max())
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12 * size, msg=f"{ours} {theirs}")


@pytest.mark.parametrize("name", CASES)
def test_one_step_of_training_is_the_same(computed, name):
    assert_same_numbers(coq.fractions(computed[name][0]), list(of_torch(CASES[name])))


def test_a_wrong_number_is_noticed(computed):
    name = next(iter(CASES))
    exact = coq.fractions(computed[name][0])
    exact[-1] *= 1 + Fraction(1, 10**9)
    with pytest.raises(AssertionError, match="tensor"):
        assert_same_numbers(exact, list(of_torch(CASES[name])))


@pytest.mark.parametrize("name", CASES)
def test_the_classes_of_the_audit_are_equitable_and_no_coarser_ones_are(computed, name):
    assert computed[name][1] == [1, 0]


@pytest.mark.parametrize("name", CASES)
def test_units_agree_after_an_exact_step_as_the_audit_says(computed, name):
    net = CASES[name].net
    answers = coq.fractions(computed[name][0])[-sum(net.widths()) :]
    for layer, width in zip(classes_of(name), net.widths(), strict=True):
        values, answers = answers[:width], answers[width:]
        same = {v: tuple(i for i in range(width) if values[i] == v) for v in values}
        assert set(same.values()) == set(layer)


def test_the_cases_have_locks_and_units_that_separate():
    """Otherwise the tests above would say nothing."""
    sizes = [len(c) for name in CASES for layer in classes_of(name)[:-1] for c in layer]
    assert sizes.count(1) > 5
    assert sum(size > 1 for size in sizes) > 5
