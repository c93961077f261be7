"""Plan, dry run, apply, verify, undo: the same for every treatment.

A :class:`Plan` is a frozen value: which entries would change, what was refused and why, and the digest of the model
it was made for. ``dry_run`` carries it out on a copy. ``apply`` refuses a model that has changed since, works in
place, compares the function with what it was, and puts everything back if the plan promised to keep it and it is
not kept, or if anything is raised on the way. The :class:`Receipt` undoes it exactly.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import LockstepError, UsageError
from ..pipeline import audit
from ..symbolic.digest import digest
from ..symbolic.subject import subject_of
from ..types import Audit
from . import function
from .edits import (
    Attribute,
    Edit,
    Rewrite,
    carry_out,
    carry_state,
    let_go,
    refuse_unknown,
    state_of,
    tensors_of,
)
from .following import Following
from .function import Change
from .wiring import doubled, duplicate


@dataclass(frozen=True)
class Refusal:
    """Units that are not treated, and the reason."""

    where: str
    units: tuple[int, ...]
    reason: str

    def __str__(self) -> str:
        units = ", ".join(map(str, self.units[:8])) + (", …" if len(self.units) > 8 else "")
        return (
            f"{self.where} {{{units}}}: {self.reason}" if units else f"{self.where}: {self.reason}"
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """What a treatment would do. Nothing has been changed yet.

    ``what`` says it in sentences, ``edits`` and ``attributes`` entry by entry; ``refused`` lists what is left
    alone; ``keeps`` is True when the function must stay the same up to rounding; ``bound`` is the most that the
    reading layers' outputs can change, where the treatment is lossy. ``counts``: parameter → how many units each entry
    of it is computed for, and how many it reads, in its new shape; ``uneven`` are those where unequal entries are
    summed.

    Shapes: ``counts`` hold tensors of a parameter's new shape.

    Source: ``docs/treat.md``.

    >>> import torch, lockstep
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    >>> plan = lockstep.widen(net, torch.randn(4, 2), "0", to=3)
    >>> plan.dry_run().function.kept, net[0].out_features
    (True, 2)
    """

    treatment: str
    model: nn.Module = field(repr=False)
    inputs: Any = field(repr=False)
    digest: str
    what: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = field(default=(), repr=False)
    attributes: tuple[Attribute, ...] = ()
    refused: tuple[Refusal, ...] = ()
    keeps: bool = True
    bound: float | None = None
    counts: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)
    uneven: tuple[str, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    before: Audit | None = field(default=None, repr=False)
    again: Callable[[nn.Module], Audit | None] | None = field(default=None, repr=False)
    measure: Callable[[nn.Module], dict[str, float]] | None = field(default=None, repr=False)

    @property
    def rates(self) -> dict[str, Tensor]:
        """Parameter → factor on each entry's gradient with which SGD trains the merged model as before."""
        rates = {name: read / written for name, (written, read) in self.counts.items()}
        return {name: factor for name, factor in rates.items() if bool((factor != 1).any())}

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.edits

    @torch.inference_mode(False)
    def dry_run(self) -> Receipt:
        """The receipt that :meth:`apply` would give, from a copy; the model stays as it is."""
        before = duplicate(self.model)
        after = duplicate(self.model)
        inputs = doubled(self.inputs)
        carry_out(after, self.edits, self.attributes)
        tolerance = max(function.precision(before, inputs), function.EXACT)
        changed = function.change(
            function.outputs(before, inputs), function.outputs(after, inputs), tolerance
        )
        own = copy.deepcopy(self.model)
        carry_out(own, self.edits, self.attributes)
        return self._receipt(changed, own, applied=False)

    @torch.inference_mode(False)
    def apply(
        self, model: nn.Module | None = None, optimizer: torch.optim.Optimizer | None = None
    ) -> Receipt:
        """Treats ``model`` (by default the planned one) in place, its optimizer too, and verifies.

        Raises :class:`~lockstep.errors.UsageError` if the model is not as it was when the plan was made, or if
        the function changes though the plan promised to keep it; everything is as before then.
        """
        model = self.model if model is None else model
        if digest_of(model) != self.digest:
            raise UsageError(
                "the model has changed since the plan was made (its digest differs): nothing was done. "
                "Make the plan again, on the model as it is now."
            )
        inputs = cast_like(self.inputs, model)
        if optimizer is not None:
            refuse_unknown(optimizer, model, self.edits)
        before = function.outputs(model, inputs)
        tolerance = max(function.rounding_of(model), function.precision(model, inputs))
        saved = Saved.of(model, optimizer, self.edits, self.attributes)
        parameters = dict(model.named_parameters())
        try:
            carry_out(model, self.edits, self.attributes)
            if optimizer is not None:
                carry_state(optimizer, parameters, self.edits)
                gone = {id(p) for p in parameters.values()} - {id(p) for p in model.parameters()}
                saved.afterwards.append(let_go(optimizer, gone))
            after = function.outputs(model, inputs)
            changed = function.change(before, after, tolerance)
            if self.keeps and not changed.kept:
                raise UsageError(
                    f"the function was to be kept, but {changed}. The model was put back as it was. Please "
                    "report this model: the plan should have refused it."
                )
            receipt = self._receipt(changed, model, applied=True)
        except BaseException:
            saved.restore()
            raise
        return replace(receipt, saved=saved)

    def _receipt(self, changed: Change, treated: nn.Module, *, applied: bool) -> Receipt:
        after = None if self.again is None else self.again(treated)
        measured = {} if self.measure is None else self.measure(treated)
        return Receipt(self, changed, self.before, after, measured, applied, treated)

    def __str__(self) -> str:
        lines = [f"{self.treatment}: {'nothing to do' if self.empty else 'plan'}"]
        lines += [f"  {line}" for line in self.what]
        lines += [f"    {edit}" for edit in self.edits]
        lines += [f"    {attribute}" for attribute in self.attributes]
        lines += [f"  refused {refusal}" for refusal in self.refused]
        lines += [f"  {note}" for note in self.notes]
        if self.bound is not None:
            lines.append(
                f"  the layers that read these units change by at most {self.bound:.3g} on these inputs"
            )
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Saved:
    """What ``undo`` puts back: the very tensors, sizes, gradients and moments."""

    tensors: tuple[tuple[Tensor, Tensor, Tensor | None], ...]
    attributes: tuple[Callable[[], None], ...]
    optimizer: torch.optim.Optimizer | None
    state: dict[str, Any]
    parameters: dict[str, Tensor]
    afterwards: list[Callable[[], None]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        edits: tuple[Edit, ...],
        attributes: tuple[Attribute, ...],
    ) -> Saved:
        """A snapshot of everything that the edits touch."""
        names = dict.fromkeys(edit.name for edit in edits)
        everything = tensors_of(model)
        parameters: dict[str, Tensor] = {n: p for n, p in model.named_parameters() if n in names}
        return cls(
            tuple((everything[n], everything[n].data, everything[n].grad) for n in names),
            tuple(attribute.kept(model) for attribute in attributes),
            optimizer,
            {} if optimizer is None else state_of(optimizer, parameters),
            parameters,
        )

    def restore(self) -> None:
        """Everything as it was."""
        for t, data, grad in self.tensors:
            t.grad = None
            t.data = data
            t.grad = grad
        for put_back in (*self.attributes, *self.afterwards):
            put_back()
        if self.optimizer is not None:
            for name, state in self.state.items():
                self.optimizer.state[self.parameters[name]] = dict(state)


