"""What an op's result looks like from outside (shape, dtype, memory layout) is what PyTorch says it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from lockstep.field.dispatch import Engine, _shape_only
from lockstep.field.registry import REFUSED
from lockstep.field.residue import Residue

# Results that nobody but our own backward rule reads.
PRIVATE = {("_embedding_bag", 2), ("log_sigmoid_forward", 1)}


@contextmanager
def watched() -> Iterator[list[str]]:
    """The body's ops on symbols, each compared with PyTorch's meta kernel; differences, in words."""
    found: list[str] = []
    run = Engine.run

    def compared(self: Engine, func: Any, args: Any, kwargs: Any) -> Any:
        expected = _expected(func, args, kwargs)
        result = run(self, func, args, kwargs)
        if expected is not None:
            found.extend(_differences(func._schema.name.split("::")[1], expected, result))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "run", compared)
        yield found


def _expected(func: Any, args: Any, kwargs: Any) -> Any:
    guests = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Residue)]
    name = func._schema.name.split("::")[1]
    if func._schema.is_mutable or name in REFUSED or all(g.known for g in guests):
        return None
    try:
        with torch.no_grad():
            return func(*tree_map(_shape_only, args), **tree_map(_shape_only, kwargs))
    except Exception:  # noqa: BLE001  shapes that depend on values, and meta kernels that do not exist
        return None


def _differences(name: str, expected: Any, result: Any) -> Iterator[str]:
    wanted, given = (
        [x for x in tree_flatten(r)[0] if isinstance(x, Tensor)] for r in (expected, result)
    )
    for n, (e, g) in enumerate(zip(wanted, given, strict=False)):
        if (name, n) in PRIVATE:
            continue
        if e.shape != g.shape or e.dtype != g.dtype:
            yield f"{name}[{n}]: {tuple(e.shape)} {e.dtype} expected, {tuple(g.shape)} {g.dtype} given"
        elif e.numel() > 1 and 0 not in _steps(e) and _steps(e) != _steps(g):
            yield f"{name}[{n}]: strides {e.stride()} expected, {g.stride()} given"


def _steps(x: Tensor) -> list[int]:
    return [s for s, n in zip(x.stride(), x.shape, strict=True) if n > 1]
