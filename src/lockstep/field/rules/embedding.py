"""Embeddings: rows are looked up, gradients are sums over where each row was used, through exact float64."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import STORE, Field
from ..registry import rule
from ..running import active


def need_integers(index: Tensor) -> None:
    """An index that depends on values is control flow."""
    if index.dtype is STORE:
        raise active().refuse_value("an index")


@rule("embedding", infinite=True)
def embedding(f: Field, weight: Tensor, index: Tensor, *_: object) -> Tensor:
    need_integers(index)
    return weight[index.long()].to(STORE)


@rule("embedding_dense_backward")
def embedding_backward(
    f: Field, grad: Tensor, index: Tensor, rows: int, padding: int, by_frequency: bool
) -> Tensor:
    """The padding row gets none; ``by_frequency`` divides by how often a row was used."""
    flat, g = index.reshape(-1).long(), grad.reshape(-1, grad.shape[-1])
    if padding >= 0 and not active().shaken:  # the padding row does reach the output
        g = g * (flat != padding).unsqueeze(1)
    if by_frequency:
        g = f.mul(g, per_use(f, flat, rows))
    return add_rows(f, flat, g, rows)


def per_use(f: Field, flat: Tensor, rows: int) -> Tensor:
    return f.inverse(f.embed(torch.bincount(flat, minlength=rows)[flat])).unsqueeze(1)


def add_rows(f: Field, flat: Tensor, values: Tensor, rows: int) -> Tensor:
    """(rows, D): the sum of ``values`` (n, D) that belong to each row."""
    used, place = torch.unique(flat, return_inverse=True)
    total = torch.zeros(used.numel(), values.shape[1], dtype=torch.float64)
    out = torch.zeros(rows, values.shape[1], dtype=STORE)
    return out.index_copy_(0, used, f.reduce(total.index_add_(0, place, values.double())))


@rule("_sparse_coo_tensor_with_dims_and_tensors")
def sparse_gradient(
    f: Field,
    sparse_dim: int,
    dense_dim: int,
    size: list[int],
    index: Tensor,
    values: Tensor,
    **_: object,
) -> Tensor:
    """A sparse gradient of rows is kept as the dense tensor it stands for."""
    if sparse_dim != 1 or dense_dim != 1:
        raise NotImplementedError(
            f"sparse tensors with {sparse_dim} sparse and {dense_dim} dense dimensions"
        )
    return add_rows(f, index[0], values, size[0])
