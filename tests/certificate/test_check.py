"""Honest certificates are accepted, models are left alone, and ``check`` says what it could not see."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from attacks.forging import balanced, certify, example, healthy, mirrored, noisy, tied
from torch import nn
from torch.nn.utils import prune
from zoo import ROWS

import lockstep
from lockstep.certificate import primes
from lockstep.certificate.observe import Watch
from lockstep.certificate.question import Checked
from lockstep.errors import CertificateError, UndecidedError, UsageError
from lockstep.types import Layer

HONEST = (
    "course random",
    "course tied [any]",
    "course tied [additive]",
    "trial zero MLP ReLU",
    "F5 balanced, additive",
    "F5 balanced, any",
    "F3 cloned twice [any]",
    "F4 mirror Tanh [any]",
    "F8 twins, equal state",
    "branches in two param groups",
    "shift under cross entropy",
    "P2 constant with dropout, train",
    "noise on the inputs only",
    "silent feature, given data",
    "trial constant LSTM",
    "trial conv, batch norm",
    "F8 twin heads",
    "P4 branches added",
    "bare parameters side by side",
    "P8 zero router, k = 2",
    "trap tied autoencoder",
    "twin channels conv 2d",
    "twins lstm {'bidirectional': True}",
)
ROW = {row.name: row for row in ROWS}


@pytest.mark.parametrize("name", HONEST)
def test_honest_certificates_are_accepted(name):
    model, inputs, settings = ROW[name].make()
    certificate = lockstep.audit(model, inputs, **settings)
    given = {key: settings[key] for key in ("loss", "targets", "optimizer") if key in settings}
    checked = lockstep.check(certificate.to_json(), model, inputs, **given)
    used = {prime for prime, _ in certificate.evidence.lanes}
    assert len(checked.primes) == 3 and not used & set(checked.primes)
    assert bool(checked.trained) == bool(certificate.locked or certificate.frozen)


def test_an_audit_its_text_and_its_file_are_one(tmp_path):
    audit = lockstep.audit(tied(), example())
    path = tmp_path / "certificate.json"
    path.write_text(audit.to_json(), encoding="utf-8")
    forms = (audit, audit.to_json(), path, str(path))
    answers = [lockstep.check(form, tied(), example()) for form in forms]
    assert answers == [answers[0]] * 4
    assert isinstance(answers[0], Checked)


def test_another_seed_takes_other_primes_and_agrees():
    audit = lockstep.audit(mirrored(), example())
    chosen = {lockstep.check(audit, mirrored(), example(), seed=seed).primes for seed in range(3)}
    assert len(chosen) == 3


def state_of(model: nn.Module) -> list[object]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    values = [(name, t.requires_grad, t.detach().clone()) for name, t in tensors]
    return [
        values,
        hooks,
        grads,
        [m.training for m in model.modules()],
        [id(t) for _, t in tensors],
    ]


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize("honest", [True, False])
def test_the_model_is_left_as_it_was(honest):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    model[1].eval()
    model[0].weight.requires_grad_(False)
    x = torch.randn(6, 3)
    model(x).sum().backward()
    text = lockstep.audit(model, x).to_json()
    if not honest:
        with torch.no_grad():
            model[3].weight += 1
    before, states = state_of(model), (torch.get_rng_state(), random.getstate())
    dtype, x_before = torch.get_default_dtype(), x.clone()
    if honest:
        assert lockstep.check(text, model, x).primes
    else:
        with pytest.raises(CertificateError, match="the weights changed since the audit"):
            lockstep.check(text, model, x)
    assert same(before, state_of(model))
    assert torch.equal(states[0], torch.get_rng_state()) and states[1] == random.getstate()
    assert torch.get_default_dtype() is dtype and torch.equal(x, x_before)


def test_the_model_is_left_as_it_was_when_it_fails_in_float64():
    class OnlyFloat32(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = tied().float()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not isinstance(x, nn.Parameter) and x.dtype is torch.float64:
                raise RuntimeError("not on doubles")
            return self.inner(x)

    model, x = OnlyFloat32(), example().float()
    before = state_of(model)
    checked = lockstep.check(lockstep.audit(model, x), model, x)
    assert checked.trained == ()
    assert all("not on doubles" in note for note in checked.notes)
    assert same(before, state_of(model))
    assert torch.get_default_dtype() is torch.float32


def test_works_without_gradients_and_in_inference_mode():
    audit = lockstep.audit(tied(), example())
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert lockstep.check(audit, tied(), example()).trained


def test_an_optimizer_with_state_is_taken_along():
    model, inputs, settings = ROW["F8 twins, equal state"].make()
    audit = lockstep.audit(model, inputs, **settings)
    kept = copy.deepcopy(settings["optimizer"].state_dict())
    checked = lockstep.check(audit, model, inputs, **settings)
    assert "the given optimizer" in checked.trained
    assert str(kept) == str(settings["optimizer"].state_dict())


def test_a_named_optimizer_that_was_not_given_is_noted():
    optimizer = torch.optim.Adam
    audit = lockstep.audit(tied(), example(), optimizer=optimizer)
    checked = lockstep.check(audit, tied(), example())
    assert any("names Adam, which was not given" in note for note in checked.notes)


def test_nothing_to_refute_is_noted():
    checked = lockstep.check(lockstep.audit(healthy(), example()), healthy(), example())
    assert checked.trained == ()
    assert "nothing is claimed locked or frozen" in str(checked)


def test_what_no_hook_can_see_is_noted():
    model, inputs, _ = ROW["twin grouped-query heads"].make()
    checked = lockstep.check(lockstep.audit(model, inputs), model, inputs)
    assert any("not visible to hooks" in note and "[heads]" in note for note in checked.notes)


def test_eval_and_train_are_two_claims():
    for train in (True, False):
        model = noisy(train)
        audit = lockstep.audit(model, example().float())
        assert lockstep.check(audit, model, example().float()).primes
        with pytest.raises(CertificateError, match="mode: the model is in"):
            lockstep.check(audit, model.train(not train), example().float())


@pytest.mark.parametrize(
    ("given", "phrase"),
    [("none.json", "cannot be read"), ("x" * 5000, "cannot be read"), ({}, "got dict")],
)
def test_what_is_no_file_is_wrong_use(given, phrase):
    with pytest.raises(UsageError, match=phrase):
        lockstep.check(given, torch.nn.Linear(2, 1), torch.zeros(4, 2))


def test_what_is_no_certificate_is_wrong_use():
    with pytest.raises(UsageError, match="not a Lockstep certificate"):
        lockstep.check("{}", tied(), example())
    document = certify(tied(), example())
    del document["evidence"]
    with pytest.raises(CertificateError, match="'evidence' is a required property"):
        lockstep.check(str(document).replace("'", '"').replace("False", "false"), tied(), example())


def test_a_model_that_the_engine_cannot_follow_is_undecided():
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(tied())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.inner(x)
            return y if y.sum() > 0 else -y

    class Straight(Branching):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    audit = lockstep.audit(Straight(), example())
    with pytest.raises(UndecidedError, match=r"value of a float|not over the finite field"):
        lockstep.check(audit, Branching(), example())
    with pytest.raises(CertificateError, match="could not be examined any further"):
        lockstep.check(audit, Branching().eval(), example())


@pytest.mark.parametrize(
    ("layer", "module", "inputs", "samples"),
    [
        ("Linear", nn.Linear(3, 4), (torch.randn(5, 3),), 5),
        ("0", nn.Sequential(nn.Conv2d(2, 4, 1)), (torch.randn(3, 2, 4, 4),), 48),
        ("0", nn.Sequential(nn.Conv1d(2, 4, 1)), (torch.randn(2, 4),), 4),
        ("[l0_reverse]", nn.LSTM(3, 4, 2, bidirectional=True), (torch.randn(6, 2, 3),), 2),
        ("[l1]", nn.GRU(3, 4, 2), (torch.randn(6, 2, 3),), 2 + 12),
        ("[k]", nn.MultiheadAttention(4, 2), (torch.randn(3, 2, 4),) * 3, 6),
        ("0", nn.Sequential(nn.BatchNorm1d(4)), (torch.randn(5, 4, 4),), 20),
        ("0", nn.Sequential(nn.LayerNorm(4)), (torch.randn(4, 4),), 4),
    ],
)
def test_units_are_seen(layer, module, inputs, samples):
    watch = Watch(module, [Layer(layer, 4, ((0,), (1,), (2,), (3,)))])
    with watch.watching() as units:
        module(*inputs)
    assert units[layer].shape == (4, samples)
    assert watch.blind == []
    assert all(not m._forward_hooks for m in module.modules())


def test_units_that_cannot_be_told_apart_from_positions_are_not_guessed():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight

    watch = Watch(nn.Sequential(Odd()), [Layer("0", 4, ((0,), (1,), (2,), (3,)))])
    with watch.watching() as units:
        watch._net(torch.randn(4, 4))
    assert units == {} and watch.blind == ["0"]


def test_good_primes_are_found_again_and_bad_ones_named():
    from lockstep.field.arithmetic import PRIMES

    assert all(primes.objection(p) is None for p in PRIMES)
    assert all(
        primes.objection(p) for p in (1, 2, 4, 127, 1048574, 1048575, 1048583, (1 << 31) - 1)
    )
    chosen = primes.others(set(), 20, "key")
    assert len(set(chosen)) == 20 and all(primes.objection(p) is None for p in chosen)
    assert primes.others({chosen[0]}, 19, "key") == chosen[1:]


def test_a_balanced_lock_is_checked_for_the_first_steps_only():
    audit = lockstep.audit(balanced(), example(3), update="additive")
    checked = lockstep.check(audit, balanced(), example(3))
    assert checked.trained == ("SGD with momentum", "AdamW")


def test_a_pruned_model_that_has_run_is_trained():
    """It keeps the weight it computed last, which has a graph and cannot be copied with it."""
    net, x = tied(), example()
    prune.identity(net[0], "weight")
    assert net(x).requires_grad
    kept = net[0].weight
    assert lockstep.check(lockstep.audit(net, x), net, x).trained
    assert net[0].weight is kept


def test_a_hook_that_bends_a_gradient_is_taken_along():
    """Both the fields and the training call the hooks that the user put on a parameter."""
    net = tied()
    net[0].weight.register_hook(lambda g: g * torch.tensor([[1.0], [0.0]], dtype=g.dtype))
    honest = lockstep.audit(tied(), example())
    with pytest.raises(CertificateError, match="in float64 they are") as caught:
        lockstep.check(honest, net, example())
    assert any("symbolic step 1" in reason for reason in caught.value.reasons)
