"""The watch around training loops: what it counts, what it reads, and that it leaves no trace."""

from __future__ import annotations

import copy
import gc
import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from watch.runs import clone_rows, digits, hooks, mlp, run, steps

from lockstep import UsageError, audit, watch


def sgd(model: nn.Module, lr: float = 0.1) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=lr)


def seen_steps(w, layer: str = "0") -> list[int]:
    return [row["step"] for row in w[layer]]


def test_rows_at_the_interval_and_at_the_end() -> None:
    model = mlp(64, 16, 10)
    with watch(model, every=10) as w:
        run(model, 25)
    assert seen_steps(w) == [0, 10, 20, 25]
    assert w.updates == 25
    assert [row["width"] for row in w.rows[:2]] == [16, 10]
    assert w.failures == []


def test_training_is_not_changed_and_no_hook_stays() -> None:
    plain, watched = mlp(64, 16, 10), mlp(64, 16, 10)
    before = hooks(watched)
    run(plain, 25)
    state = torch.random.get_rng_state()
    with watch(watched, every=5):
        run(watched, 25)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(map(torch.equal, plain.parameters(), watched.parameters()))
    assert hooks(watched) == before


def test_a_row_tells_of_the_weights_and_the_pass_of_one_step() -> None:
    model = mlp(64, 16, 10, act=nn.Tanh)
    optimizer, (x, y) = sgd(model), digits()
    with watch(model, every=1) as w:
        for n in range(3):
            batch = x[50 * n : 50 * n + 50]
            want = model[:2](batch).detach()
            norm = float(rows_of(model[0]).square().sum(1).mean())
            optimizer.zero_grad()
            F.cross_entropy(model(batch), y[50 * n : 50 * n + 50]).backward()
            gap = torch.cdist(rows_of(model[0]), rows_of(model[0])).fill_diagonal_(torch.inf)
            optimizer.step()
            row = w["0"][n]
            assert row["effective_rank"] == pytest.approx(rank(want), rel=1e-5)
            assert row["nearest"] == pytest.approx(float(gap.min()) / norm**0.5)
            assert row["function"] == "Tanh"


def rows_of(layer: nn.Linear) -> torch.Tensor:
    return torch.cat([layer.weight, layer.bias[:, None]], 1).detach().double()


def rank(h: torch.Tensor) -> float:
    s = torch.linalg.svdvals(h.double())
    return float(torch.special.entr(s / s.sum()).sum().exp())


@pytest.mark.parametrize("accumulate", [1, 4])
def test_gradient_accumulation_counts_updates(accumulate: int) -> None:
    model = mlp(64, 8, 10)
    optimizer, (x, y) = sgd(model), digits()
    with watch(model, every=2) as w:
        for n in range(12):
            (F.cross_entropy(model(x[n::50]), y[n::50]) / accumulate).backward()
            if n % accumulate == accumulate - 1:
                optimizer.step()
                optimizer.zero_grad()
    assert w.updates == 12 // accumulate
    assert w["0"][1]["dormant"] is not None or w.updates <= 2


@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_the_scaler_skips_do_not_count_between_rows_either(fused: bool) -> None:
    model, (x, y) = mlp(64, 8, 10), digits()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu")
    with watch(model, every=10, scaler=scaler) as w:
        for n in range(35):
            optimizer.zero_grad()
            scaler.scale(F.cross_entropy(model(x[:50]), y[:50])).backward()
            if n in (3, 14, 15):
                model[0].weight.grad[0, 0] = torch.inf
            scaler.step(optimizer)
            scaler.update()
    assert seen_steps(w) == [0, 10, 20, 30, 32]


@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_the_scaler_skips_do_not_count(fused: bool) -> None:
    model = mlp(64, 8, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
    scaler, (x, y) = torch.amp.GradScaler("cpu"), digits()
    with watch(model, every=1, scaler=scaler) as w:
        for n in range(4):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16):
                loss = F.cross_entropy(model(x[n::50]).float(), y[n::50])
            scaler.scale(loss).backward()
            if n == 2:
                model[0].weight.grad[0, 0] = torch.inf
            scaler.step(optimizer)
            scaler.update()
    assert w.updates == 3
    assert seen_steps(w) == [0, 1, 2, 3]
    assert [row["saturated"] is None for row in w["2"]] == [False] * 3 + [True]


