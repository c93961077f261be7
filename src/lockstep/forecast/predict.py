""":func:`forecast`: groups → spaces of differences → growth along the trajectory → verdicts. Read this first."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import UndecidedError, UsageError
from ..pipeline import audit
from ..symbolic.optimizer import Plan, plan_of
from ..symbolic.passes import Example
from ..symbolic.subject import Subject, quarters, subject_of
from ..transverse.classes import Layout, Space
from ..transverse.nearly import tied_values
from ..transverse.spaces import Cluster, Course, Spaces, frozen_space, spaces
from ..transverse.units import checked
from ..types import Frozen, Group
from .gradient import Batch, Loss, Objective, objective, refuse_hooks, refuse_noise
from .growth import Bundle, Followed, exact, fastest, follow
from .result import Forecast, GroupForecast, Verdict, slope
from .rounding import drift
from .update import Optimizer, Update, flat, own

WHOLE = 8  # spaces of at most so many dimensions are followed with a whole basis
TRIED = 50  # real steps in which rounding is looked for
NEUTRAL = 1e-6  # log growth over all steps below which nothing is said

Groups = Sequence[Group | Frozen | tuple[str, Sequence[int]]]
Batches = Callable[[int], Batch] | Iterable[Batch]


def forecast(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    loss: Loss,
    optimizer: Optimizer,
    steps: int,
    groups: Groups | None = None,
    batches: Batches | None = None,
    start: Mapping[str, Tensor] | None = None,
    vectors: int = 4,
    seed: int = 0,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Forecast:
    """How fast tied (or nearly equal) units separate or merge: their transverse growth along training.

    ``model``, ``x`` (N, …), ``y`` (N, …), ``loss(output, y)`` and ``optimizer`` (an instance, whose state counts, or a
    function of parameters) as for :func:`lockstep.audit`. Each of ``steps`` updates sees the whole of ``x, y``, or
    batch ``batches(step) -> (x, y)``; a list or loader of batches is gone through again and again. ``groups`` are
    :class:`~lockstep.Group` values of an audit, ``(layer, units)`` pairs, whose units are first moved onto their mean
    if they are not tied exactly, or :class:`~lockstep.Frozen` ones (entries at rest at zero: how fast they would wake);
    by default all that the audit finds locked. ``start`` (parameter → displacement of its shape) asks for the growth
    of this difference instead of a generic one. Differences among at most ``max(vectors, 8)`` dimensions are followed
    completely, larger spaces by ``vectors`` random ones. The model is left as it was.

    The training step maps ``(theta, optimizer state)``; a small difference across the tied manifold is multiplied by
    its tangent map at every step. For plain gradient descent that is ``I - lr H_t`` with the transverse Hessian
    (:func:`lockstep.transverse_hessian`; Fukumizu and Amari 2000 at critical points). Here it comes from
    Hessian-vector products and the derivative of the optimizer's own step, momenta included; see
    ``docs/forecast.md``. Where an assumption fails the verdict is ``"unknown"`` and says why.

    Shapes: ``x`` (N, …), ``y`` (N, …); ``start`` one tensor a parameter, of its shape.

    Source: ``docs/forecast.md``; Fukumizu and Amari 2000, doi 10.1016/S0893-6080(00)00009-5, at critical points.

    >>> from functools import partial
    >>> net = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1)).double()
    >>> for p in net.parameters():
    ...     _ = torch.nn.init.constant_(p, 0.5)
    >>> x = torch.linspace(-2, 2, 16, dtype=torch.float64).reshape(-1, 1)
    >>> seen = forecast(net, x, (2 * x).sin(), loss=torch.nn.functional.mse_loss,
    ...                 optimizer=partial(torch.optim.SGD, lr=0.1), steps=40)
    >>> seen.groups[0].verdict
    'separates'

    Raises :class:`~lockstep.UsageError` for what cannot be used, all problems in one message.
    """
    require(loss, steps, vectors, batches, x)
    x, y = tensors(x), tensors(y)
    draw = Stream(x, y, batches)
    x = draw(0)[0] if x is None else x
    if groups is None:
        found = audit(model, x, optimizer=optimizer, seed=seed).locked
    with quarters():
        subject: Subject = subject_of(model)
        chosen = found if groups is None else parsed(subject, groups)
        if not chosen:
            because = (
                "the audit finds no locked units: nothing is tied, so there is nothing to forecast"
            )
            return Forecast((), steps, name_of(optimizer), (), (), because)
        case = prepared(subject, Example(subject.prepare(x)), chosen, optimizer, seed)
        draw.prepare = subject.prepare
        out = run(case, loss, optimizer, draw, steps, start, vectors, seed, progress)
    return out if not live(case) else leaking(out, case, loss, optimizer, draw, min(steps, TRIED))


def leaking(
    out: Forecast, case: Case, loss: Loss, optimizer: Optimizer, draw: Stream, steps: int
) -> Forecast:
    """The forecast with the rounding that real training of the model in its own dtype shows."""
    if not all(g.log_growth for g in out.groups):
        return out
    try:
        seen = drift(
            case.subject,
            case.values,
            case.layout,
            live(case),
            draw,
            loss,
            optimizer,
            steps,
            stop=True,
        ).leaks()
    except (RuntimeError, TypeError, ValueError) as error:
        note = f"rounding not measured: {type(error).__name__}: {error}"
        return replace(out, assumptions=(*out.assumptions, note))
    return replace(
        out, groups=tuple(replace(g, leak=leak) for g, leak in zip(out.groups, seen, strict=True))
    )


def live(case: Case) -> list[Space]:
    """The spaces that there are."""
    return [cluster.space for _, cluster in case.targets if cluster.space is not None]


@dataclass(frozen=True)
class Case:
    """The tied start: ``values`` (name → tensor), the spaces across it, and the group each forecast is named after."""

    subject: Subject
    plan: Plan
    values: dict[str, Tensor]
    spaces: Spaces
    targets: tuple[tuple[Group | tuple[Frozen, ...], Cluster], ...]
    notes: tuple[str, ...]

    @property
    def layout(self) -> Layout:
        """Of the parameters that train."""
        return self.spaces.layout


def prepared(
    subject: Subject,
    example: Example,
    chosen: Sequence[Group | Frozen],
    optimizer: Optimizer,
    seed: int,
) -> Case:
    """Ties what is nearly tied, and finds the space of each group."""
    groups = [group for group in chosen if isinstance(group, Group)]
    resting = tuple(one for one in chosen if isinstance(one, Frozen))
    balanced = any(group.kind == "balanced" for group in groups)
    plan = plan_of(subject.parameters, optimizer, None)
    plan = replace(plan, update="additive" if balanced else "any")
    layout = Layout({name: subject.parameters[name].shape for name in plan.keys})
    plan = replace(
        plan, odd={}, even={}
    )  # a state that differs is averaged, like the units themselves
    course = Course(subject, example, plan, seed)
    values, seen, moved = tied_values(course, groups, layout)
    space = spaces(course, values, groups, layout, seen)
    targets: list[tuple[Group | tuple[Frozen, ...], Cluster]] = [
        (cluster.groups[0], cluster) for cluster in space.clusters
    ]
    if resting:
        targets.append((resting, Cluster((), frozen_space(layout, resting))))
    return Case(subject, plan, values, space, tuple(targets), (moved,) if moved else ())


def run(
    case: Case,
    loss: Loss,
    optimizer: Optimizer,
    draw: Stream,
    steps: int,
    start: Mapping[str, Tensor] | None,
    vectors: int,
    seed: int,
    progress: Callable[[str, int, int | None], None] | None,
) -> Forecast:
    """Follow the differences; an assumption that fails becomes the verdict of every group."""
    layout, subject = case.layout, case.subject
    generator = torch.Generator().manual_seed(seed)
    first = None if start is None or not live(case) else given(live(case), layout, start)
    bundles = [bundle_of(space, first, vectors, generator) for space in live(case)]

    def theta_of(form: Objective) -> Tensor:
        return layout.join({n: form.cast(case.values[n]) for n in layout.shapes}).double()

    form = objective(subject, loss, theta_of, layout, draw(0))
    theta = theta_of(form)
    update = Update(
        optimizer, {n: form.cast(case.values[n]) for n in layout.shapes}, subject.parameters, layout
    )
    apart = update.average(case.spaces.tied)
    notes = (*assumptions(form, update, draw, apart), *case.notes, *case.plan.notes)
    original = layout.join({n: subject.parameters[n].double() for n in layout.shapes})
    mine = [own_bundle(space, original, theta, update, apart) for space in live(case)]
    failed = ""
    course = Followed()
    ends: list[GroupForecast] = []
    try:
        refuse_hooks(subject, list(layout.shapes))
        refuse_noise(form, theta, layout, draw(0))
        if bundles:
            course = follow(
                form,
                update,
                layout,
                case.spaces.tied,
                theta,
                [*bundles, *(b for b in mine if b is not None and first is None)],
                draw,
                steps,
                largest=range_of(subject),
                progress=None
                if progress is None
                else lambda t: progress("following the differences", t, steps),
            )
        ends = [
            ending(bundle, now, course, form, update, layout)
            for bundle, now in zip(bundles, mine, strict=True)
        ]
    except UndecidedError as error:
        failed = str(error)
    out: list[GroupForecast] = []
    at = 0
    for group, cluster in case.targets:
        others = tuple(g for g in cluster.groups if g is not group)
        if cluster.space is None or failed:
            out.append(GroupForecast(group, "unknown", failed or cluster.because, others=others))
        else:
            now = mine[at]
            size = 0.0 if now is None else float(cluster.space.project(original[None]).norm())
            scale = float(theta[cluster.space.support].norm())
            out.append(replace(ends[at], group=group, others=others, size=size, scale=scale))
        at += cluster.space is not None
    return Forecast(tuple(out), steps, update.name, notes, tuple(course.losses))


def own_bundle(
    space: Space,
    original: Tensor,
    theta: Tensor,
    update: Update,
    apart: list[dict[str, Tensor]],
) -> Bundle | None:
    """The difference that the units have now, in weights and optimizer state; None where they are tied exactly."""
    now = space.project(original[None])[0]
    size = float(now.norm())
    if not size > 1e-12 * float(theta[space.support].norm()):
        return None
    states = [{key: value / size for key, value in part.items()} for part in apart]
    delta = own(update.buckets, space, now / size, states)
    return Bundle(space, now[None] / size, complete=False, delta=delta)


def bundle_of(
    space: Space, start: Tensor | None, vectors: int, generator: torch.Generator
) -> Bundle:
    """A whole basis of a small space, random vectors of a large one, or the difference that was asked for."""
    if start is not None:
        inside = space.project(start[None])
        if float(inside.norm()) > 1e-6:
            return Bundle(space, inside / inside.norm(), complete=False, mixed=False)
    if space.dimension <= max(vectors, WHOLE):
        return Bundle(space, space.basis(generator), complete=True)
    return Bundle(space, space.random(vectors, generator), complete=False)


def given(spaces: Sequence[Space], layout: Layout, start: Mapping[str, Tensor]) -> Tensor:
    """(n,) ``start`` with length 1; refuses what is no difference between tied units."""
    wrong = [
        f"{name!r} is no trainable parameter"
        if name not in layout.shapes
        else f"{name!r} has shape {tuple(layout.shapes[name])}, start has {tuple(tensor.shape)}"
        for name, tensor in start.items()
        if name not in layout.shapes or tensor.shape != layout.shapes[name]
    ]
    if wrong:
        raise UsageError("start: " + "; ".join(wrong))
    full = {n: start.get(n, torch.zeros(s)).double() for n, s in layout.shapes.items()}
    vector = layout.join(full)
    size = float(vector.norm())
    rest = vector[None]
    for space in spaces:
        rest = rest - space.project(rest)
    if not size > 0 or float(rest.norm()) > 1e-6 * size:
        raise UsageError(
            "start is not a difference between the tied units: it has a part that moves them together, or that "
            f"moves other weights ({float(rest.norm()):.3g} of its length {size:.3g}). Let the displacements of the "
            "tied units sum to zero, for each weight"
        )
    return vector / size


def ending(
    bundle: Bundle,
    now: Bundle | None,
    course: Followed,
    form: Objective,
    update: Update,
    layout: Layout,
) -> GroupForecast:
    """Verdict and directions of one followed bundle; ``now`` is the difference that the units have, if any."""
    moved = bundle.space.project(flat(bundle.delta, update.buckets, layout.size))
    u, s, v = torch.linalg.svd(moved, full_matrices=False)
    grown = v[0]
    logs: tuple[float, ...] = ()
    if bundle.complete:
        first = u[:, 0] @ bundle.vectors
        logs = tuple(bundle.scale + math.log(float(x)) if x > 0 else -math.inf for x in s)
    else:
        found = fastest(course, form, update, layout, bundle, v) if bool(moved.any()) else None
        first, logs = u[:, 0] @ bundle.vectors, ()
        if found is not None:
            first, logs = found[0], (found[1],)
    present = () if now is None else tuple(now.growth)
    verdict, because = judged(
        present or bundle.growth, "the difference" if present else "a small difference"
    )
    if verdict == "merges" and bundle.mixed and logs and logs[0] > NEUTRAL:
        because += f"; but the difference that grows most grows, by {logs[0]:+.4g}: over more steps it may win"
    return GroupForecast(
        group=(),
        verdict=verdict,
        because=because,
        log_growth=tuple(bundle.growth),
        rate=slope(bundle.growth),
        dimension=bundle.space.dimension,
        spectrum=logs,
        direction=named(first, layout),
        grown=named(grown, layout),
        linear=bundle.linear if now is None else min(bundle.linear, now.linear),
        own_growth=present,
    )


def judged(growth: Sequence[float], what: str) -> tuple[Verdict, str]:
    """By the product over all steps; where it turns in the second half, that is said."""
    steps, end, rate = len(growth), growth[-1], slope(growth)
    if end == -math.inf:
        return "merges", "the update removes every difference between the units"
    if abs(end) < NEUTRAL and abs(rate) * steps < NEUTRAL:
        return "unknown", (
            f"{what} between the units neither grows nor shrinks over {steps} steps (log growth {end:.1e}): it stays "
            "what it is"
        )
    turn = ""
    if (end > 0) != (rate > 0):
        late = "grows" if rate > 0 else "shrinks"
        turn = f", though at the end it {late} ({rate:+.2g} a step): more steps may tell otherwise"
    word = "grows" if end > 0 else "shrinks"
    return (
        "separates" if end > 0 else "merges",
        f"over {steps} steps {what} between the units {word}, by {end:+.4g} in its logarithm{turn}",
    )


def named(vector: Tensor, layout: Layout) -> dict[str, Tensor]:
    """Parameter → tensor, of those that take part; the largest entry is positive."""
    largest = vector[vector.abs().argmax()]
    vector = vector if largest >= 0 else -vector
    return {n: part.clone() for n, part in layout.split(vector).items() if bool(part.any())}


def assumptions(
    form: Objective, update: Update, draw: Stream, apart: list[dict[str, Tensor]]
) -> tuple[str, ...]:
    """What every number of the forecast takes for granted."""
    precision = (
        "float64" if exact(form) else "the model's own dtype (it does not compute in float64)"
    )
    return (
        "first order: differences small against the weights and against the distance to any kink",
        f"the symmetric trajectory of {update.name} as given (no schedule, no clipping), in {precision}",
        f"data: {draw.kind}",
        "optimizer state equal among the tied units, and no difference in it at the start"
        if not any(bool(part.any()) for states in apart for part in states.values())
        else "optimizer state that differs among the tied units: its mean; the difference goes with that of the "
        "units, where they have one now",
    )


def range_of(subject: Subject) -> float:
    """The largest number of the narrowest floating dtype among the parameters."""
    dtypes = {p.dtype for p in subject.parameters.values() if p.is_floating_point()}
    return min((float(torch.finfo(dtype).max) for dtype in dtypes), default=math.inf)


def parsed(subject: Subject, groups: Groups) -> list[Group | Frozen]:
    """Groups in any of the forms that are taken."""
    out: list[Group | Frozen] = []
    given: Sequence[Any] = groups
    for one in given:
        if isinstance(one, Frozen):
            out.append(one)
        elif isinstance(one, Group):
            if isinstance(one.where, str) and one.kind == "twin" and "[heads]" not in one.where:
                checked(subject, one.where, one.units)
            out.append(one)
        elif isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str):
            out.append(checked(subject, one[0], one[1]))
        else:
            raise UsageError(
                f"groups: {one!r} is no group; give Group or Frozen values of an audit, or (layer, units) pairs, as "
                "('0', (0, 1))"
            )
    return out


class Stream:
    """``(x, y)`` of each step: the whole data, a function of the step, or batches gone through again and again."""

    def __init__(self, x: Any, y: Any, batches: Batches | None) -> None:
        self._whole, self._given = (x, y), batches
        self._seen: list[Batch] = []
        self._source = self._endless()
        self.prepare: Callable[[Any], Any] = lambda value: value
        self.kind = (
            "the whole of x, y at every step"
            if batches is None
            else "the given batches, in their order"
        )

    def __call__(self, step: int) -> Batch:
        if self._given is None:
            x, y = self._whole
        elif callable(self._given):
            x, y = self._checked(self._given(step))
        else:
            x, y = self._next(step)
        return self.prepare(tensors(x)), self.prepare(tensors(y))

    def _next(self, step: int) -> Batch:
        """Batches are kept: the real training that rounding is measured in sees the same ones."""
        while len(self._seen) <= step:
            self._seen.append(next(self._source))
        return self._seen[step]

    def _endless(self) -> Iterator[Batch]:
        given: Any = self._given
        while True:
            count = 0
            for batch in given:
                count += 1
                yield self._checked(batch)
            if not count:
                raise UsageError("batches: there are none")

    @staticmethod
    def _checked(batch: Any) -> Batch:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise UsageError(
                f"batches: each must be a pair (x, y), got {type(batch).__name__}; y may be None"
            )
        return batch[0], batch[1]


def tensors(value: Any) -> Any:
    """Arrays as tensors; refuses NaN and infinity."""
    if isinstance(value, Mapping):
        return {key: tensors(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(tensors(item) for item in value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        value = torch.as_tensor(value)
    if isinstance(value, Tensor) and value.dim() and not value.numel():
        raise UsageError(
            f"the data hold an empty tensor of shape {tuple(value.shape)}: give at least one sample"
        )
    if isinstance(value, Tensor) and value.is_floating_point():
        bad = int((~torch.isfinite(value)).sum())
        if bad:
            raise UsageError(
                f"the data hold NaN or infinity in {bad} of {value.numel()} entries: no training to forecast; remove "
                "or replace them"
            )
    return value


def require(loss: Any, steps: Any, vectors: Any, batches: Any, x: Any) -> None:
    """All that is wrong with the arguments, in one message."""
    wrong = []
    if not callable(loss):
        wrong.append(
            f"loss={loss!r}: expected a function loss(output, y), such as torch.nn.functional.mse_loss"
        )
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        wrong.append(f"steps={steps!r}: expected a whole number of updates, at least 1")
    if not isinstance(vectors, int) or isinstance(vectors, bool) or vectors < 1:
        wrong.append(f"vectors={vectors!r}: expected a whole number, at least 1")
    if batches is not None and not callable(batches) and not isinstance(batches, Iterable):
        wrong.append(
            f"batches={batches!r}: expected a function of the step, or a list or loader of (x, y)"
        )
    if x is None and batches is None:
        wrong.append("x is None: give the data, or batches")
    if wrong:
        raise UsageError("\n".join(wrong))


def name_of(optimizer: Any) -> str:
    """The optimizer's class, also of a partial."""
    kind = getattr(optimizer, "func", optimizer)
    return getattr(kind, "__name__", type(kind).__name__)
