"""Losses with ops of their own: squared error, negative log likelihood, binary cross entropy on logits."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from ..running import powered
from .functions import log_sigmoid
from .predicates import ONE
from .reductions import average


def reduced(f: Field, loss: Tensor, reduction: int) -> Tensor:
    """As it is (0), averaged (1) or summed (2)."""
    every = tuple(range(loss.dim()))
    if reduction == 0 or not every:
        return loss
    return average(f, loss, every) if reduction == 1 else f.sum(loss, every)


def shared(f: Field, grad: Tensor, loss_shape: torch.Size, reduction: int) -> Tensor:
    """The gradient for every entry of the unreduced loss."""
    if reduction == 1:
        grad = f.scale(grad, f.quotient(max(1, loss_shape.numel())))
    return grad.expand(loss_shape)


@rule("mse_loss", degree="sum")
def mse_loss(f: Field, x: Tensor, y: Tensor, reduction: int = 1) -> Tensor:
    gap = f.sub(x, y)
    powered(2)
    return reduced(f, f.mul(gap, gap), reduction)


@rule("mse_loss_backward", degree="sum")
def mse_loss_backward(f: Field, grad: Tensor, x: Tensor, y: Tensor, reduction: int) -> Tensor:
    gap = f.scale(f.sub(x, y), 2)
    return f.mul(gap, shared(f, grad, gap.shape, reduction))


@rule("binary_cross_entropy_with_logits", degree="more")
def bce_with_logits(
    f: Field,
    x: Tensor,
    y: Tensor,
    weight: Tensor | None = None,
    pos: Tensor | None = None,
    reduction: int = 1,
) -> Tensor:
    """``(1 - y) x - (1 + (pos - 1) y) log_sigmoid(x)``."""
    factor = ONE if pos is None else f.add(ONE, f.mul(f.sub(pos, ONE), y))
    loss = f.sub(f.mul(f.sub(ONE, y), x), f.mul(factor, log_sigmoid(f, x)))
    return reduced(f, loss if weight is None else f.mul(loss, weight), reduction)


# -- negative log likelihood ----------------------------------------------------------------------------


def _weights(
    x: Tensor, target: Tensor, weight: Tensor | None, ignore: int
) -> tuple[Tensor, Tensor]:
    """(target with ignored rows at 0, weight of each row as residues)."""
    kept = target != ignore
    index = torch.where(kept, target, 0)
    w = torch.ones(index.shape) if weight is None else weight[index]
    return index, w * kept


@rule("nll_loss_forward", "nll_loss2d_forward", degree="sum", infinite=True)
def nll_loss_forward(
    f: Field, x: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore: int
) -> tuple[Tensor, Tensor]:
    """``-w[y] * x[y]``, and the sum of the weights, by which a mean is divided."""
    dim = 1 if x.dim() > 1 else 0
    index, w = _weights(x, target, weight, ignore)
    chosen = x.gather(dim, index.unsqueeze(dim)).squeeze(dim)
    loss = -f.mul(w, torch.where(w == 0, torch.zeros(()), chosen))
    every = tuple(range(loss.dim()))
    total = f.sum(w, every) if every else w
    if reduction == 0:
        return loss, total
    summed = f.sum(loss, every) if every else loss
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
    index, w = _weights(x, target, weight, ignore)
    scale = f.mul(grad, f.inverse(total)) if reduction == 1 else grad
    column = -f.mul(w, scale)
    return torch.zeros(x.shape).scatter(dim, index.unsqueeze(dim), column.unsqueeze(dim))
