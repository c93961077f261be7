"""A point of few bits: weights of one byte, with which products cost a fraction of those of residues.

Whether units ever separate, and entries ever move, depends under any elementwise update on the pattern of the weights
alone: which are equal, opposite or zero. So a first look need not be at the numbers themselves. Any odd function of
them makes a point with that pattern, or a narrower one, and what differs there differs for good.

A product of bytes and residues is one of bytes: a residue is a whole number of a few bytes, and processors sum products
of bytes exactly, in 32 bits, many at a time (Jacob et al., arXiv 1712.05877, use the same for inference).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from .mixing import operand

BYTE = torch.int8
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Of weights that can be made coarse: all of them are float32 numbers."""

WHOLE = torch.int32
LARGEST = 127
TERMS = 1 << 17
"""Products that 32 bits may sum: ``TERMS * LARGEST * 2^7 < 2^31``."""

_MIDDLE = operand(0x00808080)
_PLACES = torch.tensor([1.0, 2.0**8, 2.0**16, 2.0**24], dtype=torch.float64)

_SCALE, _BOUND = 987.618034, 2.0**100
"""So large that usual weights have a fraction, and small whole numbers unlike ones; and so that no float overflows."""


def bytes_of(x: Tensor, out: Tensor, multiple: Tensor, sign: Tensor) -> None:
    """An odd function of floats, the same for all, 0 at 0 only: leading bits of the fraction of a multiple, and 1.

    ``multiple`` and ``sign`` are memory for as many float32 numbers each.
    """
    exact = x if x.dtype is multiple.dtype else x.float()
    torch.clamp(exact, -_BOUND, _BOUND, out=multiple)
    multiple.mul_(_SCALE).frac_()
    out.copy_(torch.sign(exact, out=sign).add_(multiple, alpha=LARGEST - 1))


def product(weights: Tensor, residues: Tensor) -> Tensor:
    """``weights @ residues``: bytes (R, K), K at most ``TERMS``, residues (K, C) → exact float64 integers (R, C)."""
    return joined(sums(weights, digits_(residues.to(WHOLE, memory_format=torch.contiguous_format))))


def digits_(whole: Tensor) -> Tensor:
    """A number's own four bytes, but signed ones (all but the lead would count from 0); ``whole`` is overwritten."""
    return whole.add_(_MIDDLE).bitwise_xor_(_MIDDLE)


def sums(weights: Tensor, digits: Tensor) -> Tensor:
    """Bytes (R, K) @ contiguous :func:`digits_` (K, C), each digit for itself → int32 (R, C, 4)."""
    return _multiplied(weights, digits.view(BYTE)).view(len(weights), digits.shape[1], 4)


def joined(sums: Tensor, wide: Tensor | None = None) -> Tensor:
    """The numbers whose digits' sums these are: contiguous (..., 4) → exact float64 integers (...).

    ``wide`` is memory for them in float64.
    """
    digits = sums.double() if wide is None else wide.copy_(sums)
    return digits.view(-1, 4).mv(_PLACES).view(sums.shape[:-1])


def suits(weights: Tensor, terms: int, columns: int) -> bool:
    """Whether :func:`product` takes them, and sooner than float64 does: it is slow over each entry of the result."""
    if weights.dtype is not BYTE or weights.device.type != "cpu":
        return False
    return (columns <= 64 or terms >= 256) and terms <= TERMS and available()


def _multiplied(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` of bytes, in 32 bits."""
    a = _plainly_strided(a)
    was = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(True)  # PyTorch's own kernel takes a hundred times as long
    try:
        return torch._int_mm(a, b)
    finally:
        torch._C._set_mkldnn_enabled(was)


def _plainly_strided(a: Tensor) -> Tensor:
    """``a`` as PyTorch's product reads it right: not expanded, and a single row not told by the strides of a column."""
    if not a.is_contiguous() and a.mT.is_contiguous():
        return a
    a = a.contiguous()
    return a.as_strided(a.shape, (max(1, a.shape[1]), 1))


@cache
def available() -> bool:
    """Whether this processor multiplies bytes well, and PyTorch by it exactly: older ones saturate at 16 bits."""
    supported = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    if not (torch.backends.mkldnn.is_available() and supported()):
        return False
    residues = torch.tensor([524287.0, -524287.0, 128.0, -32897.0]).repeat(1024, 1)
    weights = torch.tensor([[LARGEST], [-LARGEST]], dtype=BYTE).repeat(8, 1024)
    exact = weights.double() @ residues.double()
    return all(
        torch.equal(product(w, r), exact)
        for w in (weights, weights.t().contiguous().t())
        for r in (residues, residues.t().contiguous().t())
    )