@dataclass(frozen=True, eq=False)
class Receipt:
    """What a treatment did (or, ``applied=False``, would do).

    ``function`` compares the outputs before and after; ``before`` and ``after`` are the audits; ``measured`` holds
    what else the treatment promises and what came of it. ``rates`` are those of the plan.

    Shapes: ``rates`` as those of the plan.

    Source: ``docs/treat.md``.

    >>> import torch, lockstep
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    >>> receipt = lockstep.widen(net, torch.randn(4, 2), "0", to=3).apply()
    >>> receipt.function.kept, net[0].out_features
    (True, 3)
    >>> receipt.undo()
    >>> net[0].out_features
    2
    """

    plan: Plan
    function: Change
    before: Audit | None
    after: Audit | None
    measured: Mapping[str, float]
    applied: bool
    model: nn.Module = field(repr=False)
    saved: Saved | None = field(default=None, repr=False)

    @property
    def rates(self) -> Mapping[str, Tensor]:
        """Parameter → factor on each entry's gradient (see :meth:`follow`)."""
        return self.plan.rates

    def undo(self) -> None:
        """The model, the sizes its modules keep and the optimizer's memory exactly as before ``apply``."""
        if self.saved is None:
            raise UsageError("this is the receipt of a dry run: nothing was done, nothing to undo")
        self.saved.restore()

    def follow(self, optimizer: torch.optim.Optimizer) -> Following:
        """From now on ``optimizer`` trains the merged model as it would have trained the one before.

        Each entry takes the step that one of the entries it stands for would take, and as many of them as it is the
        sum of. Exact in exact arithmetic for every elementwise optimizer of PyTorch (SGD, Adam, AdamW, RMSprop, ...),
        momentum and decay included; give ``apply`` the same optimizer, so that its memory goes along. Raises
        :class:`~lockstep.errors.UsageError` for others, and for weight decay inside an adaptive optimizer where
        unequal entries were summed. ``.clip_grad_norm_`` clips as PyTorch's would have clipped the model before;
        ``.remove()`` ends it.
        """
        if self.saved is None:
            raise UsageError("this is the receipt of a dry run: apply the plan first")
        return Following(self.model, optimizer, self.plan.counts, self.plan.uneven)

    def __str__(self) -> str:
        did = "applied" if self.applied else "dry run"
        lines = [f"{self.plan.treatment}: {did}"]
        lines += [f"  {line}" for line in self.plan.what]
        lines += [f"    {edit}" for edit in self.plan.edits]
        lines += [f"    {attribute}" for attribute in self.plan.attributes]
        lines += [f"  refused {refusal}" for refusal in self.plan.refused]
        lines += [f"  {note}" for note in self.plan.notes]
        lines.append(f"  function {self.function}")
        lines += [f"  {name}: {value:.6g}" for name, value in self.measured.items()]
        if self.before is not None and self.after is not None:
            lines.append(f"  audit before: {summary(self.before)}")
            lines.append(f"  audit after:  {summary(self.after)}")
        return "\n".join(lines)


def summary(report: Audit) -> str:
    """How many classes the layers have, and what is locked."""
    tied = [f"{n} {x.effective_width}/{x.width}" for n, x in report.layers.items()]
    groups = len(report.locked)
    return f"{groups} locked group{'' if groups == 1 else 's'}; " + ", ".join(tied)


def auditor(inputs: Any, options: Mapping[str, Any]) -> Callable[[nn.Module], Audit | None]:
    """Audits as the plan did; a treated model that cannot be audited has no second audit."""

    def again(model: nn.Module) -> Audit | None:
        try:
            return audit(model, inputs, **options)
        except LockstepError:
            return None

    return again


def digest_of(model: nn.Module) -> str:
    """What the audit calls the model's digest."""
    return digest(subject_of(model))


def cast_like(inputs: Any, model: nn.Module) -> Any:
    """Inputs on the model's device."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    return torch.utils._pytree.tree_map(
        lambda t: t.to(device) if isinstance(t, Tensor) else t, inputs
    )


def changed_axes(edits: tuple[Edit, ...]) -> list[Rewrite]:
    """The edits that change shapes."""
    return [edit for edit in edits if isinstance(edit, Rewrite)]
