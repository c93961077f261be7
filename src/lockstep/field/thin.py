"""Float64 products of a large matrix and a few vectors, a slab of rows at a time.

Such products are bound by memory: a slab is widened to float64 and used while it is in the cache. Its rows are
dealt out to the threads of PyTorch as a batch of products, since BLAS does not share out products so small.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

SLAB = 1 << 17
"""Elements of a slab for each thread: in float64 they fill half of a usual second-level cache."""


def by_columns(matrix: Tensor, vectors: Tensor) -> Tensor:
    """``vectors.t() @ matrix``: (R, M), (R, N) -> (M, N); the rows of ``matrix`` lie together in memory."""
    threads = max(1, min(torch.get_num_threads(), matrix.shape[0] // vectors.shape[1]))
    out = torch.zeros(threads, vectors.shape[1], matrix.shape[1], dtype=torch.float64)
    for rows, wide in _slabs(matrix, threads):
        few = vectors[rows].view(wide.shape[0], -1, vectors.shape[1])
        out[: wide.shape[0]].baddbmm_(few.transpose(1, 2), wide)
    return out.sum(0)


def by_rows(matrix: Tensor, vectors: Tensor) -> Tensor:
    """``matrix @ vectors``: (R, N), (N, M) -> (R, M); the rows of ``matrix`` lie together in memory."""
    out = torch.empty(matrix.shape[0], vectors.shape[1], dtype=torch.float64)
    for rows, wide in _slabs(matrix, torch.get_num_threads()):
        few = vectors.expand(wide.shape[0], *vectors.shape)
        torch.bmm(wide, few, out=out[rows].view(wide.shape[0], -1, vectors.shape[1]))
    return out


def bands(a: Tensor, b: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(first row, some rows) of ``a @ b``, (R, K) and (K, N) in float64; each band is overwritten by the next."""
    threads = torch.get_num_threads()
    step = threads * max(1, SLAB // b.shape[1])
    memory = torch.empty(min(step, a.shape[0]), b.shape[1], dtype=torch.float64)
    for row in range(0, a.shape[0], step):
        part, out = a[row : row + step], memory[: a.shape[0] - row]
        batch = threads if part.shape[0] % threads == 0 else 1
        pair = part.view(batch, -1, a.shape[1]), b.expand(batch, *b.shape)
        torch.bmm(*pair, out=out.view(batch, -1, b.shape[1]))
        yield row, out


def _slabs(matrix: Tensor, threads: int) -> Iterator[tuple[slice, Tensor]]:
    """Slices of rows and these rows in float64, as (threads, rows / threads, N), or as (1, rows, N) at the end."""
    step = threads * max(1, SLAB // matrix.shape[1])
    memory = torch.empty(min(step, matrix.shape[0]), matrix.shape[1], dtype=torch.float64)
    for row in range(0, matrix.shape[0], step):
        part = matrix[row : row + step]
        wide = memory[: part.shape[0]].copy_(part)
        batch = threads if part.shape[0] % threads == 0 else 1
        yield slice(row, row + step), wide.view(batch, -1, matrix.shape[1])
