"""tie and train: bit for bit where tied, apart where not; the record, its file and its figures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lockstep.errors import UsageError
from lockstep.explain import History, tie, train
from lockstep.explain.bundled import coffee, course_network

from .nets import Convolved, Noisy, Shared, data, dense

LION = getattr(torch.optim, "Lion", None)  # where this version of PyTorch has it
OPTIMIZERS = {
    **({} if LION is None else {"lion": partial(LION, lr=0.01)}),
    "sgd": partial(torch.optim.SGD, lr=0.5),
    "momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "adam": partial(torch.optim.Adam, lr=0.05),
    "adam with L2": partial(torch.optim.Adam, lr=0.05, weight_decay=1e-3),
    "adamw": partial(torch.optim.AdamW, lr=0.05),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.01),
    "adagrad": partial(torch.optim.Adagrad, lr=0.1),
}


def trained(net: nn.Module, optimizer: str = "adam", steps: int = 60, **options: object) -> History:
    x, y = coffee()
    return train(
        net,
        x,
        y,
        loss=F.binary_cross_entropy,
        optimizer=OPTIMIZERS[optimizer],
        steps=steps,
        **options,
    )  # type: ignore[arg-type]


def rows_equal(history: History) -> bool:
    """w1 = w3 and w2 = w4 at every recorded step, bit for bit."""
    return torch.equal(history["w1"], history["w3"]) and torch.equal(history["w2"], history["w4"])


STARTS = [
    *((name, "sigmoid", True, None) for name in OPTIMIZERS),
    *(("adam", activation, bias, 16) for activation in ("tanh", "relu") for bias in (True, False)),
]


@pytest.mark.parametrize("optimizer, activation, bias, batch_size", STARTS)
def test_all_tied_stays_equal_bit_for_bit(
    optimizer: str, activation: str, bias: bool, batch_size: int | None
) -> None:
    net = course_network(activation, bias=bias, seed=3)
    tie(net, "0", [0, 1])
    history = trained(net, optimizer, batch_size=batch_size)
    assert rows_equal(history) and torch.equal(history["w5"], history["w6"])
    assert not history.distance("0", 0, 1).any()
    assert set(history.effective_width("0").tolist()) == {1}
    assert history.after("w1") != history.before("w1")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_incoming_tied_only_separates(optimizer: str) -> None:
    net = course_network(seed=1)
    tie(net, "0", [0, 1], outgoing=False)
    history = trained(net, optimizer)
    assert history.before("w1") == history.before("w3") and history.after("w1") != history.after(
        "w3"
    )
    assert history.effective_width("0")[[0, -1]].tolist() == [1, 2]


def test_what_tie_says_it_changed() -> None:
    net = course_network(bias=True, weights=(1, 2, 3, 6, 5, 7))
    done = tie(net, "0", [0, 1])
    assert [(c.parameter, c.role) for c in done.changes] == [
        ("0.weight", "incoming"),
        ("0.bias", "incoming"),
        ("2.weight", "outgoing"),
    ]
    assert done.changes[0].before.tolist() == [[1, 2], [3, 6]]
    assert net[0].weight.tolist() == [[2, 4], [2, 4]] and net[2].weight.tolist() == [[6, 6]]
    assert "outgoing 2.weight: 1 entries a unit, moved by at most 1" in str(done)


@pytest.mark.parametrize(
    "how, rows, out",
    [("first", [1.0, 2.0], 5.0), (torch.tensor([9.0, 8.0]), [9.0, 8.0], 6.0)],
)
def test_how_to_tie(how: object, rows: list[float], out: float) -> None:
    net = course_network(weights=(1, 2, 3, 6, 5, 7))
    tie(net, "0", [0, 1], how=how)  # type: ignore[arg-type]
    assert net[0].weight.tolist() == [rows, rows] and net[2].weight.tolist() == [[out, out]]


def test_tie_outgoing_only_leaves_the_incoming_weights() -> None:
    net = course_network(weights=(1, 2, 3, 6, 5, 7))
    tie(net, "0", [0, 1], incoming=False)
    assert net[0].weight.tolist() == [[1, 2], [3, 6]] and net[2].weight.tolist() == [[6, 6]]


def test_tied_channels_through_norm_pooling_and_flatten() -> None:
    torch.manual_seed(0)
    net, x = Convolved(), torch.randn(8, 2, 7, 7)
    net(x)
    done = tie(net, "conv", [0, 2])
    assert "norm.running_var" in [c.parameter for c in done.changes]
    y = torch.randn(8, 2)
    history = train(net, x, y, loss=F.mse_loss, optimizer=OPTIMIZERS["adam"], steps=20)
    assert float(history.distance("conv", 0, 2).max()) < 1e-5
    assert float(history.distance("conv", 0, 1).min()) > 1e-2


BAD_TIES: list[tuple[Callable[[], object], str]] = [
    (lambda: tie(course_network(), "1", [0, 1]), r"no Linear or Conv layer '1'.*'0' \(Linear\)"),
    (
        lambda: tie(nn.LSTM(3, 5), "", [0, 1]),
        r"unit i owns rows i, i \+ 1 \* 5, i \+ 2 \* 5, i \+ 3 \* 5 of",
    ),
    (
        lambda: tie(nn.ModuleDict({"attn": nn.MultiheadAttention(8, 2)}), "attn[heads]", [0, 1]),
        r"head h owns rows h \* 4 to \(h \+ 1\) \* 4 - 1 of the query",
    ),
    (lambda: tie(course_network(), "0", [0, 5]), "has units 0 to 1"),
    (lambda: tie(course_network(), "0", [1, 1]), "at least two different"),
    (lambda: tie(Shared(), "out", [0, 1]), "units 0 to 0"),
    (lambda: tie(course_network(), "0", [0, 1], outgoing="3"), "Name the layer: outgoing='path'"),
    (lambda: tie(course_network(), "0", [0, 1], how=torch.ones(3)), r"how has shape \(3,\)"),
    (lambda: tie(course_network(), "0", [0, 1], how="median"), "'mean', 'first' or a tensor"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("call, words", BAD_TIES)
def test_ties_that_cannot_be(call: Callable[[], object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call()


def test_a_refused_tie_changes_nothing() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(4, 1))
    before = net[0].weight.clone()
    with pytest.raises(UsageError, match="were not found"):
        tie(net, "0", [0, 1])
    assert torch.equal(before, net[0].weight)


def test_train_is_a_plain_loop() -> None:
    mine, plain = course_network(seed=1), course_network(seed=1)
    history = trained(mine, "adam", steps=30)
    x, y = coffee()
    optimizer, losses = torch.optim.Adam(plain.parameters(), lr=0.05), []
    for _ in range(30):
        optimizer.zero_grad()
        J = F.binary_cross_entropy(plain(x), y)
        losses.append(J.item())
        J.backward()
        optimizer.step()
    assert all(
        torch.equal(p, q) for p, q in zip(mine.parameters(), plain.parameters(), strict=True)
    )
    assert history.losses[:-1].tolist() == losses
    assert history.after("b3") == plain[2].bias.item()


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad])
def test_seeds_fix_batches_and_noise_and_nothing_else(context: Callable[[], object]) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    x, y = data(40, 3, 1)

    def once(seed: int) -> torch.Tensor:
        torch.manual_seed(5)
        net = Noisy().double()
        made = partial(torch.optim.SGD, lr=0.1)
        with context():  # type: ignore[attr-defined]
            return train(
                net, x, y, loss=F.mse_loss, optimizer=made, steps=9, batch_size=8, seed=seed
            ).weights

    assert torch.equal(once(1), once(1)) and not torch.equal(once(1), once(2))
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_optimizer_instance_and_sparser_records() -> None:
    net = course_network(seed=1)
    x, y = coffee()
    instance = torch.optim.SGD(net.parameters(), lr=0.1)
    history = train(net, x, y, loss=F.mse_loss, optimizer=instance, steps=10, record_every=4)
    assert history.steps == (0, 4, 8, 10) and history.weights.shape == (4, 9)
    assert history.after("w1") == net[0].weight[0, 0].item()


BAD_TRAININGS: list[tuple[dict[str, object], str]] = [
    ({"steps": 0}, "steps must be at least 1"),
    ({"steps": -1, "batch_size": 0}, "steps must be .* got -1; batch_size must be .* got 0"),
    ({"optimizer": "adam"}, r"partial\(torch.optim.SGD, lr=0.1\)"),
    ({"optimizer": torch.optim.SGD([nn.Parameter(torch.ones(1))])}, "no parameter of this model"),
    ({"optimizer": torch.optim.LBFGS}, "LBFGS.step wants a closure"),
    ({"optimizer": torch.optim.Muon}, "refused the parameters of this model: Muon only supports 2D"),
    ({"x": torch.ones(5, 3).double()}, r"refused x of \(5, 3\) torch.float64: .*samples first"),
    ({"x": torch.ones(5, 2).float()}, r"refused x of .*dtype of its weights \(torch.float64\)"),
    ({"x": torch.ones(8, 2).double(), "batch_size": 2}, "x holds 8 samples and y 5"),
    ({"loss": "mse"}, r"loss must be a function loss\(output, y\)"),
    ({"loss": lambda a, y: F.mse_loss(a, y).detach()}, "detaches what it is given"),
    ({"x": torch.ones(0, 2)}, r"x holds no samples: its shape is \(0, 2\)"),
    ({"optimizer": len}, "function of parameters that makes one, got int"),
    ({"y": torch.ones(5)}, r"reshape\(-1, 1\)"),
    ({"loss": lambda a, y: a - y}, "must be one number"),
    ({"optimizer": partial(torch.optim.SGD, lr=1e200), "loss": F.mse_loss, "model": "line"},
     "not finite from step .*smaller learning rate than 1e"),
    ({"x": (torch.ones(5, 2).double(),), "batch_size": 2}, "x as one tensor"),
]  # fmt: skip


@pytest.mark.parametrize("changed, words", BAD_TRAININGS)
def test_trainings_that_cannot_be(changed: dict[str, object], words: str) -> None:
    x, y = coffee(5)
    net = course_network() if changed.pop("model", None) is None else dense([2, 1], ["identity"])
    options = {
        "x": x,
        "y": y,
        "loss": F.mse_loss,
        "optimizer": OPTIMIZERS["sgd"],
        "steps": 5,
    } | changed
    before = [p.detach().clone() for p in net.parameters()]
    with pytest.raises(UsageError, match=words):
        train(net, **options)  # type: ignore[arg-type]
    assert all(map(torch.equal, before, net.parameters()))


def test_a_frozen_model_is_not_trained() -> None:
    net = course_network().requires_grad_(False)
    with pytest.raises(
        UsageError, match="nothing to train: every parameter has requires_grad=False"
    ):
        train(net, *coffee(5), loss=F.mse_loss, optimizer=OPTIMIZERS["sgd"], steps=1)


def test_the_record_is_replayed_in_the_mode_of_training() -> None:
    """A batch norm that trains normalises the replayed batch: its moving statistics do not matter."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1)).double()
    x, y = data(40, 3, 1)
    made = partial(torch.optim.SGD, lr=0.5)
    history = train(net, x, y, loss=F.mse_loss, optimizer=made, steps=30)
    a = history.activations("0")[-1]
    assert torch.allclose(a, net[0](x).detach())
    last = torch.func.functional_call(history.model, history.state(30), (x,))  # type: ignore[arg-type]
    assert torch.allclose(F.mse_loss(last, y), history.losses[-1])


