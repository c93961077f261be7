"""What a user reads when the engine cannot decide: the op, the module, the line, the way out."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
import torch
from field.modules import Call
from torch import nn

import lockstep
from lockstep.errors import ControlFlowError, MissingRuleError, UndecidedError, UsageError
from lockstep.field.registry import RULES, Rule

X = torch.zeros(4, 3)


def body(run) -> nn.Module:
    return Call(run, body=nn.Linear(3, 4))


def line_of(run) -> int:
    return inspect.getsourcelines(run)[1]


class Inner(nn.Module):
    def forward(self, x):
        return torch.linalg.inv(x[:, :3][:3]) + torch.special.bessel_j0(x[:3, :3])


def test_every_missing_op_is_named_with_module_and_line() -> None:
    model = nn.Sequential(nn.Linear(3, 4), Inner())
    with pytest.raises(MissingRuleError, match="no rule") as caught:
        lockstep.audit(model, X)
    text = str(caught.value)
    assert "2 operation(s)" in text
    assert "aten::linalg_inv_ex" in text
    assert "bessel_j0" in text
    assert "in module '1'" in text
    assert f"{__file__}:{line_of(Inner.forward) + 1}" in text
    assert "torch.linalg.inv(x" in text
    assert "factorisations" in text
    assert "@rule('name')" in text
    assert "README.md" in text


def test_what_goes_wrong_after_a_missing_op_is_not_the_message() -> None:
    def run(m, x):
        return torch.linalg.qr(m.body(x))[0].view(7)  # the shape does not fit either

    with pytest.raises(MissingRuleError, match="linalg_qr"):
        lockstep.audit(body(run), X)


BRANCHES = {
    "if": lambda m, x: m.body(x) if m.body(x).sum() > 0 else m.body(x) * 2,
    "bool": lambda m, x: m.body(x) * bool(m.body(x)[0, 0] > 0),
    "item": lambda m, x: m.body(x) * m.body(x).mean().item(),
    "float": lambda m, x: m.body(x) * float(m.body(x)[0, 0]),
    "int": lambda m, x: m.body(x)[: int(m.body(x)[0, 0])],
    "tolist": lambda m, x: m.body(x) * m.body(x).tolist()[0][0],
    "numpy": lambda m, x: m.body(x) * m.body(x).detach().numpy().max(),
    "asarray": lambda m, x: m.body(x) * np.asarray(m.body(x).detach()).max(),
    "nonzero": lambda m, x: m.body(x)[(m.body(x) > 0).nonzero()[:, 0]],
    "mask index": lambda m, x: m.body(x)[m.body(x) > 0],
    "index": lambda m, x: m.body(x)[m.body(x).long()],
    "embedding": lambda m, x: nn.functional.embedding(m.body(x).long(), m.body.weight),
    "unique": lambda m, x: m.body(x).unique(),
    "while": lambda m, x: next(y for y in iter(lambda: m.body(x), None) if (y > 0).any()),
    "bits": lambda m, x: m.body(x) * (m.body.weight.view(torch.int32) & 1).sum(),
    "bucketize": lambda m, x: torch.bucketize(m.body(x), torch.arange(3.0)) * 1.0,
}


@pytest.mark.parametrize("name", BRANCHES)
def test_branches_on_values_name_the_users_line(name: str) -> None:
    run = BRANCHES[name]
    with pytest.raises(ControlFlowError, match="depends on the value of a float") as caught:
        lockstep.audit(body(run), X)
    assert re.search(rf"{re.escape(__file__)}:{line_of(run)}\b", str(caught.value))
    assert "torch.where" in str(caught.value)


def test_branches_on_constants_and_buffers_run() -> None:
    def run(m, x):
        mask = torch.tril(torch.ones(3, 3))
        steps = torch.arange(3.0).tolist()
        assert mask.sum().item() == 6
        assert steps == [0, 1, 2]
        assert mask.numpy().sum() == 6
        assert float(np.asarray(mask).max()) == 1
        assert bool((mask[0] == torch.tensor([1.0, 0, 0])).all())
        assert int(m.norm.running_mean.sum()) == 0
        return m.norm(m.body(x)) * steps[int(mask[1, 1])]

    model = Call(run, body=nn.Linear(3, 4), norm=nn.BatchNorm1d(4))
    assert lockstep.audit(model, X).layers["body"].effective_width == 4


def test_infinities_are_refused_where_they_are_not_followed() -> None:
    def masked(m, x):
        return m.out(m.body(x).masked_fill(torch.tensor([True, False, False, False]), -torch.inf))

    with pytest.raises(UndecidedError, match="right before the softmax") as caught:
        lockstep.audit(Call(masked, body=nn.Linear(3, 4), out=nn.Linear(4, 2)), X)
    assert "aten::addmm" in str(caught.value) or "matrix product" in str(caught.value)
    for blank in (-torch.inf, -1e9):
        with pytest.raises(UndecidedError, match="mask that depends on values"):
            lockstep.audit(
                body(lambda m, x, b=blank: m.body(x).masked_fill(m.body(x) > 0, b).softmax(1)), X
            )


def test_a_value_written_into_a_tensor_of_the_user() -> None:
    store = torch.zeros(4, 4)
    with pytest.raises(UndecidedError, match="register_buffer"):
        lockstep.audit(body(lambda m, x: store.copy_(m.body(x))), X)


def test_a_mistake_of_the_model_is_the_models() -> None:
    with pytest.raises(UsageError, match=r"shapes cannot be multiplied|size mismatch"):
        lockstep.audit(nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2)), X)


def test_a_mistake_of_a_rule_is_not_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(f, x):
        raise TypeError("a rule that cannot")

    monkeypatch.setitem(RULES, "tanh", Rule(broken))
    with pytest.raises(UndecidedError, match=r"rule for aten::tanh .* a rule that cannot"):
        lockstep.audit(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), X)


def test_residues_that_outlive_their_run() -> None:
    kept = []
    model = body(lambda m, x: kept.append(m.body(x)) or m.body(x))
    lockstep.audit(model, X)
    with pytest.raises(UndecidedError, match="after its run had ended"):
        kept[0] + 1
