"""What a model keeps from one call to the next: buffers and attributes that ``forward`` changes.

Warm-up counters, exponential averages, power iterations, hidden states: each pass starts from the state that the
model was given, so what such a state does is first seen in the call after. A pass at a later step is therefore led
up to by calls on other data (``WARM_UP``), as in training; only where :func:`watched` has seen that something is kept.
Statistics that a normalisation gathers in training mode are not read there, and do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..field.residue import Residue
from .subject import Subject

WARM_UP = 2
"""Calls before that of a later step, at most one a step."""

_OWN = frozenset(vars(nn.Module()))
"""Attributes of every module: its tables, mode and hooks."""


def watched(subject: Subject, tensors: Mapping[str, Tensor]) -> Callable[[], dict[str, bool]]:
    """To be asked after a call: the buffers and attributes that it changed, and whether each is a number.

    ``tensors`` are bound to the model in place of its own. Other frameworks' models keep no state of this kind.
    """
    if subject.library:
        return dict
    attributes = {
        path: {k: _outline(v) for k, v in vars(module).items() if k not in _OWN}
        for path, module in subject.modules.items()
    }
    idle = {
        id(buffer)
        for module in subject.modules.values()
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.training
        for buffer in module._buffers.values()
    }

    def changes() -> dict[str, bool]:
        now = dict(subject.model.named_buffers())
        found = {
            name: _known(now[name]) is not None and before.numel() == 1
            for name, before in subject.buffers.items()
            if name in now and id(now[name]) not in idle and not _same(_known(now[name]), before)
        }
        for path, before in attributes.items():
            for key, value in vars(subject.modules[path]).items():
                if key not in _OWN and before.get(key, nn) != _outline(value):
                    name = f"{path}.{key}" if path else key
                    found[name] = type(value) in (int, float)
        return found

    return changes


def _known(t: Tensor) -> Tensor | None:
    """The true numbers of a buffer, if they are no symbols by now."""
    if not isinstance(t, Residue):
        return t
    return t.stored if t.known else None


def _same(now: Tensor | None, before: Tensor) -> bool:
    return now is not None and now.shape == before.shape and torch.equal(now, before)


def _outline(value: Any) -> object:
    """Equal for a value that stayed as it was: numbers by value, containers by length, the rest by identity."""
    if isinstance(value, Tensor):
        return id(value), value._version
    if isinstance(value, (bool, int, float, str, torch.Size)):
        return value
    return (id(value), len(value)) if isinstance(value, (list, dict, set)) else id(value)
