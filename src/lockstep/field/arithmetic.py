"""Arithmetic modulo a prime near 2^20 on ordinary tensors.

A residue is stored as its *signed* representative in ``[-(p-1)/2, (p-1)/2]``, in float32, which holds
it exactly. Two things follow. The negative of a residue is its plain negative, so oddness of a function
is oddness of its code. And sums of products can be taken by float64 BLAS: ``K`` products of two
representatives stay below ``K * p^2 / 4``, exact up to 2^53; :func:`Field.reduce` needs ``2^50``, which
allows ``K <= 4096`` terms at once (longer sums are split).

Why the primes below and no Mersenne prime: floats are ``m * 2^e``; modulo ``2^31 - 1`` the number 2 has
order 31, so 1.0 and 2^-31 would be one residue. Modulo each prime here 2 has order ``p - 1``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from . import coarse
from .mixing import mix, shift, stable_key
from .thin import SLAB, by_columns, by_rows

PRIMES = (1048573, 1048571, 1048517, 1048507, 1048387, 1048357, 1048219, 1048139)
"""The largest primes below 2^20 modulo which 2 is a primitive root."""

FIRST = 915851
"""Another such prime, for the lane that sees every weight: see :data:`SHORTCUT`."""

SHORTCUT = 50, 3
"""``3 * 2^50`` is 1 modulo ``FIRST``. So ``3 * 2^50 * x``, for most weights an integer below 2^50, *is* ``x`` there."""

STORE = torch.float32
CHUNK = 1 << 16
"""Elements that a thread works on at a time: two float64 buffers of this length stay in its cache."""

MOST_THREADS = 64
"""So that a count of a chunk's entries is exact in float32."""

FEW = 1 << 14
"""Elements up to which memory is not worth being kept: Python takes longer than new memory does."""

_MANTISSA = {torch.float64: 53, torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}
"""Significant bits; ``frexp`` puts the first one right behind the point."""

_OF_RESIDUES = 0x3C6EF372FE94F82B
"""So that functions of residues share nothing with symbols of colours."""

_LARGEST = stable_key("largest")

HANDFUL = 16
"""Residues that float32 may sum: ``HANDFUL * p / 2 < 2^23``."""

TERMS = 4096
"""Products that one float64 accumulator may hold: ``TERMS * (p/2)^2 < 2^50``."""


def is_prime(n: int) -> bool:
    """Trial division; enough for numbers near 2^20.

    >>> is_prime(1048573), is_prime(1048575)
    (True, False)
    """
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


