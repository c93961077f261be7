"""Products that are not multiplied out: their zeros, and the gradients of convolutions among them."""

from __future__ import annotations

import pytest
import torch

from lockstep.field.arithmetic import FIRST, Field
from lockstep.field.outer import Outer
from lockstep.field.residue import promised
from lockstep.field.rules import convolution as rules
from lockstep.symbolic.gradients import Gradient, mask


def product(rows: int, terms: int, columns: int) -> Outer:
    """One with a zero row, and a zero first column but for nothing: entry (0, 0) is one as well."""
    generator = torch.Generator().manual_seed(1)
    f = Field(FIRST, 5)
    a, b = f.symbols((rows, terms), generator), f.symbols((terms, columns), generator)
    a[rows // 2] = 0
    a[0, 1:], b[0, 0] = 0, 0
    return Outer(f, a, b, 1)


@pytest.mark.parametrize("shape", [(700, 5, 300), (40, 64, 70_000), (70_001, 2, 1)])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_zeros(shape: tuple[int, int, int], threads: int) -> None:
    one, before = product(*shape), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        wanted = (one.field.matmul(one.a, one.b) == 0).nonzero()
        assert len(wanted) > shape[2]
        assert torch.equal(one.zeros(), wanted)
        assert bool((one.at(wanted[:, 0], wanted[:, 1]) == 0).all())
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("silent, kind", [(2, torch.int64), (8, torch.int64), (200, torch.bool)])
def test_many_zeros(silent: int, kind: torch.dtype) -> None:
    """Kernel taps that only meet padding are zero by the million: then all entries are computed, once."""
    one = product(600, 5, 300)
    one.a[20 : 20 + silent] = 0
    exact = one.field.matmul(one.a, one.b)
    gradient = Gradient(promised(exact.shape, one, torch.float32), one.field)
    wanted = (exact == 0).view(-1)
    zeros = gradient.still(None, wanted.numel())
    assert zeros is not None and zeros.dtype is kind
    assert torch.equal(mask(zeros, wanted.shape) if kind is torch.int64 else zeros, wanted)
    assert (one.zeros() is None) == (silent > 600 // 16)


CONVOLUTIONS = [
    {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1]},
    {"stride": [2, 1], "padding": [0, 2], "dilation": [1, 2]},
    {"stride": [2], "padding": [1], "dilation": [1]},
]


@pytest.mark.parametrize("settings", CONVOLUTIONS)
@pytest.mark.parametrize("kernel", [(3, 3), (1, 2)])
def test_the_gradient_of_a_convolution(
    settings: dict[str, list[int]], kernel: tuple[int, int]
) -> None:
    """As a product, not multiplied out, and as PyTorch's kernel sums it: the same residues, the same zeros."""
    generator = torch.Generator().manual_seed(2)
    f = Field(FIRST, 5)
    x = f.symbols((2, 260, 4, 3), generator)
    w = f.symbols((260, 260, *kernel), generator)
    x[:, 7] = 0  # a channel that is silent: what reads it gets no gradient
    geometry = (*settings.values(), False, [0, 0], 1)
    grad = f.symbols(torch.nn.functional.conv2d(x, w, **settings).shape, generator)
    factors = rules._factors(grad, x, w, geometry)
    assert factors is not None
    wanted = rules._weight_gradient(f, grad, x, w, geometry)
    pending = Gradient(factors.pending(f, torch.float32, 1), f)
    zeros = pending.still(None, w.numel())
    assert zeros is not None and torch.equal(zeros, (wanted.reshape(-1) == 0).nonzero().view(-1))
    assert len(zeros) >= 260 * kernel[0] * kernel[1]
    assert pending.value.cell.pending  # nobody has multiplied it out
    some = torch.cat([zeros[:5], torch.tensor([1, 70_000])])
    assert torch.equal(pending.still(some, w.numel()), zeros[:5])
    assert torch.equal(pending.residues(), wanted)


def test_what_is_no_such_product() -> None:
    geometry = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    x, w = torch.zeros(2, 4, 5, 5), torch.zeros(8, 4, 3, 3)
    assert rules._factors(torch.zeros(2, 8, 5, 5), x, w, geometry) is None  # few numbers anyhow
    large = torch.zeros(300, 300, 1, 1)
    assert (
        rules._factors(torch.zeros(9, 300, 3, 3), torch.zeros(9, 300, 3, 3), large, geometry)
        is None
    )
