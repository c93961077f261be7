"""The coarsest partition of a dense net's units that training can never leave, over exact fractions.

Statement. Give every unit two labels: F (forward: whose activations are equal) and B (backward:
whose cotangents are equal), each with a label ZERO for "identically zero". The labels hold at every
step of training, on any data, with any loss of the outputs, if for units u, v of one layer

1. F(u) = F(v)  =>  equal bias, and equal incoming blocks from every non-ZERO F-class C before;
   F(u) = ZERO  =>  these are all zero, and the activation keeps zero: f(0) = 0;
2. B(u) = B(v)  =>  F(u) = F(v), and equal outgoing blocks to every non-ZERO B-class after;
   B(u) = ZERO  =>  those blocks are all zero (or u is ZERO forward and f'(0) = 0: ReLU);
3. training keeps 1: if something that feeds u moves (its layer trains and a non-ZERO class feeds
   it, or its bias trains), then F(u) = F(v) => B(u) = B(v), and F(u) = ZERO => B(u) = ZERO;
4. training keeps 2: if something that u feeds moves, then B(u) = ZERO => F(u) = ZERO.

The gradient of ``W[u, c]`` is a function of (B(u), F(c)) alone, hence constant on blocks: that is
why 3 and 4 suffice. Inputs are alone in F, outputs alone in B. The rules are monotone (fewer
equalities and zeros: more constraints), so refining from "everything is equal and zero" until nothing
changes gives the coarsest labels. Without ZERO they are the two-sided equitable partitions of
Joudaki et al., arXiv 2510.00304.

"Equal blocks" depends on the update. ``additive`` (theta' = s theta + H(g)): equal sums. ``any``
(theta' = H(g, theta), H odd): equal multisets, since sums of a random H agree only then; where the
gradient is zero for ever H is odd in theta alone, so w and -w cancel.

Odd activations (tanh): every unit u is doubled into (u, +) and (u, -), whose activation is minus that
of u, and the rules run on the doubled net; a class that holds (u, +) and (v, -) is a mirror pair.

Domain: a genuine nonlinearity after every hidden layer (through identities, sums over different
classes can agree).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

ZERO = 0
Matrix = list[list[Fraction]]
Node = tuple[int, int]  # (unit, sign)
Labels = list[dict[Node, int]]  # one dict a layer; layer 0 is the input


@dataclass(frozen=True)
class Net:
    """``weights[l][u][c]`` feeds unit u of layer l + 1 from unit c of layer l (layer 0: the inputs)."""

    weights: list[Matrix]
    biases: list[list[Fraction] | None]
    odd: bool = False  # f(-z) = -f(z)
    zero: bool = False  # f(0) = 0
    dead: bool = False  # f'(0) = 0
    fixed: frozenset[int] = frozenset()  # layers (0, 1, ...) whose weights and biases do not train

    def widths(self) -> list[int]:
        return [len(self.weights[0][0])] + [len(matrix) for matrix in self.weights]


@dataclass(frozen=True)
class Verdict:
    """Per layer of weights: classes, mirror pairs (u < v), and the entries whose gradient is always zero."""

    classes: list[tuple[tuple[int, ...], ...]]
    mirrors: list[set[tuple[int, int]]]
    frozen_weights: list[set[tuple[int, int]]]
    frozen_biases: list[set[int]]


def exact(rows) -> list:
    """Numbers, or nested lists of numbers, as fractions. A float is converted exactly."""
    return [exact(row) if isinstance(row, (list, tuple)) else Fraction(row) for row in rows]


def refine(net: Net, update: str = "additive") -> Verdict:
    signs = (1, -1) if net.odd else (1,)
    nodes = [[(u, s) for u in range(width) for s in signs] for width in net.widths()]
    last = len(nodes) - 1
    forward: Labels = [dict.fromkeys(layer, ZERO) for layer in nodes]
    backward: Labels = [dict.fromkeys(layer, ZERO) for layer in nodes]
    forward[0] = {n: 1 + k for k, n in enumerate(nodes[0])}
    backward[last] = {n: 1 + k for k, n in enumerate(nodes[last])}
    while True:
        before = ([dict(x) for x in forward], [dict(x) for x in backward])
        for layer in range(1, last + 1):
            keeps_zero = net.zero or layer == last
            forward[layer] = relabel(
                forward[layer],
                {n: forward_key(net, update, forward, backward, layer, n) for n in nodes[layer]},
                lambda n, key, ok=keeps_zero: ok and is_zero(key),
            )
        for layer in range(last - 1, 0, -1):
            dead = {n: net.dead and forward[layer][n] == ZERO for n in nodes[layer]}
            backward[layer] = relabel(
                backward[layer],
                {n: backward_key(net, update, forward, backward, layer, n) for n in nodes[layer]},
                lambda n, key, dead=dead: dead[n] or is_zero(key),
            )
        if before == (forward, backward):
            return read_off(net, forward, backward)


def forward_key(net, update, forward, backward, layer, node):
    """What rules 1 and 3 compare: (blocks and bias, what must be ZERO with them)."""
    (u, s), trains = node, layer - 1 not in net.fixed
    live = sorted(set(forward[layer - 1].values()) - {ZERO})
    bias = Fraction(0) if net.biases[layer - 1] is None else s * net.biases[layer - 1][u]
    still = trains and backward[layer][node] == ZERO
    blocks = tuple(
        block(
            [
                s * t * net.weights[layer - 1][u][c]
                for (c, t), k in forward[layer - 1].items()
                if k == label
            ],
            update if trains else "additive",
            still,
        )
        for label in live
    )
    moves = trains and (bool(live) or net.biases[layer - 1] is not None)
    return (*blocks, (bias,)), (backward[layer][node] if moves else ZERO)


def backward_key(net, update, forward, backward, layer, node):
    """What rules 2 and 4 compare. ZERO backward asks for ZERO forward only if something moves."""
    (c, t), trains = node, layer not in net.fixed
    live = sorted(set(backward[layer + 1].values()) - {ZERO})
    still = trains and forward[layer][node] == ZERO
    blocks = tuple(
        block(
            [
                s * t * net.weights[layer][u][c]
                for (u, s), k in backward[layer + 1].items()
                if k == label
            ],
            update if trains else "additive",
            still,
        )
        for label in live
    )
    moves = trains and bool(live)
    return blocks, (forward[layer][node] if moves else ZERO), forward[layer][node]


def block(entries: list[Fraction], update: str, still: bool):
    """What must agree of one unit's weights within one class. () or zero means: contributes nothing, ever."""
    if update == "additive":
        return (sum(entries, Fraction(0)),)
    if not still:
        return tuple(sorted(entries))
    count = Counter()
    for w in entries:
        count[abs(w)] += (w > 0) - (w < 0)
    return tuple(sorted((w, n) for w, n in count.items() if n))