def has_primitive_root_two(p: int) -> bool:
    """Whether 2 has order ``p - 1`` modulo the prime ``p``."""
    n, factors, d = p - 1, set(), 2
    while d * d <= n:
        while n % d == 0:
            factors.add(d)
            n //= d
        d += 1
    factors.update({n} - {1})
    return all(pow(2, (p - 1) // q, p) != 1 for q in factors)


def draw_primes(key: int, count: int) -> tuple[int, ...]:
    """``count`` primes of that kind between 2^19 and 2^20, chosen by ``key``.

    Two floats can be one residue modulo primes known in advance; not modulo primes that depend on them.
    """
    found: list[int] = []
    while len(found) < count:
        key = key * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        n = (1 << 19 | key >> 40) & (1 << 20) - 1 | 1
        if n not in found and is_prime(n) and has_primitive_root_two(n):
            found.append(n)
    return tuple(found)


class Field:
    """Integers modulo the prime ``p``. Every method takes and gives tensors of signed representatives.

    ``seed`` chooses the random functions, ``lane`` numbers the independent runs of one audit.
    """

    LAST = 1 << 62
    """A rank for infinities."""

    def __init__(self, p: int, seed: int = 0, lane: int = 0) -> None:
        self.p, self.half, self.seed, self.lane = p, (p - 1) // 2, seed, lane
        self._reciprocal = 1.0 / p
        self._memory: dict[str, Tensor] = {}
        self._rooms: dict[str, dict[tuple[object, ...], Tensor]] = {}

    def __repr__(self) -> str:
        return f"Field({self.p}, seed={self.seed})"

    # -- reduction ------------------------------------------------------------------------------

    def reduce(self, x: Tensor) -> Tensor:
        """Representatives of exact float64 integers ``|x| <= 2^50``, stored; ``x`` is overwritten.

        ``x / p`` never lies within 2^-21 of a half-integer (p is odd), and its rounding error is below
        2^-22 for ``|x| <= 2^50``, so rounding picks the right multiple.
        """
        if x.numel() <= FEW or not x.is_contiguous():
            return self.wrap(x).to(STORE)
        out = torch.empty(x.shape, dtype=STORE, device=x.device)
        for part, target in pieces(x.view(-1), out.view(-1)):
            self._store(part, self.work(part.numel(), x.dtype)[0], target)
        return out

    def _store(self, wide: Tensor, work: Tensor, out: Tensor) -> None:
        """:meth:`reduce` of what fits the cache; ``wide`` and ``work`` are overwritten."""
        out.copy_(wide.sub_(nearest(wide, self._reciprocal, work), alpha=self.p))

    def work(self, count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Memory to work in, twice ``count`` numbers."""
        return self.room((count,), dtype, "first"), self.room((count,), dtype, "second")

    def room(self, shape: Sequence[int], dtype: torch.dtype, use: str) -> Tensor:
        """Memory that the next call for the same ``use`` overwrites: new pages cost more than what is done in them.

        For one thread, and never for what is handed on.
        """
        known, key = self._rooms.setdefault(use, {}), (dtype, *shape)
        if (found := known.get(key)) is not None:
            return found
        size = math.prod(shape) * dtype.itemsize
        if use not in self._memory or self._memory[use].numel() < size:
            self._memory[use] = torch.empty(size, dtype=torch.uint8)
            known.clear()
        known[key] = seen = self._memory[use][:size].view(dtype).view(shape)
        return seen

    def wrap(self, x: Tensor) -> Tensor:
        """:meth:`reduce` in place and dtype: float64 amid a formula, or float32 sums of a few residues, below 2^23."""
        return x.sub_(nearest(x, self._reciprocal), alpha=self.p)

    def integer(self, x: Tensor) -> Tensor:
        """Representatives of int64 numbers of any size."""
        return (torch.remainder(x + self.half, self.p) - self.half).to(STORE)

    def scalar(self, value: float | int) -> int:
        """The representative of one Python number, exactly ``m * 2^e mod p``."""
        if isinstance(value, int):
            r = value % self.p
        else:
            m, d = float(value).as_integer_ratio()
            r = m * pow(d, -1, self.p) % self.p
        return r - self.p if r > self.half else r

    def quotient(self, n: int) -> int:
        """The representative of ``1 / n``."""
        r = pow(n, -1, self.p)
        return r - self.p if r > self.half else r

    # -- ring -----------------------------------------------------------------------------------

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return self.wrap(a + b)

    def sub(self, a: Tensor, b: Tensor) -> Tensor:
        return self.wrap(a - b)

    def mul(self, a: Tensor, b: Tensor, plus: Tensor | None = None) -> Tensor:
        """``a * b + plus``."""
        flat = a.shape == b.shape and a.is_contiguous() and b.is_contiguous()
        if flat and plus is None and a.numel() > FEW:
            return self._products(a.view(-1), b.view(-1)).view(a.shape)
        wide = a.double()
        wide = wide.mul_(b) if _fits(b, a) else wide * b
        return self.reduce(wide if plus is None else wide.add_(plus))

    def _products(self, a: Tensor, b: Tensor) -> Tensor:
        """Of two vectors, a chunk at a time."""
        out = torch.empty(a.shape, dtype=STORE, device=a.device)
        for x, y, target in pieces(a, b, out):
            wide, rest = self.work(x.numel(), torch.float64)
            self._store(wide.copy_(x).mul_(y), rest, target)
        return out

    def scale(self, a: Tensor, c: int) -> Tensor:
        """``c * a`` for one residue ``c``; free for 1 and -1."""
        if c in (1, -1):
            return a.clone() if c == 1 else -a
        return self.reduce(a.double().mul_(c))

    def inverse(self, a: Tensor, *, drawn: bool = False) -> Tensor:
        """``1 / a``; of 0, which has none, a fixed residue: a value that means nothing but is finite.

        ``drawn``: sums of values of functions, which are 0 by chance only, or where a mask leaves nothing.
        """
        return self._inverses.take((a + self.half).long())

    def zeros(self, x: Tensor) -> int:
        """:meth:`counted_zeros` of an operand on which something hangs."""
        return self.counted_zeros(x)

    def counted_zeros(self, x: Tensor) -> int:
        """How many of ``x`` are 0."""
        if x.numel() <= FEW or not x.is_contiguous():
            return x.numel() - int(x.count_nonzero())
        return x.numel() - sum(
            int(nonzero(part, out=self.work(part.numel(), STORE)[0]).sum())
            for (part,) in pieces(x.view(-1))
        )

    @property
    def _inverses(self) -> Tensor:
        return _inverse_table(self.p)

    def sum(self, x: Tensor, dims: tuple[int, ...], keepdim: bool = False) -> Tensor:
        if dims and x.dtype is STORE and math.prod(x.shape[d] for d in dims) <= HANDFUL:
            return self.wrap(torch.sum(x, dims, keepdim=keepdim))
        return self.reduce(torch.sum(x, dims, keepdim=keepdim, dtype=torch.float64))

    def dot(self, a: Tensor, b: Tensor, dims: tuple[int, ...], keepdim: bool = False) -> Tensor:
        """``sum(mul(a, b), dims)`` with one reduction of it all; without ``dims`` the product itself."""
        if not dims:
            return self.mul(a, b)
        return self.wrap(self.total(a.double() * b, dims, keepdim, products=True)).to(STORE)

    def total(
        self, terms: Tensor, dims: tuple[int, ...], keepdim: bool = True, *, products: bool = False
    ) -> Tensor:
        """Sums of float64 residues, or of ``products`` of two, small enough for :meth:`wrap`."""
        if products and math.prod(terms.shape[d] for d in dims) > TERMS:
            terms = self.wrap(terms)
        return torch.sum(terms, dims, keepdim=keepdim)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """``a @ b`` for 2-D or batched 3-D operands; inner sums longer than ``TERMS`` are split.

        One of them may be bytes (:mod:`coarse`).
        """
        inner = a.shape[-1]
        if inner > TERMS and not (_of_bytes(a, b) or _of_bytes(b.mT, a.mT)):
            parts = [
                self.matmul(a[..., k : k + TERMS], b[..., k : k + TERMS, :])
                for k in range(0, inner, TERMS)
            ]
            return self.reduce(torch.stack(parts).sum(0, dtype=torch.float64))
        return self.reduce(self.products(a, b)).contiguous()

    def products(self, a: Tensor, b: Tensor) -> Tensor:
        """``a @ b`` before it is reduced: exact float64 integers, of sums that are not too long for that."""
        if _of_bytes(b.mT, a.mT):
            return coarse.product(b.mT, a.mT).t()
        if _of_bytes(a, b):
            return coarse.product(a, b)
        if _thin(a, b) and b.stride(0) < b.stride(1):
            return by_rows(b.t(), a.double().t().contiguous()).t()
        if _thin(a, b):
            return by_columns(b, a.double().t().contiguous())
        return torch.matmul(a.double(), b.double())

    # -- hashing --------------------------------------------------------------------------------

    def hash(self, x: Tensor, key: int) -> Tensor:
        """A fixed random function of residues (a random residue each), one for each ``key``."""
        return self.function(x, key)

    def draw(self, colours: Tensor, key: int) -> Tensor:
        """A residue for each 64-bit colour, odd in the colour, and 0 only where the colour is 0."""
        if colours.numel() > chunk():
            parts = [self.draw(part, key) for (part,) in pieces(colours.reshape(-1))]
            return torch.cat(parts).view(colours.shape)
        return self._spread(colours.abs(), key).mul_(colours.sign()).to(STORE)

    def function(self, x: Tensor, key: int, *, parity: int = 0, zero: bool = False) -> Tensor:
        """An uninterpreted function: odd (``parity=1``), even (``-1``) or neither; ``zero``: f(0) = 0."""
        if x.numel() > chunk():
            one = partial(self.function, key=key, parity=parity, zero=zero)
            return torch.cat([one(part) for (part,) in pieces(x.reshape(-1))]).view(x.shape)
        argument = x.long()
        y = self._spread(argument.abs() if parity else argument, key ^ _OF_RESIDUES).to(STORE)
        if parity == 1:
            return y.mul_(x.sign())
        return y.mul_(nonzero(x)) if zero else y

    def preference(self, gap: Tensor) -> Tensor:
        """What speaks for an element's being the largest, by its gap to the mean: an uninterpreted function."""
        return self.function(gap, _LARGEST)

    def rank(self, gap: Tensor) -> Tensor:
        """An odd pseudo-random function of residues, to whole numbers nearer to 0 than :attr:`LAST`."""
        number = gap.long()
        size = (mix(number.abs(), stable_key("order", self.seed)) >> 3) & ((1 << 61) - 1)
        return (size + 1) * number.sign()

    def _spread(self, numbers: Tensor, key: int) -> Tensor:
        """A residue for each int64, as int64: never 0, as a symbol that is not zero is not."""
        mixed = mix(numbers, key ^ self.p ^ self.seed << 21)
        residue = shift(mixed, 21).mul_(self.p - 1).bitwise_right_shift_(43).sub_(self.half)
        return (residue >> 63).add_(residue).add_(1)  # from 0 on, one up

    def symbols(
        self, shape: tuple[int, ...] | torch.Size, generator: torch.Generator | None
    ) -> Tensor:
        """Fresh random residues, none of them 0."""
        out = torch.empty(shape, dtype=STORE)
        for (part,) in pieces(out.view(-1)):
            part.random_(0, self.p - 1, generator=generator).sub_(self.half - 0.5)
            part.add_(part.sign(), alpha=0.5)  # from the middle outwards: -half … -1, 1 … half
        return out

    # -- embedding ------------------------------------------------------------------------------

    def embed(self, x: Tensor) -> Tensor:
        """Residues of finite floats of any dtype: ``m * 2^e mod p``, exact, subnormals included."""
        if not x.is_floating_point():
            return self.integer(x.long())
        flat = x.detach().reshape(-1)
        out = torch.empty(flat.shape, dtype=STORE, device=flat.device)
        length = min(chunk(), flat.numel())
        size = torch.empty(length, dtype=flat.dtype)
        wide, whole = torch.empty(2, length, dtype=torch.float64)
        for part, target in pieces(flat, out):
            if n := part.numel():
                self._embed_chunk(part, target, size[:n], wide[:n], whole[:n])
        return out.view(x.shape)

    def coarse(self, x: Tensor) -> Tensor:
        """Bytes that make a point with the pattern of ``x``, of one of :data:`coarse.DTYPES`."""
        flat = x.detach().reshape(-1)
        out = torch.empty(flat.shape, dtype=coarse.BYTE, device=flat.device)
        for part, target in pieces(flat, out):
            coarse.bytes_of(part, target, *self.work(part.numel(), STORE))
        return out.view(x.shape)

    def _embed_chunk(self, x: Tensor, out: Tensor, size: Tensor, y: Tensor, whole: Tensor) -> None:
        """The common case: one power of two makes every entry of the chunk an integer ``k``, ``|k| < 2^50``.

        That is so when the last mantissa bit of the smallest entry is no finer than ``1 / 2^s``; entries that are
        too small for that are done on their own. Then ``x`` is ``k`` times the residue of ``1 / 2^s``. Where that
        is small, one reduction of the product does (:data:`SHORTCUT`). Elsewhere ``x - round(x 2^s / p) p / 2^s`` is
        exact (scaling by powers of two is) and is ``(k mod p) / 2^s``; times ``2^s`` times that residue it stays below
        2^40 and is reduced once more. ``size``, ``y`` and ``whole`` are memory to work in.
        """
        torch.abs(x, out=size)
        smallest, largest = map(float, torch.aminmax(size))
        if largest == 0.0:
            out.zero_()
            return
        s, factor = SHORTCUT
        short = self.p == FIRST and 2.0**-12 < largest * factor < 1.0
        if not short:
            s = 49 - math.frexp(largest)[1]
        if not -900 < s < 900:
            out.copy_(self._embed_slowly(x.double()))
            return
        least = math.ldexp(1.0, _MANTISSA[x.dtype] - s - 1)
        y.copy_(x)
        fine = (size < least).nonzero().view(-1) if smallest < least else None
        if fine is not None:
            y[fine] = 0.0
        if short:
            y.mul_(2.0**s * factor)
        else:
            y.sub_(nearest(y, 2.0**s / self.p, whole), alpha=self.p * 2.0**-s)
            y.mul_(2.0**s * self._power(-s))
        y.sub_(nearest(y, self._reciprocal, whole), alpha=self.p)
        out.copy_(y)
        if fine is not None:
            out[fine] = self._embed_slowly(x[fine].double())

    def _embed_slowly(self, x: Tensor) -> Tensor:
        """Mantissa and exponent of each entry on its own; the mantissa in two halves."""
        mantissa, power = torch.frexp(x)
        high = torch.trunc(mantissa * 2.0**27)
        low = (mantissa * 2.0**27 - high) * 2.0**26
        whole = self.add(self.scale(self.reduce(high), self._power(26)), self.reduce(low))
        return self.mul(whole, _power_table(self.p)[(power.long() - 53) % (self.p - 1)])

    def _power(self, exponent: int) -> int:
        r = pow(2, exponent, self.p)
        return r - self.p if r > self.half else r


_ONES = {
    torch.float64: torch.tensor(1.5 * 2.0**52, dtype=torch.float64),
    torch.float32: torch.tensor(1.5 * 2.0**23),
}
"""Numbers so large that their last bit is worth 1."""


def nearest(x: Tensor, factor: float, out: Tensor | None = None) -> Tensor:
    """The whole numbers next to ``factor * x``: what is left of a fraction beside a number of :data:`_ONES`.

    Not ``round``: PyTorch starts all its threads for it even where there is little to do, and waits for them.
    """
    ones = _ONES[x.dtype]
    return torch.add(ones, x, alpha=factor, out=out).sub_(ones)


_ZERO = torch.zeros((), dtype=STORE)


def nonzero(x: Tensor, out: Tensor | None = None) -> Tensor:
    """1 where ``x`` is not 0, and 0 elsewhere; PyTorch takes six times as long to say so in booleans."""
    return torch.ne(x, _ZERO, out=torch.empty(x.shape, dtype=STORE) if out is None else out)


def chunk() -> int:
    """Elements worked on at a time, by all of PyTorch's threads."""
    return CHUNK * min(torch.get_num_threads(), MOST_THREADS)


def pieces(*flat: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """One-dimensional tensors of one length, a :func:`chunk` at a time."""
    if flat[0].numel() <= chunk():
        return iter((flat,))
    return zip(*(x.split(chunk()) for x in flat), strict=True)


def _of_bytes(a: Tensor, b: Tensor) -> bool:
    """Whether ``a`` are the weights of a coarse point, ``b`` residues, and :func:`coarse.product` suits them."""
    matrices = a.dim() == b.dim() == 2 and b.dtype is not coarse.BYTE
    return matrices and coarse.suits(a, *b.shape)


def _fits(small: Tensor, large: Tensor) -> bool:
    """Whether ``small`` can be broadcast to ``large``; ``torch.broadcast_shapes`` imports SymPy, half a second."""
    sizes = zip(reversed(small.shape), reversed(large.shape), strict=False)
    return small.dim() <= large.dim() and all(m in (1, n) for m, n in sizes)


def _thin(a: Tensor, b: Tensor) -> bool:
    """Whether ``b`` is a large matrix and ``a`` a few rows: then ``b`` is widened a slice at a time, in the cache."""
    large = b.numel() > SLAB * torch.get_num_threads()
    return b.dim() == 2 and large and a.shape[0] <= 256


@lru_cache(maxsize=16)
def _power_table(p: int) -> Tensor:
    """``2^k`` for ``k = 0 .. p-2``; what is known of it, times a power, gives as many again."""
    field, table, known = Field(p), torch.ones(p - 1, dtype=STORE), 1
    while known < p - 1:
        more = min(known, p - 1 - known, CHUNK)
        table[known : known + more] = field.scale(table[:more], field._power(known))
        known += more
    return table


@lru_cache(maxsize=16)
def _inverse_table(p: int) -> Tensor:
    """``1/a`` at index ``a + (p-1)/2``: 2 is a primitive root, so ``1/2^k = 2^(p-1-k)``."""
    powers, half = _power_table(p), (p - 1) // 2
    table = torch.full((p,), 12345.0, dtype=STORE)
    table[half + 1] = 1.0
    for power, inverse in pieces(powers[1:], powers[1:].flip(0)):
        table[(power + half).long()] = inverse
    return table