def test_without_the_scaler_saturation_is_withheld_in_half_precision() -> None:
    model = mlp(64, 8, 10)
    optimizer, (x, y) = sgd(model), digits()
    with watch(model, every=1) as w, torch.autocast("cpu", torch.float16):
        F.cross_entropy(model(x[:50]), y[:50]).backward()
        optimizer.step()
    assert w["0"][0]["saturated"] is None
    assert "give scaler=" in w["0"][0]["withheld"]
    assert w["0"][0]["dormant"] is not None


def test_several_optimizers_make_one_update_together() -> None:
    model = mlp(64, 8, 10)
    first, second = (sgd(layer) for layer in (model[0], model[2]))
    other = mlp(64, 8, 10)
    elsewhere, (x, y) = sgd(other), digits()
    with watch(model, every=1) as w:
        for _ in range(3):
            F.cross_entropy(model(x) + other(x), y).backward()
            first.step(), second.step(), elsewhere.step()
        first.step(), first.step()
    assert w.updates == 5


def test_closures_are_seen_from_inside() -> None:
    model = mlp(64, 8, 10)
    optimizer, (x, y) = torch.optim.LBFGS(model.parameters(), max_iter=2), digits()

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x[:50]), y[:50])
        loss.backward()
        return loss

    with watch(model, every=1) as w:
        for _ in range(2):
            optimizer.step(closure)
    assert w.updates == 2
    assert w["0"][0]["effective_rank"] is not None
    assert w["0"][0]["nearest"] != w["0"][1]["nearest"]


@pytest.mark.parametrize("both", [False, True])
def test_explicit_steps(both: bool) -> None:
    model = mlp(64, 8, 10)
    optimizer, (x, y) = sgd(model), digits()
    with watch(model, every=2) as w:
        for _ in range(5):
            model.zero_grad()
            F.cross_entropy(model(x[:50]), y[:50]).backward()
            if both:
                optimizer.step()
            else:
                with torch.no_grad():
                    for p in model.parameters():
                        p -= 0.1 * p.grad
            w.step()
    assert seen_steps(w) == [0, 2, 4, 5]
    assert w["0"][1]["dormant"] is not None


def test_evaluation_between_steps_is_not_taken_for_training() -> None:
    model = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    optimizer, (x, y) = sgd(model), digits()
    with watch(model, every=1) as w:
        with torch.no_grad():
            model(torch.full((7, 64), torch.nan))
        F.cross_entropy(model(x[:50]), y[:50]).backward()
        optimizer.step()
    assert w["0"][0]["samples"] == 50


class Functional(nn.Module):
    """Activations without modules, a norm in between, one layer that ends the model."""

    def __init__(self, function) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 5)
        self.c, self.function = nn.Linear(5, 10), function

    def forward(self, x):
        a = self.function(self.norm(self.a(x.view(-1, 1, 8, 8))))
        return self.c(self.function(self.b(a.mean((2, 3)))))


FUNCTIONS = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
    "leakyrelu": F.leaky_relu,
    "elu": F.elu,
    "hardtanh": F.relu6,
    "softplus": F.softplus,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations_are_taken_after_the_function(name: str) -> None:
    torch.manual_seed(0)
    model, (x, y) = Functional(FUNCTIONS[name]), digits()
    optimizer = sgd(model)
    twin = copy.deepcopy(model)
    with watch(model, every=1) as w:
        F.cross_entropy(model(x[:64]), y[:64]).backward()
        optimizer.step()
    maps = twin.function(twin.norm(twin.a(x[:64].view(-1, 1, 8, 8))))
    hidden = twin.function(twin.b(maps.mean((2, 3)))).detach()
    assert w["b"][0]["function"] == name
    assert w["b"][0]["effective_rank"] == pytest.approx(rank(hidden), rel=1e-4)
    assert w["a"][0]["function"] == f"norm, {w['norm'][0]['function']}"
    assert w["a"][0]["effective_rank"] == w["norm"][0]["effective_rank"]
    assert w["c"][0]["function"] == "the layer itself"
    assert w["norm"][0]["distinct"] is None
    assert "equal gains" in w["norm"][0]["withheld"]


