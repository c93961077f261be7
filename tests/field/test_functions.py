"""Uninterpreted functions: parity, zero, determinism, no dependence on position; and what they still have in common."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from field.reference import FIELD, gradients
from torch import Tensor

from lockstep.errors import ControlFlowError
from lockstep.field.arithmetic import PRIMES, Field
from lockstep.field.dispatch import engine
from lockstep.field.residue import Residue, symbolic
from lockstep.field.rules.functions import AT_INFINITY, AT_MINUS_INFINITY, UNARY

SHAPE = (4, 6)


def symbols(*shape: int, seed: int = 0, f: Field = FIELD) -> Tensor:
    return f.symbols(shape, torch.Generator().manual_seed(seed))


def run(function: Callable[..., Any], *inputs: Tensor, f: Field = FIELD) -> Any:
    """Residues in, residues out; true booleans and integers stay what they are."""
    claims = [symbolic(x.clone(), torch.float32) if x.dtype is torch.float32 else x for x in inputs]
    for c in claims:
        if isinstance(c, Residue):
            c.cell.infinite = bool(torch.isinf(c.stored).any())
    with engine(f):
        result = function(*claims)
    return torch.utils._pytree.tree_map(lambda r: _residues(r, f), result)


def _residues(r: Any, f: Field) -> Any:
    if isinstance(r, Residue):
        return f.embed(r.stored) if r.known else r.stored
    return r


def derivative(function: Callable[..., Tensor], x: Tensor, g: Tensor, f: Field = FIELD) -> Tensor:
    leaf, cotangent = (
        symbolic(x.clone(), torch.float32).requires_grad_(),
        symbolic(g.clone(), torch.float32),
    )
    with engine(f):
        found = gradients([function(leaf)], [leaf], [cotangent])[0]
    return _residues(found, f)


def real(name: str) -> Callable[[Tensor], Tensor]:
    """The function itself, wherever PyTorch keeps it."""
    if name.startswith("special_"):
        return getattr(torch.special, name.removeprefix("special_"))
    if name == "polygamma":
        return lambda x: torch.polygamma(2, x)
    return getattr(F, name, None) or getattr(torch, name)


NAMES = [
    *UNARY,
    "sigmoid",
    "silu",
    "erfc",
    "logsigmoid",
    "sqrt",
    "rsqrt",
    "sign",
    "abs",
    "relu",
    "floor",
    "round",
    "trunc",
]


# -- parity and zero are those of the real function -------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_parity_is_what_the_real_function_has(name: str) -> None:
    function, x = real(name), symbols(*SHAPE)
    true, positive = torch.linspace(-3, 3, 121, dtype=torch.float64), None
    y, mirrored = function(true), function(-true)
    defined = torch.isfinite(y) & torch.isfinite(mirrored)
    odd = bool(defined.any()) and torch.allclose(y[defined], -mirrored[defined])
    even = bool(defined.any()) and torch.allclose(y[defined], mirrored[defined])
    positive, negative = run(function, x), run(function, -x)
    assert torch.equal(positive, -negative) <= (odd or not bool(defined.any())), (
        "claimed odd, is not"
    )
    assert torch.equal(positive, negative) <= (even or not bool(defined.any())), (
        "claimed even, is not"
    )
    if name not in (
        "asin",
        "atanh",
        "erfinv",
        "acos",
    ):  # odd too, but not defined on all of this range
        assert torch.equal(positive, -negative) == (odd and bool(defined.all())) or name == "tan"


@pytest.mark.parametrize("name", NAMES)
def test_zero_stays_zero_only_where_it_does(name: str) -> None:
    function = real(name)
    zero = float(function(torch.zeros(1, dtype=torch.float64)))
    assert (float(run(function, torch.zeros(1))) == 0) == (zero == 0)
    assert (run(function, symbols(*SHAPE)) != 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_function_knows_the_value_and_nothing_else(name: str) -> None:
    function, x = real(name), symbols(*SHAPE)
    y = run(function, x)
    order = torch.randperm(x.numel(), generator=torch.Generator().manual_seed(1))
    assert torch.equal(run(function, x.view(-1)[order]), y.view(-1)[order])
    assert torch.equal(run(function, x.t().contiguous()), y.t())
    long = x.view(-1).repeat(5000)  # split into chunks inside
    assert torch.equal(run(function, long), y.view(-1).repeat(5000))


def test_different_functions_primes_and_seeds_differ() -> None:
    x = symbols(*SHAPE)
    results = [run(real(name), x) for name in NAMES]
    same = [
        (a, b)
        for (a, r), (b, s) in itertools.combinations(zip(NAMES, results, strict=True), 2)
        if torch.equal(r, s)
    ]
    assert same == []
    assert not torch.equal(run(torch.tanh, x), run(torch.tanh, x, f=Field(PRIMES[0], seed=6)))
    assert not torch.equal(run(torch.tanh, x), run(torch.tanh, x, f=Field(PRIMES[1], seed=5)))


def test_settings_make_another_function_and_equal_settings_the_same() -> None:
    x = symbols(*SHAPE)
    assert not torch.equal(run(lambda y: F.elu(y, 1.0), x), run(lambda y: F.elu(y, 2.0), x))
    assert torch.equal(run(lambda y: F.elu(y, 2), x), run(lambda y: F.elu(y, 2.0), x))
    assert not torch.equal(
        run(lambda y: F.gelu(y), x), run(lambda y: F.gelu(y, approximate="tanh"), x)
    )
    lopsided = run(lambda y: F.hardtanh(y, -0.5, 2.0), x)
    assert not torch.equal(lopsided, -run(lambda y: F.hardtanh(y, -0.5, 2.0), -x))
    assert float(run(lambda y: F.hardtanh(y, 0.5, 2.0), torch.zeros(1))) != 0


@pytest.mark.parametrize("name", sorted(AT_MINUS_INFINITY))
def test_at_infinity(name: str) -> None:
    function = real(name)
    ends = torch.tensor([-math.inf, math.inf])
    if name in ("gelu", "mish"):  # the kernel says NaN, the limit is 0
        assert AT_MINUS_INFINITY[name] == 0
    else:
        assert float(function(ends)[0]) == AT_MINUS_INFINITY[name]
        assert float(function(ends)[1]) == AT_INFINITY.get(name, math.inf)
    assert run(function, ends).tolist() == [
        AT_MINUS_INFINITY[name],
        AT_INFINITY.get(name, math.inf),
    ]


# -- identities between functions --------------------------------------------------------------------------

SAME: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "relu by hand": (torch.relu, lambda x: torch.where(x > 0, x, 0.0)),
    "relu as clamp": (torch.relu, lambda x: x.clamp(min=0)),
    "relu as maximum": (torch.relu, lambda x: torch.maximum(x, torch.zeros(()))),
    "clamp is odd": (lambda x: x.clamp(-1, 1), lambda x: -(-x).clamp(-1, 1)),
    "clamp by hand": (
        lambda x: x.clamp(-1, 2),
        lambda x: torch.relu(x + 1) - torch.relu(x - 2) - 1,
    ),
    "relu by mask": (torch.relu, lambda x: x * (x > 0)),
    "relu by float mask": (torch.relu, lambda x: x * (x > 0).float()),
    "abs is 2 relu - x": (torch.abs, lambda x: 2 * torch.relu(x) - x),
    "relu of both signs": (lambda x: torch.relu(x) - torch.relu(-x), lambda x: x * 1),
    "leaky relu": (lambda x: F.leaky_relu(x, 0.25), lambda x: torch.where(x > 0, x, 0.25 * x)),
    "silu": (F.silu, lambda x: x * torch.sigmoid(x)),
    "sigmoid and tanh": (torch.sigmoid, lambda x: (1 + torch.tanh(x / 2)) / 2),
    "sigmoid of both signs": (lambda x: torch.sigmoid(x) + torch.sigmoid(-x), torch.ones_like),
    "log sigmoid of both signs": (lambda x: F.logsigmoid(x) - F.logsigmoid(-x), lambda x: x * 1),
    "rsqrt": (torch.rsqrt, lambda x: 1 / torch.sqrt(x)),
    "root as power": (torch.sqrt, lambda x: x**0.5),
    "norm": (lambda x: torch.linalg.vector_norm(x, dim=1), lambda x: (x * x).sum(1).sqrt()),
    "norm 1": (lambda x: x.norm(1, dim=1), lambda x: x.abs().sum(1)),
    "norm 3": (lambda x: x.norm(3, dim=1), lambda x: (x.abs() ** 3).sum(1) ** (1 / 3)),
    "std": (lambda x: x.std(1), lambda x: x.var(1).sqrt()),
    "ceil": (torch.ceil, lambda x: -torch.floor(-x)),
    "remainder": (lambda x: torch.remainder(x, 3), lambda x: x - 3 * torch.floor(x / 3)),
    "floor division": (lambda x: x // 3, lambda x: torch.div(x, 3, rounding_mode="floor")),
    "minimum": (lambda x: x.amin(1), lambda x: -(-x).amax(1)),
    "maximum shifts": (lambda x: (x + 7).amax(1) - 7, lambda x: x.amax(1)),
    "softmax shifts": (lambda x: torch.softmax(x + x[:, :1], 1), lambda x: torch.softmax(x, 1)),
    "softmax sums to 1": (lambda x: torch.softmax(x, 1).sum(1), lambda x: torch.ones(4)),
    "logsumexp shifts": (lambda x: torch.logsumexp(x + 3, 1) - 3, lambda x: torch.logsumexp(x, 1)),
    "logaddexp": (lambda x: torch.logaddexp(x, x + 2), lambda x: torch.logaddexp(x + 2, x)),
    "log_softmax": (
        lambda x: torch.log_softmax(x, 1),
        lambda x: x - torch.logsumexp(x, 1, keepdim=True),
    ),
    "hypot": (lambda x: torch.hypot(x, 2 * x), lambda x: (5 * x * x).sqrt()),
    "xlogy": (lambda x: torch.xlogy(x, x), lambda x: x * x.log()),
    "layer norm": (lambda x: F.layer_norm(x, (6,), eps=0.5), lambda x: _standard(x, (1,))),
    "group norm": (
        lambda x: F.group_norm(x, 3, eps=0.5),
        lambda x: _standard(x.view(4, 3, 2), (2,)).view(4, 6),
    ),
    "batch norm": (
        lambda x: F.batch_norm(x, None, None, training=True, eps=0.5),
        lambda x: _standard(x, (0,)),
    ),
    "instance norm": (
        lambda x: F.instance_norm(x.view(2, 2, 6), eps=0.5),
        lambda x: _standard(x.view(2, 2, 6), (2,)),
    ),
    "rms norm": (
        lambda x: F.rms_norm(x, (6,), eps=0.5),
        lambda x: x / ((x * x).mean(1, keepdim=True) + 0.5).sqrt(),
    ),
    "cosine": (
        lambda x: F.cosine_similarity(x, x.flip(0)),
        lambda x: F.cosine_similarity(x.flip(0), x),
    ),
    "mse": (lambda x: F.mse_loss(x, x.flip(0)), lambda x: ((x - x.flip(0)) ** 2).mean()),
    "bce": (
        lambda x: F.binary_cross_entropy_with_logits(x, x.flip(0), reduction="none"),
        lambda x: -(x.flip(0) * F.logsigmoid(x) + (1 - x.flip(0)) * F.logsigmoid(-x)),
    ),
    "weight norm": (
        lambda x: torch._weight_norm(x, x[:, :1], 0),
        lambda x: x * (x[:, :1] / (x * x).sum(1, keepdim=True).sqrt()),
    ),
    "cdist": (
        lambda x: torch.cdist(x, x.flip(1)),
        lambda x: ((x[:, None] - x.flip(1)[None]) ** 2).sum(-1).sqrt(),
    ),
    "multi margin": (
        lambda x: F.multi_margin_loss(x, torch.tensor([1, 0, 3, 5]), reduction="sum"),
        lambda x: _margins(x, torch.tensor([1, 0, 3, 5])),
    ),
    "multilabel margin": (
        lambda x: F.multilabel_margin_loss(
            x, torch.tensor([[1, 3, -1, 0, 0, 0]]).expand(4, 6), reduction="sum"
        ),
        lambda x: _labels(x, [1, 3]),
    ),
    "embedding bag": (
        lambda x: F.embedding_bag(torch.tensor([[0, 1], [2, 3]]), x, mode="max"),
        lambda x: torch.stack([x[:2].amax(0), x[2:].amax(0)]),
    ),
    "scatter amax": (
        lambda x: torch.zeros(4, 1).scatter_reduce(
            1, torch.zeros(4, 6, dtype=torch.long), x, "amax", include_self=False
        ),
        lambda x: x.amax(1, keepdim=True),
    ),
    "scatter amin": (
        lambda x: x[:, :1].scatter_reduce(1, torch.zeros(4, 5, dtype=torch.long), x[:, 1:], "amin"),
        lambda x: x.amin(1, keepdim=True),
    ),
    "max pool": (lambda x: F.max_pool1d(x, 3), lambda x: x.view(4, 2, 3).amax(2)),
    "adaptive max pool": (
        lambda x: F.adaptive_max_pool2d(x[:, None, None], 1).view(4),
        lambda x: x.amax(1),
    ),
    "sort and topk": (lambda x: x.sort(1, descending=True)[0][:, :2], lambda x: x.topk(2, 1)[0]),
    "median": (lambda x: x.median(1)[0], lambda x: x.sort(1)[0][:, 2]),
    "kthvalue": (lambda x: x.kthvalue(2, 1)[0], lambda x: x.sort(1)[0][:, 1]),
    "not": (lambda x: torch.where(~(x > 0), x, 1.0), lambda x: torch.where(x > 0, 1.0, x)),
    "and": (lambda x: ((x > 0) & (x > 1)) * 1.0, lambda x: (x > 0).float() * (x > 1).float()),
    "or": (
        lambda x: ((x > 0) | (x > 1)) * 1.0,
        lambda x: 1 - (1 - (x > 0).float()) * (1 - (x > 1).float()),
    ),
    "xor": (lambda x: ((x > 0) ^ (x > 1)) * 1.0, lambda x: ((x > 0) != (x > 1)) * 1.0),
    "le": (lambda x: (x <= 1) * 1.0, lambda x: 1 - (x > 1).float()),
    "ge": (lambda x: (x >= 1) * 1.0, lambda x: 1 - (x < 1).float()),
    "any": (lambda x: (x > 0).any(1) * 1.0, lambda x: 1 - (~(x > 0)).float().prod(1)),
    "all": (lambda x: (x > 0).all(1) * 1.0, lambda x: (x > 0).float().prod(1)),
    "count": (lambda x: (x > 0).sum(1) * 1.0, lambda x: (x > 0).long().sum(1).float()),
    "running count": (lambda x: (x > 0).cumsum(1) * 1.0, lambda x: (x > 0).float().cumsum(1)),
    "trunc": (lambda x: x.long().float(), torch.trunc),
    "double": (lambda x: x.double().half().float(), lambda x: x * 1),
    "constant grid": (
        lambda x: _grid(x, constant=True),
        lambda x: x.view(1, 4, 2, 3).flip(3).reshape(4, 6),
    ),
}


def _standard(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    gap = x - x.mean(dims, keepdim=True)
    return gap * (1 / ((gap * gap).mean(dims, keepdim=True) + 0.5).sqrt())


def _margins(x: Tensor, y: Tensor) -> Tensor:
    right = F.one_hot(y, 6).bool()
    z = 1 - x.gather(1, y[:, None]) + x
    return torch.relu(z).masked_fill(right, 0.0).sum() / 6


def _labels(x: Tensor, right: list[int]) -> Tensor:
    wrong = [c for c in range(6) if c not in right]
    return sum(torch.relu(1 - (x[:, t] - x[:, w])).sum() for t in right for w in wrong) / 6


def _grid(x: Tensor, constant: bool) -> Tensor:
    """Mirrors an image left to right, by pixel centres."""
    grid = F.affine_grid(
        torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]]), [1, 4, 2, 3], align_corners=True
    )
    return F.grid_sample(x.view(1, 4, 2, 3), grid, align_corners=True).view(4, 6)


NO_DERIVATIVE = {
    *(
        "sigmoid of both signs",
        "softmax sums to 1",
        "le",
        "ge",
        "any",
        "all",
        "count",
        "running count",
        "trunc",
    ),
    *(
        "and",
        "or",
        "xor",
        "std",
        "log_softmax",
        "ceil",
        "remainder",
        "floor division",
        "relu as clamp",
        "clamp by hand",
    ),
}  # no gradient, or one through another formula: coefficients rounded to floats, or 1/2 at a tie


@pytest.mark.parametrize("name", SAME)
def test_written_both_ways(name: str) -> None:
    one, other = SAME[name]
    x = symbols(*SHAPE)
    assert torch.equal(run(one, x), run(other, x))


# Of these PyTorch's backward asks other questions than of the hand-written form (relu: of its result).
OTHER_QUESTIONS = {
    *(
        "relu by hand",
        "relu as maximum",
        "relu by mask",
        "relu by float mask",
        "abs is 2 relu - x",
        "relu of both signs",
    ),
    *(
        "logsumexp shifts",
        "logaddexp",
        "norm 3",
        "multi margin",
        "multilabel margin",
        "bce",
        "log sigmoid of both signs",
    ),
    *("cosine", "minimum", "hypot", "xlogy", "weight norm"),
}


@pytest.mark.parametrize("name", sorted(set(SAME) - NO_DERIVATIVE - OTHER_QUESTIONS))
def test_differentiated_both_ways(name: str) -> None:
    one, other = SAME[name]
    x = symbols(*SHAPE)
    shape = run(one, x).shape
    g = symbols(*shape, seed=3)
    assert torch.equal(derivative(one, x, g), derivative(other, x, g))


# -- gradients that are identically zero --------------------------------------------------------------------

INVARIANT: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda x: torch.softmax(x, 1),
    "log_softmax": lambda x: torch.log_softmax(x, 1),
    "layer norm": lambda x: F.layer_norm(x, (6,)),
    "masked softmax": lambda x: torch.softmax(x.masked_fill(torch.arange(6) > 3, -math.inf), 1),
    "softmax by hand": lambda x: _softmax(x),
    "less logsumexp": lambda x: x - x.logsumexp(1, keepdim=True),
    "less logsumexp, masked": lambda x: (
        x - x.masked_fill(torch.arange(6) > 3, -math.inf).logsumexp(1, keepdim=True)
    ),
    "exponential less logsumexp": lambda x: torch.exp(x - x.logsumexp(1, keepdim=True)),
}


def _softmax(x: Tensor) -> Tensor:
    e = torch.exp(x - x.amax(1, keepdim=True))
    return e / e.sum(1, keepdim=True)


@pytest.mark.parametrize("name", INVARIANT)
def test_a_common_shift_has_no_gradient(name: str) -> None:
    x, g = symbols(*SHAPE), symbols(*SHAPE, seed=3)
    d = derivative(INVARIANT[name], x, g)
    assert (d != 0).any()
    assert (FIELD.sum(d, (1,)) == 0).all()


def test_a_weight_normed_row_has_no_gradient_along_itself() -> None:
    x, g = symbols(*SHAPE), symbols(*SHAPE, seed=3)
    d = derivative(lambda v: torch._weight_norm(v, torch.ones(4, 1), 0), x, g)
    assert (d != 0).any()
    assert (FIELD.sum(FIELD.mul(d, x), (1,)) == 0).all()


# -- minus infinity -------------------------------------------------------------------------------------------


def test_masks_stay_minus_infinity() -> None:
    x = symbols(2, 4)
    mask = torch.tensor([False, True, False, True])
    for blank in (-math.inf, torch.finfo(torch.float32).min, -1e4):
        for make in (
            lambda s, b=blank: s.masked_fill(mask, b),
            lambda s, b=blank: s + torch.zeros(4).masked_fill(mask, b),
            lambda s, b=blank: torch.where(mask, torch.tensor(b), s),
            lambda s, b=blank: torch.baddbmm(
                torch.zeros(1, 1, 4).masked_fill(mask, b), s[None, :, :1], s[None, :1, :]
            )[0],
        ):
            p = run(lambda s, m=make: torch.softmax(m(s), 1), x)
            assert ((p == 0) == mask).all()
            assert torch.equal(FIELD.sum(p, (1,)), torch.ones(2))


def test_predicates_of_infinity_are_plain() -> None:
    x = torch.tensor([[1.0, -math.inf, 5.0]])
    with engine(FIELD):
        s = symbolic(x, torch.float32)
        s.cell.infinite = True
        assert torch.isinf(s).tolist() == [[False, True, False]]
        assert (s == -math.inf).any().item() is True
        assert torch.isnan(s).any().item() is False
        assert bool(torch.isfinite(s[0, 0]))


# -- choices ---------------------------------------------------------------------------------------------------


def test_where_an_integer_is_asked_for_ties_go_to_the_lower_index() -> None:
    x = torch.tensor([[5.0, 9.0, 5.0, 9.0]])
    assert run(lambda s: s.argmax(1), x).item() in (0, 1)
    assert run(lambda s: s.max(1)[1], x).item() == run(lambda s: s.argmax(1), x).item()
    assert run(lambda s: s.sort(stable=True, dim=1)[1], torch.full((1, 4), 7.0)).tolist() == [
        [0, 1, 2, 3]
    ]


MAXIMA = {
    "amax": lambda x: x.amax(1),
    "amin": lambda x: x.amin((0, 1)),
    "max": lambda x: x.max(1)[0],
    "max of all": lambda x: x.max(),
    "norm inf": lambda x: torch.linalg.vector_norm(x, torch.inf, dim=1),
    "max pool": lambda x: F.max_pool1d(x, 3, 1, 1),
    "adaptive": lambda x: F.adaptive_max_pool1d(x, 4),
    "fractional": lambda x: F.fractional_max_pool2d(x[None, None], 3, (2, 2)),
    "bag": lambda x: F.embedding_bag(torch.tensor([[0, 1, 2, 3]]), x, mode="max"),
    "scatter": lambda x: torch.zeros(4, 1).scatter_reduce(1, torch.zeros(4, 6, dtype=torch.long), x, "amax"),
    "index": lambda x: torch.zeros(4, 1).index_reduce(1, torch.zeros(6, dtype=torch.long), x, "amin"),
    "running": lambda x: x.cummax(1)[0],
    "largest of two": lambda x: torch.maximum(x, x.flip(1)),
    "equal to the largest": lambda x: x * (x == x.amax(1, keepdim=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", MAXIMA)
def test_any_element_may_be_the_largest(name: str) -> None:
    """No gradient is zero by chance, and together they are the gradient of one element."""
    x = symbols(*SHAPE)
    g = symbols(*run(MAXIMA[name], x).shape, seed=3)
    d = derivative(MAXIMA[name], x, g)
    assert (d != 0).all() or name == "fractional"
    if name in ("amax", "max", "amin", "max of all", "max pool", "adaptive", "bag"):
        assert FIELD.sum(d, (0, 1)) == FIELD.sum(g.reshape(-1), (0,))


@pytest.mark.parametrize("name", ["amax", "max", "max pool", "adaptive", "running", "bag"])
def test_the_largest_of_equals_is_what_they_are(name: str) -> None:
    assert (run(MAXIMA[name], torch.full(SHAPE, 7.0)) == 7).all()


def test_equality_with_another_maximum_is_not_being_the_largest() -> None:
    """It may hold, so it is a predicate; only those of the maximum's own elements add up to 1."""
    x, y = (symbolic(symbols(4, 4, seed=n), torch.float32) for n in (0, 1))

    def shares_out(c: Tensor) -> bool:
        return bool((FIELD.sum(c.stored, (1,)) == 1).all())

    with engine(FIELD):
        top = x.amax(1)
        assert shares_out(x == top.unsqueeze(1))
        assert not shares_out(x == top)  # along the wrong dimension
        assert not shares_out(y == top.unsqueeze(1))
        x.add_(1)
        assert not shares_out(x == top.unsqueeze(1))  # not what it was


