"""``merge``: the zoo's locks, the training that follows, and what must be refused."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
import zoo
from torch import nn

import lockstep
from lockstep.errors import UsageError
from lockstep.treat import merge, untie, widen

UNITS = {"twin", "mirror", "balanced"}


@functools.cache
def locked_rows() -> dict[str, zoo.Case]:
    """Rows that state a lock of units; what they are is the zoo's business."""
    return {
        row.name: row
        for row in zoo.ROWS
        if row.error is None
        and ((row.kinds or set()) & UNITS or {"LS001", "LS002", "LS005"} & set(row.present))
    }


# Why a row's lock cannot be merged, in words that the refusal must contain. All others are merged.
REFUSED = {
    "equal output rows, loss sees their sum": "outputs of the model",
    "twin grouped-query heads": "does not run",
    "vmapped ensemble, mean": "not be kept",
    "P8 zero router, k = 2": "depends on the values",
    "trap tied autoencoder": "tied weights",
    **{
        f"state from call to call: {how}": "does not run"
        for how in ("hidden state", "average", "count", "attribute")
    },
    "twins under quantized": "mixed with other units",
    "equal units, product": "not be kept",
    "equal units, logsumexp": "not be kept",
    "weight norm twins": "does not run",
    "twins under Softmax": "mixed with other units",
    "twins under Softmin": "mixed with other units",
    "twins under LogSoftmax": "mixed with other units",
    "twins, LayerNorm": "not be kept",
    "twins, GroupNorm": "divisible",
    "twin channels conv groups": "groups",
    "twin channels group norm": "not be kept",
    "twin channels local response norm": "mixed with other units",
    "twin channels softmax 2d": "mixed with other units",
    "twins lstm {'num_layers': 2}": "one hidden_size serves all layers",
    "twins gru {'num_layers': 2, 'bidirectional': True}": "one hidden_size serves all layers",
}


def rows() -> list:
    """All refusals, and of the others every sixth by default; the rest are slow together."""
    found = []
    for n, name in enumerate(locked_rows()):
        quick = name in REFUSED or n % 6 == 0 or "instance" in name
        found.append(pytest.param(name, marks=[] if quick else [pytest.mark.slow]))
    return found


@pytest.mark.parametrize("name", rows())
def test_every_lock_of_the_zoo_is_merged_or_refused(name: str) -> None:
    model, inputs, kwargs = locked_rows()[name].make()
    kwargs.pop("data", None)
    plan = merge(model, inputs, **kwargs)
    locked = {g.where for g in plan.before.locked if g.kind in UNITS}
    assert bool(plan.edits) or bool(plan.refused) or not locked
    reasons = " ".join(refusal.reason for refusal in plan.refused)
    assert REFUSED.get(name, "") in reasons
    assert name in REFUSED or plan.edits
    if plan.edits:
        function = plan.dry_run().function
        assert function.largest <= 1e-12 * max(1.0, function.scale)
        before = copy.deepcopy(model.state_dict())
        receipt = plan.apply()
        assert receipt.function.kept
        sizes = sum(p.numel() for p in model.parameters())
        receipt.undo()
        assert sizes < sum(p.numel() for p in model.parameters())
        assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def cloned() -> tuple[nn.Module, torch.Tensor]:
    model, _ = zoo.cloned()
    return model.double(), torch.randn(32, 5, dtype=torch.double)


