"""Counting updates of the watched parameters by the steps of their optimizers.

PyTorch calls global hooks around every ``Optimizer.step``; those of other models' optimizers are left out. Hence
gradient accumulation counts once, and a step that ``GradScaler`` skips does not count: it is not taken.

Several optimizers (Muon for matrices, AdamW for the rest) make one update together: a new one begins when an
optimizer steps that has already stepped in the present one.

Most updates are of no interest but for their number. Beside a network whose step takes a millisecond even a few calls
of Python count, so these updates cost one short hook: its code runs with cold caches, some ten times slower than in a
loop of its own.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

from torch import Tensor
from torch.compiler import disable, is_compiling
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from lockstep.watch.budget import Budget


class Counter:
    """Calls ``before()`` and ``after()`` around each update, on the ``budget``; ``close()`` ends it.

    ``parameters()`` of the owner are those whose optimizers count; it is asked again when an optimizer appears.
    After ``rest(n)`` the next ``n`` updates are counted only (``owner.updates``).

    The owner is held weakly: hooks of a watch that was dropped without being closed go with it.
    """

    def __init__(
        self,
        owner: Any,
        before: str,
        after: str,
        parameters: str,
        budget: Budget,
    ) -> None:
        self._owner = weakref.ref(owner)
        self._before, self._after, self._ask = before, after, parameters
        self._budget, self._idle, self._unheard = budget, 0, 0.0
        self._parameters: set[int] = set()
        # By id, with weak references beside: weak dictionaries take longer than all else in an idle update.
        self._known: dict[int, tuple[weakref.ref[Optimizer], bool]] = {}
        self._stepped: dict[int, weakref.ref[Optimizer]] = {}  # in the present update
        self._handles: list[Any] = [register_optimizer_step_post_hook(self._post)]
        self._early: list[Any] = []  # the handle of the hook before a step, while it is wanted
        self.rest(0)
        weakref.finalize(owner, _remove, self._handles)
        weakref.finalize(owner, _remove, self._early)

    def rest(self, updates: int) -> None:
        """Of so many coming updates the owner wants to know their number only."""
        self._idle = updates
        if updates:
            _remove(self._early)
        elif not self._early:
            self._early.append(register_optimizer_step_pre_hook(self._pre))

    def know(self, parameters: Iterable[Tensor]) -> None:
        """The watched parameters, if they are others by now."""
        ids = {id(p) for p in parameters}
        if ids != self._parameters:
            self._parameters = ids
            self._known.clear()

    def settle(self) -> bool:
        """Ends the present update; whether any optimizer has made one since the last call."""
        any_ = self._begun()
        self._stepped.clear()
        return any_

    def close(self) -> None:
        """Take the hooks off."""
        _remove(self._handles)
        _remove(self._early)

    def _begun(self) -> bool:
        """Whether an optimizer that still lives has stepped in the present update."""
        return any(ref() is not None for ref in self._stepped.values())

    def _mine(self, optimizer: Optimizer, owner: Any) -> weakref.ref[Optimizer] | None:
        """Its reference, if it has watched parameters."""
        known = self._known.get(id(optimizer))
        if known is None or known[0]() is not optimizer:
            self.know(getattr(owner, self._ask)())
            groups = optimizer.param_groups
            ours = any(id(p) in self._parameters for g in groups for p in g["params"])
            known = self._known[id(optimizer)] = weakref.ref(optimizer), ours
        return known[0] if known[1] else None

    def _pre(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        with self._budget:
            self._tell(self._before, optimizer)

    def _post(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if is_compiling():
            return
        if self._idle and "found_inf" not in optimizer.__dict__:
            start = perf_counter()
            last, owner = self._stepped.get(id(optimizer)), self._owner()
            if last is not None and owner is not None and last() is optimizer:
                self._stepped = {id(optimizer): last}
                owner.updates += 1
                self._idle -= 1
                if not self._idle:
                    self.rest(0)
                self._unheard += perf_counter() - start
                return
        with self._budget:
            self._budget.add(self._unheard)
            self._unheard = 0.0
            ours = self._tell(self._after, optimizer)
            if ours is not None:
                self._stepped[id(optimizer)] = ours

    def _tell(self, method: str, optimizer: Optimizer) -> weakref.ref[Optimizer] | None:
        """The optimizer's reference, if it is ours; the first to step in an update is told of."""
        owner = self._owner()
        if owner is None:
            self.close()
            return None
        ours = self._mine(optimizer, owner)
        if ours is None or is_compiling() or skipped(optimizer):
            return None
        if id(optimizer) in self._stepped or (self._stepped and not self._begun()):
            self._stepped.clear()
        if not self._stepped:
            _call(owner, method, optimizer)
        return ours


def _call(owner: Any, method: str, optimizer: Optimizer) -> None:
    """Where a compiled function runs an optimizer, what is called from there would be compiled, too: many seconds."""
    call: Callable[[Optimizer], None] = getattr(owner, method)
    if "torch._dynamo" in sys.modules:
        call = disable(call)
    call(optimizer)


def skipped(optimizer: Optimizer) -> bool:
    """A fused optimizer inside ``GradScaler.step`` is called also where it then does nothing."""
    found = optimizer.__dict__.get("found_inf")
    return isinstance(found, Tensor) and bool(found.item())


def _remove(handles: list[Any]) -> None:
    while handles:
        handles.pop().remove()
