"""Indexed writes and sums, embeddings. Sums go through float64, which holds them exactly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arithmetic import STORE, Field
from ..registry import rule
from .operands import Operand, residues


def _index_error(index: Tensor) -> None:
    if index.dtype is STORE:
        from ..dispatch import active

        raise active().refuse_value("an index")


_put = torch.ops.aten.index_put.default  # torch.index_put does not take None for a whole dimension


@rule("embedding", indexed=True, infinite=True)
def embedding(f: Field, weight: Tensor, index: Tensor, *_: Any) -> Tensor:
    _index_error(index)
    return weight[index.long()]


@rule("embedding_dense_backward")
def embedding_backward(
    f: Field, grad: Tensor, index: Tensor, rows: int, padding: int, by_frequency: bool
) -> Tensor:
    """Rows of the gradient are sums over where the row was used; the padding row gets none."""
    flat, g = index.reshape(-1).long(), grad.reshape(-1, grad.shape[-1]).double()
    if padding >= 0:
        g = g * (flat != padding).unsqueeze(1)
    if by_frequency:
        counts = torch.bincount(flat, minlength=rows)[flat]
        g = f.mul(f.reduce(g), f.inverse(f.embed(counts)).unsqueeze(1)).double()
    return f.reduce(torch.zeros(rows, g.shape[1], dtype=torch.float64).index_add_(0, flat, g))


@rule("index_add")
def index_add(
    f: Field, x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1
) -> Tensor:
    _index_error(index)
    return f.reduce(x.double().index_add(dim, index, f.scale(source, f.scalar(alpha)).double()))


@rule("scatter_add")
def scatter_add(f: Field, x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    _index_error(index)
    return f.reduce(x.double().scatter_add(dim, index, source.double()))


@rule("scatter", infinite=True)
def scatter(
    f: Field, x: Tensor, dim: int, index: Tensor, source: Operand, *, reduce: str | None = None
) -> Tensor:
    _index_error(index)
    if reduce is not None:
        raise NotImplementedError(f"scatter with reduce={reduce!r}")
    value = residues(f, source)
    if value.dim() == 0:
        value = value.expand(index.shape)
    return x.scatter(dim, index, value)


@rule("scatter_reduce")
def scatter_reduce(
    f: Field, x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    _index_error(index)
    if reduce not in ("sum", "mean"):
        raise NotImplementedError(f"scatter_reduce with reduce={reduce!r}")
    base = x if include_self else x.scatter(dim, index, 0.0)
    total = f.reduce(base.double().scatter_add(dim, index, source.double()))
    if reduce == "sum":
        return total
    counts = torch.full(x.shape, int(include_self)).scatter_add(dim, index, torch.ones_like(index))
    return f.mul(total, f.inverse(f.embed(counts.clamp_(min=1))))


@rule("index_put", "_unsafe_index_put", "_index_put_impl", infinite=True)
def index_put(
    f: Field, x: Tensor, indices: list[Tensor | None], values: Tensor, accumulate: bool = False, *_: Any
) -> Tensor:
    for index in indices:
        if index is not None:
            _index_error(index)
    value = residues(f, values)
    if not accumulate:
        return _put(x, indices, value, False)
    return f.reduce(_put(x.double(), indices, value.double(), True))


@rule("select_scatter", infinite=True)
def select_scatter(f: Field, x: Tensor, source: Tensor, dim: int, index: int) -> Tensor:
    return torch.select_scatter(x, source, dim, index)


@rule("slice_scatter", infinite=True)
def slice_scatter(f: Field, x: Tensor, source: Tensor, *where: Any, **more: Any) -> Tensor:
    return torch.slice_scatter(x, source, *where, **more)


@rule("unfold_backward")
def unfold_backward(
    f: Field, grad: Tensor, sizes: list[int], dim: int, size: int, step: int
) -> Tensor:
    index = torch.arange(sizes[dim]).unfold(0, size, step).reshape(-1)
    moved = grad.movedim(-1, dim + 1).flatten(dim, dim + 1).double()
    return f.reduce(torch.zeros(sizes, dtype=torch.float64).index_add_(dim, index, moved))