def test_equality_of_values_that_vary_continuously_is_plainly_false() -> None:
    x, y = (symbolic(symbols(4, 4, seed=n), torch.float32) for n in (0, 1))
    with engine(FIELD) as guest:
        assert not isinstance(torch.tanh(x) == y, Residue)
        assert [note for note in guest.assumed if "test_functions.py" in note]
        for same, value in ((x == x, True), (torch.relu(x) == -torch.inf, False)):
            assert not isinstance(same, Residue)
            assert bool((same == value).all())
        assert not torch.relu(x).isnan().any()
        with pytest.raises(ControlFlowError, match=r"torch\.equal"):
            torch.equal(torch.relu(x), torch.relu(y))
        assert torch.equal(torch.relu(x), torch.relu(x))
        assert not torch.equal(torch.relu(x), torch.relu(x[:2]))


def test_a_running_maximum_does_not_look_ahead() -> None:
    x = symbols(1, 8)
    later = torch.cat([x[:, :5], symbols(1, 3, seed=9)], 1)
    one, other = (run(lambda s: s.cummax(1)[0], t) for t in (x, later))
    assert torch.equal(one[:, :5], other[:, :5])
    assert run(lambda s: s.cummax(1)[1], torch.full((1, 3), 4.0)).tolist() == [
        [0, 1, 2]
    ]  # PyTorch takes the last


