"""What a model computes, before and after: compared in float64, where rounding is far below any change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..errors import UsageError
from ..symbolic.subject import call_with, quarters

EXACT = 1e-9
ROUNDING = {torch.float64: EXACT, torch.float32: 2e-4, torch.float16: 5e-2, torch.bfloat16: 2e-1}
"""How far two orders of summation may lie apart, relative to the largest output: not a claim, a net."""


@dataclass(frozen=True)
class Change:
    """``largest`` absolute difference of outputs whose largest entry is ``scale``; ``kept`` if rounding explains it."""

    largest: float
    scale: float
    tolerance: float

    @property
    def kept(self) -> bool:
        """Whether the function is the same up to rounding."""
        return self.largest <= self.tolerance * max(self.scale, 1e-12)

    def __str__(self) -> str:
        said = "kept" if self.kept else "changed"
        return f"{said}: outputs differ by at most {self.largest:.2g} (largest {self.scale:.3g})"


def outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    """Every floating tensor the model returns; nothing of the model is changed, dropout is off."""
    with quarters(), noiseless(model), torch.no_grad():
        torch.manual_seed(0)
        kept = {n: b.clone() for n, b in model.named_buffers()}
        try:
            result = call_with(model, inputs)
        finally:
            for n, b in model.named_buffers():
                if n in kept and kept[n].shape == b.shape:
                    b.copy_(kept[n])
    return [
        t.detach().clone()
        for t in tree_leaves(plain(result))
        if isinstance(t, Tensor) and t.is_floating_point()
    ]


def change(before: list[Tensor], after: list[Tensor], tolerance: float) -> Change:
    """Raises ``UsageError`` if the outputs have other shapes."""
    if [t.shape for t in before] != [t.shape for t in after]:
        raise UsageError(
            f"the outputs have shapes {[tuple(t.shape) for t in after]} instead of "
            f"{[tuple(t.shape) for t in before]}: these units are outputs of the model"
        )
    gaps = [
        float((a - b).abs().nan_to_num(nan=float("inf")).max())
        for a, b in zip(before, after, strict=True)
        if a.numel()
    ]
    sizes = [float(a.abs().max()) for a in before if a.numel()]
    return Change(max(gaps, default=0.0), max(sizes, default=0.0), tolerance)


def precision(model: nn.Module, inputs: Any) -> float:
    """The tolerance that fits a float64 copy: a forward may insist on float32 somewhere."""
    watch = _Lowest()
    with watch:
        outputs(model, inputs)
    return ROUNDING[watch.dtype]


def rounding_of(model: nn.Module) -> float:
    """The tolerance of a model's own precision: that of its coarsest parameter."""
    return max((ROUNDING.get(p.dtype, EXACT) for p in model.parameters()), default=EXACT)


class _Lowest(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.dtype = torch.float64

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            # A single number made in the default dtype is a constant, not the network's flow.
            several = isinstance(t, Tensor) and t.numel() > 1
            if several and ROUNDING.get(t.dtype, 0.0) > ROUNDING[self.dtype]:
                self.dtype = t.dtype
        return out


@contextmanager
def noiseless(model: nn.Module) -> Iterator[None]:
    """Dropout off, in modules and in their ``dropout`` attributes; put back on leaving."""
    modes = [m for m in model.modules() if "Dropout" in type(m).__name__ and m.training]
    rates = [
        (m, m.__dict__["dropout"])
        for m in model.modules()
        if isinstance(m.__dict__.get("dropout"), float)
    ]
    try:
        for m in modes:
            m.training = False
        for m, _ in rates:
            m.__dict__["dropout"] = 0.0
        yield
    finally:
        for m in modes:
            m.training = True
        for m, rate in rates:
            m.__dict__["dropout"] = rate


def plain(result: Any) -> Any:
    """Outputs of Hugging Face models are ordered dictionaries of their own."""
    return dict(result) if hasattr(result, "items") else result
