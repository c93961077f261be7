"""Each check is shown to be able to fail: a rule with one mistake in it, and the test that sees it."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from field import test_arithmetic
from field.conformance import watched
from field.modules import ROWS
from field.ops import OPS
from field.reference import Op, assert_same
from field.test_functions import SHAPE, run, symbols
from torch import nn

import lockstep
from lockstep.field.arithmetic import PRIMES, Field
from lockstep.field.mixing import stable_key
from lockstep.field.registry import RULES, Rule

BY_NAME = {op.name: op for op in OPS}


def twice(name: str) -> Rule:
    """The rule, with every float result doubled."""
    rule = RULES[name]

    def doubled(f: Field, *args, **kwargs):
        result = rule.function(f, *args, **kwargs)
        return torch.utils._pytree.tree_map(
            lambda r: (
                f.add(r, r) if isinstance(r, torch.Tensor) and r.dtype is torch.float32 else r
            ),
            result,
        )

    return dataclasses.replace(rule, function=doubled)


# op -> the row of ops.py that must notice
WRONG = {
    "add": "add alpha",
    "mul": "mul",
    "div": "div scalar",
    "mm": "mm",
    "baddbmm": "baddbmm",
    "_trilinear": "bilinear",
    "convolution": "conv2d",
    "convolution_backward": "conv_transpose2d",
    "mean": "mean dim",
    "var": "var",
    "cumsum": "cumsum",
    "cumprod": "cumprod",
    "index_add": "index_add",
    "index_put": "index_put accumulate",
    "scatter_add": "scatter_add",
    "scatter_reduce": "scatter_reduce prod True",
    "embedding_dense_backward": "embedding by frequency",
    "_embedding_bag": "bag mean",
    "_embedding_bag_backward": "bag sum",
    "_embedding_bag_per_sample_weights_backward": "bag weights",
    "avg_pool2d": "avg_pool2d padded",
    "avg_pool2d_backward": "avg_pool2d inside",
    "_adaptive_avg_pool2d": "adaptive_avg_pool2d",
    "reflection_pad2d_backward": "pad reflect 2d",
    "replication_pad3d_backward": "pad replicate 3d",
    "upsample_nearest2d_backward": "nearest 2d",
    "upsample_bilinear2d": "bilinear up",
    "upsample_bicubic2d_backward": "bicubic down",
    "col2im": "fold",
    "unfold_backward": "unfold view",
    "nll_loss_forward": "nll weight",
    "mse_loss_backward": "mse mean",
    "masked_scatter_backward": "masked_scatter",
    "tanh_backward": "tanh_backward",
    "native_layer_norm_backward": "layer norm backward",
    "native_group_norm_backward": "group norm backward",
    "native_batch_norm_backward": "batch norm backward",
    "_softmax_backward_data": "softmax backward",
    "_cdist_backward": "cdist backward",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_coefficient_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op: Op = BY_NAME[WRONG[name]]
    assert_same(op)
    monkeypatch.setitem(RULES, name, twice(name))
    with pytest.raises(AssertionError, match=re.escape(op.name)):
        assert_same(op)


def test_a_rounded_reciprocal_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One part in 2^40 is enough to round some sum to the wrong multiple of p."""
    make = Field.__init__

    def rounded(self: Field, p: int, seed: int = 0) -> None:
        make(self, p, seed)
        self._reciprocal *= 1 + 2.0**-40

    test_arithmetic.test_reduce_at_its_bounds(PRIMES[0])
    monkeypatch.setattr(Field, "__init__", rounded)
    with pytest.raises(AssertionError, match="assert"):
        test_arithmetic.test_reduce_at_its_bounds(PRIMES[0])


def test_a_false_parity_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    x = symbols(*SHAPE)
    assert not torch.equal(run(torch.exp, x), -run(torch.exp, -x))
    monkeypatch.setitem(
        RULES, "exp", Rule(lambda f, y: f.function(y, stable_key("exp"), parity=1), "one")
    )
    assert torch.equal(run(torch.exp, x), -run(torch.exp, -x))


def test_a_plain_boolean_blanks_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trap of the design: a relu by a drawn boolean makes zeros, and unrelated units look alike."""
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(4, 3)
    assert lockstep.audit(model, x).findings == ()
    rule = RULES["relu"]
    monkeypatch.setitem(RULES, "relu", dataclasses.replace(rule, function=_drawn))
    assert lockstep.audit(model, x).findings != ()


def _drawn(f: Field, x: torch.Tensor) -> torch.Tensor:
    """Hardly any boolean is true."""
    return x * (f.function(x, stable_key("drawn")).long() % 4096 == 0)


def test_a_wrong_layout_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = RULES["relu"]
    monkeypatch.setitem(
        RULES,
        "relu",
        dataclasses.replace(rule, function=lambda f, x: rule.function(f, x).t().contiguous().t()),
    )
    with watched() as differences:
        lockstep.audit(
            nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.zeros(6, 3)
        )
    assert any("relu[0]: strides" in d for d in differences)


def test_a_rule_that_looks_at_positions_breaks_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1))
    for p in model.parameters():
        nn.init.constant_(p, 0.5)
    x = torch.zeros(4, 3)
    assert lockstep.audit(model, x).layers["0"].effective_width == 1

    def placed(f: Field, y):
        return f.add(f.function(y, stable_key("tanh"), parity=1), torch.arange(y.shape[-1]).float())

    monkeypatch.setitem(RULES, "tanh", Rule(placed, "one"))
    assert lockstep.audit(model, x).layers["0"].effective_width == 2


def test_a_softmax_that_forgets_the_shift_hides_the_key_bias(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = next(r for r in ROWS if r.name == "MultiheadAttention")
    model, inputs = row.build()
    assert {e.parameter: e.count for e in lockstep.audit(model, inputs).frozen} == row.frozen
    rule = Rule(lambda f, x, *_: f.function(x, stable_key("softmax")), "one", infinite=True)
    for name in ("_softmax", "_safe_softmax"):
        monkeypatch.setitem(RULES, name, rule)
    assert lockstep.audit(model, inputs).frozen == ()
