"""The two oracles agree with each other and with brute force; and each is seen to fail on a wrong net."""

from __future__ import annotations

import copy
import itertools
from fractions import Fraction

import pytest
import torch
import zoo
from hypothesis import given, reject
from hypothesis import strategies as st
from oracle.refinement import Net, block, exact, refine
from oracle.training import ADDITIVE, ANY, OracleUnclear, Units, activations, observe
from properties.nets import SMOOTH, Planted, build, examples, planted, relabelled
from torch import nn

UPDATES = ("any", "additive")


def assert_oracles_agree(case: Planted, update: str, model: nn.Module | None = None) -> None:
    """Refinement predicts classes, mirrors and still entries; training must show exactly these."""
    verdict = refine(case.net, update)
    model = case.module() if model is None else model
    seen = observe(model, case.inputs(), optimizers=ANY if update == "any" else ADDITIVE, steps=5)
    seen.assert_clear()
    for layer, name in enumerate(case.names()):
        assert seen.classes(name) == verdict.classes[layer], f"classes of {name}"
        if case.net.odd:  # else only units that cannot move can be each other's negative
            assert seen.layers[name].mirrors == verdict.mirrors[layer], f"mirrors of {name}"
        if layer in case.net.fixed:
            continue
        still = {tuple(index) for index in seen.still(f"{name}.weight").nonzero().tolist()}
        assert still == verdict.frozen_weights[layer], f"frozen weights of {name}"
        if case.net.biases[layer] is not None:
            still = set(seen.still(f"{name}.bias").nonzero().flatten().tolist())
            assert still == verdict.frozen_biases[layer], f"frozen biases of {name}"


@pytest.mark.parametrize("update", UPDATES)
@examples(30)
@given(case=planted(SMOOTH))
def test_refinement_agrees_with_training(case, update):
    try:
        assert_oracles_agree(case, update)
    except OracleUnclear:
        reject()


@pytest.mark.slow
@pytest.mark.parametrize("update", UPDATES)
@examples(2000)
@given(case=planted(SMOOTH))
def test_refinement_agrees_with_training_often(case, update):
    try:
        assert_oracles_agree(case, update)
    except OracleUnclear:
        reject()


# -- brute force ----------------------------------------------------------------------------------


def partitions(items: list[int]):
    """All set partitions, each as a list of lists."""
    if not items:
        yield []
        return
    for rest in partitions(items[1:]):
        yield [[items[0]], *rest]
        for k in range(len(rest)):
            yield [*rest[:k], [items[0], *rest[k]], *rest[k + 1 :]]


def equitable(net: Net, parts: list[list[list[int]]], update: str) -> bool:
    """Checked from the definition: in every pair of blocks rows agree, columns agree, and biases agree."""
    agree = (lambda w: sum(w)) if update == "additive" else sorted
    for layer, matrix in enumerate(net.weights):
        for d, c in itertools.product(parts[layer + 1], parts[layer]):
            rows = [agree([matrix[u][v] for v in c]) for u in d]
            columns = [agree([matrix[u][v] for u in d]) for v in c]
            if any(r != rows[0] for r in rows) or any(k != columns[0] for k in columns):
                return False
        bias = net.biases[layer]
        if bias and any(bias[u] != bias[d[0]] for d in parts[layer + 1] for u in d):
            return False
    return True


@pytest.mark.parametrize("update", UPDATES)
@examples(25)
@given(seed=st.integers(0, 10**6), mutations=st.integers(0, 1), depth=st.integers(1, 2))
def test_refinement_finds_the_coarsest_equitable_partition(seed, mutations, depth, update):
    case = build(seed, "sigmoid", depth, mutations=mutations)
    net = Net(  # no zeros: brute force knows nothing of dead parts
        [[[w if w else Fraction(1, 7) for w in row] for row in m] for m in case.net.weights],
        case.net.biases,
    )
    widths = net.widths()
    if max(widths) > 5:
        reject()
    alone = [[[i] for i in range(width)] for width in (widths[0], widths[-1])]
    valid = [
        list(middle)
        for middle in itertools.product(*(partitions(list(range(w))) for w in widths[1:-1]))
        if equitable(net, [alone[0], *middle, alone[1]], update)
    ]
    coarsest = min(valid, key=lambda middle: sum(len(part) for part in middle))
    found = refine(net, update).classes[:-1]
    assert [sorted(map(tuple, map(sorted, part))) for part in coarsest] == [
        sorted(part) for part in found
    ]


# -- by hand --------------------------------------------------------------------------------------

BALANCED = Net(  # FACTS F5
    [[[Fraction(w, 64) for w in row] for row in rows] for rows in zoo.BALANCED_WEIGHTS],
    [[Fraction(b, 64) for b in bias] for bias in zoo.BALANCED_BIASES],
    odd=True,
    zero=True,
)
TWO, SIX = ((0, 1, 2), (3, 4, 5)), tuple((u,) for u in range(6))


def test_a_balanced_lock_is_additive_only():
    assert refine(BALANCED, "additive").classes[:2] == [TWO, TWO]
    assert refine(BALANCED, "any").classes[:2] == [SIX, SIX]


@pytest.mark.parametrize("layer, row, column", [(0, 1, 2), (1, 0, 0), (1, 5, 3), (2, 0, 4)])
def test_one_changed_entry_breaks_the_balanced_lock(layer, row, column):
    changed = copy.deepcopy(BALANCED)
    changed.weights[layer][row][column] += Fraction(1, 64)
    case = Planted(changed, "tanh")
    assert refine(changed, "additive").classes[:2] != [TWO, TWO]
    assert_oracles_agree(case, "additive")


