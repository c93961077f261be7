"""Complex numbers are pairs of residues, and every op on them is written in ops on real ones.

A complex residue tensor stores its pairs as PyTorch does, real part first: views as ``(…, 2)`` real numbers share its
storage, and what only moves entries runs on it as it is. All else is done here, part by part, by ops that have rules;
so ``i * i = -1``, and degrees, reads and infinities are followed by those.

A discrete Fourier transform is a product with a matrix of cosines and sines. They are embedded as the floats they are;
only 0, 1/2, 1 and the symmetries of the circle are exact. So equal units stay equal, but what rests on other identities
of the roots of unity (an inverse transform undoes a transform) is not seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .residue import Residue
from .running import active

OPS: dict[str, Callable[..., Any]] = {}
MAKERS = frozenset(("complex", "polar", "_fft_r2c", "_fft_c2r", "_fft_c2c"))
"""Ops that make complex numbers of real ones."""
SCALARS = {"add": (1,), "sub": (1,), "fill": (1,), "masked_fill": (2,), "constant_pad_nd": (2,)}
"""Where an operand may be a Python number."""
LINEAR = frozenset(
    "add sub neg sum mean cumsum where masked_fill fill zero constant_pad_nd index_put _index_put_impl "
    "_unsafe_index_put index_add scatter scatter_add".split()
)
"""Ops that work on the real and on the imaginary parts alike, once indices and conditions are given."""


def concerned(name: str, operands: list[Any]) -> bool:
    """Whether complex numbers go in or come out."""
    if name in MAKERS:
        return True
    for x in operands:
        if isinstance(x, Tensor):
            if x.is_complex():
                return True
        elif isinstance(x, complex) or (isinstance(x, torch.dtype) and x.is_complex):
            return True
    return False


def compute(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The op in real ones; NotImplemented if it is not known here."""
    if name in OPS:
        return OPS[name](*args, **kwargs)
    return _by_parts(func, name, args, kwargs) if name in LINEAR else NotImplemented


