"""One product a group: the experts of a routed layer, their rows sorted by expert."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule


@rule("_grouped_mm", degree="sum")
def grouped(
    f: Field,
    a: Tensor,
    b: Tensor,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    _dtype: object = None,
) -> Tensor:
    """A product a group (experts); ``offs`` (G,) are the ends of the groups along the ragged dimension.

    (T, I) @ (G, I, O) -> (T, O); (G, I, K) @ (K, T) -> (I, T); (I, T) @ (T, O) -> (G, I, O).
    """
    if offs is None:
        out = f.matmul(a, b)
    elif a.dim() == 2 and b.dim() == 2:
        out = torch.stack([f.matmul(a[:, part], b[part]) for part in _parts(offs)])
    elif a.dim() == 2:
        out = torch.zeros(a.shape[0], b.shape[-1])
        for one, part in zip(b, _parts(offs), strict=True):
            out[part] = f.matmul(a[part], one)
    else:
        out = torch.zeros(a.shape[1], b.shape[1])
        for one, part in zip(a, _parts(offs), strict=True):
            out[:, part] = f.matmul(one, b[:, part])
    return out if bias is None else f.add(out, bias)


def _parts(offs: Tensor) -> list[slice]:
    ends = offs.tolist()
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