def test_the_table() -> None:
    net = course_network(bias=False, weights=(1, 2, 3, 4, 5, 6))
    history = trained(net, "sgd", steps=1)
    lines = str(history).splitlines()
    assert lines[0] == "1 steps of SGD"
    assert lines[1].split() == ["weight", "before", "after"]
    assert [line.split()[:2] for line in lines[2:8]] == [[f"w{n}", str(n)] for n in range(1, 7)]
    assert history.widths().startswith("layer '0': 2 -> 2 different units of 2")


def test_unknown_names_are_refused() -> None:
    history = trained(course_network(), steps=2)
    with pytest.raises(UsageError, match="no weight 'w99'"):
        history["w99"]
    with pytest.raises(UsageError, match="layer '0' has units 0 to 1, got 0 and 9"):
        history.distance("0", 0, 9)
    with pytest.raises(UsageError, match="Layers: 0, 2"):
        history.activations("7")
    with pytest.raises(UsageError, match="no parameter 'x'"):
        history.parameter("x")


@pytest.mark.extras
def test_parquet_round_trip(tmp_path: Path) -> None:
    net = course_network(seed=1)
    tie(net, "0", [0, 1], outgoing=False)
    history = trained(net, steps=20)
    history.save(tmp_path / "h.parquet")
    loaded = History.load(tmp_path / "h.parquet")
    assert torch.equal(loaded.weights, history.weights) and torch.equal(
        loaded.losses, history.losses
    )
    assert loaded.shapes == history.shapes and loaded.steps == history.steps
    assert torch.equal(loaded["0.weight[1,0]"], history["w3"])
    assert torch.allclose(loaded.measured["distance[0][0,1]"].double(), history.distance("0", 0, 1))
    assert loaded.measured["width[0]"][0] == 1
    with pytest.raises(UsageError, match="loaded from a file"):
        loaded.activations("0")


