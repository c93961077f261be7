"""Indexed writes and sums. Sums go through float64, which holds them exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import STORE, Field
from ..registry import rule
from ..running import active, claimed, powered
from .choices import choose
from .embedding import need_integers
from .operands import Operand, any_infinite, finite, masking, residues
from .scatter_reduce import scatter_reduce

_put = torch.ops.aten.index_put.default  # torch.index_put does not take None for a whole dimension


@rule("index_add")
def index_add(
    f: Field, x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1
) -> Tensor:
    need_integers(index)
    return f.reduce(x.double().index_add(dim, index, f.scale(source, f.scalar(alpha)).double()))


@rule("scatter_add")
def scatter_add(f: Field, x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    need_integers(index)
    predicates = active().shared(index)
    if isinstance(predicates, Tensor) and predicates.dim() == x.dim() + 1:
        spread = f.sum(f.mul(predicates, source.movedim(dim, -1).unsqueeze(-1)), (x.dim() - 1,))
        return f.add(x, spread.movedim(-1, dim))  # the gradient of a running maximum
    return f.reduce(x.double().scatter_add(dim, index, source.double()))


@rule("scatter", infinite=True)
def scatter(
    f: Field, x: Tensor, dim: int, index: Tensor, source: Operand, *, reduce: str | None = None
) -> Tensor:
    need_integers(index)
    value = residues(f, masking(source) if reduce is None else source)
    predicates = active().shared(index)
    if isinstance(predicates, Tensor) and predicates.shape == x.shape and not bool(x.any()):
        return f.mul(
            predicates, value
        )  # the gradient of a maximum, to every element that may be the largest
    if value.dim() == 0 and index.dim():
        value = value.expand(index.shape)
    if reduce is None:
        return x.scatter(dim, index, value)
    return scatter_reduce(f, x, dim, index, value, {"add": "sum", "multiply": "prod"}[reduce])


@rule("index_put", "_unsafe_index_put", "_index_put_impl", infinite=True)
def index_put(
    f: Field,
    x: Tensor,
    indices: list[Tensor | None],
    values: Tensor,
    accumulate: bool = False,
    *_: object,
) -> Tensor:
    value = residues(f, values)
    masks = [d for d, index in enumerate(indices) if index is not None]
    if len(masks) == 1 and value.numel() == 1 and not accumulate:
        mask = indices[masks[0]]
        if mask is not None and mask.dtype is STORE and claimed(mask) is torch.bool:
            powered(2)  # x[mask] = 0.5, with a mask that depends on values
            missing = x.dim() - masks[0] - mask.dim()
            return choose(f, mask.reshape(*mask.shape, *[1] * missing), value.reshape(()), x)
    for index in indices:
        if index is not None:
            need_integers(index)
    if not accumulate:
        return _put(x, indices, value, False)
    if any_infinite(x, value):
        added = _put(finite(x).double(), indices, finite(value).double(), True)
        return torch.where(torch.isinf(x), x, f.reduce(added))
    return f.reduce(_put(x.double(), indices, value.double(), True))


@rule("masked_scatter_backward")
def masked_scatter_backward(f: Field, grad: Tensor, mask: Tensor, sizes: list[int]) -> Tensor:
    """The source is used up from its start."""
    used = grad.masked_select(mask)
    out = torch.zeros(int(torch.Size(sizes).numel()))
    out[: used.numel()] = used
    return out.view(sizes)


@rule("put")
def put(f: Field, x: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """Indices into the flattened tensor."""
    need_integers(index)
    if not accumulate:
        return torch.put(x, index, source)
    return f.reduce(torch.put(x.double(), index, source.double(), True))


@rule("index_fill", infinite=True)
def index_fill(f: Field, x: Tensor, dim: int, index: Tensor, value: Operand) -> Tensor:
    need_integers(index)
    return x.index_fill(dim, index, float(residues(f, masking(value))))
