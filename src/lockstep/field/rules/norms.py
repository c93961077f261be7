"""Layer and group norm: exact means and variances, an uninterpreted root, ring gradients.

A common shift of what is normalised together leaves the output unchanged and gets gradient zero, exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import STORE, Field
from ..registry import rule
from ..running import powered
from .operands import count
from .powers import inverse_root


def statistics(f: Field, x: Tensor, dims: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
    """(mean, rstd), dimensions kept; ``rstd`` is 1 over an uninterpreted root of ``var + eps``."""
    powered(2)
    share = f.quotient(max(1, count(x, dims)))
    wide = x.double()
    mean = f.wrap(f.wrap(f.total(wide, dims)).mul_(share))
    squares = f.wrap(f.total(wide.mul_(wide), dims, products=True)).mul_(share)
    spread = squares.addcmul_(mean, mean, value=-1).add_(f.scalar(eps))
    return mean.to(STORE), inverse_root(f, f.reduce(spread))


def root(f: Field, spread: Tensor, eps: float) -> Tensor:
    return inverse_root(f, f.add(spread, torch.tensor(float(f.scalar(eps)))))


def standardised(f: Field, x: Tensor, centre: Tensor, rstd: Tensor) -> Tensor:
    """``(x - mean) * rstd``."""
    return f.mul(x, rstd, -f.mul(centre, rstd))


def affine(f: Field, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        return f.mul(x, weight, bias)
    return x if bias is None else f.add(x, bias)


class NormGradient:
    """Of ``standardised(x)``, given that of its result, by sums over ``dims`` (which are kept).

    ``rstd * (g - mean(g) - x^ * mean(g x^))``, which is ``rstd g + slope x + rest``, where the last two factors are the
    same for all that is normalised together: no standardised entry is computed.
    """

    def __init__(
        self,
        f: Field,
        grad: Tensor,
        x: Tensor,
        centre: Tensor,
        rstd: Tensor,
        dims: tuple[int, ...],
    ) -> None:
        self._f, self._grad, self._x = f, grad.double(), x.double()
        self._centre, self._rstd = centre.double(), rstd.double()
        self._share = f.quotient(max(1, count(grad, dims)))
        self._total = f.wrap(f.total(self._grad, dims))
        products = f.total(self._grad * self._x, dims, products=True)
        centred = f.wrap(products.addcmul_(self._centre, self._total, value=-1))
        self._along = f.wrap(centred.mul_(self._rstd))

    @property
    def total(self) -> Tensor:
        """The sum of it."""
        return self._total.to(STORE)

    @property
    def along(self) -> Tensor:
        """The sum of its products with the standardised entries."""
        return self._along.to(STORE)

    def of_input(self, gain: Tensor | None = None) -> Tensor:
        """To be asked once; ``gain``, the same for all that is normalised together, may have scaled the result."""
        f, rstd = self._f, self._rstd
        factor = rstd if gain is None else f.wrap(rstd * gain)
        shared = f.wrap(factor * -self._share)
        slope = f.wrap(f.wrap(rstd * self._along).mul_(shared))
        rest = (shared * self._total).addcmul_(slope, self._centre, value=-1)
        return f.reduce(self._grad.mul_(factor).add_(rest).addcmul_(self._x, slope))


@rule("native_layer_norm", degree="sum")
def layer_norm(
    f: Field, x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, ...]:
    dims = tuple(range(x.dim() - len(shape), x.dim()))
    centre, rstd = statistics(f, x, dims, eps)
    return affine(f, standardised(f, x, centre, rstd), weight, bias), centre, rstd


@rule("native_layer_norm_backward", degree="sum")
def layer_norm_backward(
    f: Field,
    grad: Tensor,
    x: Tensor,
    shape: list[int],
    centre: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: list[bool],
) -> tuple[Tensor | None, ...]:
    dims = tuple(range(x.dim() - len(shape), x.dim()))
    outer = tuple(range(x.dim() - len(shape)))
    grad_x = grad_w = None
    if mask[0]:
        inner = grad if weight is None else f.mul(grad, weight)
        grad_x = NormGradient(f, inner, x, centre, rstd, dims).of_input()
    if mask[1] and weight is not None:
        grad_w = f.dot(grad, standardised(f, x, centre, rstd), outer)
    grad_b = _total(f, grad, outer) if mask[2] and bias is not None else None
    return grad_x, grad_w, grad_b


def _total(f: Field, x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return f.sum(x, dims) if dims else x.clone()


def _grouped(x: Tensor, n: int, c: int, group: int) -> Tensor:
    return x.reshape(n, group, c // group, -1)


@rule("native_group_norm", degree="sum")
def group_norm(
    f: Field,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    n: int,
    c: int,
    hxw: int,
    group: int,
    eps: float,
) -> tuple[Tensor, ...]:
    grouped = _grouped(x, n, c, group)
    centre, rstd = statistics(f, grouped, (2, 3), eps)
    normal = standardised(f, grouped, centre, rstd).reshape(n, c, -1)
    out = affine(f, normal, _column(weight), _column(bias))
    return out.reshape(x.shape), centre.reshape(n, group), rstd.reshape(n, group)


def _column(w: Tensor | None) -> Tensor | None:
    return None if w is None else w.view(1, -1, 1)


@rule("native_group_norm_backward", degree="sum")
def group_norm_backward(
    f: Field,
    grad: Tensor,
    x: Tensor,
    centre: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    n: int,
    c: int,
    hxw: int,
    group: int,
    mask: list[bool],
) -> tuple[Tensor | None, ...]:
    g4, x4 = grad.reshape(n, c, -1), _grouped(x, n, c, group)
    centre, rstd = (s.view(n, group, 1, 1) for s in (centre, rstd))
    grad_x = grad_w = None
    if mask[0]:
        weighted = g4 if weight is None else f.mul(g4, weight.view(1, -1, 1))
        inner = _grouped(weighted, n, c, group)
        grad_x = NormGradient(f, inner, x4, centre, rstd, (2, 3)).of_input().reshape(x.shape)
    if mask[1]:
        grad_w = f.dot(g4, standardised(f, x4, centre, rstd).reshape(n, c, -1), (0, 2))
    grad_b = f.sum(g4, (0, 2)) if mask[2] else None
    return grad_x, grad_w, grad_b
