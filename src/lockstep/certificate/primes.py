"""Which numbers may stand as primes in a certificate; written again here, not imported from the engine.

A prime must lie below 2^20, so that float64 products are exact, and 2 must be a primitive root of it:
floats are ``m * 2^e``, and where 2 has a small order two floats share a residue (modulo 2^31 - 1 the
numbers 1.0 and 2^-31 are one).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import count, islice

LIMIT = 1 << 20


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


def others(used: Collection[int], wanted: int) -> tuple[int, ...]:
    """The ``wanted`` largest good primes that a certificate did not use.

    >>> others({1048573, 1048517}, 2)
    (1048571, 1048507)
    """
    down = (p for p in count(LIMIT - 1, -2) if p not in used and objection(p) is None)
    return tuple(islice(down, wanted))
