"""The residue tensor: a ``torch.Tensor`` that claims a float dtype to autograd and holds residues.

Autograd, modules and hooks see an ordinary float tensor; every ATen op arrives here, below autograd, and
is done modulo p by a rule (:mod:`lockstep.field.registry`). So PyTorch's own backward formulas run
unchanged.

Storage is shared as in PyTorch: a :class:`Cell` is one storage, residue tensors are strided views of
it. A cell starts *known* when it holds true floats (constants made inside ``forward``, buffers): ops among
known values are PyTorch's own, and user code may branch on them. Writing a residue into a known cell
*promotes* it, and all its views with it. Entries may be plus or minus infinity (masks), ``cell.infinite``; or whole
numbers whatever the dtype (Bernoulli's 0 and 1, a predicate as float), ``cell.whole``: comparing those with a
constant has no plain answer. Or they came through a *choice* (a maximum, a comparison, a rounding, ``cell.choice``), or
are *data* as given: those may take one value on whole regions of the data, so they may be equal to others. A known
cell may be *fixed*: part of the model (a buffer), whatever the example.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from ..errors import NonFiniteError
from .arithmetic import STORE, Field
from .coarse import BYTE
from .running import active, running

Place = tuple[tuple[int, ...], tuple[int, ...], int]


class Cell:
    """One storage. ``flat`` is any tensor on it; ``parameter`` names the model parameter it holds.

    ``degree`` bounds the syntactic degree of all entries, ``degrees`` that of views overwritten on their own (the
    gates of an RNN share a storage). ``all_read``, or else the boolean storage ``read``, says which entries of a
    parameter an op has read. ``late``: made by autograd, in the backward pass.
    """

    __slots__ = (
        "all_read", "choice", "data", "degree", "degrees", "fixed", "flat", "infinite", "known", "late", "parameter",
        "read", "version", "whole",
    )  # fmt: skip

    def __init__(
        self, flat: Tensor, *, known: bool, degree: int = 1, parameter: str | None = None
    ) -> None:
        self.flat, self.known, self.degree, self.parameter = flat, known, degree, parameter
        self.infinite = self.whole = self.choice = self.data = self.fixed = False
        self.version = 0
        self.read: Tensor | None = None
        self.all_read = False
        self.late = bool(running) and running[-1].backward
        self.degrees: dict[Place, int] = {}

    def promote(self, field: Field) -> None:
        """Turn true floats, or the bytes of a coarse point, into residues; every view of this cell follows."""
        if not self.known:
            if self.flat.dtype is BYTE:
                self.flat = self.flat.to(STORE)
                self.version += 1
            return
        length = self.flat.untyped_storage().nbytes() // self.flat.element_size()
        whole = torch.as_strided(self.flat, (length,), (1,), 0)
        self.flat, self.infinite = embed_constant(field, whole)
        self.known = False
        self.version += 1


class Promised(Cell):
    """A storage of residues that ``compute()`` gives when somebody reads it."""

    __slots__ = ("_compute", "_flat")

    def __init__(
        self, compute: Callable[[], Tensor], *, degree: int = 1, parameter: str | None = None
    ) -> None:
        self._compute = compute
        self._flat: Tensor | None = None
        super().__init__(torch.empty(0), known=False, degree=degree, parameter=parameter)

    @property
    def flat(self) -> Tensor:
        if self._flat is None:
            self._flat = self._compute()
        return self._flat

    @flat.setter
    def flat(self, value: Tensor) -> None:
        """Nothing is stored before it is asked for."""
        if self._flat is not None:
            self._flat = value

    @property
    def pending(self) -> bool:
        """Whether nobody has read it so far."""
        return self._flat is None


def _disjoint(a: Place, b: Place) -> bool:
    """Whether two blocks of columns of one matrix share no entry; False also when it is not that simple."""
    if a[:2] != b[:2]:
        return False
    sizes = [(n, s) for n, s in zip(a[0], a[1], strict=True) if n > 1]
    if len(sizes) != 2 or sizes[1][1] != 1:
        return False
    (rows, row), (columns, _) = sizes
    gap = abs(a[2] - b[2])
    apart = [(k, gap - k * row) for k in (gap // row, gap // row + 1)]
    return all(k >= rows or abs(rest) >= columns for k, rest in apart)


FAR_BELOW = -9999.0
"""A constant this low that meets a residue is a mask: ``exp`` of it is 0 in every float format."""


def embed_constant(field: Field, x: Tensor) -> tuple[Tensor, bool]:
    """Residues of constants; infinities stay, and mask values far below zero become minus infinity."""
    if x.is_complex():
        pairs, infinite = embed_constant(field, torch.view_as_real(x.resolve_conj()))
        return torch.view_as_complex(pairs), infinite
    if not x.is_floating_point():
        return field.embed(x), False
    if not x.numel():
        return field.embed(x), False
    smallest, largest = map(float, torch.aminmax(x))
    if math.isnan(smallest):
        raise NonFiniteError(
            "a constant that meets the network's values holds NaN; the engine cannot decide on NaN: "
            "look for 0/0 or inf - inf in the constants that forward() makes"
        )
    if smallest > FAR_BELOW and largest < math.inf:
        return field.embed(x), False
    low, high = x <= FAR_BELOW, x == torch.inf
    out = field.embed(x.masked_fill(low | high, 0.0))
    return out.masked_fill_(low, -torch.inf).masked_fill_(high, torch.inf), True


def has_infinite(x: Tensor) -> bool:
    """Whether an entry is infinite: a sum is finite only if all its terms are."""
    return not math.isfinite(x.sum())


class Residue(torch.Tensor):
    """A strided view of a :class:`Cell` that claims ``dtype``."""

    cell: Cell
    _view: Tensor
    _version_seen: int

    __slots__ = ("_version_seen", "_view", "cell")

    @staticmethod
    def __new__(cls, view: Tensor, cell: Cell, dtype: torch.dtype) -> Residue:
        self: Residue = torch.Tensor._make_wrapper_subclass(
            cls,
            view.shape,
            strides=view.stride(),
            storage_offset=view.storage_offset(),
            dtype=dtype,
            device=torch.device("cpu") if view.is_meta else view.device,
        )
        self.cell, self._view, self._version_seen = cell, view, cell.version
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @property
    def stored(self) -> Tensor:
        """The stored tensor (residues, or true floats while the cell is known)."""
        if self._version_seen != self.cell.version:
            flat, view = self.cell.flat, self._view
            if flat.is_complex() and not view.is_complex():
                flat = torch.view_as_real(flat)
            elif view.is_complex() and not flat.is_complex():
                flat = torch.view_as_complex(flat.view(-1, 2))
            self._view = torch.as_strided(flat, view.shape, view.stride(), view.storage_offset())
            self._version_seen = self.cell.version
        return self._view

    @property
    def known(self) -> bool:
        return self.cell.known

    @property
    def degree(self) -> int:
        """A bound on the syntactic degree of the entries seen by this view."""
        return (
            self.cell.degrees.get(self._place(), self.cell.degree)
            if self.cell.degrees
            else self.cell.degree
        )

    def raise_degree(self, degree: int) -> None:
        """This view is overwritten by entries of ``degree``; views that overlap it hold at most that, or as before."""
        cell = self.cell
        if self.numel() == cell.flat.numel() and not cell.degrees:
            cell.degree = degree
            return
        here = self._place()
        cell.degrees = {
            there: d if _disjoint(here, there) else max(d, degree)
            for there, d in cell.degrees.items()
        }
        cell.degrees[here] = degree
        cell.degree = max(cell.degree, degree)

    def _place(self) -> Place:
        return tuple(self.shape), self.stride(), int(self.storage_offset())

    def tolist(self) -> Any:
        """Python numbers of a constant; a symbol has none, and asking for them is control flow on values."""
        return self._constant("tolist()").tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """The array of a constant; see :meth:`tolist`."""
        return self._constant("numpy()").numpy(force=force)

    def _constant(self, what: str) -> Tensor:
        if not self.known:
            raise active().refuse_value(f"Python code ({what})")
        return self.stored.detach()

    def __repr__(self) -> str:  # type: ignore[override]
        state = "known" if self.known else "residues"
        return f"Residue({state}, shape={tuple(self.shape)}, dtype={self.dtype})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not running and (plain := _plain((args, kwargs or {}))) is not None:
            return func(*plain[0], **plain[1])
        return active().run(func, args, kwargs or {})


def _plain(given: Any) -> Any:
    """The arguments as ordinary tensors, if all of them are constants: what a model's caches may keep of a run."""
    guests = [x for x in tree_flatten(given)[0] if isinstance(x, Residue)]
    if not all(x.known for x in guests):
        return None
    return tree_map(lambda x: x.stored if isinstance(x, Residue) else x, given)


def known(value: Tensor) -> Residue:
    """Wrap true floats."""
    return Residue(value, Cell(value, known=True, degree=0), value.dtype)


def symbolic(
    residues: Tensor, dtype: torch.dtype, degree: int = 1, parameter: str | None = None
) -> Residue:
    """Wrap a fresh tensor of residues."""
    return Residue(residues, Cell(residues, known=False, degree=degree, parameter=parameter), dtype)


def promised(shape: torch.Size | Tensor, cell: Promised, dtype: torch.dtype) -> Residue:
    """A view of what is still to be computed: contiguous of ``shape``, or like that tensor on the meta device."""
    meta = shape if isinstance(shape, Tensor) else torch.empty(shape, device="meta")
    view = Residue(meta, cell, dtype)
    view._version_seen = -1
    return view