def is_zero(key) -> bool:
    """All blocks contribute nothing and the partner label is ZERO."""
    blocks, partner = key[0], key[1]
    return partner == ZERO and all(entry == 0 for b in blocks for entry in b)


def relabel(old: dict[Node, int], keys: dict[Node, object], zero) -> dict[Node, int]:
    """Split every class by key. ZERO stays ZERO where ``zero`` still holds; nothing ever returns to it."""
    names: dict[object, int] = {}
    new = {}
    for node, label in old.items():
        if label == ZERO and zero(node, keys[node]):
            new[node] = ZERO
        else:
            new[node] = names.setdefault((label, keys[node]), len(names) + 1)
    return new


def read_off(net: Net, forward: Labels, backward: Labels) -> Verdict:
    classes, mirrors, weights, biases = [], [], [], []
    for layer, width in enumerate(net.widths()[1:], 1):
        groups: dict[int, list[int]] = {}
        for u in range(width):
            groups.setdefault(forward[layer][u, 1], []).append(u)
        classes.append(tuple(tuple(members) for members in groups.values()))
        mirrors.append(
            {
                (u, v)
                for u in range(width)
                for v in range(u + 1, width)
                if net.odd and forward[layer][u, 1] == forward[layer][v, -1] != ZERO
            }
        )
        still = {u for u in range(width) if backward[layer][u, 1] == ZERO}
        silent = {c for (c, t), label in forward[layer - 1].items() if label == ZERO}
        trains = layer - 1 not in net.fixed
        weights.append(
            {
                (u, c)
                for u in range(width)
                for c in range(net.widths()[layer - 1])
                if u in still or c in silent
            }
            if trains
            else set()
        )
        biases.append(still if trains and net.biases[layer - 1] is not None else set())
    return Verdict(classes, mirrors, weights, biases)