def test_windows_do_not_know_their_place() -> None:
    """A max pool and a grid sample commute with exchanging channels, samples and whole windows."""
    x = symbols(2, 3, 4, 4)
    y = run(lambda s: F.max_pool2d(s, 2), x)
    assert torch.equal(run(lambda s: F.max_pool2d(s, 2), x.flip(0, 1)), y.flip(0, 1))
    rolled = run(lambda s: F.max_pool2d(s, 2), x.roll((2, 2), (2, 3)))
    assert torch.equal(rolled, y.roll((1, 1), (2, 3)))
    grid = symbols(2, 5, 1, 2, seed=4)
    z = run(lambda s, g: F.grid_sample(s, g, align_corners=False), x, grid)
    assert torch.equal(
        run(lambda s, g: F.grid_sample(s, g, align_corners=False), x.flip(1), grid.flip(1)),
        z.flip(1, 2),
    )


def test_equality_of_symbols_is_false_and_of_predicates_undecided() -> None:
    x = symbols(4)
    with engine(FIELD):
        s = symbolic(x, torch.float32)
        assert (s == s * 1).all().item() is True
        assert (s == s + 1).any().item() is False
        undecided = (s > 0) == (s > 1)
        assert isinstance(undecided, Residue)
        assert undecided.dtype is torch.bool
        whole = s.long()
        assert whole.dtype is torch.int64
        assert isinstance(whole == 3, Residue)
        assert ((s > 0) == True).float().sum().dtype is torch.float32  # noqa: E712  what users write
        assert ((s > 0).sum() / 4).dtype is torch.float32
    same = run(lambda t: ((t > 0) == (t > 0)) * 1.0, x)
    assert torch.equal(same, run(lambda t: 1 - 2 * (t > 0) + 2 * (t > 0).float() ** 2, x))


