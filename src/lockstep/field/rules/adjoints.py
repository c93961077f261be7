"""Ops that only add up entries: PyTorch's own kernels in float64, which hold the sums exactly, then one reduction.

They are the adjoints of moves: padding, folding, nearest neighbours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arithmetic import STORE, Field
from ..registry import rule

SUMS = """
    reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward
    replication_pad1d_backward replication_pad2d_backward replication_pad3d_backward
    upsample_nearest1d_backward upsample_nearest2d_backward upsample_nearest3d_backward
    _upsample_nearest_exact1d_backward _upsample_nearest_exact2d_backward _upsample_nearest_exact3d_backward
    col2im _pack_padded_sequence_backward
"""


def _define(name: str) -> None:
    kernel = getattr(torch.ops.aten, name)

    @rule(name)
    def adjoint(f: Field, *args: Any, **more: Any) -> Tensor:
        wide = [a.double() if isinstance(a, Tensor) and a.dtype is STORE else a for a in args]
        return f.reduce(kernel(*wide, **more).contiguous())


for _name in SUMS.split():
    _define(_name)


@rule("unfold_backward")
def unfold_backward(
    f: Field, grad: Tensor, sizes: list[int], dim: int, size: int, step: int
) -> Tensor:
    """Windows along ``dim`` lie in the last dimension of ``grad``."""
    dim %= len(sizes)
    index = torch.arange(sizes[dim]).unfold(0, size, step).reshape(-1)
    moved = grad.movedim(-1, dim + 1).flatten(dim, dim + 1).double()
    return f.reduce(torch.zeros(sizes, dtype=torch.float64).index_add_(dim, index, moved))
