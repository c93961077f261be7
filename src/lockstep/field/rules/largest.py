"""The largest of several values, when nobody knows which it is.

A maximum is ``sum of c_i x_i`` with predicates ``c_i`` ("element i is the largest") that add up to 1: uninterpreted
functions of ``x_i - mean(x)``. That keeps ``max(x + c) = max(x) + c``, which makes the shift invariance of a
hand-written softmax visible, and ``min(x) = -max(-x)``; and gradients reach every element, as they may. One element
picked at random would leave others without a gradient by chance, and they would seem frozen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import Field
from ..running import active, choosing
from .operands import any_infinite, count, finite


def shares(f: Field, x: Tensor, dims: tuple[int, ...], largest: bool = True) -> Tensor:
    """The predicates: for each element whether it is the largest; they add up to 1 over ``dims``."""
    choosing()
    x = x if largest else -x
    if not any_infinite(x):
        gap = f.sub(x, f.scale(f.sum(x, dims, True), f.quotient(count(x, dims))))
        return shared_out(f, gap, None, dims)
    inside = torch.isfinite(x)
    number = inside.sum(dims, keepdim=True).clamp_(min=1)
    centre = f.mul(f.sum(finite(x), dims, True), f.inverse(f.embed(number)))
    return shared_out(f, f.sub(finite(x), centre), inside, dims)


def shared_out(f: Field, gap: Tensor, inside: Tensor | None, dims: tuple[int, ...]) -> Tensor:
    """The predicates by the ``gap`` of each element to the mean; 0 where it is not ``inside`` (None: all are)."""
    return f.mul(*preferences(f, gap, inside, dims))


def preferences(
    f: Field, gap: Tensor, inside: Tensor | None, dims: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The two factors of the predicates: one for each element, and one for all, dimensions kept."""
    e = f.preference(gap)
    if inside is not None:
        e = e.mul_(inside.to(e.dtype))
    return e, f.inverse(f.sum(e, dims, True), drawn=True)


def extreme(f: Field, x: Tensor, dims: tuple[int, ...], keepdim: bool, smallest: bool) -> Tensor:
    """The largest or smallest element; ``x == extreme(x)`` will be answered by the predicates."""
    if not dims or x.dim() == 0:
        return x.clone()
    c = shares(f, x, dims, not smallest)
    value = mixed(f, x, c, dims, smallest)
    active().extremes[value.untyped_storage()._cdata] = (value, x.clone(), c, dims)
    for d in sorted(dims, reverse=True) if not keepdim else ():
        value = value.squeeze(d)
    return value


def mixed(f: Field, x: Tensor, c: Tensor, dims: tuple[int, ...], smallest: bool) -> Tensor:
    """``sum of c x``, dimensions kept; infinite where infinities decide."""
    value = f.dot(c, finite(x), dims, True)
    if not any_infinite(x):
        return value
    worst, best = (torch.inf, -torch.inf) if smallest else (-torch.inf, torch.inf)
    value = value.masked_fill((x == worst).all(dims, keepdim=True), worst)
    return value.masked_fill((x == best).any(dims, keepdim=True), best)


def is_extreme(x: Tensor, y: Tensor) -> Tensor | None:
    """The predicates of ``x == y`` if ``y`` is the extreme of ``x``, in its place."""
    found = active().extremes.get(y.untyped_storage()._cdata)
    if found is None:
        return next(
            (c for source, value, c in active().meetings if _same(x, source) and _same(y, value)),
            None,
        )
    _, source, c, dims = found
    whole = y.dim() == 0 and len(dims) == source.dim()
    placed = [1 if d in dims else n for d, n in enumerate(source.shape)]
    return c if (whole or list(y.shape) == placed) and _same(x, source) else None


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)
