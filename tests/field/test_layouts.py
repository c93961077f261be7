"""Results have the layout of PyTorch's own, also where a dimension is 1 or 0: what follows may be a view of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lockstep

ONE_CELL: dict[str, Callable[[Tensor], Tensor]] = {
    "average pool, enlarged": lambda h: F.interpolate(F.avg_pool2d(h, 2), size=(2, 2)),
    "max pool, enlarged": lambda h: F.interpolate(F.max_pool2d(h, 2), size=(2, 2)),
    "padded": lambda h: F.pad(F.avg_pool2d(h, 2), (0, 1, 0, 1)),
    "transposed convolution": lambda h: F.conv_transpose2d(
        F.avg_pool2d(h, 2), torch.ones(3, 3, 2, 2)
    ),
    "unpooled": lambda h: F.max_unpool2d(*F.max_pool2d(h, 2, return_indices=True), 2),
}


class Viewed(nn.Module):
    def __init__(self, made: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.made, self.last = nn.Conv2d(2, 3, 3), made, nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.made(torch.tanh(self.first(x))).view(1, -1))


@pytest.mark.parametrize("made", ONE_CELL.values(), ids=list(ONE_CELL))
def test_maps_of_one_cell(made: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    found = lockstep.audit(Viewed(made), torch.zeros(1, 2, 4, 4))
    assert not found.locked


class Parted(nn.Module):
    """Each convolution gets some of the samples, the last one none of three."""

    def __init__(self, conv: type[nn.Module]) -> None:
        super().__init__()
        self.a, self.b = conv(2, 3, 3), conv(2, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(x[:3]), self.b(x[3:])])


@pytest.mark.parametrize("conv", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
def test_no_samples(conv: type[nn.Module]) -> None:
    torch.manual_seed(0)
    sizes = [5] * (next(conv(1, 1, 1).parameters()).dim() - 2)
    found = lockstep.audit(Parted(conv), torch.zeros(3, 2, *sizes))
    assert found.layers["a"].effective_width == 3
    assert [(x.code, x.where) for x in found.findings if "b" in str(x.where)]


class Shared(nn.Module):
    """Its running statistics are its gain and bias as well: two batch norms that differ by nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(3, 2)
        self.register_buffer("mean", torch.tensor([0.1, 0.7, 5.0]))
        self.register_buffer("var", torch.tensor([2.0, 3.0, 0.3]))

    def forward(self, x: Tensor) -> Tensor:
        h, gain, bias = self.a(x), self.var, self.mean
        first = F.batch_norm(h, bias, gain, gain, bias, True, 0.0)
        return self.b(first - (F.batch_norm(h, None, None, None, None, True) * gain + bias))


def test_running_statistics_that_are_read_as_well() -> None:
    torch.manual_seed(0)
    found = lockstep.audit(Shared(), torch.zeros(5, 4))
    assert {e.parameter: e.count for e in found.frozen} == {
        "a.weight": 12,
        "a.bias": 3,
        "b.weight": 6,
    }
