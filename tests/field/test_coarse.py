"""Weights of one byte: an odd function of the floats, the same for all, and products that are exact."""

from __future__ import annotations

from math import prod

import pytest
import torch

from lockstep.field import coarse
from lockstep.field.arithmetic import FIRST, Field
from lockstep.field.blurred import Blurred
from lockstep.field.outer import Factors
from lockstep.field.rules import columns, convolution

F32 = torch.float32
VALUES = torch.cat(
    [
        torch.randn(5000, generator=torch.Generator().manual_seed(0)) * scale
        for scale in (1e-42, 1e-6, 0.02, 1.0, 300.0, 1e30, 3e38)
    ]
    + [torch.tensor([0.0, 0.5, 1.0, 2.0, torch.finfo(F32).max, torch.finfo(F32).tiny])]
).clamp(-3.4e38, 3.4e38)


@pytest.mark.parametrize("dtype", coarse.DTYPES)
def test_odd_and_the_same_wherever_a_number_stands(dtype: torch.dtype) -> None:
    x = VALUES.to(dtype)
    x = x[torch.isfinite(x)]
    f = Field(FIRST)
    made = f.coarse(x)
    assert made.dtype is torch.int8
    assert torch.equal(f.coarse(-x), -made)
    assert torch.equal(f.coarse(x.flip(0)), made.flip(0))
    assert torch.equal(f.coarse(x.float()), made)
    assert torch.equal(f.coarse(x[7:8]), made[7:8])
    assert torch.equal(made == 0, x == 0)
    assert int(made.abs().max()) <= coarse.LARGEST


def test_usual_weights_keep_their_variety() -> None:
    for scale in (0.005, 0.02, 1.0):
        x = torch.randn(100_000, generator=torch.Generator().manual_seed(1)) * scale
        made = Field(FIRST).coarse(x)
        assert made.unique().numel() > 250
        assert float((made == 0).float().mean()) < 0.02


def test_more_than_a_chunk_at_a_time() -> None:
    x = torch.randn(400_001, generator=torch.Generator().manual_seed(2)).view(1, -1)
    made = Field(FIRST).coarse(x)
    assert made.shape == x.shape
    assert torch.equal(made[0, 399_990:], Field(FIRST).coarse(x[0, 399_990:]))


def whole(rows: int, columns: int, most: int) -> torch.Tensor:
    """Whole numbers, the largest and the smallest in many places."""
    generator = torch.Generator().manual_seed(rows * 1000 + columns)
    x = torch.randint(-most, most + 1, (rows, columns), generator=generator)
    x[:, ::3], x[::2, ::5] = most, -most
    return x


