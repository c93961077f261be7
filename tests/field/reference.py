"""The independent reference: the real op in float64 on whole numbers, where it is exact, against residues modulo p."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lockstep.field.arithmetic import PRIMES, Field
from lockstep.field.dispatch import engine
from lockstep.field.residue import Residue, symbolic

FIELD = Field(PRIMES[0], seed=5)


@dataclass(frozen=True)
class Op:
    """``run(*inputs)``; ``shapes`` of float inputs, ``more`` other arguments (integer tensors).

    Inputs are whole numbers times ``multiple``, chosen so that every division comes out even.
    """

    name: str
    run: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    more: tuple[Any, ...] = ()
    multiple: int = 1
    gradient: bool = True
    span: int = 4


def whole(shape: Sequence[int], multiple: int, seed: int, span: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-span, span + 1, tuple(shape), generator=generator).double() * multiple


def floats(value: Any) -> list[Tensor]:
    """Float tensors among the results."""
    values = value if isinstance(value, (tuple, list)) else (value,)
    return [v for v in values if isinstance(v, Tensor) and v.is_floating_point()]


def integers(value: Any) -> list[Tensor]:
    values = value if isinstance(value, (tuple, list)) else (value,)
    return [v for v in values if isinstance(v, Tensor) and not v.is_floating_point()]


def gradients(
    outputs: list[Tensor], leaves: list[Tensor], cotangents: list[Tensor]
) -> list[Tensor | None]:
    live = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.requires_grad]
    if not live:
        return [None] * len(leaves)
    outs, cots = zip(*live, strict=True)
    return list(torch.autograd.grad(outs, leaves, cots, allow_unused=True))


def inner(x: Tensor | None, f: Field) -> Tensor | None:
    if x is None:
        return None
    if isinstance(x, Residue):
        return f.embed(x.stored) if x.known else x.stored
    return f.embed(x)


def both(op: Op, f: Field = FIELD) -> tuple[list[Any], list[Any]]:
    """(from float64, from residues): outputs, integer outputs, then gradients."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # beta features, slow paths: not what is asked here
        return _both(op, f)


def _both(op: Op, f: Field) -> tuple[list[Any], list[Any]]:
    values = [whole(s, op.multiple, n, op.span) for n, s in enumerate(op.shapes)]
    real = [v.clone().requires_grad_(op.gradient) for v in values]
    outputs = op.run(*real, *op.more)
    cotangents = [
        whole(o.shape, op.multiple, 100 + n, op.span) for n, o in enumerate(floats(outputs))
    ]
    expected = [*floats(outputs), *integers(outputs)]
    if op.gradient:
        expected += gradients(floats(outputs), real, cotangents)
    leaves = [symbolic(f.embed(v), v.dtype).requires_grad_(op.gradient) for v in values]
    cots = [symbolic(f.embed(c), c.dtype) for c in cotangents]
    with engine(f):
        results = op.run(*leaves, *op.more)
        found = [*floats(results), *integers(results)]
        if op.gradient:
            found += gradients(floats(results), leaves, cots)  # type: ignore[arg-type]
    return expected, found


def assert_same(op: Op, f: Field = FIELD) -> None:
    expected, found = both(op, f)
    assert len(expected) == len(found), f"{op.name}: {len(expected)} results, {len(found)} found"
    assert any(e is not None and bool((e != 0).any()) for e in expected), f"{op.name}: all zero"
    for n, (e, g) in enumerate(zip(expected, found, strict=True)):
        assert (e is None) == (g is None), f"{op.name}: result {n}: {e} and {g}"
        if e is None or g is None:
            continue
        assert e.shape == g.shape, f"{op.name}: result {n}: {tuple(e.shape)} and {tuple(g.shape)}"
        assert e.dtype == g.dtype, f"{op.name}: result {n}: {e.dtype} and {g.dtype}"
        mine = inner(g, f) if g.is_floating_point() else g
        wanted = f.embed(e.detach()) if e.is_floating_point() else e
        assert torch.equal(wanted, mine), f"{op.name}: result {n}\n{wanted}\n{mine}"  # type: ignore[arg-type]
