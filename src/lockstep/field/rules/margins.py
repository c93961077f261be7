"""Multi-class margin losses: hinges ``max(0, z)^p`` with the predicate ``z > 0``."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from .loss import reduced
from .powers import whole_power
from .predicates import positive


def _rows(x: Tensor, target: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """(N, C) and (N, ``width``), also for a single sample."""
    return x.reshape(-1, x.shape[-1]), target.reshape(-1, width)


def _shares(f: Field, grad: Tensor, like: Tensor, reduction: int) -> Tensor:
    """(N, 1): the gradient for each sample's sum over classes, which is divided by their number."""
    samples, classes = like.shape
    count = classes * samples if reduction == 1 else classes
    return f.scale(grad.reshape(-1, 1), f.quotient(count)).expand(samples, 1)


# -- one right class ---------------------------------------------------------------------------------


def _gaps(
    f: Field, x: Tensor, target: Tensor, margin: float, weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """(margin - x[y] + x, weight of each entry: 0 at the right class, the right class (N, 1))."""
    x, y = _rows(x, target, 1)
    z = f.add(f.sub(x, x.gather(1, y)), torch.tensor(float(f.scalar(margin))))
    w = torch.ones(x.shape) if weight is None else weight[y].expand(x.shape)
    return z, w.scatter(1, y, 0.0), y


@rule("multi_margin_loss", degree="sum")
def multi_margin_loss(
    f: Field,
    x: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1,
    weight: Tensor | None = None,
    reduction: int = 1,
) -> Tensor:
    """``sum over j != y of w[y] max(0, margin - x[y] + x[j])^p / C``."""
    z, w, _ = _gaps(f, x, target, margin, weight)
    hinge = whole_power(f, f.mul(z, positive(f, z)), int(p))
    loss = f.scale(f.sum(f.mul(w, hinge), (1,)), f.quotient(x.shape[-1]))
    return reduced(f, loss.reshape(target.shape), reduction)


@rule("multi_margin_loss_backward", degree="sum")
def multi_margin_loss_backward(
    f: Field,
    grad: Tensor,
    x: Tensor,
    target: Tensor,
    p: int,
    margin: float,
    weight: Tensor | None = None,
    reduction: int = 1,
) -> Tensor:
    z, w, y = _gaps(f, x, target, margin, weight)
    slope = positive(f, z) if int(p) == 1 else f.scale(f.mul(z, positive(f, z)), int(p))
    move = f.mul(f.mul(w, slope), _shares(f, grad, z, reduction))
    return move.scatter(1, y, -f.sum(move, (1,), True)).reshape(x.shape)


# -- several right classes -----------------------------------------------------------------------------


def _right(target: Tensor) -> tuple[Tensor, Tensor]:
    """(targets with 0 behind the first -1, which of them count)."""
    kept = (target >= 0).long().cumprod(1).bool()
    return torch.where(kept, target, 0), kept


def _pairs(f: Field, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``1 - (x[t] - x[j])`` (N, T, C), which pairs count, the targets, which classes are right (N, C)."""
    x, target = _rows(x, target, x.shape[-1])
    index, kept = _right(target)
    right = torch.zeros(x.shape, dtype=torch.long).scatter_add(1, index, kept.long()) > 0
    z = f.add(f.sub(x[:, None, :], x.gather(1, index)[:, :, None]), torch.ones(()))
    return z, kept[:, :, None] & ~right[:, None, :], index, right


@rule("multilabel_margin_loss_forward", degree="sum")
def multilabel_margin_loss(
    f: Field, x: Tensor, target: Tensor, reduction: int
) -> tuple[Tensor, Tensor]:
    z, counts, _, right = _pairs(f, x, target)
    loss = f.sum(f.mul(z, positive(f, z)) * counts, (1, 2))
    loss = f.scale(loss, f.quotient(x.shape[-1])).reshape(x.shape[:-1])
    return reduced(f, loss, reduction), right.float().reshape(x.shape)


@rule("multilabel_margin_loss_backward", degree="sum")
def multilabel_margin_loss_backward(
    f: Field, grad: Tensor, x: Tensor, target: Tensor, reduction: int, _right_classes: Tensor
) -> Tensor:
    z, counts, index, _ = _pairs(f, x, target)
    slope = positive(f, z) * counts
    pulled = f.sum(slope, (1,)).double()
    pushed = f.sum(slope, (2,)).double()
    move = f.reduce(pulled.scatter_add(1, index, -pushed))
    return f.mul(move, _shares(f, grad, move, reduction)).reshape(x.shape)
