"""Batch norm, in training by the statistics of the batch, otherwise by the running ones, which are constants."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from .norms import NormGradient, root, statistics


def _channels(x: Tensor) -> tuple[tuple[int, ...], list[int]]:
    return tuple(d for d in range(x.dim()) if d != 1), [1, -1, *[1] * (x.dim() - 2)]


def _unread(x: Any, weight: Any, bias: Any, *settings: Any) -> tuple[Tensor, ...]:
    """Running statistics in training."""
    running, training, _eps = _batch_settings(settings)
    return running if training else ()


@rule(
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_functional",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
    degree="sum",
    unread=_unread,
)
def batch_norm(
    f: Field, x: Tensor, weight: Tensor | None, bias: Tensor | None, *settings: Any
) -> tuple[Tensor, ...]:
    """Running statistics are read in eval mode; in training mode they do not act and are left alone."""
    running, training, eps = _batch_settings(settings)
    dims, shape = _channels(x)
    if training:
        centre, rstd = (s.reshape(-1) for s in statistics(f, x, dims, eps))
    else:
        centre, rstd = running[0].clone(), root(f, running[1], eps)
    factor = rstd.double() if weight is None else f.wrap(rstd.double().mul_(weight))
    rest = factor * -centre
    rest = rest if bias is None else rest.add_(bias)
    return f.mul(x, factor.view(shape), rest.view(shape)), centre, rstd


def _batch_settings(settings: tuple[Any, ...]) -> tuple[tuple[Tensor, Tensor], bool, float]:
    """(running mean, running var), training, eps: told apart by type, since overloads leave some of them out."""
    tensors = tuple(s for s in settings if isinstance(s, Tensor))
    flags = [s for s in settings if isinstance(s, bool)]
    numbers = [s for s in settings if isinstance(s, float)]
    return tensors[:2], flags[0] if flags else False, numbers[-1]  # type: ignore[return-value]


def _unread_backward(grad: Any, x: Any, weight: Any, *settings: Any) -> tuple[Any, ...]:
    """Of what was kept, the batch's statistics or the running ones, those that are not needed."""
    train = settings[4]
    return settings[:2] if train else settings[2:4]


@rule("native_batch_norm_backward", degree="sum", unread=_unread_backward)
def batch_norm_backward(
    f: Field,
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    save_mean: Tensor | None,
    save_rstd: Tensor | None,
    train: bool,
    eps: float,
    mask: list[bool],
) -> tuple[Tensor | None, ...]:
    dims, shape = _channels(x)
    if train:
        assert save_mean is not None and save_rstd is not None
        centre, rstd = save_mean.view(shape), save_rstd.view(shape)
    else:
        assert running_mean is not None and running_var is not None
        centre, rstd = running_mean.view(shape), root(f, running_var, eps).view(shape)
    gain = None if weight is None else weight.view(shape)
    inner = NormGradient(f, grad, x, centre, rstd, dims)
    grad_w = inner.along.view(-1) if mask[1] else None
    grad_b = inner.total.view(-1) if mask[2] else None
    if not mask[0]:
        return None, grad_w, grad_b
    if train:
        return inner.of_input(gain), grad_w, grad_b
    return f.mul(grad, rstd if gain is None else f.mul(rstd, gain)), grad_w, grad_b
