"""Losses whose ops do not decompose into the rules of other families."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from .reductions import average


def _weights(f: Field, x: Tensor, target: Tensor, weight: Tensor | None, ignore: int) -> tuple[Tensor, Tensor]:
    """(index with ignored rows at 0, weight of each row as residues)."""
    kept = target != ignore
    index = torch.where(kept, target, 0)
    w = torch.ones(index.shape) if weight is None else weight[index]
    return index, w * kept


@rule("nll_loss_forward", "nll_loss2d_forward", degree="sum", infinite=True)
def nll_loss_forward(
    f: Field, x: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore: int
) -> tuple[Tensor, Tensor]:
    """``-w[y] * x[y]``, averaged (1), summed (2) or as it is (0)."""
    dim = 1 if x.dim() > 1 else 0
    index, w = _weights(f, x, target, weight, ignore)
    chosen = x.gather(dim, index.unsqueeze(dim)).squeeze(dim)
    loss = -f.mul(w, torch.where(w == 0, torch.zeros(()), chosen))
    total = f.sum(w, tuple(range(w.dim()))) if w.dim() else w
    if reduction == 0:
        return loss, total
    summed = f.sum(loss, tuple(range(loss.dim()))) if loss.dim() else loss
    return (f.mul(summed, f.inverse(total)) if reduction == 1 else summed), total


@rule("nll_loss_backward", "nll_loss2d_backward", degree="sum", infinite=True)
def nll_loss_backward(
    f: Field,
    grad: Tensor,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: int,
    ignore: int,
    total: Tensor,
) -> Tensor:
    dim = 1 if x.dim() > 1 else 0
    index, w = _weights(f, x, target, weight, ignore)
    scale = f.mul(grad, f.inverse(total)) if reduction == 1 else grad
    column = -f.mul(w, scale.expand(w.shape) if scale.dim() == 0 else scale)
    return torch.zeros(x.shape).scatter(dim, index.unsqueeze(dim), column.unsqueeze(dim))


@rule("mse_loss", degree="sum")
def mse_loss(f: Field, x: Tensor, y: Tensor, reduction: int = 1) -> Tensor:
    gap = f.sub(x, y)
    loss = f.mul(gap, gap)
    return _reduce(f, loss, reduction)


def _reduce(f: Field, loss: Tensor, reduction: int) -> Tensor:
    every = tuple(range(loss.dim()))
    if reduction == 0 or not every:
        return loss
    return average(f, loss, every) if reduction == 1 else f.sum(loss, every)


@rule("mse_loss_backward", degree="sum")
def mse_loss_backward(f: Field, grad: Tensor, x: Tensor, y: Tensor, reduction: int) -> Tensor:
    gap = f.scale(f.sub(x, y), f.scalar(2))
    if reduction == 1:
        gap = f.scale(gap, f.quotient(max(1, gap.numel())))
    return f.mul(gap, grad.expand(gap.shape))


@rule("binary_cross_entropy_with_logits", degree="one")
def bce_with_logits(
    f: Field, x: Tensor, y: Tensor, weight: Tensor | None = None, pos: Tensor | None = None, reduction: int = 1
) -> Tensor:
    """``(1 - y) x - (1 + (pos - 1) y) log_sigmoid(x)``."""
    from ..arithmetic import stable_key

    one = torch.ones(())
    log = f.function(x, stable_key("log_sigmoid"))
    factor = one if pos is None else f.add(one, f.mul(f.sub(pos, one), y))
    loss = f.sub(f.mul(f.sub(one, y), x), f.mul(factor.expand(x.shape), log))
    return _reduce(f, loss if weight is None else f.mul(loss, weight), reduction)

