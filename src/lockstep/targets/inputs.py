"""The ``--input`` notation: ``4,2``, ``name=4,16:int64:0-99``, and the tensors it stands for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lockstep.errors import UsageError
from lockstep.suggest import closest_first
from lockstep.targets import memory

FORM = "[name=]SHAPE[:dtype[:low-high]], for example 4,2 or input_ids=4,16:int64:0-99"
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float32, torch.float64, torch.float16, torch.bfloat16,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    )
}  # fmt: skip
ALIASES = {"float": "float32", "double": "float64", "half": "float16", "long": "int64"}
ALIASES |= {"int": "int64", "short": "int16"}
SEED = (
    0x10C5  # values of example inputs: the same in every run, so that a certificate can be checked
)

MANY = 1 << 24


@dataclass(frozen=True)
class Spec:
    """One ``--input``: ``span`` is the inclusive range of integers, None where it was not given."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    span: tuple[int, int] | None = None
    name: str = ""

    @property
    def is_integer(self) -> bool:
        """Whether the values count: integers are indices, floats become symbols."""
        return not self.dtype.is_floating_point and self.dtype is not torch.bool

    def __str__(self) -> str:
        shape = ",".join(map(str, self.shape))
        kind = str(self.dtype).removeprefix("torch.")
        span = f":{self.span[0]}-{self.span[1]}" if self.span else ""
        return f"{self.name}={shape}:{kind}{span}" if self.name else f"{shape}:{kind}{span}"


def parse(given: Sequence[str]) -> list[Spec]:
    """Read every ``--input``; all that is wrong with them is reported at once.

    >>> parse(["ids=4,16:int64:0-99"])[0].shape
    (4, 16)
    """
    specs: list[Spec] = []
    problems: list[str] = []
    for text in given:
        try:
            specs.append(_one(text))
        except UsageError as error:
            problems.append(str(error))
    names = [spec.name for spec in specs]
    if any(names) and not all(names):
        problems.append("some --input have a name and some have none; name all of them or none")
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        problems.append(f"--input gives {', '.join(map(repr, twice))} more than once")
    if problems:
        raise UsageError("\n".join(problems))
    return specs


def _one(text: str) -> Spec:
    match = re.fullmatch(r"(?:([A-Za-z_]\w*)=)?([^:=]*)(?::([^:]*))?(?::([^:]*))?", text.strip())
    if match is None:
        raise UsageError(f"--input {text!r} is not of the form {FORM}")
    name, shape, dtype, span = match.groups()
    spec = Spec(_shape(shape, text), _dtype(dtype, text), None, name or "")
    if span is None:
        return spec
    if not spec.is_integer:
        raise UsageError(f"--input {text!r}: a range is for integers, and {dtype} is none")
    return Spec(spec.shape, spec.dtype, _span(span, text, spec.dtype), spec.name)


def _shape(text: str, whole: str) -> tuple[int, ...]:
    parts = [part.strip() for part in re.split(r"[,x]", text)] if text.strip() else []
    if not all(part.isdigit() for part in parts):
        raise UsageError(
            f"--input {whole!r}: {text!r} is no shape; a shape is whole numbers with commas, as in "
            f"4,2. The form is {FORM}"
        )
    shape = tuple(map(int, parts))
    if 0 in shape:
        raise UsageError(f"--input {whole!r}: a size of 0 leaves nothing to audit; use 1 or more")
    needed, free = 8 * math.prod(shape), memory.available() or 2**40
    if needed > free:
        raise UsageError(
            f"--input {whole!r}: this input alone takes {memory.size(needed)}, and this machine has "
            f"{memory.size(free)} free; a few samples of the smallest shape that the model takes are enough"
        )
    return shape


def _dtype(text: str | None, whole: str) -> torch.dtype:
    name = (text or "float32").strip().removeprefix("torch.")
    name = ALIASES.get(name, name)
    if name not in DTYPES:
        raise UsageError(
            f"--input {whole!r}: no dtype {name!r}; known are {closest_first(name, DTYPES, 12)}"
        )
    return DTYPES[name]


def _span(text: str, whole: str, dtype: torch.dtype) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(-?\d+)\s*-\s*(-?\d+)\s*", text)
    if match is None or int(match[1]) > int(match[2]):
        raise UsageError(
            f"--input {whole!r}: {text!r} is no range; a range is low-high, both included, as in 0-99"
        )
    low, high, kind = int(match[1]), int(match[2]), torch.iinfo(dtype)
    if low < kind.min or high >= kind.max + (dtype is not torch.int64):
        raise UsageError(
            f"--input {whole!r}: the range {low}-{high} does not fit into {kind.dtype}, which goes from "
            f"{kind.min} to {kind.max}"
        )
    return low, high


def tensors(specs: Sequence[Spec], default_span: tuple[int, int] = (0, 1)) -> Any:
    """A tensor, a tuple or a dict of example tensors, as the specs are one, several or named."""
    made = [tensor(spec, n, default_span) for n, spec in enumerate(specs)]
    if specs and specs[0].name:
        return dict(zip((spec.name for spec in specs), made, strict=True))
    return made[0] if len(made) == 1 else tuple(made)


def tensor(spec: Spec, stream: int = 0, default_span: tuple[int, int] = (0, 1)) -> torch.Tensor:
    """Example values: numbers of a fixed stream; integers run through their range evenly."""
    generator = torch.Generator().manual_seed(SEED + stream)
    if spec.dtype is torch.bool:
        return torch.rand(spec.shape, generator=generator) < 0.5
    if spec.dtype.is_floating_point:
        return torch.randn(spec.shape, generator=generator).to(spec.dtype)
    low, high = spec.span or default_span
    count = torch.Size(spec.shape).numel()
    # A shuffled run through the range reaches more rows of an embedding than independent draws.
    cycle = torch.arange(count) % (high - low + 1) + low
    if high - low >= MANY:  # too many to shuffle; equal draws are rare
        return torch.randint(low, high + 1, spec.shape, generator=generator).to(spec.dtype)
    if high - low + 1 > count:
        cycle = low + torch.randperm(high - low + 1, generator=generator)[:count]
    mixed = cycle[torch.randperm(count, generator=generator)]
    return mixed.reshape(spec.shape).to(spec.dtype)
