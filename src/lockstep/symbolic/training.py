"""Symbolic training: step until the pattern of the parameters is fixed, over as many fields as needed.

A healthy network needs one pass over one field: "different" and "not zero" are certain there. Only what looks
equal or zero needs more lanes (independent primes and symbols), and more steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import torch
from torch import Tensor

from ..errors import UndecidedError
from ..field import coarse
from ..field.arithmetic import FIRST, Field, draw_primes
from ..field.blurred import Blurred
from ..field.mixing import stable_key
from .colours import Pattern, Step, initial
from .gradients import Gradient, Rest, indices, mask, whole
from .memory import WARM_UP
from .optimizer import Plan
from .passes import Example, Point, drawn, run_pass
from .places import Place
from .reached import unreached, without
from .records import Pass, slices_print
from .subject import Subject

MAX_STEPS = 200
MANY = 1 << 20
"""Weights from which on a network is looked at from a coarse point first."""

Progress = Callable[[str, int, int | None], None]
Names = tuple[str, ...]


@dataclass
class Trace:
    """What symbolic training leaves for the partition.

    ``forward[t]``: layer → (lanes, U) fingerprints at step t; ``backward[t]``: the same of the gradients of the
    units' parameters (only layers that still had ties); ``still``: parameter → entries that never got a
    gradient, as :data:`gradients.Rest`; ``seen``: parameter → boolean entries that were read (None: all);
    ``labels``: parameter → a label at the last step, the same for tensors that are equal; ``ties``: whether any two
    units of a layer looked equal or opposite at first.
    """

    lanes: list[Field]
    forward: list[dict[str, Tensor]] = field(default_factory=list)
    backward: list[dict[str, Tensor]] = field(default_factory=list)
    shapes: dict[str, torch.Size] = field(default_factory=dict)
    still: dict[str, Rest] = field(default_factory=dict)
    seen: dict[str, Tensor | None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ties: bool = True
    first: Pass = field(default_factory=Pass)
    degree: int = 1
    noisy: dict[str, None] = field(default_factory=dict)
    assumed: dict[str, None] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return len(self.forward) - 1

    def moves(self, name: str) -> bool:
        """Whether any entry of a trainable parameter ever gets a gradient."""
        return name in self.still and not whole(self.still[name], self.shapes[name].numel())

    def frozen(self, name: str) -> Tensor:
        """Flat indices of entries that were read and never got a gradient."""
        return indices(self.still[name], self.shapes[name].numel(), self.seen[name])


class Training:
    """Symbolic training of one subject under one plan."""

    def __init__(
        self,
        subject: Subject,
        example: Example,
        places: list[Place],
        plan: Plan,
        *,
        seed: int = 0,
        lanes: int = 3,
        quiet_noise: bool = False,
        progress: Progress | None = None,
        digest: Callable[[], str] = lambda: "",
    ) -> None:
        self._subject, self._example, self._places, self._plan = subject, example, places, plan
        self._fields = [Field(FIRST, stable_key("lane", seed, 0) & 0x7FFFFFFF, 0)]
        self._more = lanes - 1, seed, digest
        self._quiet_noise, self._progress = quiet_noise, progress
        self._moving = frozenset(plan.keys)
        self._held: dict[tuple[str, int], Tensor] = {}
        self.colours: dict[str, Tensor] = {}
        """Of every entry at the fixed pattern; empty where one pass showed nothing equal or zero."""
        self._keeps = False

    # -- the course of it -----------------------------------------------------------------------------

    def run(self, equal: Sequence[Sequence[Names]] = (), *, suspicious: bool = False) -> Trace:
        """Up to the fixed pattern; one pass when nothing looks equal or zero (unless ``suspicious``).

        ``equal``: groups of modules that start with equal values, each given by the names of its parameters. Those
        that get equal gradients as well may be locked to one another.
        """
        if self._many() and not suspicious:
            settled = self._look_coarsely(equal)
            if settled is not None:
                return settled
        f = self._fields[0]
        trace, healthy = self._look(f, self._point(f, 0, None), equal, suspicious)
        if healthy:
            return trace
        first = trace.first
        self._add_lanes()
        trace.lanes = self._fields
        colours: dict[str, Tensor] = initial(self._subject.parameters, self._plan)
        pattern: Pattern | None = None
        for step in range(MAX_STEPS):
            given = [first] if step == 0 else []
            fold = Step(colours, self._plan)
            self._step(trace, step, colours if step else None, given, fold)
            new = fold.colours()
            # As initialised the point is not generic (sums may agree by their numbers): never stop there.
            if pattern is not None and not pattern.refine(new):
                self.colours = new
                self._finish(trace, colours)
                return trace
            pattern = pattern or Pattern(new)
            self._advance(new)
            colours = new
        raise UndecidedError(
            f"the pattern of the parameters had not settled after {MAX_STEPS} symbolic steps; audit a shallower "
            "part of the model"
        )

    def _look_coarsely(self, equal: Sequence[Sequence[Names]]) -> Trace | None:
        """What a coarse point settles; None where it does not, or where Python code might go another way there."""
        f = Blurred(self._fields[0])
        try:
            trace, healthy = self._look(f, self._coarse(f), equal)
        except UndecidedError:  # if it is not the point's fault the numbers themselves will say so
            return None
        return trace if healthy and not f.doubtful else None

    def _look(
        self, f: Field, start: Point, equal: Sequence[Sequence[Names]], suspicious: bool = False
    ) -> tuple[Trace, bool]:
        """A first pass, and whether it settles the matter: nothing equal, and nothing zero but what rests for ever."""
        trace = Trace(self._fields[:1])
        # Chance zeros: one entry in a million. Other symbols at the same point clear them up.
        # What products take in tells where ties lead: of no use where there are none, and a coarse look does not decide
        # where there are.
        exact = not isinstance(f, Blurred)
        first = self._pass(
            f, 0, start, details=exact, doubted=lambda one: self._doubted(trace, one)
        )
        trace.first, self._keeps = first, bool(first.kept)
        self._note_rest(trace, first.again)
        if suspicious or any(self._still_equal(group, first) for group in equal):
            return trace, False
        trace.ties = has_ties(first.units)
        if trace.ties:
            return trace, False
        if self._suspects(trace):
            self._note(trace, self._pass(f, 0, start, sample=1))
        del start  # residues of all weights
        settled = not self._suspects(trace) or self._rest_for_ever(trace)
        if settled:
            trace.forward.insert(0, {n: u[None] for n, u in first.units.items()})
        return trace, settled

    def _rest_for_ever(self, trace: Trace) -> bool:
        """Whether the suspects have gradient 0 even where every entry is a symbol of its own, but for zeros at rest.

        Then they have it wherever training can lead, whatever is equal there: where those zeros are zero is never
        left, as long as they stay at rest there, too. So no pattern of all entries is needed. If anything moves the
        answer is no, and ``trace`` as it was: equal entries might have kept it at rest.
        """
        suspects = self._suspects(trace)
        if self._keeps or any(map(self._plan.has_state, self._plan.keys)):
            return False
        still, seen = dict(trace.still), dict(trace.seen)
        count = {n: trace.frozen(n).numel() for n in suspects}
        zeros = {n: self._zeros(n, rest) for n, rest in still.items()}
        self._add_lanes()
        units: list[dict[str, Tensor]] = []
        choices: list[Tensor] = []
        for f in self._fields:
            one = self._pass(f, 1, self._generic(f, zeros), choices=choices)
            self._note(trace, one)
            moved = any(trace.frozen(n).numel() < count[n] for n in suspects)
            if moved or any(
                len(self._zeros(n, trace.still[n])) < len(was) for n, was in zeros.items()
            ):
                trace.still, trace.seen = still, seen
                return False
            units.append(one.units)
        trace.lanes = self._fields
        trace.forward.append(_stack(units))
        straight = not choices and not trace.noisy
        self._set_apart(trace, self._generic(self._fields[0], zeros), straight)
        return True

    def _zeros(self, name: str, rest: Rest) -> Tensor:
        """Flat indices of the entries in ``rest`` that are 0 as initialised."""
        p = self._subject.parameters[name].detach().reshape(-1)
        still = indices(rest, p.numel())
        return still[p[still] == 0]

    def _generic(self, f: Field, zeros: Mapping[str, Tensor]) -> Point:
        """A symbol for every entry that may move, but 0 for those in ``zeros``."""

        def value(name: str) -> Tensor:
            p = self._subject.parameters[name]
            if name not in zeros:
                return f.embed(p)
            key = stable_key("generic", f.seed, name) & 0x7FFFFFFF
            drawn = f.symbols(p.shape, torch.Generator().manual_seed(key))
            drawn.view(-1)[zeros[name]] = 0.0
            return drawn

        return {name: cache(partial(value, name)) for name in self._subject.parameters}

    def _add_lanes(self) -> None:
        """Independent lanes for what looks equal or zero; their primes depend on the weights themselves."""
        if len(self._fields) > 1:
            return
        count, seed, digest = self._more
        primes = draw_primes(stable_key("primes", seed, digest()), count)
        self._fields += [
            Field(p, stable_key("lane", seed, n) & 0x7FFFFFFF, n) for n, p in enumerate(primes, 1)
        ]

    def _step(
        self,
        trace: Trace,
        step: int,
        colours: Mapping[str, Tensor] | None,
        given: list[Pass],
        fold: Step,
    ) -> None:
        units, gradients = [], []
        for lane in range(len(self._fields)):
            f = self._fields[lane]
            point = self._point(f, lane, colours)
            one = given[lane] if lane < len(given) else self._pass(f, step, point)
            fold.fold(lane, one.gradients)
            self._note(trace, one)
            units.append(one.units)
            gradients.append(self._gradient_prints(lane, one))
        trace.forward.append(_stack(units))
        trace.backward.append(_stack(gradients))

    def _pass(
        self,
        f: Field,
        step: int,
        point: Point,
        *,
        sample: int = 0,
        details: bool = False,
        choices: list[Tensor] | None = None,
        doubted: Callable[[Pass], frozenset[str]] | None = None,
    ) -> Pass:
        if self._progress is not None:
            self._progress(f"symbolic step {step}, field {f.lane + 1}", step, None)
        return run_pass(
            self._subject,
            self._example,
            self._places,
            point,
            f,
            step=step,
            sample=sample,
            moving=self._moving,
            quiet_noise=self._quiet_noise,
            details=details,
            choices=choices,
            doubted=doubted,
            calls=self._calls(step),
        )

    def _calls(self, step: int) -> int:
        """Calls that lead up to a pass at ``step``, where the model keeps a state."""
        return min(step, WARM_UP) if self._keeps else 0

    def _point(self, f: Field, lane: int, colours: Mapping[str, Tensor] | None) -> Point:
        """theta of one lane: embedded as initialised, then drawn from the colours (or advanced additively)."""

        def value(name: str) -> Tensor:
            if (name, lane) in self._held:
                return self._held[name, lane]
            if colours is not None and name in colours and self._plan.update == "any":
                return f.draw(colours[name], stable_key("theta", f.seed))
            return f.embed(self._subject.parameters[name])

        return {name: cache(partial(value, name)) for name in self._subject.parameters}

    def _many(self) -> bool:
        """Whether a coarse point may stand in for the weights, and is worth it."""
        moving = [self._subject.parameters[name] for name in self._plan.keys]
        floats = all(p.dtype in coarse.DTYPES for p in moving)
        return self._plan.update == "any" and floats and sum(p.numel() for p in moving) >= MANY

    def _coarse(self, f: Field) -> Point:
        """A point with the pattern of the weights, or a narrower one; what does not train stays as it is."""

        def value(name: str) -> Tensor:
            p = self._subject.parameters[name]
            return f.coarse(p) if name in self._plan.keys else f.embed(p)

        return {name: cache(partial(value, name)) for name in self._subject.parameters}

    def _advance(self, colours: Mapping[str, Tensor]) -> None:
        """Additive: theta := s * theta + H(g), with ``H(g)`` drawn from the history of gradients."""
        if self._plan.update != "additive":
            return
        for lane, f in enumerate(self._fields):
            for name, colour in colours.items():
                theta = self._held.get((name, lane))
                if theta is None:
                    theta = f.embed(self._subject.parameters[name])
                s = int(f.draw(torch.tensor([stable_key("decay", self._plan.keys[name])]), f.seed))
                move = f.draw(colour, stable_key("theta", f.seed))
                self._held[name, lane] = f.add(f.scale(theta, s), move)

    # -- notes ----------------------------------------------------------------------------------------

    def _note(self, trace: Trace, one: Pass) -> None:
        trace.degree = max(trace.degree, one.degree)
        trace.noisy.update(dict.fromkeys(one.noisy))
        trace.assumed.update(dict.fromkeys(one.assumed))
        trace.shapes.update({n: self._subject.parameters[n].shape for n in self._plan.keys})
        self._note_rest(trace, {name: one.gradients[name] for name in self._plan.keys})
        for name, seen in one.read.items():
            before = trace.seen.get(name, seen)
            trace.seen[name] = None if seen is None or before is None else before | seen

    def _note_rest(self, trace: Trace, gradients: Mapping[str, Gradient]) -> None:
        for name, gradient in gradients.items():
            before = trace.still.get(name)
            trace.still[name] = gradient.still(before, trace.shapes[name].numel())

    def _doubted(self, trace: Trace, one: Pass) -> frozenset[str]:
        self._note(trace, one)
        return self._suspects(trace)

    def _still_equal(self, group: Sequence[Names], first: Pass) -> bool:
        """Whether two modules of the group got equal gradients: compared one parameter after the other, small first."""
        alike = [group]
        sizes = [self._subject.parameters[name].numel() for name in group[0]]
        for n in sorted(range(len(sizes)), key=sizes.__getitem__):
            alike = [part for whole in alike for part in self._by_gradient(whole, n, first)]
        return any(any(name in self._plan.keys for name in part[0]) for part in alike)

    def _by_gradient(self, group: Sequence[Names], n: int, first: Pass) -> list[list[Names]]:
        """Parts of two and more whose ``n``-th parameters got equal gradients from equal optimizer groups."""
        own = {names[n]: first.gradients[names[n]].residues() for names in group}
        labels = equal_tensors({p: [] if g is None else [g] for p, g in own.items()})
        found: dict[object, list[Names]] = {}
        for names in group:
            p = names[n]
            found.setdefault((self._plan.keys.get(p), labels[p]), []).append(names)
        return [part for part in found.values() if len(part) > 1]

    def _suspects(self, trace: Trace) -> frozenset[str]:
        """Parameters with entries that were read and have not moved yet."""
        return frozenset(n for n in trace.still if trace.frozen(n).numel())

    def _gradient_prints(self, lane: int, one: Pass) -> dict[str, Tensor]:
        tied = {n for n, u in one.units.items() if _tied(u)}
        values = {
            name: one.gradients[name].residues()
            for place in self._places
            if place.name in tied
            for name, _ in place.slices
        }
        return {
            place.name: slices_print(
                self._fields[lane], values, place.slices, place.width, place.span
            )
            for place in self._places
            if place.name in tied and place.slices and place.source != "projection"
        }

    def _finish(self, trace: Trace, colours: Mapping[str, Tensor] | None) -> None:
        """Which parameters are equal tensors at the fixed pattern: by colour, by value where nothing moves."""
        keys: dict[str, list[Tensor]] = {}
        for name, p in self._subject.parameters.items():
            held = [
                self._held[name, lane]
                for lane in range(len(self._fields))
                if (name, lane) in self._held
            ]
            coloured = colours is not None and name in colours and self._plan.update == "any"
            keys[name] = held or [colours[name] if coloured and colours is not None else p.detach()]
        trace.labels = equal_tensors(keys)
        self._set_apart(trace, self._point(self._fields[0], 0, colours))

    def _set_apart(self, trace: Trace, point: Point, straight: bool = False) -> None:
        """Of what never moves, entries that no path leads from on this example count as not read.

        ``straight``: the network is known to choose nothing, so that no ordinary pass has to show the choices.
        """
        frozen = {name: trace.frozen(name) for name in trace.still}
        choices: list[Tensor] = []

        def shaken(look: int) -> Pass:
            return self._shaken(trace, point, look, choices, straight)

        dark = unreached(frozen, shaken, choices)
        for name, left in dark.items():
            shape = trace.shapes[name]
            still = left[mask(trace.frozen(name), shape).view(-1)[left]]
            trace.seen[name] = without(trace.seen[name], still, shape)

    def _shaken(
        self, trace: Trace, point: Point, look: int, choices: list[Tensor], straight: bool
    ) -> Pass:
        """One more pass at the fixed pattern, and a shaken one at a generic point; see :mod:`reached`."""
        f = self._fields[0]
        generator = torch.Generator().manual_seed(stable_key("shaken", f.seed, look) & 0x7FFFFFFF)
        shaken = {n: f.symbols(p.shape, generator) for n, p in self._subject.parameters.items()}
        choices.clear()

        def at(point: Point, shaken: bool) -> Pass:
            return run_pass(
                self._subject,
                self._example,
                self._places,
                point,
                f,
                step=-1,
                sample=look,
                moving=self._moving,
                quiet_noise=self._quiet_noise,
                shaken=shaken,
                choices=choices,
                calls=self._calls(WARM_UP),
            )

        if not straight:
            self._note(trace, at(point, False))
        return at(drawn(shaken), True)


def has_ties(units: Mapping[str, Tensor]) -> bool:
    """Whether any two units of a layer look equal or opposite."""
    return any(_tied(u) for u in units.values())


def _tied(u: Tensor) -> bool:
    return u.numel() > 1 and int(torch.unique(u.abs()).numel()) < u.numel()


def _stack(lanes: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """A lane that skipped a layer (layer drop) tells none of its units apart."""
    any_of = {name: prints for lane in lanes for name, prints in lane.items()}
    names = list(lanes[0]) + [n for n in any_of if n not in lanes[0]]
    return {
        n: torch.stack([lane.get(n, torch.zeros_like(any_of[n])) for lane in lanes]) for n in names
    }


def equal_tensors(keys: Mapping[str, list[Tensor]]) -> dict[str, str]:
    """Name → name of the first entry whose tensors have the same dtypes, shapes and values."""
    buckets: dict[object, list[str]] = {}
    labels: dict[str, str] = {}
    for name, tensors in keys.items():
        heads = tuple((t.dtype, tuple(t.shape), tuple(t.reshape(-1)[:8].tolist())) for t in tensors)
        bucket = buckets.setdefault(heads, [])
        twin = next((m for m in bucket if all(map(torch.equal, keys[m], tensors))), None)
        if twin is None:
            bucket.append(name)
        labels[name] = twin or name
    return labels