def conv() -> tuple[nn.Module, torch.Tensor]:
    model, _ = zoo.conv(2, nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(*model, nn.Flatten(), nn.Linear(48, 2)).double(), torch.randn(
        8, 2, 6, 6, dtype=torch.double
    )


def lstm() -> tuple[nn.Module, torch.Tensor]:
    model, _ = zoo.twin_recurrent("lstm")
    return model.double(), torch.randn(6, 3, 3, dtype=torch.double)


def triple() -> tuple[nn.Module, torch.Tensor]:
    """Classes of three and of two, next to each other."""
    model, _ = zoo.balanced()
    return model.double(), torch.randn(16, 4, dtype=torch.double)


SGD = {
    "plain": {"lr": 0.05},
    "momentum and decay": {"lr": 0.02, "momentum": 0.9, "weight_decay": 1e-3},
}


@pytest.mark.parametrize(
    "build, settings",
    [
        pytest.param(
            build, SGD[how], id=f"{build.__name__}, {how}", marks=[pytest.mark.slow] if slow else []
        )
        for build, how, slow in [
            (cloned, "plain", False),
            (lstm, "momentum and decay", False),
            (cloned, "momentum and decay", True),
            (conv, "plain", True),
            (conv, "momentum and decay", True),
            (lstm, "plain", True),
        ]
    ],
)
def test_training_after_merge_follows_the_unmerged_run(build, settings) -> None:
    big, x = build()
    small = copy.deepcopy(big)
    optimizers = [torch.optim.SGD(m.parameters(), **settings) for m in (big, small)]
    receipt = merge(small, x).apply(optimizer=optimizers[1])
    receipt.follow(optimizers[1])
    with torch.no_grad():
        y = torch.sin(big(x).cumsum(-1) * 3)
        start = float((big(x) - y).square().mean())
    for _ in range(1000):
        for m, optimizer in zip((big, small), optimizers, strict=True):
            optimizer.zero_grad()
            (m(x) - y).square().mean().backward()
            optimizer.step()
    with torch.no_grad():
        assert float((big(x) - y).square().mean()) < 0.9 * start
        assert float((big(x) - small(x)).abs().max()) <= 1e-9


OPTIMIZERS = {
    "Adam": (torch.optim.Adam, {"lr": 3e-3}),
    "Adam, L2": (torch.optim.Adam, {"lr": 3e-3, "weight_decay": 1e-2}),
    "AdamW, amsgrad": (torch.optim.AdamW, {"lr": 3e-3, "weight_decay": 0.1, "amsgrad": True}),
    # With its usual eps of 1e-8 the unmerged network itself, moved by 1e-15, is elsewhere after 500 steps.
    "RMSprop": (
        torch.optim.RMSprop,
        {"lr": 1e-3, "momentum": 0.8, "centered": True, "eps": 1e-3},
    ),
    "Adagrad": (torch.optim.Adagrad, {"lr": 0.02}),
    "Adadelta": (torch.optim.Adadelta, {"lr": 1.0, "weight_decay": 1e-3}),
    "Adamax": (torch.optim.Adamax, {"lr": 3e-3}),
    "NAdam": (torch.optim.NAdam, {"lr": 3e-3}),
    "RAdam": (torch.optim.RAdam, {"lr": 3e-3}),
    "ASGD": (torch.optim.ASGD, {"lr": 0.02, "t0": 20.0}),
    "Rprop": (torch.optim.Rprop, {"lr": 1e-3, "step_sizes": (1e-6, 1e-2)}),
    "SGD, Nesterov": (torch.optim.SGD, {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
}


@pytest.mark.parametrize(
    "name, steps",
    [
        ("Adam", 60),
        ("RMSprop", 60),
        *(pytest.param(name, 1000, marks=pytest.mark.slow) for name in OPTIMIZERS),
    ],
)
def test_every_elementwise_optimizer_follows_from_the_middle_of_a_run(name, steps) -> None:
    """Merged after 20 steps, the optimizer's memory carried along; then on beside the unmerged network."""
    kind, settings = OPTIMIZERS[name]
    big, x = cloned()
    y = torch.sin(big(x).detach().cumsum(-1) * 3)

    def closure(m: nn.Module, optimizer: torch.optim.Optimizer):
        def run():
            optimizer.zero_grad()
            loss = (m(x) - y).square().mean()
            loss.backward()
            return loss

        return run

    before = kind(big.parameters(), **settings)
    for _ in range(20):
        before.step(closure(big, before))
    small = copy.deepcopy(big)
    after = kind(small.parameters(), **settings)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    following = merge(small, x).apply(optimizer=after).follow(after)
    start = big(x).detach()
    for step in range(steps):
        for m, optimizer in ((big, before), (small, after)):
            run = closure(m, optimizer)
            if step % 2:
                optimizer.step(run)
            else:
                run()
                optimizer.step()
    assert float((big(x) - start).abs().max().detach()) > 1e-3
    assert float((big(x) - small(x)).abs().max().detach()) <= 1e-9
    following.remove()
    fresh = copy.deepcopy(big)
    again = kind(fresh.parameters(), **settings)
    again.load_state_dict(copy.deepcopy(before.state_dict()))
    merge(fresh, x).apply(optimizer=again)
    for p, q in zip(small.parameters(), fresh.parameters(), strict=True):
        for key, value in again.state[q].items():
            torch.testing.assert_close(after.state[p][key], value, rtol=1e-6, atol=1e-12)


def test_a_step_that_fails_leaves_the_merged_weights() -> None:
    model, x = cloned()
    optimizer = torch.optim.Adam(model.parameters())
    following = merge(model, x).apply().follow(optimizer)
    before = copy.deepcopy(model.state_dict())
    model(x).sum().backward()
    optimizer.param_groups[0]["betas"] = None
    with pytest.raises(TypeError, match=r"subscriptable|unpack"):
        optimizer.step()
    following.remove()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=1e-14, atol=0)


def test_what_cannot_follow_is_refused_with_the_reason() -> None:
    model, x = triple()  # its locked units have unequal outgoing weights
    receipt = merge(model, x, update="additive").apply()
    for settings in ({}, {"weight_decay": 0.1, "decoupled_weight_decay": True}):
        receipt.follow(torch.optim.Adam(model.parameters(), **settings)).remove()
    with pytest.raises(UsageError, match=r"Adam passes its weight decay .* AdamW"):
        receipt.follow(torch.optim.Adam(model.parameters(), weight_decay=0.1))
    with pytest.raises(UsageError, match="Adafactor is not known to step each entry"):
        receipt.follow(torch.optim.Adafactor(model.parameters()))


def test_without_the_rates_it_does_not_follow() -> None:
    big, x = cloned()
    small = copy.deepcopy(big)
    merge(small, x).apply()
    for m in (big, small):
        optimizer = torch.optim.SGD(m.parameters(), lr=0.05)
        for _ in range(10):
            optimizer.zero_grad()
            m(x).square().mean().backward()
            optimizer.step()
    with torch.no_grad():
        assert float((big(x) - small(x)).abs().max()) > 1e-4


def test_moments_are_summed_or_averaged_by_role() -> None:
    """SGD's momentum of the merged network is the gradient's average of the merged network."""
    big, x = cloned()
    small = copy.deepcopy(big)
    optimizers = [torch.optim.Adam(m.parameters(), lr=0.0) for m in (big, small)]
    for optimizer, m in zip(optimizers, (big, small), strict=True):
        m(x).square().sum().backward()
        optimizer.step()
    merge(small, x).apply(optimizer=optimizers[1])
    fresh = torch.optim.Adam(small.parameters(), lr=0.0)
    fresh.zero_grad()
    small(x).square().sum().backward()
    fresh.step()
    for p in small.parameters():
        for key in ("exp_avg", "exp_avg_sq"):
            carried, computed = optimizers[1].state[p][key], fresh.state[p][key]
            torch.testing.assert_close(carried, computed, rtol=1e-9, atol=1e-15)


def test_a_model_changed_since_the_plan_is_refused_untouched() -> None:
    model, x = zoo.cloned()
    plan = merge(model, x)
    with torch.no_grad():
        model[0].weight[0, 0] += 1e-3
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UsageError, match=r"digest differs.*Make the plan again"):
        plan.apply()
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_an_exception_during_apply_loses_nothing(monkeypatch) -> None:
    model, x = zoo.cloned()
    optimizer = torch.optim.Adam(model.parameters())
    model(x).sum().backward()
    optimizer.step()
    plan = merge(model, x)
    weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())

    def failing(*_: object) -> None:
        raise RuntimeError("on the way")

    monkeypatch.setattr("lockstep.treat.plan.carry_state", failing)
    with pytest.raises(RuntimeError, match="on the way"):
        plan.apply(optimizer=optimizer)
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())
    assert model[0].out_features == 6
    after = optimizer.state_dict()["state"]
    assert all(torch.equal(state["state"][n]["exp_avg"], after[n]["exp_avg"]) for n in after)


