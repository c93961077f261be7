"""The example of the field's README runs, and does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import lockstep
import lockstep.field
from lockstep.errors import MissingRuleError
from lockstep.field.registry import RULES

README = Path(lockstep.field.__file__).with_name("README.md")


@torch.library.custom_op("mine::bump", mutates_args=())
def bump(x: torch.Tensor) -> torch.Tensor:
    return torch.exp(-x * x)


bump.register_autograd(
    lambda ctx, grad: -2 * ctx.saved_tensors[0] * ctx.saved_tensors[1] * grad,
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0], output),
)


class Bump(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return bump(x)


def test_a_rule_is_added_as_the_readme_says() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    model, x = nn.Sequential(nn.Linear(3, 4), Bump(), nn.Linear(4, 2)), torch.zeros(5, 3)
    with pytest.raises(MissingRuleError, match="mine::bump"):
        lockstep.audit(model, x)
    before = set(RULES)
    try:
        exec(code, {})
        assert set(RULES) - before == {"bump"}
        assert lockstep.audit(model, x).layers["0"].effective_width == 4
        with torch.no_grad():
            model[0].weight[1], model[0].bias[1] = -model[0].weight[0], -model[0].bias[0]
            model[2].weight[:, 1] = model[2].weight[:, 0]
        mirrored = lockstep.audit(
            model, x
        )  # even: equal outputs, opposite gradients, mirrors for ever
        assert [(group.kind, group.units) for group in mirrored.locked] == [("mirror", (0, 1))]
    finally:
        for name in set(RULES) - before:
            del RULES[name]


def test_every_file_is_named() -> None:
    files = {path.name for path in README.parent.glob("*.py")} - {"__init__.py"}
    assert {
        name for name in files if f"`{name}`" not in README.read_text(encoding="utf-8")
    } == set()
