"""Training a merged network as the one before would have trained.

An entry of the merged network between a class of m written and a class of n read units stands for m x n equal ones, is
their sum over the n, and has the gradient of m of them. So its copies see ``gradient / m`` and ``value / n``: the step
is taken there, and what comes out is multiplied by n again. Any elementwise optimizer then takes the very step that it
would take on each copy (for SGD that is a learning rate of n / m).

Where the n entries are not equal, only their gradients are, and the step is taken at their mean. That is exact if the
step is an affine function of the weight: without decay, and with decay that is not passed through the optimizer's
normalisation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import (
    ASGD,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
    Rprop,
)

from ..errors import UsageError
from .edits import KNOWN, dimension

ELEMENTWISE = (SGD, ASGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop, Rprop)
AFFINE = (SGD, ASGD, AdamW)
"""Their step is affine in the weight, decay included."""


class Following:
    """Takes each step where the copies would, until :meth:`remove`."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        counts: Mapping[str, tuple[Tensor, Tensor]],
        uneven: Sequence[str],
    ) -> None:
        parameters = dict(model.named_parameters())
        _refuse(optimizer, {n: parameters[n] for n in uneven})
        ours = {id(p) for group in optimizer.param_groups for p in group["params"]}
        self.optimizer = optimizer
        self._all = [
            (p, written.to(p), read.to(p))
            for name, (written, read) in counts.items()
            if id(p := parameters[name]) in ours
        ]
        self._away = False
        self._memories(out=False)
        self._handles = [
            optimizer.register_step_pre_hook(self._to_copies),
            optimizer.register_step_post_hook(self._back),
        ]

    @torch.no_grad()
    def _memories(self, *, out: bool) -> None:
        """The optimizer's memory of a copy, or (``out``) of the merged entry again."""
        for p, written, read in self._all:
            for key, value in self.optimizer.state.get(p, {}).items():
                if isinstance(value, Tensor) and value.dim() and key in KNOWN:
                    of_gradients, of_weights = dimension(key, self.optimizer)
                    factor = written**-of_gradients * read**-of_weights
                    value.div_(factor) if out else value.mul_(factor)

    def _to_copies(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        self._back()  # in case the step before did not end
        changed = None
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is not None:  # it must see the merged weights, and make the gradients first
            with torch.enable_grad():
                loss = closure()
            changed = ((args[0], lambda: loss), {k: v for k, v in kwargs.items() if k != "closure"})
        with torch.no_grad():
            self._away = True
            for p, written, read in self._all:
                p.div_(read)
                if p.grad is not None:
                    p.grad.div_(written)
        return changed

    @torch.no_grad()
    def _back(self, *_: Any) -> None:
        away, self._away = self._away, False
        for p, written, read in self._all if away else ():
            p.mul_(read)
            if p.grad is not None:
                p.grad.mul_(written)

    @torch.no_grad()
    def clip_grad_norm_(self, max_norm: float, norm_type: float = 2.0) -> Tensor:
        """Clips as ``torch.nn.utils.clip_grad_norm_`` would have clipped the model before; returns that norm.

        An entry stands for ``written * read`` copies with the gradient ``grad / written`` each, so the norm of all of
        them is known exactly. Of the optimizer's parameters, before ``step``.
        """
        counts = {id(p): (written, read) for p, written, read in self._all}
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        grads = [p.grad for p in parameters if p.grad is not None]
        each = []
        for p in parameters:
            if p.grad is None:
                continue
            one = torch.ones_like(p)
            written, read = counts.get(id(p), (one, one))
            own = (p.grad / written).abs()
            total = own.amax() if norm_type == math.inf else (written * read * own**norm_type).sum()
            each.append(total.to(grads[0].device))
        if not each:
            return torch.tensor(0.0)
        norms = torch.stack(each)
        norm = norms.amax() if norm_type == math.inf else norms.sum() ** (1 / norm_type)
        factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)  # as PyTorch's own
        for grad in grads:
            grad.mul_(factor.to(grad))
        return norm

    def remove(self) -> None:
        """Steps are taken as usual again."""
        self._back()
        while self._handles:
            self._handles.pop().remove()
            if not self._handles:
                self._memories(out=True)


def _refuse(optimizer: Optimizer, uneven: Mapping[str, Tensor]) -> None:
    name = type(optimizer).__name__
    if not isinstance(optimizer, ELEMENTWISE):
        raise UsageError(
            f"{name} is not known to step each entry by its own gradient alone, so no step of the merged model is that "
            f"of the one before; followed are {', '.join(kind.__name__ for kind in ELEMENTWISE)}"
        )
    decayed = _decayed(optimizer, uneven.values())
    if decayed:
        names = [n for n, p in uneven.items() if id(p) in decayed]
        raise UsageError(
            f"{name} passes its weight decay through its own normalisation, and unequal entries were summed in "
            f"{', '.join(names)}: their steps differ, and their sum does not say how. Without weight_decay, or with "
            "AdamW, the merged model can follow"
        )


def _decayed(optimizer: Optimizer, parameters: Iterable[Tensor]) -> set[int]:
    """Which of ``parameters`` have a step that is not affine in the weight."""
    ids = {id(p) for p in parameters}
    if isinstance(optimizer, AFFINE):
        return set()
    return {
        id(p)
        for group in optimizer.param_groups
        for p in group["params"]
        if id(p) in ids and group.get("weight_decay", 0) and not group.get("decoupled_weight_decay")
    }