@pytest.mark.parametrize("update", UPDATES)
def test_disagreement_is_noticed(update):
    """Give the two oracles different nets: the comparison must fail."""
    case = Planted(BALANCED, "tanh")
    model = case.module()
    with torch.no_grad():
        model[2].weight[0, 0] += 1 / 64
        model[4].weight[1] = 1.0
    other = build(7, "tanh", 2, largest=1)
    with pytest.raises(AssertionError, match="classes of 0"):
        assert_oracles_agree(other, update, Planted(other.net, "tanh").module().apply(_constant))
    if update == "additive":
        with pytest.raises(AssertionError, match="classes of"):
            assert_oracles_agree(case, update, model)


def _constant(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.constant_(module.weight, 0.1)
        nn.init.constant_(module.bias, 0.1)


def test_two_one_sided_tests_are_not_enough():
    """FACTS F7: incoming and outgoing classes intersected say {0, 1}; joint refinement says alone."""
    quarters = [
        [[1, -2, 1], [1, -2, 1], [2, 1, -1]],
        [[4, 0, 3], [0, 4, -1]],
        [[3, 3]],
    ]
    weights = [exact([[w / 4 for w in row] for row in rows]) for rows in quarters]
    biases = [exact([0.25, 0.25, 0]), exact([0.25, -0.5]), exact([0])]
    case = Planted(Net(weights, biases, odd=True, zero=True), "tanh")
    assert refine(case.net).classes[:2] == [((0,), (1,), (2,)), ((0,), (1,))]
    assert_oracles_agree(case, "additive")


@pytest.mark.parametrize("activation, weights_move", [("tanh", False), ("sigmoid", True)])
def test_zero_start(activation, weights_move):
    odd = activation == "tanh"
    net = Net(
        [exact([[0] * 4] * 3), exact([[0] * 3] * 2)], [exact([0] * 3), exact([0] * 2)], odd, odd
    )
    verdict = refine(net)
    assert verdict.classes == [((0, 1, 2),), ((0,), (1,))]
    assert [len(entries) for entries in verdict.frozen_weights] == (
        [0, 0] if weights_move else [12, 6]
    )
    assert verdict.frozen_biases == [set() if weights_move else {0, 1, 2}, set()]
    assert_oracles_agree(Planted(net, activation), "any")


def test_zero_layers_wake_one_a_step():
    """Twins two layers below zero layers, outgoing weights different: seen as equal until step 2."""
    waking = Net(
        [
            exact([[1, -1, 0.5]] * 2 + [[0.5, 1, 1]]),
            exact([[1, 0.5, -1], [0.25, 1, 1]]),
            exact([[0, 0]] * 3),
            exact([[0, 0, 0]] * 2),
        ],
        [exact([0.5, 0.5, 0]), exact([0.5, -0.5]), exact([0.5, 0.25, -1]), exact([0, 0])],
        odd=True,
        zero=True,
    )
    assert refine(waking).classes[0] == ((0,), (1,), (2,))
    assert refine(waking).frozen_weights == [set()] * 4
    case = Planted(waking, "tanh")
    assert_oracles_agree(case, "additive")
    early = observe(case.module(), case.inputs(), optimizers=ADDITIVE, steps=2)
    assert early.classes("0") == ((0, 1), (2,)), "two steps are too few to see it"


def test_still_blocks_cancel_by_oddness_only():
    assert block(exact([1, -1, 2]), "any", still=True) == ((Fraction(2), 1),)
    assert block(exact([1, -1, 0]), "any", still=True) == ()
    assert block(exact([2, 1, 1]), "any", still=False) == (1, 1, 2)
    assert block(exact([1, -1, 2]), "additive", still=False) == (2,)


@examples(30)
@given(case=planted(), seed=st.integers(0, 999), update=st.sampled_from(UPDATES))
def test_refinement_ignores_how_units_are_numbered(case, seed, update):
    generator = torch.Generator().manual_seed(seed)
    width = len(case.net.weights[0])
    order = torch.randperm(width, generator=generator).tolist()
    moved = refine(relabelled(case, 0, order).net, update)
    stayed = refine(case.net, update)
    back = {tuple(sorted(order[k] for k in members)) for members in moved.classes[0]}
    assert back == set(stayed.classes[0])
    assert moved.classes[1:] == stayed.classes[1:]


# -- the trainer itself ---------------------------------------------------------------------------


def test_gaps_that_are_neither_are_refused():
    gap = torch.tensor([[0.0, 1e-9], [1e-9, 0.0]])
    units = Units(gap, torch.ones(2, 2), torch.ones(2))
    assert units.unclear() == pytest.approx([1e-9, 1e-9])
    case = build(3, "tanh", 1)
    seen = observe(case.module(), case.inputs(), steps=1)
    seen.assert_clear()
    seen.layers["0"] = units
    with pytest.raises(OracleUnclear, match="between 1e-11 and 1e-08"):
        seen.assert_clear()


def test_training_leaves_the_model_alone():
    case = build(11, "tanh", 2)
    model = case.module()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    state = torch.random.get_rng_state()
    observe(model, case.inputs(), steps=1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], p) for name, p in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("batch_first", [True, False])
def test_heads_are_what_attention_mixes(batch_first):
    """The heads that the trainer recomputes give the attention's own output."""
    attention = nn.MultiheadAttention(8, 2, batch_first=batch_first).double()
    x = torch.randn(5, 3, 8, dtype=torch.float64)
    heads = activations(attention, (x, x, x))["[heads]"]
    mixed = (
        heads.reshape(2, *(x.shape[:2] if batch_first else (3, 5)), 4).movedim(0, -2).flatten(-2)
    )
    expected = attention(x, x, x)[0]
    assert torch.allclose(
        attention.out_proj(mixed), expected if batch_first else expected.movedim(0, 1)
    )
