"""When gradients differ but the update would not: parallel gradients under Adam and sign updates.

If the gradients of two units are parallel, ``g' = r g`` with ``r > 0``, then ``sign(g') = sign(g)``, and
Adam's first step ``lr g / (|g| + eps)`` differs by ``O(lr eps / |g|)`` only (Kingma & Ba 2015, first step
after bias correction). Equal incoming weights with outgoing weights in ratio ``r`` are such a case.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lockstep.explain.derivation import number
from lockstep.explain.derive import Entry
from lockstep.explain.naming import Names

RATE, EPSILON = 0.01, 1e-8


def update_notes(a: Entry, b: Entry, names: Names) -> tuple[str, ...]:
    """Notes on two entries of one dense layer; empty where there is nothing to say."""
    dense = a.network.layer_of(a.parameter)
    if dense is None or a.parameter != b.parameter or a.parameter == dense.bias:
        return ()
    (j, i), (k, m) = (Names.oriented(dense, e.parameter, e.index) for e in (a, b))
    if j == k or i != m:
        return ()
    weight = a.run.parameters[dense.weight]
    (whole,) = torch.autograd.grad(a.run.J, weight, retain_graph=True)
    rows = whole.T if dense.transposed else whole
    ratio = parallel(rows[j], rows[k])
    if ratio is None or abs(ratio - 1) < 1e-9:
        return ()
    first = names.first_unit(dense.number) + 1
    who = f"units {j} and {k} of {dense.path!r}"
    who = f"units {first + j} and {first + k}" if names.course else who
    if ratio < 0:
        return (f"The gradients of {who} are antiparallel (ratio {number(ratio)}).",)
    gap = float((adam_step(rows[j]) - adam_step(rows[k])).abs().max())
    return (
        (
            f"The gradients of {who} are parallel (ratio {number(ratio)}): plain SGD separates them, but a sign "
            "update (Rprop, Lion, signSGD) moves both alike, and Adam's first step (lr 0.01, eps 1e-8) "
            f"parts them by {gap:.1e} only."
        ),
    )


def parallel(g: Tensor, h: Tensor) -> float | None:
    """``r`` with h = r g, or None."""
    size = float(g @ g)
    if size == 0 or not h.any():
        return None
    ratio = float(g @ h) / size
    return (
        ratio
        if torch.allclose(h, ratio * g, rtol=1e-9, atol=1e-12 * float(h.abs().max()))
        else None
    )


def adam_step(g: Tensor) -> Tensor:
    """Adam's first step from zero state."""
    return RATE * g / (g.abs() + EPSILON)