def _op(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        OPS.update(dict.fromkeys(names, function))
        return function

    return register


def parts(x: Any) -> tuple[Any, Any]:
    """Real and imaginary part; for the latter None where ``x`` is real."""
    if isinstance(x, Tensor) and x.is_complex():
        real, imaginary = torch.view_as_real(x).unbind(-1)
        return real, imaginary
    return (x.real, x.imag) if isinstance(x, complex) else (x, None)


def whole(real: Tensor, imaginary: Tensor) -> Tensor:
    """The complex tensor of two real ones."""
    return torch.view_as_complex(torch.stack([real, imaginary], -1))


def _by_parts(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    kwargs = {k: v for k, v in kwargs.items() if not isinstance(v, torch.dtype)}

    def taken(x: Any, position: int, part: int) -> Any:
        if isinstance(x, Tensor):
            if not (x.is_floating_point() or x.is_complex()):
                return x  # indices, conditions
        elif position not in SCALARS.get(name, ()):
            return x
        found = parts(x)[part]
        if found is not None:
            return found
        return torch.zeros((), dtype=x.dtype) if isinstance(x, Tensor) else 0.0

    return whole(
        *(func(*(taken(x, n, part) for n, x in enumerate(args)), **kwargs) for part in (0, 1))
    )


# -- looking at pairs -----------------------------------------------------------------------------


def as_real(x: Tensor) -> Tensor:
    """``view_as_real``, of stored pairs too."""
    if isinstance(x, Residue):
        return Residue(torch.view_as_real(x.stored), x.cell, x.dtype.to_real())
    return torch.view_as_real(x.resolve_conj())


def as_complex(x: Tensor) -> Tensor:
    """``view_as_complex``, of stored pairs too."""
    if isinstance(x, Residue):
        if not x.known:
            x.cell.promote(active().field)
        return Residue(torch.view_as_complex(x.stored), x.cell, x.dtype.to_complex())
    return torch.view_as_complex(x)


LOOKS = {"view_as_real": as_real, "view_as_complex": as_complex}
"""Views of a storage: nothing for the engine to do but to hand them on."""


@_op("_conj", "_conj_physical", "conj_physical")
def _conj(x: Tensor | complex) -> Tensor:
    """At once: what is still to be conjugated cannot be looked at as pairs."""
    if isinstance(x, complex):
        return torch.tensor(x.conjugate())
    real, imaginary = parts(x)
    return whole(real, -imaginary) if imaginary is not None else x


# -- arithmetic -----------------------------------------------------------------------------------


def _product(product: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    def run(a: Any, b: Any) -> Tensor:
        (ar, ai), (br, bi) = parts(a), parts(b)
        if bi is None:
            return whole(product(ar, br), product(ai, br))
        if ai is None:
            return whole(product(ar, br), product(ar, bi))
        return whole(product(ar, br) - product(ai, bi), product(ar, bi) + product(ai, br))

    return run


for _name in ("mul", "mm", "bmm", "mv", "dot"):
    OPS[_name] = _product(getattr(torch, _name))


@_op("addmm", "baddbmm")
def _addmm(c: Tensor, a: Tensor, b: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    return beta * c + alpha * torch.matmul(a, b)


@_op("rsub")
def _rsub(a: Any, b: Any, alpha: Any = 1) -> Tensor:
    return -(alpha * a) + b


@_op("div")
def _div(a: Any, b: Any) -> Tensor:
    (real, imaginary), (_, turning) = parts(a), parts(b)
    if turning is None:
        return whole(real / b, imaginary / b)
    return a * (torch.reciprocal(b) if isinstance(b, Tensor) else 1 / b)


@_op("reciprocal")
def _reciprocal(x: Tensor) -> Tensor:
    real, imaginary = parts(x)
    square = real * real + imaginary * imaginary
    return whole(real / square, -imaginary / square)


@_op("pow")
def _pow(x: Any, exponent: Any) -> Any:
    if not isinstance(exponent, int) or exponent < 1:
        return NotImplemented
    out = x
    for _ in range(exponent - 1):
        out = out * x
    return out


# -- functions ------------------------------------------------------------------------------------


@_op("complex")
def _complex(real: Tensor, imaginary: Tensor) -> Tensor:
    return whole(*torch.broadcast_tensors(real, imaginary))


@_op("polar")
def _polar(size: Tensor, angle: Tensor) -> Tensor:
    return whole(size * torch.cos(angle), size * torch.sin(angle))


@_op("abs")
def _abs(x: Tensor) -> Tensor:
    real, imaginary = parts(x)
    return torch.sqrt(real * real + imaginary * imaginary)


@_op("angle")
def _angle(x: Tensor) -> Tensor:
    real, imaginary = parts(x)
    return torch.atan2(imaginary, real)


@_op("sgn")
def _sgn(x: Tensor) -> Tensor:
    return x / torch.abs(x)


@_op("exp")
def _exp(x: Tensor) -> Tensor:
    real, imaginary = parts(x)
    return torch.polar(torch.exp(real), imaginary)


@_op("eq")
def _eq(a: Any, b: Any) -> Tensor:
    (ar, ai), (br, bi) = parts(a), parts(b)
    ai, bi = (bi, ai) if ai is None else (ai, bi)
    return torch.logical_and(ar == br, ai == (0.0 if bi is None else bi))


@_op("ne")
def _ne(a: Any, b: Any) -> Tensor:
    return torch.logical_not(_eq(a, b))


# -- constants, conversions -----------------------------------------------------------------------


@_op("zeros_like", "empty_like")
def _zeros_like(x: Tensor, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return torch.zeros(x.shape, dtype=dtype or x.dtype)


@_op("ones_like")
def _ones_like(x: Tensor, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return torch.ones(x.shape, dtype=dtype or x.dtype)


@_op("new_zeros", "new_empty")
def _new_zeros(x: Tensor, shape: Any, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return torch.zeros(tuple(shape), dtype=dtype or x.dtype)


@_op("copy")
def _copy(x: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    real, imaginary = parts(source.expand(x.shape))
    return whole(real, torch.zeros_like(real) if imaginary is None else imaginary)


@_op("_to_copy")
def _to_copy(x: Tensor, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    dtype = dtype or x.dtype
    real, imaginary = parts(x)
    real = real.to(dtype.to_real())
    if not dtype.is_complex:
        return real.clone()
    return whole(real, torch.zeros_like(real) if imaginary is None else imaginary.to(real.dtype))


# -- Fourier transforms ---------------------------------------------------------------------------


@_op("_fft_c2c")
def _fft_c2c(x: Tensor, dims: list[int], normalization: int, forward: bool) -> Tensor:
    sizes = [x.shape[d] for d in dims]
    for d in dims:
        x = _turned(x, d, x.shape[d], x.shape[d], forward)
    return _normalized(x, sizes, normalization)


@_op("_fft_r2c")
def _fft_r2c(x: Tensor, dims: list[int], normalization: int, onesided: bool) -> Tensor:
    """Of the last dimension, real numbers need the lower half of the frequencies only."""
    sizes, last = [x.shape[d] for d in dims], dims[-1]
    n = x.shape[last]
    x = _turned(x, last, n, n // 2 + 1 if onesided else n, True)
    for d in dims[:-1]:
        x = _turned(x, d, x.shape[d], x.shape[d], True)
    return _normalized(x, sizes, normalization)


@_op("_fft_c2r")
def _fft_c2r(x: Tensor, dims: list[int], normalization: int, size: int) -> Tensor:
    """The upper half of the frequencies is the conjugate of the lower one: all but the outer ones count twice."""
    last = dims[-1]
    sizes = [*(x.shape[d] for d in dims[:-1]), size]
    for d in dims[:-1]:
        x = _turned(x, d, x.shape[d], x.shape[d], False)
    real, imaginary = parts(x.movedim(last, -1))
    cosine, sine = _circle(size, real.shape[-1], size, real.dtype)
    twice = torch.tensor(
        [1.0 + (0 < k < size - k) for k in range(real.shape[-1])], dtype=real.dtype
    )
    out = (real * twice) @ cosine - (imaginary * twice) @ sine
    return _normalized(out.movedim(-1, last), sizes, normalization)


def _turned(x: Tensor, dim: int, n: int, frequencies: int, forward: bool) -> Tensor:
    """``sum_j x_j exp(∓2πi j k / n)``, k below ``frequencies``."""
    real, imaginary = parts(x.movedim(dim, -1))
    cosine, sine = _circle(n, n, frequencies, real.dtype)
    sine = -sine if forward else sine
    if imaginary is None:
        out = whole(real @ cosine, real @ sine)
    else:
        out = whole(real @ cosine - imaginary @ sine, real @ sine + imaginary @ cosine)
    return out.movedim(-1, dim)


def _circle(n: int, rows: int, columns: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of ``2π j k / n``."""
    turns = torch.arange(rows)[:, None] * torch.arange(columns) % n
    cosines = torch.tensor([_cosine(4 * j, n) for j in range(n)], dtype=dtype)
    sines = torch.tensor([_cosine(n - 4 * j, n) for j in range(n)], dtype=dtype)
    return cosines[turns], sines[turns]


def _cosine(a: int, n: int) -> float:
    """Cosine of ``a / 4n`` turns: what the symmetries of the circle make equal or opposite is so exactly."""
    a = min(a % (4 * n), -a % (4 * n))
    if a > n:
        return -_cosine(2 * n - a, n)
    if a == n or 3 * a == 2 * n:
        return 0.0 if a == n else 0.5
    return math.cos(math.pi * a / (2 * n))


def _normalized(x: Tensor, sizes: list[int], normalization: int) -> Tensor:
    """0: as it is; 1: divided by the root of the number of entries; 2: by that number."""
    n = math.prod(sizes)
    return x if not normalization else x / (math.sqrt(n) if normalization == 1 else n)
