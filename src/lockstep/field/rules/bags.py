"""``EmbeddingBag``: rows are looked up and joined bag by bag (sum 0, mean 1, max 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from ..running import active
from .embedding import add_rows, need_integers, per_use
from .extremes import pick
from .largest import mixed, shares

MEAN, MAX = 1, 2
Bags = tuple[Tensor, Tensor, Tensor, Tensor]


def _lengths(offsets: Tensor, total: int, include_last: bool) -> Tensor:
    ends = torch.cat([offsets[1:], torch.tensor([total])]) if not include_last else offsets[1:]
    return ends - (offsets if not include_last else offsets[:-1])


@rule("_embedding_bag", "_embedding_bag_forward_only", degree="sum")
def embedding_bag(
    f: Field,
    weight: Tensor,
    index: Tensor,
    offsets: Tensor,
    by_frequency: bool = False,
    mode: int = 0,
    sparse: bool = False,
    sample_weights: Tensor | None = None,
    include_last: bool = False,
    padding: int = -1,
) -> Bags:
    """(bags (B, D), the bag of each index, sizes of the bags, the rows that a maximum took)."""
    need_integers(index)
    index, offsets = index.long(), offsets.long()
    lengths = _lengths(offsets, index.numel(), include_last)
    bag = torch.repeat_interleave(torch.arange(lengths.numel()), lengths)
    used = (
        index != padding
    ) | active().shaken  # the padding row does reach the output of a shaken run
    size = torch.zeros(lengths.numel(), dtype=torch.long).index_add_(0, bag, used.long())
    rows = weight[index]
    if mode == MAX:
        out, taken = _largest(f, rows, index, bag, used, lengths.numel())
        return out, bag, size, taken
    if sample_weights is not None:
        rows = f.mul(rows, sample_weights.unsqueeze(1))
    out = add_rows(f, bag, rows * used.unsqueeze(1), lengths.numel())
    if mode == MEAN:
        out = f.mul(out, f.inverse(f.embed(size.clamp(min=1))).unsqueeze(1))
    return out, bag, size, torch.zeros(0, dtype=torch.long)


def _largest(
    f: Field, rows: Tensor, index: Tensor, bag: Tensor, used: Tensor, bags: int
) -> tuple[Tensor, Tensor]:
    """Bag by bag and dimension by dimension; an empty bag is zero and took no row."""
    out = torch.zeros(bags, rows.shape[1])
    taken = torch.full((bags, rows.shape[1]), -1)
    c = torch.zeros(rows.shape)
    for b in range(bags):
        members = ((bag == b) & used).nonzero().view(-1)
        if members.numel():
            c[members] = shares(f, rows[members], (0,))
            out[b] = mixed(f, rows[members], c[members], (0,), False)[0]
            taken[b] = index[members[pick(f, rows[members], 0)[1][0]]]
    active().share(taken, c)
    return out, taken


@rule("_embedding_bag_backward", degree="sum")
def embedding_bag_backward(
    f: Field,
    grad: Tensor,
    index: Tensor,
    offsets: Tensor,
    bag: Tensor,
    size: Tensor,
    taken: Tensor,
    rows: int,
    by_frequency: bool,
    mode: int,
    sparse: bool,
    sample_weights: Tensor | None,
    padding: int = -1,
) -> Tensor:
    index = index.long()
    if mode == MAX:
        return add_rows(f, index, f.mul(grad[bag], active().shared(taken)), rows)
    g = grad[bag] * ((index != padding) | active().shaken).unsqueeze(1)
    if mode == MEAN:
        g = f.mul(g, f.inverse(f.embed(size.clamp(min=1)))[bag].unsqueeze(1))
    if sample_weights is not None:
        g = f.mul(g, sample_weights.unsqueeze(1))
    if by_frequency:
        g = f.mul(g, per_use(f, index, rows))
    return add_rows(f, index, g, rows)


@rule("_embedding_bag_per_sample_weights_backward", degree="sum")
def sample_weights_backward(
    f: Field,
    grad: Tensor,
    weight: Tensor,
    index: Tensor,
    offsets: Tensor,
    bag: Tensor,
    mode: int,
    padding: int = -1,
) -> Tensor:
    found = f.dot(grad[bag], weight[index.long()], (1,))
    return found * (index != padding)
