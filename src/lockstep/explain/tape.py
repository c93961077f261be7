"""The tape: every tensor function a forward pass calls, in order, with what went in and came out.

A ``TorchFunctionMode`` sees the calls themselves (``linear``, ``sigmoid``, ``flatten`` …), whether a
module or the user's own code makes them, so no hook is put on the model. In-place calls are replaced by
their out-of-place twins, because a chain of derivatives needs ``z`` as well as ``a = relu_(z)``; the
caller compares the output with a plain run and asks for ``literal=True`` if that changed anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True, eq=False)
class Op:
    """One recorded call: ``name`` as in ``torch``, tensors in (``inputs``) and out (``outputs``)."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[torch.Tensor, ...]
    outputs: tuple[torch.Tensor, ...]

    def argument(self, position: int, keyword: str, default: Any = None) -> Any:
        """An argument, given by position or by keyword."""
        if len(self.args) > position:
            return self.args[position]
        return self.kwargs.get(keyword, default)


@dataclass(eq=False)
class Tape:
    """Recorded calls, in order; ``dirty`` holds ids of tensors overwritten in place.

    ``sources`` are the network's inputs, and what a mere change of their dtype or layout made of them.
    """

    ops: list[Op] = field(default_factory=list)
    sources: list[torch.Tensor] = field(default_factory=list)
    dirty: set[int] = field(default_factory=set)

    def consumers(self, tensor: torch.Tensor) -> list[Op]:
        """The calls that read ``tensor``."""
        return [op for op in self.ops if any(t is tensor for t in op.inputs)]


CASTS = ("to", "float", "double", "type", "type_as", "contiguous")


class Recorder(TorchFunctionMode):
    """Writes the calls made while it is active to ``tape``."""

    def __init__(self, tape: Tape, *, literal: bool = False) -> None:
        super().__init__()
        self.tape, self.literal = tape, literal

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if not self.literal:
            func, kwargs = out_of_place(func, args, kwargs)
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        version = None if first is None or first.is_inference() else first._version
        result = func(*args, **kwargs)
        if result is first and first is not None and version in (None, first._version):
            return result  # nothing happened: dropout in evaluation, flatten of a matrix, a cast to the same dtype
        outputs = tuple(t for t in tensors_in(result) if t.requires_grad)
        if not outputs:
            if call_name(func) in CASTS and any(t is args[0] for t in self.tape.sources):
                self.tape.sources += tensors_in(result)
            return result
        inputs = tuple(tensors_in((args, kwargs)))
        self.tape.dirty |= {id(o) for o in outputs if any(o is t for t in inputs)}
        self.tape.ops.append(Op(call_name(func), args, kwargs, inputs, outputs))
        return result


def call_name(func: Callable[..., Any]) -> str:
    """``"linear"`` for ``F.linear``; the attribute's name for a property such as ``tensor.T``."""
    name = getattr(func, "__name__", type(func).__name__)
    if name == "__get__":
        name = getattr(getattr(func, "__self__", None), "__name__", name)
    return name.strip("_") if name.startswith("__") else name


def out_of_place(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The same call without its side effect, where PyTorch has one."""
    if kwargs.get("inplace") is True:
        return func, {**kwargs, "inplace": False}
    first = args[0] if args else None
    if not (isinstance(first, torch.Tensor) and first.requires_grad):
        return func, kwargs
    name = getattr(func, "__name__", "")
    if name.startswith("__i") and name.endswith("__"):
        return getattr(torch.Tensor, "__" + name[3:], func), kwargs
    if name.endswith("_") and not name.startswith("_"):
        return getattr(torch.Tensor, name[:-1], func), kwargs
    return func, kwargs


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor inside nested tuples, lists and mappings (``ModelOutput`` is one)."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
