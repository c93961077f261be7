"""Attention heads, seen from the ops: a softmax, its product with the values, and what takes the result in.

A head is a block of neighbouring input units of the output projection. Nothing in PyTorch says so, hence three
questions: how many heads (the attention module's own attribute, else the second axis of a 4-D softmax), how wide
is one (the product of probabilities and values), and which product takes them in (the one whose operand holds
exactly the entries of that product; after a norm or a gate on the heads, the last one of fitting width inside the
attention module, or the first one behind it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from .records import join

COUNTS = (
    "num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "num_head", "heads", "nheads", "head_num",
)  # fmt: skip
CLIMB = 2
"""A softmax module may lie so many levels inside the module that knows the number of heads."""


@dataclass
class _Open:
    """A softmax whose heads have not been taken in yet."""

    path: str
    heads: int
    keys: int
    size: int
    widths: dict[int, set[float]] = field(
        default_factory=dict
    )  # width of a head -> sums of the products
    inside: Tensor | None = None
    left: bool = False


class Heads:
    """``prints``: name of the heads' layer → (ROWS, heads), all calls of the module in one."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._modules = modules
        self._open: _Open | None = None
        self.prints: dict[str, Tensor] = {}

    @property
    def waiting(self) -> bool:
        """Whether products with parameters are of interest."""
        return self._open is not None and bool(self._open.widths)

    def softmax(self, path: str, shape: tuple[int, ...], dim: int) -> None:
        """A softmax over the last of at least three axes."""
        if len(shape) < 3 or dim % len(shape) != len(shape) - 1:
            return
        owner, count = self._owner(path)
        heads = _fitting(shape, count)
        if heads > 1:
            self._settle()
            self._open = _Open(owner, heads, shape[-1], _numel(shape))

    def product(self, a: tuple[int, ...], b: tuple[int, ...], total: Callable[[], float]) -> None:
        """A batched product (B, T, S) @ (B, S, d); ``total()`` is the sum of its entries.

        A softmax with a sink has one column more than there are keys.
        """
        one = self._open
        if one is None or one.keys - a[-1] not in (0, 1):
            return
        size = one.size // one.keys * a[-1]
        if _numel(a) == size:
            one.widths.setdefault(b[-1], set()).add(total())
        if _numel(b) == size:
            one.widths.setdefault(a[-2], set()).add(total())

    def takes_in(self, path: str, width: int, total: float, incoming: Tensor) -> None:
        """A product with a parameter: its operand's sum of entries and (ROWS, width) fingerprints."""
        one = self._open
        if (
            one is None
            or width % one.heads
            or width // one.heads not in one.widths
            or width == one.heads
        ):
            return
        if total in one.widths[width // one.heads] or one.left:
            self._add(one, incoming)
        elif _within(path, one.path):
            one.inside = incoming

    def leave(self, path: str) -> None:
        """The forward of the module at ``path`` has ended."""
        one = self._open
        if one is None:
            return
        if path == one.path:
            if one.inside is not None:
                self._add(one, one.inside)
            one.left = True
        elif one.left and not _within(path, one.path.rpartition(".")[0]):
            self._open = None

    def _settle(self) -> None:
        if self._open is not None and self._open.inside is not None:
            self._add(self._open, self._open.inside)
        self._open = None

    def _add(self, one: _Open, incoming: Tensor) -> None:
        name = f"{one.path}[heads]" if one.path else "[heads]"
        joined = join(incoming, one.heads)
        old = self.prints.get(name)
        self.prints[name] = joined if old is None else old * 3 + joined
        self._open = None

    def _owner(self, path: str) -> tuple[str, int]:
        """The nearest module around ``path`` that knows how many heads it has, and how many."""
        here = path
        for _ in range(CLIMB + 1):
            count = _count(self._modules.get(here))
            if count:
                return here, count
            if not here:
                break
            here = here.rpartition(".")[0]
        is_function = isinstance(self._modules.get(path), nn.Softmax)
        return (path.rpartition(".")[0] if is_function else path), 0


def _count(module: nn.Module | None) -> int:
    for name in COUNTS if module is not None else ():
        value = getattr(module, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return 0


def _fitting(shape: tuple[int, ...], count: int) -> int:
    """The number of heads that the shape of a softmax admits; 0 if none."""
    if count and (count in shape[1:-1] or (len(shape) == 3 and shape[0] % count == 0)):
        return count
    return shape[1] if len(shape) == 4 else 0


def _within(path: str, outer: str) -> bool:
    return not outer or path == outer or path.startswith(f"{outer}.")


def _numel(shape: tuple[int, ...]) -> int:
    n = 1
    for size in shape:
        n *= size
    return n
