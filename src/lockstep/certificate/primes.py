"""Which numbers may stand as primes in a certificate; written again here, not imported from the engine.

A prime must lie below 2^20, so that float64 products are exact, and 2 must be a primitive root of it:
floats are ``m * 2^e``, and where 2 has a small order two floats share a residue (modulo 2^31 - 1 the
numbers 1.0 and 2^-31 are one).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from itertools import count

LIMIT = 1 << 20
SPAN = 1 << 17
"""Odd numbers below ``LIMIT`` to choose from: down to 3/4 of it, some 7,000 good primes among them."""


def objection(p: int) -> str | None:
    """Why ``p`` may not be used, or None.

    >>> objection(1048573), objection(1048575)
    (None, 'is not a prime (divisible by 3)')
    """
    if p >= LIMIT:
        return "is not below 2^20, where float64 products are exact"
    divisor = smallest_divisor(p)
    if p < 3 or divisor != p:
        return f"is not a prime (divisible by {divisor})" if p > 2 else "is too small"
    order = order_of_two(p)
    if order != p - 1:
        return f"takes floats for one another: 2 has order {order} modulo it, not {p - 1}"
    return None


def smallest_divisor(n: int) -> int:
    return next((d for d in range(2, int(n**0.5) + 1) if n % d == 0), n)


def order_of_two(p: int) -> int:
    """The order of 2 modulo the odd prime ``p``."""
    order = p - 1
    for q in set(prime_factors(p - 1)):
        while order % q == 0 and pow(2, order // q, p) == 1:
            order //= q
    return order


def prime_factors(n: int) -> Iterator[int]:
    while n > 1:
        d = smallest_divisor(n)
        yield d
        n //= d


def others(used: Collection[int], wanted: int, key: str) -> tuple[int, ...]:
    """``wanted`` good primes that a certificate did not use, chosen by ``key``.

    Chosen, not fixed: three known primes leave 2^60 residues, and among 2^64 floats some pairs are one
    residue modulo all three. Whoever knows the primes can find them (``tests/attacks``). ``key`` holds
    the digest of the weights, so weights cannot be made to fit the primes that they will be checked with.

    >>> [objection(p) for p in others({1048573}, 2, "any text")]
    [None, None]
    """
    found: list[int] = []
    for n in count():
        digest = hashlib.sha256(f"{key} {n}".encode()).digest()
        p = LIMIT - 1 - 2 * (int.from_bytes(digest[:8], "big") % SPAN)
        if p not in used and p not in found and objection(p) is None:
            found.append(p)
        if len(found) == wanted:
            return tuple(found)
    raise AssertionError("count() does not end")