def test_a_derivative_is_linear_in_the_gradient() -> None:
    x, g, h = symbols(*SHAPE), symbols(*SHAPE, seed=3), symbols(*SHAPE, seed=4)
    for name in NAMES:
        if name in ("sign", "floor", "round", "trunc", "special_i1e", "special_i1"):
            continue
        d, e = (derivative(real(name), x, c) for c in (g, h))
        assert torch.equal(derivative(real(name), x, FIELD.add(g, h)), FIELD.add(d, e)), name


# -- degrees: what the bound on a false claim is made of --------------------------------------------------------

DEGREES: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "sum": (torch.sum, 2),
    "product": (lambda x: x * x, 4),
    "matrix product": (lambda x: x @ x.t(), 4),
    "power": (lambda x: x**5, 10),
    "negative power": (lambda x: x**-3, 6),
    "product of a row": (lambda x: x.prod(1), 2 * SHAPE[1]),
    "running product": (lambda x: x.cumprod(0), 2 * SHAPE[0]),
    "relu": (torch.relu, 3),
    "all": (lambda x: (x > 0).all(1), SHAPE[1]),
    "a fresh function": (torch.tanh, 1),
    "after a function": (lambda x: torch.tanh(x) ** 3, 3),
    "mask put in": (lambda x: x.masked_fill(x > 0, 0.5), 4),
}


@pytest.mark.parametrize("name", DEGREES)
def test_degrees_rise_with_products(name: str) -> None:
    function, degree = DEGREES[name]
    x = symbolic(symbols(*SHAPE), torch.float32, degree=2)
    with engine(FIELD):
        assert function(x).degree == degree


SPLIT = {
    "pooling, a plane at a time": (
        "windows.AT_ONCE",
        (3, 4, 7, 7),
        lambda x: F.max_pool2d(x, 3, 2, 1),
    ),
    "convolution, a channel at a time": (
        "convolution.WIDENED",
        (2, 4, 5, 5),
        lambda x: F.conv2d(x, torch.arange(108.0).view(3, 4, 3, 3)),
    ),
}


@pytest.mark.parametrize("name", SPLIT)
def test_what_is_done_in_parts_comes_out_as_in_one(name, monkeypatch) -> None:
    limit, shape, function = SPLIT[name]
    x = symbols(*shape, seed=1)
    whole = run(function, x)
    g = symbols(*whole.shape, seed=2)
    gradient = derivative(function, x, g)
    monkeypatch.setattr(f"lockstep.field.rules.{limit}", 1)
    assert torch.equal(run(function, x), whole)
    assert torch.equal(derivative(function, x, g), gradient)
