"""Partitions of the entries of a parameter vector, and the space of differences between two of them.

A flat vector has the trainable parameters one after the other (:class:`Layout`). A partition puts every entry in
a class, with a sign; the vectors that are constant on classes (up to sign, and zero on the zero class) are a
linear subspace, and averaging is the orthogonal projection onto it. With a coarse partition (units tied) and a
finer one (units released) the space of differences is ``V = fine - coarse``: what the finer one allows and the
coarser one does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the trainable parameters, in the order of the flat vector (n,)."""

    shapes: dict[str, torch.Size]

    @property
    def size(self) -> int:
        """Number of entries n."""
        return sum(shape.numel() for shape in self.shapes.values())

    @property
    def starts(self) -> dict[str, int]:
        """Position of each parameter's first entry."""
        starts, at = {}, 0
        for name, shape in self.shapes.items():
            starts[name] = at
            at += shape.numel()
        return starts

    def join(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """(n,) the entries of all tensors in a row."""
        return torch.cat([tensors[name].detach().reshape(-1) for name in self.shapes])

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """(…, n) → name → (…, *shape); views."""
        sizes = [shape.numel() for shape in self.shapes.values()]
        parts = flat.split(sizes, dim=-1)
        return {
            name: part.reshape((*flat.shape[:-1], *shape))
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


class Partition:
    """Classes of entries: ``labels`` (n,), with -1 for entries that are zero, and ``signs`` (n,)."""

    def __init__(self, colours: Tensor) -> None:
        """``colours`` (n,): equal up to sign means one class; 0 is the symbol 0."""
        _, inverse = torch.unique(colours.abs(), return_inverse=True)
        self.labels = torch.where(colours == 0, -1, inverse)
        self.signs = torch.where(colours < 0, -1.0, 1.0).double()

    def mean(self, vectors: Tensor) -> Tensor:
        """(k, n) → (k, n): the orthogonal projection onto vectors that are constant on classes."""
        return averaged(vectors, self.labels, self.signs)


def averaged(vectors: Tensor, labels: Tensor, signs: Tensor) -> Tensor:
    """(k, m) → (k, m): signed class means; 0 where the label is -1."""
    if labels.numel() == 0:
        return vectors
    inside = labels >= 0
    at = labels.clamp(min=0)
    weight = torch.where(inside, signs, torch.zeros_like(signs)).to(vectors.dtype)
    count = torch.zeros(int(at.max()) + 1, dtype=vectors.dtype)
    count.index_add_(0, at, inside.to(vectors.dtype))
    sums = torch.zeros(vectors.shape[0], count.numel(), dtype=vectors.dtype)
    sums.index_add_(1, at, vectors * weight)
    means: Tensor = sums / count.clamp(min=1)
    return means[:, at] * weight


class Space:
    """Differences that ``fine`` allows and ``coarse`` does not: V of the module's first lines.

    ``support`` (m,) are the entries that take part. Entries in ``still`` (flat indices) never get a gradient and
    are left out: a difference there neither acts nor moves.

    >>> coarse, fine = Partition(torch.tensor([5, 5, 7])), Partition(torch.tensor([1, 2, 7]))
    >>> space = Space(coarse, fine)
    >>> space.dimension, space.project(torch.tensor([[3.0, 1.0, 9.0]]))
    (1, tensor([[ 1., -1.,  0.]]))
    """

    def __init__(self, coarse: Partition, fine: Partition, still: Tensor | None = None) -> None:
        self.size = coarse.labels.numel()
        counts = _parts(coarse.labels, fine.labels)
        zero = (coarse.labels < 0) & (fine.labels >= 0)
        takes_part = zero | (counts[coarse.labels.clamp(min=0)] > 1) & (coarse.labels >= 0)
        if still is not None:
            takes_part[still] = False
        self.support = takes_part.nonzero().view(-1)
        self._coarse = coarse.labels[self.support], coarse.signs[self.support]
        self._fine = fine.labels[self.support], fine.signs[self.support]

    @property
    def dimension(self) -> int:
        """Independent differences: classes of the finer partition less those of the coarser one."""
        fine, coarse = (torch.unique(labels) for labels, _ in (self._fine, self._coarse))
        return int((fine >= 0).sum() - (coarse >= 0).sum())

    def project(self, vectors: Tensor, *, even: bool = False) -> Tensor:
        """(k, n) → (k, n): the orthogonal projection onto V; with ``even`` of squares, which have no signs."""
        part = vectors[:, self.support]
        out = torch.zeros_like(vectors)
        (fine, up), (coarse, down) = self._fine, self._coarse
        if even:
            up, down = up.abs(), down.abs()
        out[:, self.support] = averaged(part, fine, up) - averaged(part, coarse, down)
        return out

    def length(self, vector: Tensor) -> float:
        """The length of the part of ``vector`` (n,) in V; exactly 0 where tied entries are bitwise equal.

        Measured from the first entry of each class instead of its mean, which would be rounded.
        """
        part = vector[self.support] * self._coarse[1]
        labels = self._coarse[0]
        inside = labels >= 0
        at = labels.clamp(min=0)
        if not part.numel():
            return 0.0
        first = torch.full((int(at.max()) + 1,), part.numel(), dtype=torch.int64)
        where = torch.arange(part.numel())
        first.scatter_reduce_(0, at[inside], where[inside], "amin")
        base = torch.where(
            inside, part[first.clamp(max=part.numel() - 1)[at]], torch.zeros_like(part)
        )
        shifted = torch.zeros(1, self.size, dtype=vector.dtype)
        shifted[0, self.support] = (part - base) * self._coarse[1]
        return float(self.project(shifted).norm()) if bool(shifted.any()) else 0.0

    def random(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, n) Gaussian elements of V, of length 1 each."""
        raw = torch.zeros(count, self.size, dtype=torch.float64)
        shape = (count, self.support.numel())
        raw[:, self.support] = torch.randn(shape, generator=generator, dtype=torch.float64)
        drawn = self.project(raw)
        return drawn / drawn.norm(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)

    def basis(self, generator: torch.Generator) -> Tensor:
        """(dimension, n) an orthonormal basis of V."""
        dense = self.random(self.dimension, generator)[:, self.support]
        q, _ = torch.linalg.qr(dense.T)
        out = torch.zeros(self.dimension, self.size, dtype=torch.float64)
        out[:, self.support] = q.T
        return self.project(out)


def _parts(coarse: Tensor, fine: Tensor) -> Tensor:
    """(classes,) into how many classes of ``fine`` each class of ``coarse`` falls."""
    pairs = torch.unique(torch.stack([coarse, fine]), dim=1)[0]
    return torch.bincount(pairs.clamp(min=0), weights=(pairs >= 0).double())
