"""Random dense nets with planted structure, as exact fractions and as torch modules."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from oracle.refinement import Matrix, Net
from torch import nn

# Every weight is an integer over GRID: exact as a float and as a fraction. The grid is fine enough that two weights
# are rarely equal by chance: chance equalities split as training starts and would hide a stop that is too early.
GRID = 1024

# name -> (module, odd, f(0) = 0, f'(0) = 0)
ACTIVATIONS = {
    "tanh": (nn.Tanh, True, True, False),
    "sigmoid": (nn.Sigmoid, False, False, False),
    "softplus": (nn.Softplus, False, False, False),
    "gelu": (nn.GELU, False, True, False),
    "elu": (nn.ELU, False, True, False),
    "silu": (nn.SiLU, False, True, False),
    "relu": (nn.ReLU, False, True, True),
}
# A ReLU unit can be dead on every input (negative weights from non-negative units): the exact oracle
# and the engine do not see it, training does. Whoever trains therefore leaves ReLU out.
SMOOTH = tuple(name for name in ACTIVATIONS if name != "relu")


def examples(count: int) -> settings:
    """The same ``count`` examples in every run."""
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
    )


@dataclass(frozen=True)
class Planted:
    """A dense net: exact weights for the refinement oracle, ``module()`` for the engine and the trainer."""

    net: Net
    activation: str

    def module(self) -> nn.Sequential:
        parts: list[nn.Module] = []
        for layer, matrix in enumerate(self.net.weights):
            bias = self.net.biases[layer]
            linear = nn.Linear(len(matrix[0]), len(matrix), bias=bias is not None).double()
            with torch.no_grad():
                linear.weight.copy_(torch.tensor([[float(w) for w in row] for row in matrix]))
                if bias is not None:
                    linear.bias.copy_(torch.tensor([float(b) for b in bias]))
            linear.requires_grad_(layer not in self.net.fixed)
            parts += [linear, ACTIVATIONS[self.activation][0]()]
        return nn.Sequential(*parts[:-1])

    def inputs(self) -> torch.Tensor:
        return torch.zeros(6, len(self.net.weights[0][0]), dtype=torch.float64)

    def names(self) -> list[str]:
        return [str(2 * layer) for layer in range(len(self.net.weights))]


def net_of(weights, biases, activation: str, fixed=frozenset()) -> Net:
    _, odd, zero, dead = ACTIVATIONS[activation]
    return Net(weights, biases, odd=odd, zero=zero, dead=dead, fixed=frozenset(fixed))


def relabelled(planted: Planted, layer: int, order: list[int]) -> Planted:
    """The same net with hidden layer ``layer`` permuted: new unit k is old unit ``order[k]``."""
    weights = [[list(row) for row in matrix] for matrix in planted.net.weights]
    biases = [None if bias is None else list(bias) for bias in planted.net.biases]
    weights[layer] = [weights[layer][u] for u in order]
    if biases[layer] is not None:
        biases[layer] = [biases[layer][u] for u in order]
    weights[layer + 1] = [[row[u] for u in order] for row in weights[layer + 1]]
    return Planted(
        net_of(weights, biases, planted.activation, planted.net.fixed), planted.activation
    )


# -- blocks ---------------------------------------------------------------------------------------


def constant(rng: random.Random, rows: int, columns: int) -> list[list[int]]:
    w = rng.randint(-384, 384)
    return [[w] * columns for _ in range(rows)]


def circulant(rng: random.Random, rows: int, columns: int) -> list[list[int]]:
    """Every row and every column holds the same multiset (the cycle divides both sides)."""
    cycle = max(d for d in range(1, min(rows, columns) + 1) if rows % d == columns % d == 0)
    values = [rng.randint(-384, 384) for _ in range(cycle)]
    return [[values[(i + j) % cycle] for j in range(columns)] for i in range(rows)]


def balanced(rng: random.Random, rows: int, columns: int) -> list[list[int]]:
    """A constant plus integer noise whose rows and columns sum to zero."""
    block = constant(rng, rows, columns)
    if rows > 1 and columns > 1:
        for _ in range(3):
            (i, k), (j, m) = rng.sample(range(rows), 2), rng.sample(range(columns), 2)
            d = rng.randint(1, 192)
            for row, column, sign in ((i, j, 1), (i, m, -1), (k, j, -1), (k, m, 1)):
                block[row][column] += sign * d
    return block


BLOCKS = (constant, circulant, balanced)


def matrix(rng: random.Random, out: list[list[int]], inn: list[list[int]], kinds) -> Matrix:
    rows, columns = sum(map(len, out)), sum(map(len, inn))
    weights = [[Fraction(0)] * columns for _ in range(rows)]
    for d in out:
        for c in inn:
            values = rng.choice(kinds)(rng, len(d), len(c))
            for i, u in enumerate(d):
                for j, v in enumerate(c):
                    weights[u][v] = Fraction(values[i][j], GRID)
    return weights


def partition(rng: random.Random, width: int, largest: int) -> list[list[int]]:
    units, parts = rng.sample(range(width), width), []
    while units:
        size = rng.randint(1, min(largest, len(units)))
        parts.append(units[:size])
        units = units[size:]
    return parts


def plant_mirror(rng: random.Random, weights, biases, layer: int) -> None:
    """Append to hidden layer ``layer`` the negative of one of its units."""
    unit = rng.randrange(len(weights[layer]))
    weights[layer].append([-w for w in weights[layer][unit]])
    if biases[layer] is not None:
        biases[layer].append(-biases[layer][unit])
    for row in weights[layer + 1]:
        row.append(-row[unit])


def build(
    seed: int,
    activation: str,
    depth: int,
    kinds=BLOCKS,
    largest: int = 3,
    bias: bool = True,
    zeros: tuple[int, ...] = (),
    mutations: int = 0,
    mirror: bool = False,
    fixed: tuple[int, ...] = (),
) -> Planted:
    """A net with planted classes, then damaged: zero layers, changed entries, untrained layers."""
    rng = random.Random(seed)
    hidden = [partition(rng, rng.randint(2, 6), largest) for _ in range(depth)]
    parts = [[[i] for i in range(3)], *hidden, [[i] for i in range(2)]]
    weights = [matrix(rng, parts[k + 1], parts[k], kinds) for k in range(depth + 1)]
    biases: list = [None] * (depth + 1)
    if bias:
        for k, classes in enumerate(parts[1:]):
            biases[k] = [Fraction(0)] * sum(map(len, classes))
            for members in classes:
                b = Fraction(rng.randint(-256, 256), GRID)
                for u in members:
                    biases[k][u] = b
    for layer in zeros:
        if layer <= depth:
            weights[layer] = [[Fraction(0)] * len(row) for row in weights[layer]]
    if mirror:
        plant_mirror(rng, weights, biases, rng.randrange(depth))
    for _ in range(mutations):
        rows = weights[rng.randrange(depth + 1)]
        row = rows[rng.randrange(len(rows))]
        row[rng.randrange(len(row))] += Fraction(rng.choice([-128, -48, 48, 128]), GRID)
    return Planted(
        net_of(weights, biases, activation, [f for f in fixed if f <= depth]), activation
    )


def planted(activations=tuple(ACTIVATIONS), max_depth: int = 3):
    """Hypothesis strategy over :func:`build`."""
    layers = st.lists(st.integers(0, max_depth), max_size=2, unique=True).map(tuple)
    return st.builds(
        build,
        seed=st.integers(0, 10**6),
        activation=st.sampled_from(activations),
        depth=st.integers(1, max_depth),
        kinds=st.sampled_from([(constant,), (constant, circulant), BLOCKS, (balanced,)]),
        largest=st.integers(1, 4),
        bias=st.booleans(),
        zeros=st.one_of(st.just(()), layers),
        mutations=st.integers(0, 1),
        mirror=st.booleans(),
        fixed=st.one_of(st.just(()), st.just(()), layers),
    )