SHAPES = [(3, 5, 2), (1, 1, 1), (768, 300, 8), (64, 576, 700), (300, 768, 65), (17, 5000, 64), (1, 40, 3), (1, 300, 9), (7, 1, 5), (2, 0, 3), (0, 4, 3), (4, 3, 0)]  # fmt: skip
LAYOUTS = {
    "as it is": lambda x: x,
    "turned": lambda x: x.t().contiguous().t(),
    "every other row of more": lambda x: torch.stack([x, x], 1).flatten(0, 1)[::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("quick", [True, False])
def test_products_are_exact(
    shape: tuple[int, int, int], layout: str, quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not quick:  # as on a processor without such products
        monkeypatch.setattr(coarse, "available", lambda: False)
    f, turn = Field(FIRST), LAYOUTS[layout]
    rows, terms, columns = shape
    a, b = whole(rows, terms, coarse.LARGEST), whole(terms, columns, f.half)
    wanted = f.integer(a @ b)
    weights, residues = turn(a.to(torch.int8)), turn(b.float())
    assert torch.equal(f.matmul(weights, residues), wanted)
    assert torch.equal(f.matmul(residues.t(), weights.t()), wanted.t())


CONVOLUTIONS = [  # input, outputs, kernel, stride, padding, dilation
    ((4, 3, 9, 7), 8, (3, 3), (1, 1), (1, 1), (1, 1)),
    ((3, 5, 6, 6), 300, (3, 2), (2, 1), (0, 1), (1, 2)),
    ((2, 64, 8, 8), 70, (1, 1), (2, 2), (0, 0), (1, 1)),
    ((5, 2, 12, 12), 4, (7, 7), (2, 2), (3, 3), (1, 1)),
    ((1, 300, 5, 5), 20, (5, 5), (1, 1), (0, 0), (1, 1)),
    ((4, 300, 2, 2), 290, (3, 3), (1, 1), (1, 1), (1, 1)),  # small maps: windows are added up
    ((2, 3, 4, 4), 5, (1, 2), (1, 1), (3, 3), (1, 1)),  # more padding than windows reach
    ((2, 3, 9, 9), 5, (2, 2), (4, 3), (0, 1), (1, 1)),  # windows that leave gaps
    ((2, 3, 3, 3), 5, (3, 3), (2, 2), (2, 2), (2, 2)),  # entries that no window meets
    ((4, 1, 12), 4, (1,), (2,), (0,), (1,)),
    ((4, 1, 3, 3), 4, (1, 1), (1, 1), (1, 1), (1, 1)),
    ((4, 7, 5), 1, (5,), (1,), (0,), (1,)),
    ((1, 6, 1, 1), 300, (1, 1), (1, 1), (0, 0), (1, 1)),
    ((0, 3, 4, 4), 5, (3, 3), (1, 1), (1, 1), (1, 1)),
    ((0, 3, 4), 5, (3,), (1,), (1,), (1,)),
    ((3, 40, 50), 30, (7,), (1,), (3,), (1,)),
    ((3, 40, 50), 30, (4,), (3,), (2,), (2,)),
    ((2, 20, 4, 5, 6), 30, (3, 2, 3), (1, 1, 1), (1, 0, 1), (1, 1, 1)),
    ((2, 20, 4, 5, 6), 30, (3, 2, 3), (2, 1, 2), (1, 1, 0), (1, 2, 1)),
]


@pytest.mark.parametrize("kind", [torch.int8, F32], ids=str)
@pytest.mark.parametrize("windows", [1 << 22, 2000, 1])
@pytest.mark.parametrize("size", CONVOLUTIONS, ids=str)
def test_convolutions(
    size: tuple, windows: int, kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By windows of all samples, of some at a time, or otherwise where those of one are too many.

    The oracle is PyTorch's own convolution of these whole numbers in float64, where all sums stay below 2^53.
    """
    monkeypatch.setattr(columns, "WINDOWS", windows)
    shape, outputs, kernel, *numbers = size
    f, generator = Field(FIRST), torch.Generator().manual_seed(0)
    geometry = (*map(list, numbers), False, [0] * len(kernel), 1)
    x, bias = f.symbols(shape, generator), f.symbols((outputs,), generator)
    few = whole(outputs, shape[1] * prod(kernel), coarse.LARGEST)
    w = few.view(outputs, shape[1], *kernel)

    exact = [t.double().requires_grad_() for t in (x, w, bias)]
    y = torch.convolution(*exact, *geometry)
    grad = f.symbols(y.shape, generator)
    wanted = [y, *torch.autograd.grad(y, exact, grad.double())]

    mask = [outputs], *geometry, [True] * 3
    made = [
        convolution.convolution(f, x, w.to(kind), bias, *geometry),
        *convolution.convolution_backward(f, grad, x, w.to(kind), *mask),
    ]
    for ours, theirs in zip(made, wanted, strict=True):
        ours = f.matmul(ours.a, ours.b).view(w.shape) if isinstance(ours, Factors) else ours
        assert torch.equal(ours, f.integer(theirs.detach().long()))
        assert ours.dtype is F32 and ours.is_contiguous()
        assert all(
            ours.untyped_storage()._cdata != m.untyped_storage()._cdata for m in f._memory.values()
        )


def test_the_largest_sum_of_32_bits() -> None:
    """``TERMS`` products of the largest numbers; one more is left to float64."""
    for sign in (1, -1):
        weights = torch.full((1, coarse.TERMS), sign * coarse.LARGEST, dtype=torch.int8)
        residues = torch.full((coarse.TERMS, 1), -128.0)
        assert coarse.product(weights, residues).item() == -128.0 * sign * 127 * coarse.TERMS
    longer = torch.ones(1, coarse.TERMS + 1, dtype=torch.int8)
    assert not coarse.suits(longer, coarse.TERMS + 1, 1)


def test_a_product_that_saturates_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processors that sum in 16 bits: PyTorch's products are tried before they are trusted."""
    exact = torch._int_mm
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: exact(a, b).clamp(-(1 << 15), (1 << 15) - 1))
    coarse.available.cache_clear()
    try:
        assert not coarse.available()
    finally:
        coarse.available.cache_clear()


def test_a_function_that_is_not_odd_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounded_down(x: torch.Tensor, out: torch.Tensor, *_work: torch.Tensor) -> None:
        out.copy_((x.float() * 100).clamp(-120, 120).floor())

    monkeypatch.setattr(coarse, "bytes_of", rounded_down)
    with pytest.raises(AssertionError, match="equal"):
        test_odd_and_the_same_wherever_a_number_stands(F32)


@pytest.mark.parametrize("parity, zero", [(0, False), (0, True), (1, False), (-1, False)])
def test_functions_of_a_coarse_look(parity: int, zero: bool) -> None:
    """Odd, even or 0 at 0 as asked, never 0 elsewhere, a residue, the same wherever it stands, and no simple one."""
    f = Blurred(Field(FIRST, 3))
    x = torch.arange(-f.half, f.half + 1, dtype=F32)
    y = f.function(x, 77, parity=parity, zero=zero)
    assert torch.equal(y == 0, (x == 0) & (zero or parity == 1))
    assert float(y.abs().max()) <= f.half and torch.equal(y, y.round())
    if parity:
        assert torch.equal(y.flip(0), -parity * y)
    some = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:999]
    assert torch.equal(
        f.function(x[some].view(27, 37), 77, parity=parity, zero=zero).view(-1), y[some]
    )
    assert float((f.function(x, 78, parity=parity, zero=zero) == y).float().mean()) < 1e-4
    for step in (1, 2, 1024):  # nor do differences repeat more often than chance has it
        assert len((y[step:] - y[:-step]).unique()) > 250_000