def test_undo_restores_weights_sizes_gradients_and_moments() -> None:
    model, x = zoo.cloned()
    optimizer = torch.optim.Adam(model.parameters())
    model(x).sum().backward()
    optimizer.step()
    weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    grads = [p.grad.clone() for p in model.parameters()]
    receipt = merge(model, x).apply(optimizer=optimizer)
    assert (model[0].out_features, model[2].in_features) == (3, 3)
    receipt.undo()
    assert (model[0].out_features, model[2].in_features) == (6, 6)
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())
    assert all(torch.equal(g, p.grad) for g, p in zip(grads, model.parameters(), strict=True))
    after = optimizer.state_dict()
    assert all(
        torch.equal(state["state"][n][key], after["state"][n][key])
        for n in after["state"]
        for key in after["state"][n]
    )


def test_a_dry_run_changes_nothing_and_says_the_same() -> None:
    model, x = zoo.cloned()
    before = copy.deepcopy(model.state_dict())
    plan = merge(model, x)
    said = str(plan.dry_run())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert "dry run" in said and "audit after:  0 locked groups" in said
    with pytest.raises(UsageError, match="nothing to undo"):
        plan.dry_run().undo()


def test_only_the_named_layers_are_merged() -> None:
    model, x = zoo.cloned()
    plan = merge(model, x, layers=["2"])
    assert {edit.name for edit in plan.edits} == {"2.weight", "2.bias", "4.weight"}
    with pytest.raises(UsageError, match="no layer 'nope'; the layers are 0, 2, 4"):
        merge(model, x, layers=["nope"])