def test_samples_are_bounded_and_spread() -> None:
    torch.manual_seed(0)
    model, (x, y) = Functional(F.relu), digits()
    with watch(model, every=1, samples=100) as w:
        F.cross_entropy(model(x[:64]), y[:64]).backward()
        sgd(model).step()
    assert w["a"][0]["samples"] == 100
    assert w["b"][0]["samples"] == 64


class Zoo(nn.Module):
    """Layers of many kinds, to compare their names with those of an audit."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.lstm = nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.attn = nn.MultiheadAttention(12, 3, batch_first=True)
        self.norm = nn.LayerNorm(12)
        self.conv = nn.Conv1d(12, 8, 3, groups=2)
        self.scale = nn.Parameter(torch.randn(4, 3))
        self.out = nn.Linear(8, 5)

    def forward(self, tokens):
        h, _ = self.lstm(self.embed(tokens))
        h = self.norm(h + self.attn(h, h, h, need_weights=False)[0])
        h = torch.relu(self.conv(h.mT)).mean(-1)
        return self.out(h) + self.scale.sum()


def test_layers_have_the_names_of_the_audit() -> None:
    torch.manual_seed(0)
    model, tokens = Zoo(), torch.randint(0, 12, (4, 7))
    with watch(model, every=1) as w:
        model(tokens).square().mean().backward()
        sgd(model).step()
    named = audit(model, tokens).layers
    assert set(w.layers) == set(named)
    assert {row["layer"]: row["width"] for row in w.rows} == {n: e.width for n, e in named.items()}
    assert w.failures == []
    known = {row["layer"] for row in w.rows if row["effective_rank"] is not None}
    assert known == {"embed", "lstm[l1]", "lstm[l1_reverse]", "norm", "conv", "out"}
    silent = [row for row in w.rows if row["effective_rank"] is None and row["step"] == 0]
    assert all("activations: " in row["withheld"] for row in silent)


def test_every_kind_of_unit_is_compared_by_its_own_weights() -> None:
    torch.manual_seed(0)
    model = Zoo()
    with torch.no_grad():
        for name in ("weight_ih_l1", "weight_hh_l1", "bias_ih_l1", "bias_hh_l1"):
            p = getattr(model.lstm, name)
            p[5::6] = p[0::6]
        packed, bias = model.attn.in_proj_weight, model.attn.in_proj_bias
        for first in (0, 12, 24):  # head 2 becomes head 0
            packed[first + 8 : first + 12] = packed[first : first + 4]
            bias[first + 8 : first + 12] = bias[first : first + 4]
        model.embed.weight[:, 3] = model.embed.weight[:, 1]
        model.scale[2] = model.scale[1]
    with watch(model, every=1) as w:
        pass
    lost = {row["layer"]: row["width"] - row["distinct"] for row in w.rows if row["distinct"]}
    few = {"lstm[l1]": 1, "attn[heads]": 1, "embed": 1, "scale": 1}
    few |= {"attn[q]": 4, "attn[k]": 4, "attn[v]": 4}
    assert lost == {name: few.get(name, 0) for name in lost}
    assert w["conv"][0]["distinct"] is None
    assert "different channels" in w["conv"][0]["withheld"]


def test_gradient_twins() -> None:
    model = mlp(64, 8, 10)
    clone_rows(model[0], [0, 1], [4, 5])
    with torch.no_grad():
        model[2].weight[:, 4] = model[2].weight[:, 0]
    with watch(model, every=1) as w:
        run(model, 1)
    assert w["0"][0]["distinct"] == 6
    assert w["0"][0]["gradient_twins"] == 2  # 1 and 5 have equal weights, but unequal gradients
    assert w["2"][0]["gradient_twins"] == 0


def test_probe_is_left_as_it_was() -> None:
    x, _ = digits()
    model = nn.Sequential(
        nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 10)
    )
    plain = copy.deepcopy(model)
    torch.manual_seed(1)
    run(plain, 6)
    torch.manual_seed(1)
    with watch(model, every=2, probe=x[:100]) as w:
        run(model, 6)
    assert model.training
    ours, theirs = model.state_dict(), plain.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [row["samples"] for row in w["0"]] == [100] * 4
    assert w["0"][-1]["effective_rank"] is not None
    assert "a probe has no loss" in w["0"][0]["withheld"]


def test_weights_alone_take_no_hooks() -> None:
    model = mlp(64, 8, 10)
    with watch(model, every=1, activations=False) as w:
        assert sum(len(m._forward_hooks) for m in model.modules()) == 0
        run(model, 2)
    assert w["0"][0]["dormant"] is None
    assert w["0"][0]["distinct"] == 8


def test_hooks_exist_for_the_pass_of_a_row_only() -> None:
    model = mlp(64, 8, 10)
    optimizer, (x, y) = sgd(model), digits()
    counts = []
    with watch(model, every=3):
        for _ in steps(model, optimizer, 7, x, y):
            counts.append(sum(len(m._forward_hooks) for m in model.modules()) > 0)
    assert counts == [False, False, True, False, False, True, False]


def test_checkpoint_and_resume() -> None:
    x, y = digits()
    whole, half = mlp(64, 8, 10), mlp(64, 8, 10)
    clone_rows(whole[0], [0], [1])
    clone_rows(half[0], [0], [1])
    with watch(whole, every=4) as w:
        for _ in steps(whole, sgd(whole), 8, x, y, seed=1):
            pass
        for _ in steps(whole, sgd(whole), 8, x, y, seed=2):
            pass
    with watch(half, every=4) as first:
        for _ in steps(half, sgd(half), 8, x, y, seed=1):
            pass
        state = json.loads(json.dumps(first.state_dict()))
    again = copy.deepcopy(half)
    second = watch(again, every=4)
    second.load_state_dict(state)
    with second:
        for _ in steps(again, sgd(again), 8, x, y, seed=2):
            pass
    assert second.updates == w.updates == 16
    assert second.rows == w.rows
    assert second.events == w.events
    assert len(w.events) == 1


def test_a_state_of_another_model_is_refused() -> None:
    with watch(mlp(64, 8, 10), every=1) as w:
        pass
    other = watch(nn.Linear(3, 3))
    with pytest.raises(UsageError, match="the state is of another model: it has rows of 0, 2"):
        other.load_state_dict(w.state_dict())
    with pytest.raises(UsageError, match="not the state of a watch"):
        other.load_state_dict({})


class Wrapped(nn.Sequential):
    """``nn.Sequential`` itself is not compiled in place."""

    def forward(self, x):
        return self[2](torch.relu(self[0](x)))


@pytest.mark.parametrize("kind", ["wrapper", "in place", "part"])
def test_torch_compile(kind: str) -> None:
    model, (x, y) = Wrapped(*mlp(64, 8, 10)), digits()
    used = model
    if kind == "wrapper":
        used = torch.compile(model, backend="eager", fullgraph=True)
    elif kind == "in place":
        model.compile(backend="eager", fullgraph=True)
    else:
        used = torch.compile(lambda x: model(x), backend="eager", fullgraph=True)
    optimizer = sgd(model)
    with watch(used if kind == "wrapper" else model, every=2) as w:
        for _ in range(4):
            optimizer.zero_grad()
            F.cross_entropy(used(x[:50]), y[:50]).backward()
            optimizer.step()
    assert seen_steps(w) == [0, 2, 4]
    assert w["0"][1]["distinct"] == 8
    assert w.failures == []
    if kind == "wrapper":  # the pass is repeated eagerly
        assert [row["samples"] for row in w["0"]] == [50, 50, None]
    for row in w["0"][:2]:
        if row["dormant"] is None:
            assert "inside torch.compile" in row["withheld"]
            assert "probe=" in row["withheld"]


def test_parameters_that_are_replaced_are_followed() -> None:
    model = mlp(64, 8, 10)
    with watch(model, every=1) as w:
        model[0].weight = nn.Parameter(torch.ones_like(model[0].weight))
        model[0].bias = nn.Parameter(torch.zeros_like(model[0].bias))
        run(model, 1)
    assert w["0"][0]["distinct"] == 1
    assert w.updates == 1


@pytest.mark.parametrize("how", ["in place", "data", "state"])
def test_weights_that_are_changed_before_the_first_update_are_read_again(how: str) -> None:
    model = mlp(64, 8, 10)
    with watch(model, every=1) as w:
        if how == "data":
            model[0].weight.data[1] = model[0].weight.data[0]
            model[0].bias.data[1] = model[0].bias.data[0]
        elif how == "state":
            model.load_state_dict(mlp(64, 8, 10, seed=1).state_dict())
        else:
            clone_rows(model[0], [0], [1])
        expected = len(rows_of(model[0]).unique(dim=0))
        nearest = torch.cdist(rows_of(model[0]), rows_of(model[0])).fill_diagonal_(torch.inf).min()
        scale = rows_of(model[0]).square().sum(1).mean().sqrt()
        run(model, 1)
    assert w["0"][0]["distinct"] == expected
    assert w["0"][0]["nearest"] == pytest.approx(float(nearest / scale), rel=1e-3, abs=1e-3)


def test_layers_that_are_replaced_or_added_are_followed() -> None:
    model = mlp(64, 8, 10)
    with watch(model, every=2) as w:
        run(model, 3)
        old = model[0]
        model[0], model[2] = nn.Linear(64, 12), nn.Linear(12, 10)
        clone_rows(model[0], [0], [7])
        model.append(nn.Linear(10, 10))
        run(model, 5)
    assert hooks(model) == hooks(nn.Sequential(old)) == 0
    assert seen_steps(w) == [0, 2, 4, 6, 8] and seen_steps(w, "3") == [4, 6, 8]
    assert [row["width"] for row in w["0"]] == [8, 8, 12, 12, 12]
    assert [(e.step, e.layer, e.units) for e in w.events] == [(5, "0", (0, 7))]
    assert all(row["samples"] == 50 for row in w["0"][:-1])
    assert w.failures == []
    model[2] = nn.Sequential(nn.Linear(12, 10))
    with w:
        run(model, 1)
    assert w.layers == ("0", "2.0", "3", "2")
    again = watch(model)
    again.load_state_dict(w.state_dict())
    assert again.rows == w.rows


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.*script_method. is deprecated:DeprecationWarning"
)  # torch.compile's own
def test_a_compiled_step_does_not_compile_the_watch() -> None:
    model, (x, y) = mlp(64, 8, 10), digits()
    optimizer = sgd(model)
    compiled = []

    def sink(values, *, step: int) -> None:
        compiled.append((torch.compiler.is_compiling(), float(torch.ones(2).sum())))

    @torch.compile(backend="eager")
    def one() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x[:50]), y[:50]).backward()
        optimizer.step()

    with watch(model, every=2, sinks=sink) as w:
        for _ in range(5):
            one()
    assert seen_steps(w) == [0, 2, 4, 5]
    assert compiled == [(False, 2.0)] * 4


def failing(model: nn.Module) -> None:
    run(model, 12)
    raise ValueError("mine")


def test_an_exception_in_the_loop_loses_nothing() -> None:
    model, taken = mlp(64, 8, 10), []
    w = watch(model, every=5, sinks=[collect(taken)])
    with pytest.raises(ValueError, match="mine"), w:
        failing(model)
    assert hooks(model) == 0
    assert seen_steps(w) == [0, 5, 10, 12]
    assert [step for step, _ in taken] == [0, 5, 10, 12]


def test_an_exception_inside_a_hooked_pass() -> None:
    model = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(9, 10))
    with (
        pytest.raises(RuntimeError, match="shapes cannot be multiplied"),
        watch(model, every=5) as w,
    ):
        run(model, 12)
    assert hooks(model) == 0
    assert seen_steps(w) == [0]


def collect(into: list):
    def sink(values, *, step):
        into.append((step, dict(values)))

    return sink


def test_a_dropped_watch_takes_its_hooks_along() -> None:
    model = mlp(64, 8, 10)
    w = watch(model, every=5).__enter__()
    assert hooks(model) > 0
    del w
    gc.collect()
    assert hooks(mlp(2, 2)) == 0  # those on optimizers, that is


def test_weights_that_are_not_finite_are_withheld() -> None:
    model = mlp(64, 8, 10)
    with watch(model, every=1) as w:
        run(model, 1)
        with torch.no_grad():
            model[0].weight[0, 0] = torch.nan
        run(model, 1)
    row = w["0"][1]
    assert row["nearest"] is None
    assert "not finite" in row["withheld"]
    assert w.failures == []


WRONG = {
    "a class": (lambda: watch(nn.Linear), "watch\\(\\) wants the model"),
    "interval": (lambda: watch(mlp(2, 2), every=0), "every must be a whole number .* got 0"),
    "interval of a float": (lambda: watch(mlp(2, 2), every=0.5), "got 0.5"),
    "layer": (lambda: watch(mlp(2, 2), layers=["9"]), "no layer '9'. Layers: 0"),
    "sink": (lambda: watch(mlp(2, 2), sinks="run.parquet"), "Parquet\\('run.parquet'\\)"),
    "group": (
        lambda: watch(mlp(2, 2), groups={"0": [(0, 5)], "x": [(0, 1)]}),
        "no layer 'x'; 0 has units 0 to 1, not 5",
    ),
    "nothing": (lambda: watch(nn.ReLU()), "nothing to watch"),
    "step outside": (lambda: watch(mlp(2, 2)).step(), "inside `with watch"),
    "row": (lambda: watch(mlp(2, 2))["7"], "no layer '7'"),
    "column": (lambda: watch(mlp(2, 2)).column("0", "x"), "no column 'x'. Columns: step"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refusals(case: str) -> None:
    make, phrase = WRONG[case]
    with pytest.raises(UsageError, match=phrase):
        make()


def test_one_context_at_a_time() -> None:
    with watch(mlp(2, 2)) as w, pytest.raises(UsageError, match="running already"):
        w.__enter__()


def test_parametrized_weights_are_withheld() -> None:
    model = mlp(64, 8, 10)
    nn.utils.parametrizations.weight_norm(model[0])
    with watch(model, every=1) as w:
        run(model, 1)
    assert w["0"][0]["distinct"] is None
    assert "computed by a parametrization" in w["0"][0]["withheld"]
    assert w["0"][0]["dormant"] is not None
    assert w.failures == []


@pytest.mark.extras
@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
def test_heads_of_transformers_are_compared_by_their_projections(kind: str) -> None:
    """Separate, packed and grouped-query projections; the names are the audit's."""
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 11, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4}
    if kind == "bert":
        config = transformers.BertConfig(**sizes, intermediate_size=8, max_position_embeddings=8)
        model = transformers.BertModel(config)
    elif kind == "gpt2":
        config = transformers.GPT2Config(**sizes, n_positions=8, bos_token_id=0, eos_token_id=0)
        model = transformers.GPT2Model(config)
    else:
        config = transformers.LlamaConfig(**sizes, intermediate_size=8, num_key_value_heads=2)
        model = transformers.LlamaModel(config)
    x = {"input_ids": torch.arange(24).reshape(4, 6) % 11}
    name = next(layer for layer in audit(model.eval(), x).layers if "heads" in layer)
    with torch.no_grad():  # head 1 becomes head 0 wherever it has weights of its own
        for key, p in model.named_parameters():
            if key.rpartition(".")[0].rpartition(".")[2] in ("query", "key", "value", "q_proj"):
                p[4:8] = p[:4]
            if "c_attn" in key:
                for part in p.chunk(3, -1):
                    part[..., 4:8] = part[..., :4]
    with watch(model, every=1) as w:
        model(**x)
    assert [layer for layer in w.layers if "heads" in layer] == [name]
    assert [(row["distinct"], row["width"]) for row in w[name]] == [(3, 4)]
