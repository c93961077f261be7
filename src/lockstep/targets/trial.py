"""One forward of the real model before the audit: shapes that do not fit are said in its own words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from lockstep.errors import UsageError
from lockstep.targets.blame import describe


def run(model: Any, inputs: Any) -> Any:
    """The output on ``inputs``; a failure is a ``UsageError`` with the model's message and shapes."""
    try:
        return _forward(model, inputs)
    except UsageError:
        raise
    except SystemExit as error:
        raise UsageError(
            f"the model leaves Python when it is called: {describe(error)}\nLet forward() return."
        ) from error
    except Exception as error:
        raise UsageError(
            f"the model does not run on these inputs.\n  tried: {described(inputs)}\n"
            f"  it raised {describe(error)}\n"
            "Give other shapes or dtypes: --input SHAPE[:dtype[:low-high]], once for each argument."
        ) from error


def attempt(model: Any, inputs: Any) -> str | None:
    """None if the model runs on ``inputs``, else its message."""
    try:
        _forward(model, inputs)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's model may raise anything; it is reported
        return describe(error)
    return None


def _forward(model: Any, inputs: Any) -> Any:
    args, kwargs = arguments(inputs)
    if hasattr(model, "stateless_call"):
        from lockstep.integrations import keras

        args, kwargs = keras.arguments(model, inputs)
    # Copies of the buffers, so that running statistics stay what they are.
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]), _embeddings_watched(model):
        return torch.func.functional_call(model, buffers, args, kwargs)


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Example inputs as positional and keyword arguments of ``forward``."""
    if isinstance(inputs, dict):
        return (), dict(inputs)
    return tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), {}


@contextlib.contextmanager
def _embeddings_watched(model: nn.Module) -> Iterator[None]:
    """An index beyond an embedding's rows is named; PyTorch only says "index out of range in self"."""

    def check(name: str, module: Any, args: tuple[Any, ...]) -> None:
        indices, rows = (args[0] if args else None), module.num_embeddings
        if not torch.is_tensor(indices) or indices.dtype.is_floating_point or not indices.numel():
            return
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= rows:
            raise UsageError(
                f"an integer input is out of range: {low if low < 0 else high} reaches the "
                f"embedding {name!r}, which has {rows} rows (0 to {rows - 1}). "
                f"Give a range: --input SHAPE:int64:0-{rows - 1}"
            )

    hooks = [
        module.register_forward_pre_hook(lambda module, args, name=name: check(name, module, args))
        for name, module in model.named_modules()
        # A subclass may shift its indices first, as BART's positions do.
        if type(module) in (nn.Embedding, nn.EmbeddingBag)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def described(inputs: Any) -> str:
    """Shapes and dtypes in a sentence: ``input_ids int64 [4, 8]``."""
    args, kwargs = arguments(inputs)
    parts = [_described(value) for value in args]
    parts += [f"{name} {_described(value)}" for name, value in kwargs.items()]
    return ", ".join(parts) or "no arguments"


def _described(value: Any) -> str:
    if not torch.is_tensor(value):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
