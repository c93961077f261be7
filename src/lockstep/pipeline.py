"""The architecture: :func:`audit` runs embed, symbolic steps, partition, findings. Read this first."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch

from .errors import UsageError
from .partition import findings as find
from .partition.modules import (
    Names,
    bare_parameters,
    copied,
    equal_now,
    padding_rows,
    parameters_by_module,
    side_by_side,
)
from .partition.reasons import Explainer
from .partition.verdict import Verdict, locked_classes, verdict
from .symbolic.digest import digest
from .symbolic.optimizer import Plan, plan_of
from .symbolic.passes import Example, named_tensors
from .symbolic.places import Place
from .symbolic.subject import Subject, quarters, subject_of
from .symbolic.training import Progress, Trace, Training
from .types import Assumptions, Audit, Evidence, Finding, Update

Loss = Callable[..., Any]
LANES = 3
ROUNDING_STEPS = 100


def audit(
    model: Any,
    inputs: Any = None,
    *,
    loss: Loss | None = None,
    targets: Any = None,
    optimizer: torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] | None = None,
    update: Update | None = None,
    data: str = "any",
    seed: int = 0,
    rounding: bool | int = False,
    progress: Progress | None = None,
) -> Audit:
    """Which units of ``model`` can never differentiate, which entries can never move, why the rest separate.

    ``inputs`` is a tensor, a tuple or a dict of example inputs, batch first, at least 4 samples; only shapes and
    integer values count unless ``data="given"``. ``loss`` is ``loss(output, target)``, or ``loss(output)``;
    without it the verdict holds for any loss. An ``optimizer`` (instance, or function of parameters) chooses the
    update and its state counts; without it any elementwise update is meant (``update="any"``);
    ``update="additive"`` certifies balanced locks too. With ``rounding`` (True: 100 steps, or their number) copies are
    trained on ``inputs`` and ``targets`` with that ``loss`` and ``optimizer``, to see whether locked units stay
    bitwise equal in floats (:func:`lockstep.rounding`). The model is left exactly as it was.

    Raises :class:`UsageError` for what cannot be used and :class:`UndecidedError` where the engine cannot decide.

    Shapes: ``inputs`` (N, …), N four or more; ``targets`` as the loss takes them.

    Source: ``docs/theory.md`` states and proves the theorem, and its limits (equitable partitions: Joudaki et al.,
    arXiv 2510.00304; the bound: Schwartz 1980, doi 10.1145/322217.322225).

    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sigmoid(), torch.nn.Linear(2, 1))
    >>> for p in net.parameters():
    ...     _ = torch.nn.init.constant_(p, 0.5)
    >>> audit(net, torch.zeros(4, 2)).layers["0"].classes
    ((0, 1),)
    """
    start = time.perf_counter()
    _require_training(rounding, loss, optimizer)
    if data not in ("any", "given"):
        raise UsageError(f"data={data!r}: expected 'any' or 'given'")
    with quarters():
        subject: Subject = subject_of(model)
        sealed = cache(partial(digest, subject))
        inputs, targets = subject.prepare(_checked(inputs)), subject.prepare(targets)
        example = Example(inputs, targets, subject.criterion(loss), data)
        plan: Plan = plan_of(subject.parameters, optimizer, update)
        canonical = {id(p): n for n, p in subject.parameters.items()}
        where: list[Place] = list(subject.places)
        names = parameters_by_module(subject.modules, canonical)
        lockable = names | bare_parameters(where, subject.parameters)
        equal = equal_now(subject.modules, lockable, subject.parameters)
        copies = copied([g for g in equal if g[0] in names], names, subject.parameters)

        def train(plan: Plan, quiet: bool = False) -> Trace:
            training = Training(
                subject,
                example,
                where,
                plan,
                seed=seed,
                lanes=LANES,
                quiet_noise=quiet,
                progress=progress,
                digest=sealed,
            )
            return training.run([[lockable[path] for path in group] for group in equal])

        trace: Trace = train(plan)
        stricter = _stricter(train, plan, trace)
        result: Verdict = verdict(subject, where, trace, lockable, stricter)
        saved = (
            _saved(result, verdict(subject, where, train(plan, quiet=True), lockable))
            if trace.noisy
            else {}
        )
        explain = _explainer(subject, where, trace, saved)
        because = _because(result, explain, trace.first.unseen)
        padding = padding_rows(subject.modules, canonical)
        findings = _findings(result, because, copies, names, padding, trace)
        findings += find.of_noise(saved, list(trace.noisy))
    found = Audit(
        layers=result.layers,
        locked=result.locked,
        frozen=result.frozen,
        findings=tuple(findings),
        assumptions=_assumptions(subject, example, plan, trace),
        evidence=_evidence(result, trace, time.perf_counter() - start),
        digest=sealed(),
        model=type(subject.model).__name__,
        inputs=tuple(
            (n, str(t.dtype).removeprefix("torch."), tuple(t.shape))
            for n, t in named_tensors(inputs)
        ),
        parameters=sum(p.numel() for p in subject.parameters.values()),
        because=because,
        explainer=explain,
    )
    if not rounding or loss is None or optimizer is None:
        return found
    from .forecast import rounding as in_floats  # a later stage: only if it is asked for

    steps = ROUNDING_STEPS if rounding is True else rounding
    seen = in_floats(
        model, inputs, targets, loss=loss, optimizer=optimizer, steps=steps, groups=found.locked, seed=seed
    )  # fmt: skip
    return replace(found, rounding=seen)


def _require_training(rounding: Any, loss: Loss | None, optimizer: Any) -> None:
    if not isinstance(rounding, int) or rounding < 0:
        raise UsageError(f"rounding={rounding!r}: give True, or a number of steps")
    missing = [
        f"{name}=" for name, value in (("loss", loss), ("optimizer", optimizer)) if value is None
    ]
    if rounding and missing:
        raise UsageError(
            f"rounding={rounding!r} trains copies of the model and needs {' and '.join(missing)} (and targets=, where "
            "the loss compares with any)"
        )


def _checked(inputs: Any) -> Any:
    if inputs is None:
        raise UsageError(
            "no example inputs given: pass a tensor, a tuple or a dict of tensors with the shapes and dtypes that "
            "the model takes, for example audit(model, torch.zeros(4, 8)); float values do not matter"
        )
    tensors = list(named_tensors(inputs))
    if tensors and not any(tensor.numel() for _, tensor in tensors):
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors)
        raise UsageError(f"the example is empty ({shapes}): give some samples, four or more")
    return inputs


def _stricter(train: Callable[..., Trace], plan: Plan, trace: Trace) -> Trace | None:
    """Under an additive update, what is locked under any update as well is a twin, the rest is balanced."""
    if plan.update != "additive" or not trace.labels:
        return None
    return train(replace(plan, update="any"))


def _explainer(
    subject: Subject, where: list[Place], trace: Trace, saved: dict[str, Any]
) -> Explainer:
    return Explainer(
        subject.parameters,
        {p.name: p.slices for p in where},
        {n: u.shape[-1] for n, u in trace.forward[0].items()},
        trace.first.products,
        {p.name: p.rows for p in where if p.source == "projection"},
        {p.name: p.span for p in where},
        saved,
        list(trace.noisy),
    )


def _because(result: Verdict, explain: Explainer, unseen: frozenset[str]) -> dict[str, str]:
    """For each layer with forward twins, the sentence about the first pair that separates.

    Equal gains or biases (``unseen`` layers) are no forward twins.
    """
    out: dict[str, str] = {}
    for name, layer in result.layers.items():
        for twins in find.forward_twins(layer) if name not in unseen else ():
            final = {u: c for c in layer.classes for u in c}
            other = next(u for u in twins if final[u] != final[twins[0]])
            out.setdefault(name, explain(name, twins[0], other))
    return out


def _findings(
    result: Verdict,
    because: dict[str, str],
    copies: list[tuple[str, ...]],
    names: Names,
    padding: dict[str, int],
    trace: Trace,
) -> list[Finding]:
    """A module whose own units part already (``because``) needs no second line for that."""
    apart = [kept for paths in copies if len(kept := _separating(paths, result, names, trace)) > 1]
    units = trace.first.units
    parallel = [paths for paths in apart if side_by_side(paths, list(units), units)]
    return [
        *find.of_locked(result.locked, result.layers, names),
        *find.of_frozen(result.frozen, padding),
        *find.of_forward_twins(result.layers, because),
        *find.of_parallel([paths for paths in parallel if paths[0] not in because]),
        *find.of_copies([paths for paths in apart if paths not in parallel]),
        *find.of_unread(result.unread),
    ]


def _separating(
    paths: tuple[str, ...], result: Verdict, names: Names, trace: Trace
) -> tuple[str, ...]:
    """Of modules that start equal, one of each locked group, and none that the example never reaches."""
    spare = {p for g in result.locked if g.kind == "module" for p in g.where[1:]}
    silent = {name for name, (count, total) in result.unread.items() if count == total}
    read = set(trace.still) - silent
    return tuple(p for p in paths if p not in spare and not read.isdisjoint(names[p]))


def _saved(result: Verdict, quiet: Verdict) -> dict[str, Any]:
    """Classes that are locked without noise only."""
    now = {(n, c) for n, classes in locked_classes(result.layers).items() for c in classes}
    would = locked_classes(quiet.layers)
    saved = {n: tuple(c for c in classes if (n, c) not in now) for n, classes in would.items()}
    return {n: c for n, c in saved.items() if c}


def _assumptions(subject: Subject, example: Example, plan: Plan, trace: Trace) -> Assumptions:
    return Assumptions(
        update=plan.update,
        optimizer=plan.name,
        loss="any loss of the outputs"
        if example.loss is None
        else getattr(example.loss, "__name__", str(example.loss)),
        data=example.data,
        mode="train" if subject.training else "eval",
        noise=tuple(trace.noisy),
        notes=(
            "exact arithmetic; ties of topk, argmax and max go to the lower index",
            *subject.notes,
            *plan.notes,
            *trace.assumed,
        ),
    )


def _evidence(result: Verdict, trace: Trace, seconds: float) -> Evidence:
    """The verdict's own numbers, and the chance that any claim is false: ``claims * (degree / p)^lanes``.

    What is proved. In one lane a term is a polynomial of degree d in independent residues: data, cotangents, drawn
    weights, and one variable for each value of a function (reciprocals included) at an argument not met before.
    If it is no zero polynomial it vanishes with probability at most d/p (Schwartz 1980, Zippel 1979), and lanes are
    independent. That is the bound, as long as arguments that differ as terms differ as residues.

    What is not. Of m arguments of one function some pair does coincide, by chance, once m is near 1000; the two
    values are then one variable. A term is lost by that only if it vanishes where the variables U and V agree, that is
    if U - V divides it: it has at most d such factors, so one collision is fatal with probability at most d e/p, e the
    degree of the arguments, whatever m. Several collisions at once, and those that one layer of functions hands on to
    the next, are not bounded here: lanes at independent primes are what stands against them.
    """
    units = sum(len(g.units) - 1 for g in result.locked)
    claims = units + sum(f.count for f in result.frozen)
    bound = claims * (trace.degree / min(f.p for f in trace.lanes)) ** len(trace.lanes)
    return Evidence(
        lanes=tuple((f.p, f.seed) for f in trace.lanes),
        steps=trace.steps,
        degree=trace.degree,
        claims=claims,
        bound=min(1.0, bound),
        seconds=round(seconds, 3),
    )