@pytest.mark.extras
def test_large_parameters_are_list_columns(tmp_path: Path) -> None:
    net, (x, y) = dense([20, 9, 1], ["tanh", "sigmoid"]), data(10, 20, 1)
    history = train(net, x, y, loss=F.mse_loss, optimizer=OPTIMIZERS["sgd"], steps=3)
    history.save(tmp_path / "h.parquet")
    assert torch.equal(History.load(tmp_path / "h.parquet").weights, history.weights)


@pytest.mark.extras
def test_another_file_is_refused(tmp_path: Path) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    parquet.write_table(arrow.table({"step": [0]}), tmp_path / "other.parquet")
    with pytest.raises(UsageError, match="not a Lockstep history"):
        History.load(tmp_path / "other.parquet")


@pytest.mark.parametrize("inputs", [2, 3])
@pytest.mark.extras
def test_the_figure_has_four_panels(inputs: int) -> None:
    import matplotlib.pyplot as plt

    net, (x, y) = dense([inputs, 3, 1], ["relu", "sigmoid"]), data(20, inputs, 1)
    history = train(net, x, y, loss=F.mse_loss, optimizer=OPTIMIZERS["adam"], steps=10)
    figure = history.plot()
    titles = [axes.get_title() for axes in figure.axes]
    last = "boundaries after training" if inputs == 2 else "effective width"
    assert titles == ["weights", "distance between units", "loss", last]
    assert all(axes.lines or axes.collections for axes in figure.axes)
    plt.close(figure)
