"""Sampling an image at places that may themselves be computed (spatial transformers).

Bilinear sampling is ``out[p] = sum over pixels j of tent(u_p - j) x[j]`` with ``tent(d) = max(0, 1 - |d|)``, nearest
and bicubic have kernels of their own. The kernels are uninterpreted even functions, their derivatives odd ones, and
the sum runs over all pixels: no index depends on a value. Where the grid is a constant the true weights are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from ..arithmetic import Field
from ..mixing import stable_key
from ..registry import rule
from ..running import active, choosing, constant
from .functions import pair

BILINEAR, NEAREST, BICUBIC = 0, 1, 2
ZEROS = 0
Sampler = tuple[int, int, bool]
"""(interpolation, padding, align_corners) as ATen numbers them."""


def _places(f: Field, grid: Tensor, size: int, axis: int, how: Sampler) -> tuple[Tensor, Tensor]:
    """(coordinate in pixels, its derivative in the grid), (N, P); padding folds coordinates back, uninterpreted."""
    at = grid[..., axis].flatten(1)
    unit = f.scalar((size - 1) / 2 if how[2] else size / 2)
    pixel = f.add(f.scale(at, unit), torch.tensor(float(f.scalar((size - 1) / 2))))
    slope = torch.full_like(pixel, float(unit))
    if how[1] == ZEROS:
        return pixel, slope
    key = ("fold back", size, how[1], how[2])
    slope = f.mul(slope, f.function(pixel, stable_key("derivative", *key)))
    return f.function(pixel, stable_key(*key)), slope


def _kernel(f: Field, at: Tensor, size: int, how: Sampler, derivative: bool) -> Tensor:
    """(N, P, size): weight of each pixel. Cubic taps are folded back one by one, so they depend on the pair."""
    choosing()
    pixels = torch.arange(size).float()
    name = f"{('bilinear', 'nearest', 'bicubic')[how[0]]} {'slope' if derivative else 'kernel'}"
    if how[0] == BICUBIC and how[1] != ZEROS:
        return pair(f, at[..., None], pixels, name)
    gap = f.sub(at[..., None], pixels)
    return f.function(gap, stable_key(name), parity=1 if derivative else -1)


class Sampling:
    """Weights (N, P, pixels) of one call, and their derivatives."""

    def __init__(self, f: Field, x: Tensor, grid: Tensor, how: Sampler) -> None:
        self.f, self.how, self.sizes = f, how, x.shape[2:]
        axes = range(len(self.sizes))
        # the last coordinate of the grid belongs to the first dimension of the image
        placed = [_places(f, grid, self.sizes[d], -1 - d, how) for d in axes]
        self.at, self.slope = [p for p, _ in placed], [s for _, s in placed]
        self.factors = [_kernel(f, self.at[d], self.sizes[d], how, False) for d in axes]
        self.exact = _constant_weights(f, x, grid, how)

    def weights(self, steep: int | None = None) -> Tensor:
        """Product over dimensions; ``steep`` is the dimension along which the kernel is differentiated."""
        if steep is None and self.exact is not None:
            return self.exact
        factors = list(self.factors)
        if steep is not None:
            slopes = _kernel(self.f, self.at[steep], self.sizes[steep], self.how, True)
            factors[steep] = self.f.mul(slopes, self.slope[steep][..., None])
        total = factors[0]
        for factor in factors[1:]:
            total = self.f.mul(total[..., None], factor[:, :, None, :]).flatten(2)
        return total


def _constant_weights(f: Field, x: Tensor, grid: Tensor, how: Sampler) -> Tensor | None:
    """True weights: PyTorch's own answer for every one-hot image."""
    known = constant(grid)
    if known is None:
        return None
    pixels = prod(x.shape[2:])
    images = torch.eye(pixels, dtype=torch.float64).reshape(1, pixels, *x.shape[2:])
    modes = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")
    sampled = torch.nn.functional.grid_sample(
        images.expand(known.shape[0], *images.shape[1:]),
        known.double(),
        modes[0][how[0]],
        modes[1][how[1]],
        how[2],
    )
    return f.embed(sampled.flatten(2).transpose(1, 2).contiguous())


def _sample(
    f: Field, x: Tensor, grid: Tensor, interpolation: int, padding: int, corners: bool
) -> Tensor:
    weights = Sampling(f, x, grid, (interpolation, padding, corners)).weights()
    out = f.matmul(x.flatten(2), weights.transpose(1, 2))
    return out.reshape(*x.shape[:2], *grid.shape[1:-1])


def _sample_backward(
    f: Field,
    grad: Tensor,
    x: Tensor,
    grid: Tensor,
    interpolation: int,
    padding: int,
    corners: bool,
    mask: Sequence[bool] = (True, True),
) -> tuple[Tensor | None, Tensor | None]:
    sampling = Sampling(f, x, grid, (interpolation, padding, corners))
    g = grad.flatten(2)  # (N, C, P)
    grad_x = f.matmul(g, sampling.weights()).reshape(x.shape) if mask[0] else None
    if not mask[1]:
        return grad_x, None
    if (
        interpolation == NEAREST and not active().shaken
    ):  # zero on any data, though a path leads there
        return grad_x, torch.zeros(grid.shape)
    pixels = f.matmul(g.transpose(1, 2), x.flatten(2))  # (N, P, pixels)
    moves = []
    for d in reversed(range(len(sampling.sizes))):
        product = f.mul(pixels, sampling.weights(steep=d))
        moves.append(f.sum(product, (2,)))
    return grad_x, torch.stack(moves, -1).reshape(grid.shape)


for _n in (2, 3):
    rule(f"grid_sampler_{_n}d", degree="one")(_sample)
    rule(f"grid_sampler_{_n}d_backward", degree="sum")(_sample_backward)
