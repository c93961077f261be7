"""Stable pseudo-random functions: the same in every process, whatever its hash seed."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import torch
from torch import Tensor

_M1, _M2 = -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15  # SplitMix64's multipliers, as signed integers


@lru_cache(maxsize=1 << 10)
def operand(n: int) -> Tensor:
    """An operand of 32 bits: as a Python number it would take PyTorch longer than the op on a few thousand others."""
    return torch.tensor(n, dtype=torch.int32, device="cpu")


# Odd numbers of 32 bits: 2^32 over the golden ratio, and two of xxHash's.
_QUICK = tuple(map(operand, (-0x61C88647, -0x7A143589, -0x3D4D51CB)))


def mix(x: Tensor, key: int) -> Tensor:
    """A fixed pseudo-random function int64 -> int64, one for each ``key``.

    The finalizer of SplitMix64 (Steele, Lea, Flood 2014), applied to ``x + key``.
    """
    y = x + _signed(key * 0x9E3779B97F4A7C15, 64)
    y ^= shift(y, 30)
    y *= _M1
    y ^= shift(y, 27)
    y *= _M2
    y ^= shift(y, 31)
    return y


def shift(x: Tensor, bits: int) -> Tensor:
    """Logical (unsigned) right shift of int64."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def mix_quickly(x: Tensor, key: int, out: Tensor, work: Tensor) -> Tensor:
    """:func:`mix` of small whole numbers, to 32 bits and in a quarter of the time; the leading bits are mixed best.

    Two of SplitMix's rounds (multiply, fold the leading half onto the other) between three multiplications.
    """
    first, second, third = _QUICK
    out.copy_(x).add_(operand(_signed(key, 32))).mul_(first)
    out.bitwise_xor_(torch.bitwise_right_shift(out, operand(15), out=work)).mul_(second)
    return out.bitwise_xor_(torch.bitwise_right_shift(out, operand(16), out=work)).mul_(third)


def _signed(n: int, bits: int) -> int:
    n &= (1 << bits) - 1
    return n - (1 << bits) if n >> (bits - 1) else n


def stable_key(*parts: object) -> int:
    """A 63-bit key from the text of ``parts``; the same in every process (never ``hash(str)``)."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1
