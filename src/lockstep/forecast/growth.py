"""Differences carried along the symmetric trajectory: the product of the tangent maps of the training step.

One step is ``theta, state → theta', state'``. A displacement across the tied manifold goes to first order as
``(d theta, d state) → J (d theta, H d theta, d state)`` with H the Hessian of this batch's loss at this point and J
the Jacobian of the optimizer's update. The gradient is averaged over tied entries at every step, which in exact
arithmetic changes nothing and in floats keeps the trajectory on the manifold (rounding would leave it where the
transverse growth is fast: FACTS of unstable locks).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import UndecidedError
from ..transverse.classes import Layout, Partition, Space
from .gradient import Batch, Graph, Objective
from .update import Delta, Jacobian, Update, flat, pulled, pushed, start

MEMORY = 2**28  # bytes of trajectory kept for the direction that grows fastest
SAMPLES = 256  # random combinations over which a generic difference is averaged
TOLERANCE = 1e-3  # relative, of tangents against displaced pairs


@dataclass
class Bundle:
    """Differences in one space: ``vectors`` (k, n) at the start; ``complete`` if they span the space."""

    space: Space
    vectors: Tensor
    complete: bool
    mixed: bool = True  # a generic difference, not one that was asked for
    delta: Delta = field(default_factory=list)
    scale: float = 0.0
    growth: list[float] = field(default_factory=list)
    linear: float = math.inf

    def note(self, moved: Tensor, generator_seed: int = 0) -> None:
        """Log growth of a generic combination, and rescale all vectors together."""
        gram = moved @ moved.T
        size = float(gram.diagonal().max().sqrt())
        if not math.isfinite(size):
            raise UndecidedError("the difference left the range of floating-point numbers")
        generator = torch.Generator().manual_seed(generator_seed)
        k = len(moved)
        if self.complete and k > 1:
            mix = torch.randn(SAMPLES, k, generator=generator, dtype=torch.float64)
            mix = mix / mix.norm(dim=1, keepdim=True)
        else:
            mix = torch.eye(k, dtype=torch.float64)
        squares = ((mix @ gram) * mix).sum(1).clamp(min=0)
        logs = squares.clamp(min=1e-300).log() / 2 + self.scale
        dead = bool((squares == 0).all())
        self.growth.append(-math.inf if dead else float(logs.mean()))
        if size > 0:
            self.scale += math.log(size)
            for part in self.delta:
                for key in part:
                    part[key] = part[key] / size


@dataclass
class Followed:
    """What following the trajectory leaves: losses, the end, and every step of it where memory allowed."""

    losses: list[float] = field(default_factory=list)
    kept: list[tuple[Tensor, Batch, list[Jacobian]]] = field(default_factory=list)
    complete: bool = True
    theta: Tensor = field(default_factory=lambda: torch.zeros(0))


def follow(
    objective: Objective,
    update: Update,
    layout: Layout,
    tied: Partition,
    theta: Tensor,
    bundles: list[Bundle],
    batches: Callable[[int], Batch],
    steps: int,
    *,
    largest: float = math.inf,
    progress: Callable[[int], None] | None = None,
) -> Followed:
    """Train on the tied manifold for ``steps`` steps and push every bundle along.

    Raises :class:`UndecidedError` where the forecast's assumptions fail, with the reason.
    """
    course = Followed()
    for bundle in bundles:
        bundle.delta = bundle.delta or start(update.buckets, bundle.vectors)
    used = 0
    for step in range(steps):
        batch = batches(step)
        graph = objective.at(theta, layout, batch, graph=True)
        gradient = tied.mean(graph.gradient[None])[0]
        require_finite(step, graph, theta, largest)
        require_symmetric(step, graph.gradient, gradient, 1e-6 if exact(objective) else 1e-3)
        if step == 0:
            update.require_elementwise(theta, gradient, layout)
        jacobians = update.jacobians(theta, gradient)
        vectors = torch.cat([flat(b.delta, update.buckets, layout.size) for b in bundles])
        curved = graph.curved(vectors)
        if step in {0, 1, steps // 2, steps - 1}:
            require_tangent(objective, layout, theta, batch, vectors, curved, step)
        at = 0
        for bundle in bundles:
            rows = slice(at, at + len(bundle.vectors))
            at = rows.stop
            turned = bundle.space.project(curved[rows])
            bundle.linear = min(
                bundle.linear, linear_range(jacobians, turned, gradient, vectors[rows])
            )
            bundle.delta = pushed(jacobians, bundle.delta, turned)
            moved = bundle.space.project(flat(bundle.delta, update.buckets, layout.size))
            for part, bucket in zip(bundle.delta, update.buckets, strict=True):
                part["theta"] = moved[:, bucket.index]
            bundle.note(moved)
        course.losses.append(graph.loss)
        used += 8 * sum(
            b.numel() for j in jacobians for row in j.blocks.values() for b in row.values()
        )
        course.complete &= used <= MEMORY
        if course.complete:
            course.kept.append((theta, batch, jacobians))
        else:
            course.kept.clear()
        theta = update.step(theta, gradient)
        if progress is not None:
            progress(step)
    course.theta = theta
    return course


def fastest(
    course: Followed,
    objective: Objective,
    update: Update,
    layout: Layout,
    bundle: Bundle,
    ends: Tensor,
) -> tuple[Tensor, float] | None:
    """(n,) the initial difference, of length 1, that grows most, and the logarithm of its growth.

    ``ends`` (k, n) are orthonormal directions into which generic differences have turned. The transpose of the
    product of tangent maps takes them back: one round of block power iteration, hence a lower bound that is
    close where growth is not nearly the same in all directions.
    """
    if not course.complete:
        return None
    back: Delta = start(update.buckets, ends)
    grown = 0.0
    for theta, batch, jacobians in reversed(course.kept):
        back, of_gradient = pulled(jacobians, back, layout.size)
        graph = objective.at(theta, layout, batch, graph=True)
        curved = bundle.space.project(graph.curved(bundle.space.project(of_gradient)))
        size = 0.0
        for part, bucket in zip(back, update.buckets, strict=True):
            part["theta"] = part["theta"] + curved[:, bucket.index]
            size = max(size, float(part["theta"].norm()))
        if size == 0:
            return None
        grown += math.log(size)
        for part in back:
            for key in part:
                part[key] = part[key] / size
    first = bundle.space.project(flat(back, update.buckets, layout.size))
    _, s, v = torch.linalg.svd(first, full_matrices=False)
    return (v[0], grown + math.log(float(s[0]))) if float(s[0]) > 0 else None


def linear_range(
    jacobians: list[Jacobian], turned: Tensor, gradient: Tensor, vectors: Tensor
) -> float:
    """The length of difference up to which an adaptive step responds linearly where the gradient is exactly 0.

    There the step of Adam and its kin is ``lr g / (|g| + eps)``: its slope is ``lr / eps``, but it never exceeds lr.
    """
    out = math.inf
    lengths = vectors.norm(dim=1, keepdim=True).clamp(min=1e-300)
    for jacobian in jacobians:
        bucket, slope = jacobian.bucket, jacobian.blocks["theta"].get("g")
        lr = bucket.stepper.settings.get("lr")
        if (
            slope is None
            or not isinstance(lr, (int, float))
            or "eps" not in bucket.stepper.settings
        ):
            continue
        resting = gradient[bucket.index] == 0
        push = (slope * turned[:, bucket.index] / lengths)[:, resting].abs()
        if push.numel() and float(push.max()) > 0:
            out = min(out, float(lr) / float(push.max()))
    return out


def require_finite(step: int, graph: Graph, theta: Tensor, largest: float) -> None:
    """The run itself must stay finite, in the range of the model's own dtype."""
    finite = math.isfinite(graph.loss) and bool(graph.gradient.isfinite().all())
    if not finite or float(theta.abs().max()) > largest:
        what = (
            "is not finite"
            if not finite
            else f"left the range of the model's dtype ({largest:.2g})"
        )
        raise UndecidedError(
            f"the run {what} at step {step}: training diverges before anything can be said about the units. Use a "
            "smaller learning rate, or fewer steps"
        )


