"""Counting updates of the watched parameters by the steps of their optimizers.

PyTorch calls global hooks around every ``Optimizer.step``; those of other models' optimizers are left out. Hence
gradient accumulation counts once, and a step that ``GradScaler`` skips does not count: it is not taken.

Several optimizers (Muon for matrices, AdamW for the rest) make one update together: a new one begins when an
optimizer steps that has already stepped in the present one.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)


class Counter:
    """Calls ``before()`` and ``after()`` around each update; ``close()`` ends it.

    The owner is held weakly: hooks of a watch that was dropped without being closed go with it.
    """

    def __init__(self, owner: Any, before: str, after: str, parameters: Iterable[Tensor]) -> None:
        self._owner = weakref.ref(owner)
        self._before, self._after = before, after
        self._parameters = {id(p) for p in parameters}
        self._ours: weakref.WeakKeyDictionary[Optimizer, bool] = weakref.WeakKeyDictionary()
        self._stepped: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self._handles = [
            register_optimizer_step_pre_hook(self._pre),
            register_optimizer_step_post_hook(self._post),
        ]
        weakref.finalize(owner, _remove, self._handles)

    def know(self, parameters: Iterable[Tensor]) -> None:
        """The watched parameters, if they are others by now."""
        ids = {id(p) for p in parameters}
        if ids != self._parameters:
            self._parameters = ids
            self._ours.clear()

    def settle(self) -> bool:
        """Ends the present update; whether any optimizer has made one since the last call."""
        any_ = bool(self._stepped)
        self._stepped.clear()
        return any_

    def close(self) -> None:
        """Take the hooks off."""
        _remove(self._handles)

    def _mine(self, optimizer: Optimizer) -> bool:
        known = self._ours.get(optimizer)
        if known is None:
            groups = optimizer.param_groups
            known = any(id(p) in self._parameters for g in groups for p in g["params"])
            self._ours[optimizer] = known
        return known

    def _pre(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        self._tell(self._before, optimizer)

    def _post(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if self._tell(self._after, optimizer):
            self._stepped.add(optimizer)

    def _tell(self, method: str, optimizer: Optimizer) -> bool:
        """Whether the optimizer is ours; the first to step in an update is told of."""
        owner = self._owner()
        if owner is None:
            self.close()
            return False
        if torch.compiler.is_compiling() or not self._mine(optimizer) or skipped(optimizer):
            return False
        if self._stepped and optimizer in self._stepped:
            self._stepped.clear()
        if not self._stepped:
            call: Callable[[Optimizer], None] = getattr(owner, method)
            call(optimizer)
        return True


def skipped(optimizer: Optimizer) -> bool:
    """A fused optimizer inside ``GradScaler.step`` is called also where it then does nothing."""
    found = getattr(optimizer, "found_inf", None)
    return isinstance(found, Tensor) and bool(found.item())


def _remove(handles: list[Any]) -> None:
    while handles:
        handles.pop().remove()
