"""The lowest eigenvector of a symmetric operator that is only multiplied with, by Lanczos' iteration.

Every new vector is made orthogonal to all before (Lanczos 1950 with full reorthogonalisation, Parlett 1980), so that
with as many steps as dimensions the answer is that of the full eigenvalue problem; it stops earlier once the residual
of the lowest pair is small. For operators such as the transverse Hessian of units that are no dense layer's, where
:func:`lockstep.transverse_hessian` has no closed form.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STEPS = 120
TOLERANCE = 1e-10


def lowest(
    operator: Callable[[Tensor], Tensor], size: int, generator: torch.Generator
) -> tuple[float, Tensor]:
    """Lowest eigenvalue and unit eigenvector (size,) of a symmetric ``operator`` ((size,) → (size,), float64).

    >>> value, vector = lowest(lambda v: torch.tensor([3.0, -2.0]) * v, 2, torch.Generator().manual_seed(0))
    >>> round(value, 6), vector.abs().round().tolist()
    (-2.0, [0.0, 1.0])
    """
    basis: list[Tensor] = []
    diagonal: list[float] = []
    beside: list[float] = []
    vector = torch.randn(size, generator=generator, dtype=torch.double)
    vector /= vector.norm()
    while True:
        basis.append(vector)
        image = operator(vector)
        diagonal.append(float(vector @ image))
        known = torch.stack(basis)
        for _ in range(2):  # once is not enough in floating point
            image = image - known.t() @ (known @ image)
        rest = float(image.norm())
        small = torch.diag(torch.tensor(diagonal, dtype=torch.double))
        for n, value in enumerate(beside):
            small[n, n + 1] = small[n + 1, n] = value
        values, vectors = torch.linalg.eigh(small)
        residual = rest * abs(float(vectors[-1, 0]))
        scale = max(1e-30, float(values.abs().max()))
        if len(basis) >= min(size, STEPS) or residual <= TOLERANCE * scale or rest <= 1e-14 * scale:
            found = vectors[:, 0] @ known
            return float(values[0]), found / found.norm()
        beside.append(rest)
        vector = image / rest
