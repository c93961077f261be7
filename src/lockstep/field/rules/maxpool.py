"""Maximum pooling: of each window the mixture of ``largest.py``, and as its index the element ``extremes.py`` picks.

The index remembers the predicates, and the gradient that comes back to it goes to the whole window.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from ..arithmetic import STORE, TERMS, Field
from ..registry import rule
from ..running import active, choosing
from .extremes import first_of, order
from .largest import mixed, preferences, shares
from .operands import any_infinite
from .windows import Windows, adaptive, each, planes_first, sliding

Picked = tuple[Tensor, Tensor]
Shares = tuple[Windows, Tensor, Tensor]
"""Windows, and the two factors of the predicates of their entries."""


def _pick(f: Field, x: Tensor, windows: Windows) -> Picked:
    """(values, flat indices), both (..., *out)."""
    active().infinite = True  # what lies outside a window is minus infinity
    parts = [_of_planes(f, p, windows) for p in windows.planes(x)]
    value, flat, own, common = (torch.cat(p, -1) for p in zip(*parts, strict=True))
    shape = (*x.shape[: x.dim() - len(windows.out)], *windows.out)
    value, flat = (planes_first(part, shape) for part in (value, flat))
    active().share(flat, (windows, own, common))
    return value, flat


def _of_planes(f: Field, planes: Tensor, windows: Windows) -> tuple[Tensor, ...]:
    """Values, flat indices (positions, planes), and the predicates' two factors, of a few planes.

    As the maximum of a row that is minus infinity outside the window, but what is outside is the same for all planes.
    """
    if any_infinite(planes):
        entries = windows.gather(planes, -torch.inf)
        c, ranks = shares(f, entries, (0,)), order(f, entries, 0)
        factors = c, torch.ones_like(c[:1])
        value = mixed(f, entries, c, (0,), False)[0]
    else:
        entries = windows.gather(planes, 0.0)
        number = f.inverse(f.embed(windows.inside.sum(0).clamp_(min=1)))[:, None]
        choosing()
        gap = f.sub(entries, f.mul(f.sum(entries, (0,)), number))
        factors = preferences(f, gap, windows.inside[:, :, None], (0,))
        ranks = f.rank(gap)
        ranks = active().chosen(ranks.masked_fill(windows.outside, -f.LAST))
        value = f.mul(f.dot(factors[0], entries, (0,)), factors[1][0])
    place = first_of(ranks, 0)
    return value, windows.flat[:, :, None].expand_as(ranks).gather(0, place)[0], *factors


def spread(f: Field, grad: Tensor, index: Tensor, shape: torch.Size, n: int) -> Tensor:
    """Each gradient shared out over its window; of an index from elsewhere, added to the position it names."""
    found = active().shared(index)
    if found is not None:
        return _shared_out(f, grad, found, shape)
    flat = torch.zeros(*shape[:-n], prod(shape[-n:]), dtype=torch.float64)
    flat.scatter_add_(-1, index.flatten(-n), grad.double().flatten(-n))
    return f.reduce(flat).reshape(shape)


def _shared_out(f: Field, grad: Tensor, found: Shares, shape: torch.Size) -> Tensor:
    windows, own, common = found
    share = f.mul(grad.reshape(-1, windows.positions).t(), common[0])
    few = windows.positions <= TERMS
    terms = own.double().mul_(share) if few else f.mul(own, share).double()
    return windows.scatter(f, terms, shape)


def _define(n: int) -> None:
    @rule(f"max_pool{n}d_with_indices", degree="more", infinite=True)
    def max_pool(
        f: Field,
        x: Tensor,
        kernel: Any,
        stride: Any = (),
        padding: Any = 0,
        dilation: Any = 1,
        ceil: bool = False,
    ) -> Picked:
        settings = (kernel, stride or kernel, padding, dilation)
        out = output_shape(f"max_pool{n}d", n, x, *settings, ceil)
        columns = zip(x.shape[-n:], out, *(each(s, n) for s in settings), strict=True)
        return _pick(f, x, Windows(x.shape[-n:], [sliding(*column) for column in columns]))

    @rule(f"max_pool{n}d_with_indices_backward")
    def max_pool_backward(f: Field, grad: Tensor, x: Tensor, *settings: Any) -> Tensor:
        return spread(f, grad, settings[-1], x.shape, n)

    @rule(f"adaptive_max_pool{n}d", degree="more", infinite=True)
    def adaptive_pool(f: Field, x: Tensor, out: Any) -> Picked:
        tables = [adaptive(size, o) for size, o in zip(x.shape[-n:], each(out, n), strict=True)]
        return _pick(f, x, Windows(x.shape[-n:], tables))

    @rule(f"adaptive_max_pool{n}d_backward")
    def adaptive_backward(f: Field, grad: Tensor, x: Tensor, index: Tensor) -> Tensor:
        return spread(f, grad, index, x.shape, n)

    @rule(f"fractional_max_pool{n}d", degree="more")
    def fractional(f: Field, x: Tensor, kernel: Any, out: Any, samples: Tensor) -> Picked:
        """``samples`` (N, C, n) is noise: the places it leads to are drawn by the residue of the sample."""
        kernel, out = each(kernel, n), each(out, n)
        planes = x.reshape(-1, 1, *x.shape[-n:])
        drawn = (samples.double() + f.half) / f.p
        values, indices, parts = [], [], []
        for plane, sample in zip(planes, drawn.reshape(-1, n), strict=True):
            # PyTorch reads the samples from the last dimension to the first.
            columns = zip(x.shape[-n:], out, kernel, sample.flip(0).tolist(), strict=True)
            value, index = _pick(
                f, plane, Windows(x.shape[-n:], [_fractional(*c) for c in columns])
            )
            values.append(value)
            indices.append(index)
            parts.append(active().shared(index))
        shape = (*x.shape[:-n], *out)
        index = torch.cat(indices).reshape(shape)
        active().share(index, parts)
        return torch.cat(values).reshape(shape), index

    @rule(f"fractional_max_pool{n}d_backward")
    def fractional_backward(
        f: Field, grad: Tensor, x: Tensor, kernel: Any, out: Any, index: Tensor
    ) -> Tensor:
        found = active().shared(index)
        if found is None:
            return spread(f, grad, index, x.shape, n)
        pieces = [
            _shared_out(f, g, of_plane, torch.Size([1, *x.shape[-n:]]))
            for of_plane, g in zip(found, grad.reshape(-1, *grad.shape[-n:]), strict=True)
        ]
        return torch.cat(pieces).reshape(x.shape)


def _fractional(size: int, out: int, kernel: int, sample: float) -> tuple[Tensor, Tensor]:
    """Starts of Graham's pseudo-random intervals (arXiv 1412.6071), as PyTorch computes them."""
    starts = [0] * out
    if out > 1:
        alpha = (size - kernel) / (out - 1)
        starts = [int((i + sample) * alpha) - int(sample * alpha) for i in range(out)]
    if out > 0:
        starts[-1] = size - kernel
    at = torch.tensor(starts)[:, None] + torch.arange(kernel)[None]
    return at, torch.ones(at.shape, dtype=torch.bool)


def output_shape(name: str, n: int, x: Tensor, *settings: Any) -> list[int]:
    """The last ``n`` sizes that PyTorch would give: asked about one plane (the meta device imports SymPy)."""
    one = torch.zeros([1] * (x.dim() - n) + list(x.shape[x.dim() - n :]), dtype=STORE)
    return list(getattr(torch.nn.functional, name)(one, *settings).shape)[-n:]


for _n in (2, 3):
    _define(_n)
