"""Random inputs for a model in float64, the call, and the outputs that a loss may see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor


def fresh(value: Any, keep: bool = False) -> Any:
    """The same structure with new normal numbers for floats (or the given ones, as float64)."""
    if isinstance(value, Tensor):
        if not value.is_floating_point():
            return value.clone()
        return value.detach().double() if keep else torch.randn(value.shape, dtype=torch.float64)
    if isinstance(value, Mapping):
        return {key: fresh(item, keep) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [fresh(item, keep) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def call(net: Callable[..., Any], inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return net(**inputs)
    return net(*inputs) if isinstance(inputs, tuple | list) else net(inputs)


def floats(value: Any) -> Iterator[Tensor]:
    """Float tensors among outputs of any nesting."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from floats(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from floats(item)
    elif is_dataclass(value):
        yield from floats(list(vars(value).values()))