def exact(objective: Objective) -> bool:
    """Whether all is computed in float64."""
    fixed = objective.fixed.values()
    return all(p.dtype == torch.float64 for p in fixed if p.is_floating_point())


def require_symmetric(step: int, gradient: Tensor, averaged: Tensor, tolerance: float) -> None:
    """The gradient must be constant on tied entries: it is on any network that the audit judged rightly."""
    size = float(gradient.norm())
    apart = float((gradient - averaged).norm())
    if apart > tolerance * size:
        raise UndecidedError(
            f"at step {step} the gradients of tied entries differ by {apart / size:.1e} of the gradient: on these data "
            "the units are not tied (ties of maxima, a loss or state that treats them differently)"
        )


def require_tangent(
    objective: Objective,
    layout: Layout,
    theta: Tensor,
    batch: Batch,
    vectors: Tensor,
    curved: Tensor,
    step: int,
) -> None:
    """The Hessian-vector product must agree with gradients at a displaced pair of points.

    It does not where the network has a kink at this very point, and where a gradient does not follow what it was
    computed from (``detach`` inside the model, straight-through estimators, buffers updated by ``forward``).
    """
    v, product = vectors[0], curved[0]
    length = float(v.norm())
    if length == 0:
        return
    found = []
    # Relative to the point; where a kink lies between the displaced pair a smaller one may miss it.
    fine = exact(objective)
    # Larger ones are for models that compute a part of their own accord in a narrower dtype.
    for size in (1e-5, 1e-6, 1e-7, 1e-4, 1e-3) if fine else (1e-2, 1e-3, 1e-4):
        shift = size * (1 + float(theta.norm())) / len(theta) ** 0.5 / length
        pair = [
            objective.at(theta + sign * shift * v, layout, batch, trial=True).gradient
            for sign in (1, -1)
        ]
        measured = (pair[0] - pair[1]) / (2 * shift)
        noise = 1e-14 * (float(pair[0].norm()) + float(theta.norm())) / shift
        noise *= 1 if fine else 1e8
        gap = float((measured - product).norm())
        found.append(gap / max(float(product.norm()), 1e-300))
        if gap <= TOLERANCE * float(product.norm()) + noise:
            return
    raise UndecidedError(
        f"at step {step} the change of the gradient along a difference is not what its derivative says (relative "
        f"mismatch {min(found):.1e}): the network has a kink where it stands, or its gradient does not follow its "
        "values (detach, a straight-through estimator, buffers updated in forward)"
    )