def test_an_optimizer_whose_memory_is_not_understood_is_refused_first() -> None:
    model, x = zoo.cloned()
    optimizer = torch.optim.Adafactor(model.parameters())
    model(x).sum().backward()
    optimizer.step()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UsageError, match=r"Adafactor keeps .*row_var.*make a new one"):
        merge(model, x).apply(optimizer=optimizer)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_what_is_not_a_module_is_refused() -> None:
    with pytest.raises(UsageError, match=r"needs a torch.nn.Module, got str"):
        merge("net", torch.zeros(4, 2))


def test_a_healthy_network_leaves_nothing_to_do() -> None:
    plan = merge(*zoo.mlp(3, 4, 2))
    assert plan.empty and str(plan) == "merge: nothing to do"


def test_audit_after_merge_is_clean() -> None:
    model, x = zoo.cloned()
    merge(model, x).apply()
    assert lockstep.audit(model, x).locked == ()


def test_inside_inference_mode() -> None:
    """The model trains on afterwards: none of its tensors was made without autograd."""
    model, _ = zoo.cloned()
    with torch.inference_mode():
        assert merge(model, torch.randn(6, 5)).apply().function.kept
    model(torch.randn(6, 5)).sum().backward()
    assert all(p.grad is not None and not p.is_inference() for p in model.parameters())


@pytest.mark.extras
def test_grouped_query_heads_of_llama() -> None:
    """Two of four query heads are twins of their neighbours; a key-value head is left with one query head each."""
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=11, hidden_size=16, intermediate_size=12, num_hidden_layers=1, head_dim=4,
        num_attention_heads=4, num_key_value_heads=2, use_cache=False,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    attention = model.model.layers[0].self_attn
    with torch.no_grad():
        for head in (0, 8):
            attention.q_proj.weight[head + 4 : head + 8] = attention.q_proj.weight[head : head + 4]
            columns = attention.o_proj.weight
            columns[:, head + 4 : head + 8] = columns[:, head : head + 4]
    receipt = merge(model, {"input_ids": torch.arange(24).reshape(4, 6) % 11}).apply()
    assert receipt.function.kept
    assert (attention.q_proj.out_features, attention.num_key_value_groups) == (8, 1)


def test_of_two_recurrent_layers_the_same_number_of_units_goes() -> None:
    """Three copies below, two above, and one hidden_size: one goes from each, and one more is refused."""
    model, x = zoo.Recurrent("lstm", 3, 3, num_layers=2), zoo.data(4, 3, 3)
    widen(model, x, "lstm[l0]", units=[0], split=(1 / 3, 1 / 3, 1 / 3)).apply()
    with torch.no_grad():  # unit 2 of the layer above differs again
        model.lstm.weight_ih_l1[2] += 0.1
    model = model.double()
    x = x.double()
    want = model(x).detach()
    plan = merge(model, x)
    assert [str(r.units) for r in plan.refused if "one hidden_size" in r.reason] == ["(2,)"]
    assert plan.apply().function.kept and model.lstm.hidden_size == 4
    torch.testing.assert_close(model(x).detach(), want, rtol=1e-9, atol=1e-12)


@pytest.mark.extras
def test_packed_heads_of_gpt2_come_and_go() -> None:
    """q, k and v are one Conv1D; its module keeps their length as ``split_size``."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=11, n_embd=8, n_layer=1, n_head=2, n_positions=8, use_cache=False,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = transformers.GPT2Model(config).eval()
    x = {"input_ids": torch.arange(24).reshape(4, 6) % 11}
    before = copy.deepcopy(model.state_dict())
    attention = model.h[0].attn
    assert widen(model, x, "h.0.attn.c_attn", units=[1], split="halves").apply().function.kept
    assert (attention.num_heads, attention.split_size, attention.c_attn.nf) == (3, 12, 36)
    merge(model, x).apply()
    assert (attention.num_heads, attention.split_size, attention.c_attn.nf) == (2, 8, 24)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.extras
def test_equal_experts_of_mixtral_are_untied_and_not_merged() -> None:
    """Its experts are packed, its router picks two of them: of equal ones it would pick others than before."""
    transformers = pytest.importorskip("transformers")
    config = transformers.MixtralConfig(
        vocab_size=11, hidden_size=8, intermediate_size=8, num_hidden_layers=1, use_cache=False,
        num_attention_heads=2, num_key_value_heads=1, num_local_experts=3, num_experts_per_tok=2,
    )  # fmt: skip
    model = transformers.MixtralForCausalLM(config).eval()
    x = {"input_ids": torch.arange(24).reshape(4, 6) % 11}
    layer = model.model.layers[0]
    with torch.no_grad():
        for name, p in layer.mlp.named_parameters():
            assert "expert" in name or "gate" in name
            p[1:] = p[:1]
    assert any("depends on the values" in r.reason for r in merge(model, x).refused)
    assert untie(model, x).apply().after.locked == ()
