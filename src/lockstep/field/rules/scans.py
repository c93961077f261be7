"""Running sums, products and maxima along a dimension."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from .extremes import rank
from .operands import residues


@rule("cumsum")
def cumsum(f: Field, x: Tensor, dim: int, *, dtype: object = None) -> Tensor:
    x = residues(f, x)
    return f.reduce(torch.cumsum(x.double(), dim))


@rule("cumprod", degree="sum")
def cumprod(f: Field, x: Tensor, dim: int, *, dtype: object = None) -> Tensor:
    if x.dim() == 0 or x.shape[dim] == 0:
        return x.clone()
    steps = list(residues(f, x).unbind(dim))
    for n in range(1, len(steps)):
        steps[n] = f.mul(steps[n - 1], steps[n])
    return torch.stack(steps, dim)


@rule("cummax")
def cummax(f: Field, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return _running(f, x, dim, 1)


@rule("cummin")
def cummin(f: Field, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return _running(f, x, dim, -1)


def _running(f: Field, x: Tensor, dim: int, sign: int) -> tuple[Tensor, Tensor]:
    """Each element meets the best before it, by a pseudo-random order of the gap; ties to the later index.

    So no entry depends on what comes after it, and a common shift changes no choice.
    """
    if x.dim() == 0:
        return x.clone(), torch.zeros((), dtype=torch.long)
    values: list[Tensor] = []
    index: list[Tensor] = []
    for n, candidate in enumerate(x.unbind(dim)):
        here = torch.full(candidate.shape, n)
        if n:
            better = rank(f, f.sub(candidate, values[-1])) * sign >= 0
            candidate, here = (
                torch.where(better, candidate, values[-1]),
                torch.where(better, here, index[-1]),
            )
        values.append(candidate)
        index.append(here)
    return torch.stack(values, dim), torch.stack(index, dim)
