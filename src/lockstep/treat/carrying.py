"""What carries the sum over a class of m units to the side that reads them.

In a plain network the weights that read the class are summed. Two things stand against it in a residual stream:

* *tied embeddings*: one matrix E writes the stream and reads it again at the head. Its columns cannot be summed for
  one role and kept for the other. Either what lies in front of the head carries the factor m (the gain and shift of
  the last norm), or the stream carries its root: ``E' = sqrt(m) E`` twice makes m.
* *norms over the stream* count channels. A mean of squares over units of sizes m is the mean over one unit of each
  class times ``sqrt(m)``, up to the constant D'/D of the widths. So with the stream at ``sqrt(m_c) h_c``, gains times
  ``sqrt(D/D')`` and ``eps`` times ``D/D'``, an RMSNorm is exact for classes of any sizes. The root is taken out again
  by the readers or, where a nonlinearity follows, by the gains. A LayerNorm subtracts the mean first, which no scale
  of one channel repairs: it is exact for classes of one size.

A :class:`Way` is one choice of such factors. Which one holds is tried (``merging.py``, ``widening.py``). A factor s on
an entry that stands for k equal ones divides its gradient: ``dL/dw' = k g / s``, so that training can follow as well
(``following.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from .components import Axis, Component
from .edits import Attribute
from .wiring import Wiring

COUNTED = (
    "{}; {} takes a mean over all channels, which changes unless as many units of each class go or come (after a mean "
    "of squares alone, a gain could make up for it)"
)
TIED = (
    "{} both makes and reads these units (tied weights), so the sum over a class must be carried by a scale: neither a "
    "gain and shift in front of the reading side nor the root of the class's size on both sides keeps the function, "
    "because of a nonlinearity in between or a LayerNorm over classes of unequal sizes ({})"
)


@dataclass(frozen=True)
class Way:
    """Powers of the class's size by which each side is scaled; ``gains`` by a constant besides."""

    made: float = 0.0
    read: float = 0.0
    powers: Mapping[Axis, float] = field(default_factory=dict)
    gains: Mapping[Axis, float] = field(default_factory=dict)
    sizes: tuple[Attribute, ...] = ()
    said: str = ""

    def factor(self, key: Axis, counts: Tensor) -> Tensor:
        """Of each position that stays along an axis of what the units are made by, or of a gain or shift."""
        return self.gains.get(key, 1.0) * counts ** self.powers.get(key, self.made)


PLAIN = Way()


def ways(
    wiring: Wiring, model: nn.Module, component: Component, more: int | None = None
) -> Iterator[Way]:
    """In the order of how little they change: nothing, the gain in front of the tied reader, roots.

    The units of the component go, or ``more`` come.
    """
    positions = {**component.incoming, **component.own}
    norms = [key for key in positions if key in component.elementwise and key not in component.tied]
    front: list[Axis] = []
    if not component.tied:
        yield PLAIN
        if not norms:
            return
    else:
        tied = {name for name, _ in component.tied}
        behind = {key: set(wiring.behind(*key, positions[key])) for key in norms}
        front = [key for key, readers in behind.items() if readers and readers <= tied]
    if front:
        names = ", ".join(name for name, _ in front)
        said = f"{names} carries the class sizes to the tied weights"
        yield Way(powers=dict.fromkeys(front, 1.0), said=said)
    widths = {(wiring.shapes[n][a], len(positions[n, a])) for n, a in norms}
    wide, gone = widths.pop() if len(widths) == 1 else (1, 0)
    left = wide - gone if more is None else wide + more
    ratio = wide / left if left > 0 else 1.0
    gains = {key: ratio**0.5 for key in norms if "bias" not in key[0].rpartition(".")[2]}
    sizes = tuple(_eps(model, [n for n, _ in norms], ratio))
    rooted = "these units carry the roots of the class sizes, which {}"
    through = dict.fromkeys(gains, 0.0)
    yield Way(0.5, -0.5, through, gains, sizes, rooted.format("the readers take out again"))
    if norms:
        out = {
            key: (0.5 if key in front else 0.0) - (0.5 if key in gains else 0.0) for key in norms
        }
        yield Way(0.5, 0.0, out, gains, sizes, rooted.format("the norms take out again"))


def counting(model: nn.Module, component: Component) -> str:
    """Norms that take statistics over the units of a component, by name."""
    paths = sorted({name.rpartition(".")[0] for name, _ in component.elementwise})
    kinds = {path: type(model.get_submodule(path)).__name__.lower() for path in paths}
    return ", ".join(
        path
        for path, kind in kinds.items()
        if "norm" in kind and "batch" not in kind and "instance" not in kind
    )


def _eps(model: nn.Module, gains: list[str], ratio: float) -> Iterator[Attribute]:
    """What the norms add to the mean square, in proportion: whatever each calls it."""
    for path in dict.fromkeys(name.rpartition(".")[0] for name in gains):
        for name, value in model.get_submodule(path).__dict__.items():
            if isinstance(value, float) and "eps" in name.lower() and ratio != 1.0:
                yield Attribute(path, name, value, value * ratio)
