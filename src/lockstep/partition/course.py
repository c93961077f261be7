"""Course notation for small dense networks: ``w1 w2`` feed unit 1, ``w3 w4`` unit 2, and so on; ``b1, b2``."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

LARGEST = 64
"""Networks with more weights are not written out in course notation."""

Entry = tuple[str, tuple[int, ...]]


def course_names(
    parameters: Mapping[str, Tensor], axes: Mapping[str, int] | None = None
) -> dict[Entry, str]:
    """(parameter, index) → ``"w3"``; empty unless all parameters are dense weights and biases, few of them.

    ``axes`` says along which axis a weight's units lie, if not along its first.

    >>> import torch
    >>> course_names(dict(torch.nn.Linear(2, 2).named_parameters()))["weight", (1, 0)]
    'w3'
    """
    if sum(p.numel() for p in parameters.values()) > LARGEST:
        return {}
    if any(p.dim() not in (1, 2) for p in parameters.values()):
        return {}
    names: dict[Entry, str] = {}
    weights = biases = 0
    for name, p in parameters.items():
        if p.dim() == 2:
            unit = (axes or {}).get(name, 0)
            for j in range(p.shape[unit]):
                for i in range(p.shape[1 - unit]):
                    weights += 1
                    names[name, (i, j) if unit else (j, i)] = f"w{weights}"
        else:
            for j in range(p.shape[0]):
                biases += 1
                names[name, (j,)] = f"b{biases}"
    return names
