"""Every module of ``torch.nn`` audits as its row says, or is refused in words; and so do planted twins in it."""

from __future__ import annotations

import inspect
import warnings
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from field.conformance import watched
from field.modules import ROWS, Row
from torch import nn

import lockstep
from lockstep.errors import UndecidedError

ANSWERED = [row for row in ROWS if not row.error]
REFUSED = [row for row in ROWS if row.error]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """One thread, and none of PyTorch's remarks on how models are built."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(threads)


def params(rows: list[Row]) -> list:
    return [pytest.param(r, id=r.name, marks=[pytest.mark.slow] if r.slow else []) for r in rows]


@pytest.mark.parametrize("row", params(ANSWERED))
def test_audit(row: Row) -> None:
    torch.manual_seed(0)
    model, inputs = row.build()
    with watched() as differences:
        audit = lockstep.audit(model, inputs)
    assert {entry.parameter: entry.count for entry in audit.frozen} == row.frozen
    assert [(g.kind, g.where, g.units) for g in audit.locked] == []
    assert sorted(set(differences)) == []


@pytest.mark.parametrize("row", params(REFUSED))
def test_refusal(row: Row) -> None:
    torch.manual_seed(0)
    model, inputs = row.build()
    with pytest.raises(UndecidedError, match=r"\S") as caught:
        lockstep.audit(model, inputs)
    assert [words for words in row.error if words not in str(caught.value)] == []


def test_names_are_unique() -> None:
    assert [name for name, n in Counter(row.name for row in ROWS).items() if n > 1] == []


# Containers, bases, and what is an ensemble of rows above.
ELSEWHERE = {
    *(
        "Module",
        "Sequential",
        "ModuleList",
        "ModuleDict",
        "ParameterList",
        "ParameterDict",
        "Container",
    ),
    *(
        "RNNBase",
        "RNNCellBase",
        "NLLLoss2d",
        "TransformerDecoder",
        "UpsamplingBilinear2d",
        "DataParallel",
    ),
}


def test_no_module_is_forgotten() -> None:
    """Names of classes in ``torch.nn`` against the text of the rows; lazy modules become one of the others."""
    import field.modules

    text = inspect.getsource(field.modules)
    named = {c for row in ROWS for c in row.name.split()} | {
        c for c in dir(nn) if f"nn.{c}" in text
    }
    classes = {n for n, c in vars(nn).items() if inspect.isclass(c) and issubclass(c, nn.Module)}
    forgotten = {n for n in classes - named - ELSEWHERE if not n.startswith("Lazy")}
    assert sorted(forgotten) == []


# -- twins -----------------------------------------------------------------------------------------------


@torch.no_grad()
def twins(
    first: nn.Module, middle: nn.Module, last: nn.Module, shape: tuple[int, ...]
) -> tuple[nn.Module, torch.Tensor]:
    """Units 0 and 1 of ``first`` have equal weights in, and out through ``last``; ``middle`` treats them alike."""
    for p in first.parameters():
        p[1] = p[0]
    for p in middle.parameters():
        if p.shape[:1] == (4,):
            p[1] = p[0]
    last.weight[:, 1] = last.weight[:, 0]
    return nn.Sequential(first, middle, last), torch.randn(shape)


DENSE = (
    nn.Tanh,
    nn.ReLU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.Softplus,
    nn.Softsign,
    nn.Hardswish,
    nn.Sigmoid,
    nn.Tanhshrink,
    nn.Hardshrink,
    nn.Softshrink,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ReLU6,
    nn.LogSigmoid,
    nn.Hardsigmoid,
    lambda: nn.LayerNorm(4),
    lambda: nn.BatchNorm1d(4),
    lambda: nn.RMSNorm(4),
    lambda: nn.PReLU(4),
    lambda: nn.Threshold(0.1, 3.0),
    lambda: nn.Softmax(-1),
    lambda: nn.LogSoftmax(-1),
    lambda: nn.Softmin(-1),
)
IMAGES = (
    lambda: nn.MaxPool2d(3, 2, 1),
    lambda: nn.AvgPool2d(3, 2, 1),
    lambda: nn.AdaptiveMaxPool2d(3),
    lambda: nn.AdaptiveAvgPool2d(3),
    lambda: nn.LPPool2d(2, 2),
    lambda: nn.BatchNorm2d(4),
    lambda: nn.InstanceNorm2d(4, affine=True),
    lambda: nn.GroupNorm(2, 4),
    lambda: nn.ReflectionPad2d(1),
    lambda: nn.CircularPad2d(1),
    lambda: nn.ReplicationPad2d(2),
    lambda: nn.ZeroPad2d(1),
    lambda: nn.Upsample(scale_factor=1.6),
    lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    lambda: nn.Upsample(size=7, mode="bicubic"),
    lambda: nn.Softmax2d(),
    lambda: nn.LocalResponseNorm(8),
    lambda: nn.Dropout2d(0.0),
)


@pytest.mark.parametrize("middle", DENSE)
def test_dense_twins_stay_twins(middle) -> None:
    model, x = twins(nn.Linear(3, 4), middle(), nn.Linear(4, 2), (6, 3))
    assert lockstep.audit(model, x).layers["0"].classes == ((0, 1), (2,), (3,))


@pytest.mark.parametrize("middle", IMAGES)
def test_channel_twins_stay_twins(middle) -> None:
    model, x = twins(nn.Conv2d(2, 4, 3, padding=1), middle(), nn.Conv2d(4, 3, 2), (4, 2, 5, 5))
    assert lockstep.audit(model, x).layers["0"].classes == ((0, 1), (2,), (3,))


@pytest.mark.parametrize(
    "middle", [lambda: nn.Dropout(0.3), nn.AlphaDropout, nn.FeatureAlphaDropout]
)
def test_noise_tells_twins_apart(middle) -> None:
    model, x = twins(nn.Linear(3, 4), middle(), nn.Linear(4, 2), (6, 3))
    audit = lockstep.audit(model, x)
    assert audit.layers["0"].effective_width == 4
    assert "LS008" in {finding.code for finding in audit.findings}
    assert "the noise of 1 treats them differently" in audit.because["0"]  # and no weight does


@torch.no_grad()
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_recurrent_twins_stay_twins(kind) -> None:
    """Hidden units 0 and 1: equal rows in every gate, equal columns of the recurrent weight, equal readout."""
    rnn, head = kind(3, 4), nn.Linear(4, 2)
    for p in rnn.parameters():
        gates = p.view(p.shape[0] // 4, 4, *p.shape[1:])
        gates[:, 1] = gates[:, 0]
    rnn.weight_hh_l0[:, 1] = rnn.weight_hh_l0[:, 0]
    head.weight[:, 1] = head.weight[:, 0]
    from field.modules import Call

    with torch.enable_grad():
        audit = lockstep.audit(
            Call(lambda m, x: m.head(m.rnn(x)[0]), rnn=rnn, head=head), torch.randn(5, 4, 3)
        )
    assert audit.layers["rnn[l0]"].classes == ((0, 1), (2,), (3,))


class Longest(nn.Module):
    """Positions that are told apart, then a maximum over them."""

    def __init__(self, pool) -> None:
        super().__init__()
        self.position, self.read = nn.Parameter(torch.randn(30, 6)), nn.Linear(6, 2)
        self.pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.read(self.pool(x + self.position))


POOLS = {
    "amax": lambda h: h.amax(1),
    "max": lambda h: h.max(1)[0],
    "pool": lambda h: nn.functional.max_pool1d(h.transpose(1, 2), 30)[..., 0],
    "adaptive": lambda h: nn.functional.adaptive_max_pool1d(h.transpose(1, 2), 1)[..., 0],
    "running": lambda h: h.cummax(1)[0][:, -1],
}


@pytest.mark.parametrize("name", POOLS)
def test_losing_a_maximum_by_chance_is_not_being_frozen(name: str) -> None:
    """4 samples choose at most 4 of 30 positions; any of them may be chosen on other data."""
    audit = lockstep.audit(Longest(POOLS[name]), torch.randn(4, 30, 6))
    assert audit.frozen == ()
    assert {finding.code for finding in audit.findings} & {"LS004", "LS009"} == set()


@pytest.mark.parametrize(
    "flat", [torch.round, torch.sign, torch.floor, torch.trunc, lambda h: (h > 0).float()]
)
def test_what_feeds_a_flat_function_is_frozen(flat) -> None:
    """Not merely unexercised: no other example would move it."""
    from field.modules import Call

    model = Call(lambda m, x: m.out(flat(m.body(x))), body=nn.Linear(3, 4), out=nn.Linear(4, 2))
    audit = lockstep.audit(model, torch.randn(6, 3))
    assert {entry.parameter: entry.count for entry in audit.frozen} == {
        "body.weight": 12,
        "body.bias": 4,
    }
