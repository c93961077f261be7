"""On random conv, recurrent, attention, gated, routed and embedding nets the audit agrees with training."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from hypothesis import given, reject
from hypothesis import strategies as st
from oracle.training import ADDITIVE, ANY, OracleUnclear, observe
from properties.architectures import FAMILIES, make, seeds
from properties.nets import examples

from lockstep import Audit, audit

UPDATES = ("any", "additive")


def assert_agrees(report: Audit, model, inputs, update: str) -> None:
    """No wrong "locked", no wrong "separates", no wrong "frozen", wherever both have an opinion."""
    seen = observe(model, inputs, optimizers=ANY if update == "any" else ADDITIVE, steps=4)
    seen.assert_clear()
    assert not set(seen.layers) - set(report.layers), "layers the audit does not list"
    for name in seen.layers:
        assert report.layers[name].classes == seen.classes(name), f"classes of {name}"
    frozen = {entry.parameter: entry.count for entry in report.frozen}
    assert frozen == seen.still_counts(), "frozen entries"


def assert_audit_agrees(family: str, seed: int, update: str) -> None:
    model, inputs = make(family, seed)
    try:
        assert_agrees(audit(model, inputs, update=update), model, inputs, update)
    except OracleUnclear:
        reject()


@pytest.mark.parametrize("family", FAMILIES)
@examples(6)
@given(seed=seeds, update=st.sampled_from(UPDATES))
def test_audit_agrees_with_training(family, seed, update):
    assert_audit_agrees(family, seed, update)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@examples(200)
@given(seed=seeds, update=st.sampled_from(UPDATES))
def test_audit_agrees_with_training_often(family, seed, update):
    assert_audit_agrees(family, seed, update)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_plants_and_leaves_out(family):
    """Otherwise the agreement would be one of empty hands: some seeds lock something, some do not."""
    found = set()
    for seed in range(6):
        model, inputs = make(family, seed)
        seen = observe(model, inputs, steps=3)
        found.add(any(len(units.classes) < len(units.minus) for units in seen.layers.values()))
    assert found == {True, False}


def test_disagreement_is_noticed():
    """Audit a tied net, train an untied one, and the other way round: both must fail."""
    tied, inputs = make("gated", 0)
    loose = copy.deepcopy(tied)
    with torch.no_grad():
        for layer in (tied.up, tied.gate):
            layer.weight[3], layer.bias[3] = layer.weight[1], layer.bias[1]
        tied.down.weight[:, 3] = tied.down.weight[:, 1]
        loose.up.weight[3] += 0.5
    for audited, trained in ((tied, loose), (loose, tied)):
        with pytest.raises(AssertionError, match="classes of"):
            assert_agrees(audit(audited, inputs), trained, inputs, "any")


@pytest.mark.parametrize("family", FAMILIES)
@examples(2)
@given(seed=seeds)
def test_seeds_do_not_matter(family, seed):
    model, inputs = make(family, seed)
    first, second = (audit(model, inputs, seed=s) for s in (1, 2 + seed))
    assert first.layers == second.layers
    assert first.locked == second.locked
    assert first.frozen == second.frozen
    assert first.findings == second.findings


@pytest.mark.parametrize("family", FAMILIES)
@examples(2)
@given(seed=seeds)
def test_json_round_trip(family, seed):
    model, inputs = make(family, seed)
    report = audit(model, inputs)
    assert Audit.from_json(report.to_json()) == report


def snapshot(model: torch.nn.Module) -> dict:
    """Everything a guest could have moved."""
    modules = list(model.modules())
    return {
        "values": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "identities": [id(p) for p in model.parameters()],
        "versions": [p._version for p in model.parameters()],
        "grads": [p.grad for p in model.parameters()],
        "trains": [p.requires_grad for p in model.parameters()],
        "modes": [module.training for module in modules],
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for m in modules
        ],
        "attributes": [sorted(vars(module)) for module in modules],
        "random": (
            torch.random.get_rng_state(),
            random.getstate(),
            np.random.get_state()[1].copy(),  # noqa: NPY002  the global state is the user's
        ),
        "switches": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.get_default_dtype(),
            torch.backends.mha.get_fastpath_enabled(),
            torch.backends.mkldnn.enabled,
            torch.backends.cuda.math_sdp_enabled(),
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.are_deterministic_algorithms_enabled(),
        ),
    }


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor | np.ndarray):
        return a is b or (type(a) is type(b) and a.shape == b.shape and bool((a == b).all()))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def changed(before: dict, after: dict) -> list[str]:
    return [what for what in before if not same(before[what], after[what])]


def guest_model() -> tuple[torch.nn.Module, torch.Tensor]:
    """Batch norm, dropout, a hook, a gradient, a frozen parameter, mixed modes."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.3),
        torch.nn.Flatten(),
        torch.nn.Linear(36, 2),
    )
    model[0].weight.requires_grad_(False)
    model[5].weight.grad = torch.ones_like(model[5].weight)
    model[5].register_forward_hook(lambda *_: None)
    model[2].eval()
    return model, torch.randn(4, 2, 5, 5)


def test_audit_is_a_good_guest():
    model, x = guest_model()
    before, given = snapshot(model), x.clone()
    audit(model, x)
    assert changed(before, snapshot(model)) == []
    assert torch.equal(x, given)


@pytest.mark.parametrize("family", FAMILIES)
@examples(2)
@given(seed=seeds)
def test_audit_leaves_no_trace(family, seed):
    model, inputs = make(family, seed)
    before = snapshot(model)
    audit(model, inputs)
    assert changed(before, snapshot(model)) == []


@pytest.mark.parametrize("scope", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_audit_works_inside(scope):
    model, x = guest_model()
    expected = audit(model, x)
    before = snapshot(model)
    with scope():
        inside = audit(model, x)
    assert inside.layers == expected.layers
    assert inside.frozen == expected.frozen
    assert changed(before, snapshot(model)) == []


def test_audit_leaves_no_trace_when_it_fails():
    class Failing(torch.nn.Sequential):
        def forward(self, x):
            super().forward(x)
            raise KeyError("after half the work")

    inner, x = guest_model()
    model = Failing(*inner)
    before = snapshot(model)
    with pytest.raises(Exception, match="after half the work"):
        audit(model, x)
    assert changed(before, snapshot(model)) == []


def test_a_bad_guest_is_noticed():
    model, x = guest_model()
    before = snapshot(model)
    model(x)
    model.zero_grad()
    model.eval()
    assert set(changed(before, snapshot(model))) >= {"values", "grads", "modes", "random"}
