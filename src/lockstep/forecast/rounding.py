"""Rounding honesty: do tied units stay bitwise equal in real training on this machine, and if not, since when?

In exact arithmetic locked units never differ. Kernels may sum the same numbers in another order for another unit
(seen for some widths and not for others), and where the transverse growth is fast the last bit becomes a
difference that shows. So the model itself is trained, as it would be, and the difference is looked at each step.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..symbolic.subject import Subject
from ..transverse.classes import Layout, Space
from ..types import Leak
from .gradient import Batch, Loss
from .update import Optimizer


@dataclass(frozen=True)
class Drift:
    """Length of the difference in each space before the first and after each step, (steps + 1) a space."""

    dtype: str
    sizes: tuple[tuple[float, ...], ...]

    def leaks(self) -> tuple[Leak, ...]:
        """The first difference in each space."""
        out = []
        for sizes in self.sizes:
            step = next((t for t, size in enumerate(sizes) if size > 0), None)
            size = 0.0 if step is None else sizes[step]
            out.append(Leak(self.dtype, len(sizes) - 1, step, size))
        return tuple(out)


def drift(
    subject: Subject,
    values: Mapping[str, Tensor],
    layout: Layout,
    spaces: list[Space],
    batches: Callable[[int], Batch],
    loss: Loss,
    optimizer: Optimizer,
    steps: int,
    dtype: torch.dtype | None = None,
    *,
    stop: bool = False,
) -> Drift:
    """Train a copy of the model from ``values`` in ``dtype`` (None: its own), as a user's loop would.

    With ``stop`` training ends once every space shows a difference.
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        assert subject.twin is not None
        twin = subject.twin(dtype)
        own = dict(twin.parameters)
        with torch.no_grad():
            for name, value in values.items():
                own[name].copy_(value)
        opt = optimizer_of(optimizer, subject.parameters, own)
        of = twin.criterion(loss)
        sizes: list[list[float]] = [[length(space, layout, own)] for space in spaces]
        for step in range(steps):
            x, y = batches(step)
            opt.zero_grad(set_to_none=True)
            output = twin.call(as_dtype(x, dtype))
            value = of(output) if y is None else of(output, as_dtype(y, dtype))
            value.backward()
            opt.step()
            for seen, space in zip(sizes, spaces, strict=True):
                seen.append(length(space, layout, own))
            if stop and all(any(seen) for seen in sizes):
                break
    kinds = {p.dtype for p in own.values() if p.is_floating_point()}
    name = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
    return Drift(name, tuple(map(tuple, sizes)))


def length(space: Space, layout: Layout, parameters: Mapping[str, Tensor]) -> float:
    """Of the difference between tied entries; exactly 0 where they are bitwise equal."""
    flat = layout.join({name: parameters[name].detach().double() for name in layout.shapes})
    return space.length(flat)


def optimizer_of(
    optimizer: Optimizer, originals: Mapping[str, Tensor], copies: Mapping[str, Tensor]
) -> torch.optim.Optimizer:
    """The optimizer on the copy's parameters: made anew, or the instance with its settings and state copied."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        made: torch.optim.Optimizer = optimizer([p for p in copies.values() if p.requires_grad])
        return made
    replaced: dict[int, Any] = {id(p): copies[name] for name, p in originals.items()}
    twin = copy.deepcopy(optimizer, replaced)
    state: dict[Tensor, Any] = defaultdict(dict)
    for p, own in twin.state.items():
        state[p] = {
            key: value.to(p.dtype)
            if isinstance(value, Tensor) and value.shape == p.shape and key != "step"
            else value
            for key, value in own.items()
        }
    twin.state = state  # type: ignore[assignment]
    return twin


def as_dtype(value: Any, dtype: torch.dtype | None) -> Any:
    """Floating tensors inside ``value`` in ``dtype``."""
    if isinstance(value, Tensor):
        return value.to(dtype) if dtype is not None and value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {key: as_dtype(item, dtype) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(as_dtype(item, dtype) for item in value)
    return value
