"""Arguments of ops, flat and back: lists in tuples at most, so this is ten times cheaper than a general pytree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def leaves(value: Any) -> list[Any]:
    """What stands in ``value``, in order, with tuples, lists and dicts opened."""
    out: list[Any] = []
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, (tuple, list, dict)):
            out.extend(leaves(item))
        else:
            out.append(item)
    return out


def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """``value``, what an op gave, with ``function`` of each leaf in its place."""
    if isinstance(value, (tuple, list)):
        made = [mapped(function, item) for item in value]
        return made if isinstance(value, list) else tuple(made)
    return function(value)


def rebuilt(value: Any, items: Iterator[Any]) -> Any:
    """``value`` with its leaves replaced by ``items``, in the same order."""
    if isinstance(value, dict):
        return {key: _one(item, items) for key, item in value.items()}
    made = [_one(item, items) for item in value]
    return made if isinstance(value, list) else tuple(made)


def _one(item: Any, items: Iterator[Any]) -> Any:
    return rebuilt(item, items) if isinstance(item, (tuple, list, dict)) else next(items)
