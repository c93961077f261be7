"""``watch``: what the units of a model do while it trains, from inside any training loop.

A row at step ``s`` tells of the weights after ``s`` updates and of the pass that computes the next one: weights are
read when that update begins, activations come from the first pass before it, gradients from what the update used.
Between two rows nothing is hooked but the optimizers' steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from lockstep.errors import UsageError
from lockstep.types import Audit
from lockstep.watch import rows as row_
from lockstep.watch import weights
from lockstep.watch.activity import TAU
from lockstep.watch.budget import SHARE, Budget
from lockstep.watch.capture import Capture, Seen, compiled, withheld
from lockstep.watch.counting import Counter
from lockstep.watch.layers import Watched, blocks, rows, vectors, watched_layers
from lockstep.watch.rows import Row
from lockstep.watch.sinks import Parquet, write
from lockstep.watch.ties import NOISE, Event, Ties

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

FORMAT = 1
EVERY = 100
DRIFT = 1e-6  # of the size of the parameter: a drift worth an event
Groups = Mapping[str, Sequence[Sequence[int]]]


def watch(
    model: Any,
    every: int | None = None,
    *,
    budget: float | Literal["default"] | None = "default",
    sinks: Any = (),
    layers: Sequence[str] | None = None,
    groups: Audit | Groups | None = None,
    probe: Any = None,
    activations: bool = True,
    tau: float = TAU,
    tolerance: float = weights.TOLERANCE,
    samples: int = 256,
    pairs: int = weights.PAIRS,
    scaler: Any = None,
) -> Watch:
    """Watches the units of ``model`` during training: ``with watch(model, every=100) as w:`` around any loop.

    Every ``every`` updates, each layer gets a row (``w.rows``; columns in ``lockstep.watch.rows.COLUMNS``): how many
    units are distinct, the nearest pair, gradient twins, and from the activations of that training pass dormant,
    dead, duplicate and saturated units, effective rank, cloning R². Updates are the steps of the optimizers of the
    model's parameters (what ``GradScaler`` skips does not count); in a loop without optimizer call ``w.step()``
    after each update. ``w.events`` say when tied units come apart, and whether by rounding.

    ``budget`` is the share of the training's time that the watch may take. Where rows would cost more, some are left
    out (``w.skipped``; the rule: ``lockstep/watch/budget.py``). Without ``every`` and ``budget``, rows are due every
    100 updates, within .05. An ``every`` that is given is obeyed, unless a ``budget`` is given too.

    ``sinks``: callables ``sink(values, step=step)`` (``wandb.log``, ``mlflow.log_metrics``), ``Parquet(path)``,
    ``TensorBoard(folder)`` of :mod:`lockstep.watch`; one that fails is warned about and training goes on.
    ``layers`` names the layers to watch (all). ``groups`` are the units whose equality is followed: an
    :class:`Audit`, or layer → tuples of units; by default those that start equal. ``probe``: inputs to take the
    activations from, in evaluation mode, instead of the training pass. ``tau``: of dormancy; ``tolerance``:
    relative distance within which units count as one; ``samples`` (positions) a layer at most; ``pairs``: widest
    layer whose pairs are compared (beyond 512 units in a sketch); ``scaler``: the ``GradScaler``, where the loss is
    scaled.

    Shapes: ``probe`` (N, …), as the model takes it; a row holds numbers only.

    Source: dormant units: Sokar et al., arXiv 2302.12902; cloning R² and the other counters: Joudaki et al.,
    arXiv 2510.00304.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    >>> for p in net.parameters():
    ...     _ = nn.init.constant_(p, 0.5)
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> with watch(net, every=5) as w:
    ...     for _ in range(10):
    ...         optimizer.zero_grad()
    ...         (net(torch.ones(4, 2)) ** 2).mean().backward()
    ...         optimizer.step()
    >>> [(row["step"], row["distinct"]) for row in w["0"]]
    [(0, 1), (5, 1), (10, 1)]

    Raises :class:`~lockstep.errors.UsageError` for what cannot be watched.
    """
    return Watch(
        model,
        every,
        budget=budget,
        sinks=sinks,
        layers=layers,
        groups=groups,
        probe=probe,
        activations=activations,
        tau=tau,
        tolerance=tolerance,
        samples=samples,
        pairs=pairs,
        scaler=scaler,
    )


class Watch:
    """A watch on a model's training; made by :func:`watch`, used as a context manager.

    ``rows`` is the table, one dict a step and layer; ``w["0"]`` are the rows of one layer; ``events`` what happened
    once; ``failures`` what could not be delivered to a sink. ``updates`` counts the updates so far; ``skipped`` are
    the steps whose rows were left out to stay within the budget.

    Source: ``docs/watch.md``.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    >>> with watch(net, every=1) as w:
    ...     net(torch.ones(4, 2)).sum().backward()
    ...     w.step()
    >>> isinstance(w, Watch), w.updates, w["0"][-1]["distinct"]
    (True, 1, 2)
    """

    def __init__(self, model: Any, every: Any = None, **settings: Any) -> None:
        self._budget = _budget(settings["budget"], every)
        every = EVERY if every is None else every
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise UsageError(f"every must be a whole number of updates, at least 1, got {every!r}.")
        self.model, self.every = model, every
        self._set = settings
        given = settings["sinks"]
        self.sinks: list[Any] = list(given) if isinstance(given, (list, tuple)) else [given]
        _refuse_sinks(self.sinks)
        only = None if settings["layers"] is None else tuple(settings["layers"])
        with self._budget.spending():
            self._subject, self._layers = watched_layers(model, only)
        self._tensors = dict(self._subject.parameters)
        self._shape = _shape(self._subject.model)
        self._new = set(self._layers_now)  # whose ties have not been looked for
        self._ties: dict[str, Ties] | None = None
        self._groups = self._given_groups(settings["groups"])
        self.rows: list[Row] = []
        self.events: list[Event] = []
        self.failures: list[str] = []
        self.updates = 0
        self._counter: Counter | None = None
        self._capture = Capture(
            self._layers, self._subject, settings["samples"], spend=self._budget.spend
        )
        self._inputs: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._outer: list[Any] = []
        self._open: dict[str, Row] | None = None  # the rows of the present step, once begun
        self._labels: dict[str, weights.Labels] = {}  # of units that are equal now
        self._start: dict[str, list[Tensor]] = {}
        self._quiet: dict[
            str, list[tuple[Tensor, Tensor]]
        ] = {}  # never above rounding, not always 0
        self._closed_sinks = False
        self._looked_at = 0
        self._read: Any = None  # how the weights stood when row 0 was read at the `with`

    # -- the context ---------------------------------------------------------------------------------

    def __enter__(self) -> Watch:
        if self._counter is not None:
            raise UsageError("this watch is running already: one `with` at a time.")
        self._closed_sinks = False
        self._budget.begin()
        with self._budget.spending():
            names = "_before_update", "_after_update", "_parameters_now"
            self._counter = Counter(self, *names, self._budget)
            self._begin()
            self._read_weights()
            self._read = self._standing()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        counter, self._counter = self._counter, None
        try:
            if counter is not None:
                counter.close()
        finally:
            self._unhook()
        if counter is None:
            return
        with self._budget.spending(), self._guarded("the last row"):
            if self._open is None and not self._measured(self.updates):
                self._open = {}
                self.skipped[:] = [step for step in self.skipped if step != self.updates]
            self._read_weights_if_open(again=False)
            if self._open is not None:
                self._complete(last=True)
        self._close_sinks()
        self._budget.end()

    def step(self) -> None:
        """One update has been made. Needed in loops without a ``torch.optim.Optimizer``; harmless in others."""
        if self._counter is None:
            raise UsageError("w.step() counts inside `with watch(...) as w:` only.")
        if not self._counter.settle():
            with self._budget.spending():
                self._after_update(None)
                self._read_weights_if_open()

    def state_dict(self) -> dict[str, Any]:
        """Everything measured so far and the count of updates, as plain numbers and text (JSON will do)."""
        return {
            "format": FORMAT,
            "updates": self.updates,
            "rows": [dict(row) for row in self.rows],
            "events": [event.as_dict() for event in self.events],
            "groups": {name: [list(c) for c in classes] for name, classes in self._groups.items()}
            if self._groups is not None
            else None,
            "skipped": list(self.skipped),
            "separated": sorted(
                [event.layer, list(event.units)]
                for event in self.events
                if event.kind == "separated"
            ),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another watch of this model stopped; what that one measured comes first in ``rows``."""
        if state.get("format") != FORMAT:
            raise UsageError(
                f"this is not the state of a watch of format {FORMAT}: pass what w.state_dict() returned."
            )
        known = set(self._layers_now)
        # Layers may have been replaced during that run: those of its last rows must be there.
        last = max((row["step"] for row in state["rows"]), default=0)
        strange = sorted({row["layer"] for row in state["rows"] if row["step"] == last} - known)
        if strange:
            raise UsageError(
                f"the state is of another model: it has rows of {', '.join(strange)}, this one has layers "
                f"{', '.join(sorted(known))}."
            )
        self.updates = int(state["updates"])
        self._budget.skipped[:] = state.get("skipped", [])
        self.rows = [dict(row) for row in state["rows"]]
        self.events = [Event.from_dict(event) for event in state["events"]]
        if state["groups"] is not None:
            self._groups = {n: tuple(map(tuple, c)) for n, c in state["groups"].items()}
            gone = {(layer, tuple(units)) for layer, units in state["separated"]}
            self._ties, self._new = self._follow(set(self._layers_now), gone), set()
        if self._counter is not None:
            self._unhook()
            self._open = None
            self._begin()
            self._rest()

    @property
    def skipped(self) -> list[int]:
        """Steps at which a row was due and left out, to stay within the budget."""
        return self._budget.skipped

    # -- reading it ------------------------------------------------------------------------------------

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the watched layers, as an audit has them; of those that are gone, too."""
        return tuple(dict.fromkeys([*self._layers_now, *(row["layer"] for row in self.rows)]))

    @property
    def _layers_now(self) -> tuple[str, ...]:
        """Names of the layers that the model has now."""
        return tuple(layer.name for layer in self._layers)

    def __getitem__(self, layer: str) -> list[Row]:
        """The rows of one layer, in order of steps."""
        if layer not in self.layers:
            raise UsageError(f"there is no layer {layer!r}. Layers: {', '.join(self.layers)}.")
        return [row for row in self.rows if row["layer"] == layer]

    def column(self, layer: str, metric: str) -> dict[int, Any]:
        """Step → value of one metric of one layer; steps at which it was withheld are left out."""
        if metric not in row_.COLUMNS:
            raise UsageError(f"there is no column {metric!r}. Columns: {', '.join(row_.COLUMNS)}.")
        return {row["step"]: row[metric] for row in self[layer] if row[metric] is not None}

    def parquet(self, path: str | Path) -> None:
        """Save the rows as a Parquet file, the events in its metadata."""
        from pathlib import Path

        write(Path(path), self.rows, [event.as_dict() for event in self.events])

    def html(self, path: str | Path | None = None) -> str:
        """The run as one self-contained HTML page with plots; written to ``path`` if given."""
        from lockstep.report.watched import page

        text = page(self)
        if path is not None:
            from pathlib import Path

            Path(path).write_text(text, "utf-8")
        return text

    def __rich__(self) -> RenderableType:
        """The last row of every layer, and the events."""
        from lockstep.report.watched import table

        return table(self)

    def __str__(self) -> str:
        from lockstep.report.watched import plain

        return plain(self)

    # -- one step --------------------------------------------------------------------------------------

    def before_update(self, optimizer: Any) -> None:
        """To be called as the weights are about to change, where no ``torch.optim`` optimizer does it."""
        with self._budget.spending():
            self._before_update(optimizer)

    def after_update(self, optimizer: Any) -> None:
        """To be called when the weights have been changed, where no ``torch.optim`` optimizer did it."""
        with self._budget.spending():
            self._after_update(optimizer)

    def _before_update(self, optimizer: Any) -> None:
        if self._open is not None:
            with self._guarded("the weights"):
                if not self._open or self._read is None or self._read != self._standing():
                    self._read_weights()
                self._read = None
                self._repeat_compiled()
        elif self._ties and self._budget.look_is_due():
            with self._guarded("the weights"):
                self._look_at_ties()

    def _after_update(self, optimizer: Any) -> None:
        """Completes the rows of the step that this update ends, and begins those of the next one."""
        if self._open is not None:
            with self._guarded("a row"):
                self._read_weights_if_open(again=False)
                self._repeat_compiled()
                self._complete()
            self._unhook()
            self._open = None
        self.updates += 1
        if self.updates % self.every == 0 and self._budget.row_is_due(self.updates):
            with self._guarded("the hooks"):
                self._begin()
        elif optimizer is None and self._ties and self._budget.look_is_due():
            with self._guarded("the weights"):
                self._look_at_ties()
        self._rest()

    def _rest(self) -> None:
        """Until the next row, or look, updates need only be counted."""
        if self._counter is None:
            return
        idle = 0 if self._open is not None else self.every - self.updates % self.every - 1
        if self._ties:
            idle = min(idle, self._budget.updates_between_looks())
        self._counter.rest(idle)

    def _begin(self) -> None:
        """Rows are due: hook the pass that comes next."""
        if self._measured(self.updates):
            return
        self._refresh()
        self._open = {}
        self._budget.row_begins()
        self._inputs = None
        if not self._set["activations"] or self._set["probe"] is not None:
            return
        if self._compiled():
            enter = self.model.register_forward_pre_hook(self._keep_inputs, with_kwargs=True)
            self._outer.append(enter)
        else:
            self._capture.install()

    def _unhook(self) -> None:
        self._capture.remove()
        while self._outer:
            self._outer.pop().remove()

    def _measured(self, step: int) -> bool:
        return bool(self.rows) and self.rows[-1]["step"] >= step

    def _read_weights_if_open(self, again: bool = True) -> None:
        if self._open is not None and (again or not self._open):
            self._read_weights()

    def _read_weights(self) -> None:
        """The weights' half of the rows of this step."""
        if self._open is None:
            return
        self._refresh()
        self._open, self._labels = {}, {}
        with torch.no_grad():
            for layer in self._layers:
                row = row_.empty(self.updates, layer.name, layer.place.width)
                self._open[layer.name] = row
                self._drift(layer, row)
                w = None if layer.weightless else rows(layer, self._subject, self._tensors)
                if w is None:
                    row_.withhold(row, "weights", layer.weightless or "they are not at hand")
                    continue
                labels = weights.same(w)
                self._labels[layer.name] = labels
                row_.of_weights(row, w, labels, self._set["tolerance"], self._set["pairs"])
            self._baseline()
            self._look_at_ties()
        if self._set["probe"] is not None and self._set["activations"]:
            self._run_probe()

    def _complete(self, last: bool = False) -> None:
        """The other half, and off to the sinks."""
        assert self._open is not None
        found, self._open = self._open, None
        seen = self._capture.finish()
        with torch.no_grad():
            gradients = self._gradients()
            for layer in self._layers:
                row = found[layer.name]
                if not last:
                    self._of_gradients(layer, row, gradients)
                self._of_activity(layer, row, seen.get(layer.name), last)
        self._capture.seen = {}
        self._labels = {}
        self.rows += found.values()
        self._deliver(list(found.values()))
        self._budget.row_ends()

    def _of_gradients(self, layer: Watched, row: Row, gradients: Mapping[str, Tensor]) -> None:
        if layer.name in self._labels:
            labels = self._labels[layer.name]
            row_.of_gradients(row, labels, rows(layer, self._subject, gradients))
        self._find_quiet(layer, gradients)

    def _of_activity(self, layer: Watched, row: Row, seen: Seen | None, last: bool) -> None:
        if seen is None:
            why = withheld(layer, self._capture)
            if not self._set["activations"]:
                why = "activations=False"
            elif last and layer.name not in self._capture.failed and why[:7] == "no pass":
                why = "no pass followed the last update"
            row_.withhold(row, "activations", why)
            return
        scaler = self._set["scaler"]
        scale = float(scaler.get_scale()) if scaler is not None else None
        groups = (self._groups or {}).get(layer.name, ())
        row_.of_activity(row, seen, groups, self._set["tau"], scale)
        if self._set["probe"] is not None:
            row["withheld"] = row["withheld"].replace(
                "no gradient of the activations reached it", "a probe has no loss"
            )
        self._unequal_bits(layer, row, seen)

    # -- what it needs ----------------------------------------------------------------------------------

    def _parameters_now(self) -> list[Tensor]:
        """The model's parameters; of a Keras model those that it began with."""
        model = self._subject.model
        if hasattr(model, "stateless_call"):
            return list(self._tensors.values())
        return list(model.parameters())

    def _refresh(self) -> None:
        """The model as it is now: a training loop may have put other parameters, or other layers, in their place."""
        model = self._subject.model
        if hasattr(model, "stateless_call"):
            return
        self._tensors = dict(model.named_parameters())
        if self._counter is not None:
            self._counter.know(self._tensors.values())
        shape = _shape(model)
        if shape != self._shape:
            self._know_layers()
            self._shape = shape

    def _know_layers(self) -> None:
        """Layers have been added, taken away, or are of another width: what was known of these is forgotten."""
        before = {layer.name: layer.place.width for layer in self._layers}
        self._subject, layers = watched_layers(self._subject.model)
        only = self._set["layers"]
        self._layers = [layer for layer in layers if only is None or layer.name in only]
        self._capture.know(self._layers, self._subject)
        now = {layer.name: layer.place.width for layer in self._layers}
        changed = {name for name in {*before, *now} if before.get(name) != now.get(name)}
        for known in (self._groups, self._ties, self._start, self._quiet):
            for name in changed & set(known or ()):
                known.pop(name)  # type: ignore[union-attr]
        self._new |= changed & set(now)

    def _standing(self) -> Any:
        """Differs if weights have been changed, put in place of others, or written to behind autograd's back."""
        model = self._subject.model
        named = (
            self._tensors if hasattr(model, "stateless_call") else dict(model.named_parameters())
        )
        return [
            (
                name,
                id(t),
                t._version,
                float(torch.linalg.vector_norm(t.detach(), dtype=torch.float64)),
            )
            for name, t in named.items()
            if t.is_floating_point()
        ]

    def _gradients(self) -> dict[str, Tensor]:
        found = {name: p.grad for name, p in self._tensors.items() if p.grad is not None}
        return {name: g.to_dense() if g.is_sparse else g for name, g in found.items()}

    def _compiled(self) -> bool:
        return self.model is not self._subject.model and compiled(self.model)

    def _keep_inputs(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self._inputs is None and torch.is_grad_enabled():
            self._inputs = (args, kwargs)

    def _repeat_compiled(self) -> None:
        """A compiled model runs no hooks inside: repeat the pass with the eager module it was made of."""
        if self._inputs is None or self._capture.seen:
            return
        (args, kwargs), self._inputs = self._inputs, None
        self._eagerly(lambda: self._subject.model(*args, **kwargs))

    def _run_probe(self) -> None:
        model = self._subject.model
        inputs = self._set["probe"]
        if hasattr(model, "stateless_call"):
            from lockstep.integrations.keras import keras_subject

            subject = keras_subject(model, training=False)
            self._capture.subject = subject
            self._eagerly(lambda: subject.call(subject.prepare(inputs)))
        else:
            self._eagerly(lambda: self._subject.call(inputs), evaluate=True)

    def _eagerly(self, run: Callable[[], Any], evaluate: bool = False) -> None:
        """One more pass, seen by the hooks; buffers, modes and random states as they were afterwards."""
        subject = self._capture.subject
        devices = sorted({t.device.index or 0 for t in self._tensors.values() if t.is_cuda})
        with (
            torch.random.fork_rng(devices=devices),
            torch.inference_mode(False),
            torch.enable_grad(),
            subject.bind({name: b.clone() for name, b in subject.buffers.items()}),
        ):
            if evaluate:
                subject.model.eval()
            self._capture.install()
            try:
                run()
            finally:
                self._capture.remove()
        for one in self._capture.seen.values():
            one.gradient = None

    # -- ties, bits and drift ----------------------------------------------------------------------------

    def _given_groups(self, groups: Audit | Groups | None) -> dict[str, Any] | None:
        if groups is None:
            return None
        if isinstance(groups, Audit):
            found: dict[str, Any] = {name: layer.classes for name, layer in groups.layers.items()}
            self._certified = not groups.assumptions.noise
        else:
            found, self._certified = dict(groups), False
        widths = {layer.name: layer.place.width for layer in self._layers}
        if not isinstance(groups, Audit):
            unknown = sorted(set(found) - set(widths))
            wrong = [
                f"{name} has units 0 to {widths[name] - 1}, not {unit}"
                for name, classes in found.items()
                if name in widths
                for units in classes
                for unit in units
                if not 0 <= unit < widths[name]
            ]
            problems = [f"there is no layer {name!r}" for name in unknown] + wrong
            if problems:
                raise UsageError(f"groups do not fit the model: {'; '.join(problems[:5])}.")
        return {
            name: tuple(tuple(c) for c in classes if len(c) > 1)
            for name, classes in found.items()
            if name in widths
        }

    _certified = False

    def _baseline(self) -> None:
        """At the first look at a layer: which units are tied, and where elementwise entries stand."""
        if self._groups is None:
            self._groups = {}
        if self._set["groups"] is None:
            for name in self._new & set(self._labels):
                tied = tuple(c for c in weights.classes(self._labels[name]) if len(c) > 1)
                if tied:
                    self._groups[name] = tied
        self._ties = (self._ties or {}) | self._follow(self._new)
        self._new = set()
        for layer in self._layers:
            if layer.name not in self._start:
                now = vectors(layer, self._tensors)
                self._start[layer.name] = [v.detach().clone() for v in now]

    def _follow(
        self, names: set[str], gone: Collection[tuple[str, tuple[int, ...]]] = ()
    ) -> dict[str, Ties]:
        """Groups of these layers whose weights are bitwise equal now and that have not come apart.

        Bare vectors (the logits of a mixture) are followed too: rounding may begin there.
        """
        found = {}
        for layer in self._layers:
            name, classes = layer.name, (self._groups or {}).get(layer.name, ())
            if name not in names or not (classes or layer.place.source == "parameter"):
                continue
            w = rows(layer, self._subject, self._tensors)
            if w is None:
                continue
            if not classes:
                classes = weights.classes(weights.same(w))
            equal = [c for c in classes if bool((w[list(c)] == w[c[0]]).all())]
            left = [c for c in equal if len(c) > 1 and (name, tuple(c)) not in gone]
            if left:
                found[name] = Ties(name, tuple(left), self._certified)
        return found

    def _look_at_ties(self) -> None:
        """One comparison for each layer that has tied units; a closer look where they are equal no more."""
        if not self._ties:
            return
        with self._budget.looking(self.updates), torch.no_grad():
            self._compare_tied()
        self._looked_at = self.updates

    def _compare_tied(self) -> None:
        by_name = {layer.name: layer for layer in self._layers}
        assert self._ties is not None
        for name, ties in list(self._ties.items()):
            layer = by_name[name]
            parts = blocks(layer, self._subject, self._tensors)
            if not parts or ties.together(parts):
                continue
            gradients = self._gradients()
            own = rows(layer, self._subject, gradients)
            largest = self._largest(layer, gradients)
            steps = self._looked_at, self.updates
            found = ties.separated(steps, torch.cat(parts, 1), own, largest, self.events)
            # Gains of norms are equal at first by convention: that they differ is no event.
            self.events += [e for e in found if not layer.weightless or e.cause == "rounding"]
            if not ties.open:
                del self._ties[name]

    def _largest(self, layer: Watched, gradients: Mapping[str, Tensor]) -> float:
        """The largest gradient in the layer's module."""
        prefix = f"{layer.place.module}." if layer.place.module else ""
        own = {name for name, _ in layer.place.slices}
        near = [g for n, g in gradients.items() if n in own or n.rpartition(".")[0] + "." == prefix]
        return max((float(g.abs().max()) for g in near if g.numel()), default=0.0)

    def _unequal_bits(self, layer: Watched, row: Row, seen: Seen) -> None:
        """Equal weights, unequal activations: the machine's matrix product rounds units differently."""
        ties = (self._ties or {}).get(layer.name)
        told = any(e.layer == layer.name and e.kind == "bits" for e in self.events)
        if ties is None or told or not row["spread"]:
            return
        from lockstep.watch.activity import spread

        h = seen.z
        gap, size = spread(h, ties.open), float(h.abs().max())
        unit = torch.finfo(h.dtype).eps
        if 0 < gap <= NOISE * unit * size:
            message = (
                f"units with equal weights give activations that differ by {gap:.1e}: the kernels of this "
                f"machine round them differently ({len(h)} samples, {row['width']} units)"
            )
            units = ties.open[0]
            self.events.append(Event(self.updates, layer.name, "bits", units, "rounding", message))

    def _drift(self, layer: Watched, row: Row) -> None:
        """How far biases and gains have moved whose gradients were nothing but rounding at every look."""
        start, now = self._start.get(layer.name), vectors(layer, self._tensors)
        quiet = [small & some for small, some in self._quiet.get(layer.name, [])]
        moved = [
            float((n - s).abs()[q].max())
            for n, s, q in zip(now, start or [], quiet, strict=False)
            if q.any()
        ]
        if not moved:
            return
        row["drift"] = max(moved)
        size = max(float(self._tensors[name].abs().max()) for name, _ in layer.place.slices)
        told = any(e.layer == layer.name and e.kind == "drift" for e in self.events)
        if row["drift"] > DRIFT * size and not told:
            units = tuple(quiet[-1].nonzero().flatten().tolist())
            message = (
                f"biases or gains have moved by {row['drift']:.1e}, although their gradients were never more than "
                "rounding: the optimizer amplifies it (or decays them)"
            )
            self.events.append(Event(self.updates, layer.name, "drift", units, "rounding", message))

    def _find_quiet(self, layer: Watched, gradients: Mapping[str, Tensor]) -> None:
        """Which entries' gradients are nothing but rounding beside the others of their module."""
        own = vectors(layer, gradients)
        if not own or own[0].dtype not in (torch.float32, torch.float64):
            self._quiet.pop(layer.name, None)
            return
        level = NOISE * torch.finfo(own[0].dtype).eps * self._largest(layer, gradients)
        before = self._quiet.get(layer.name) or [(g == g, g != g) for g in own]
        self._quiet[layer.name] = [
            (small & (g.abs() <= level), some | (g != 0))
            for (small, some), g in zip(before, own, strict=True)
        ]

    # -- sinks ---------------------------------------------------------------------------------------------

    def _deliver(self, new: list[Row]) -> None:
        values = {name: v for row in new for name, v in row_.numbers(row).items()}
        step = new[0]["step"] if new else self.updates
        for sink in self.sinks:
            with self._reported(sink, f"the rows of step {step}"):
                if isinstance(sink, Parquet):
                    sink.take(self.rows, [event.as_dict() for event in self.events])
                else:
                    sink(values, step=step)

    def _close_sinks(self) -> None:
        if self._closed_sinks:
            return
        self._closed_sinks = True
        for sink in self.sinks:
            if callable(getattr(sink, "close", None)):
                with self._reported(sink, "everything, at the end"):
                    if isinstance(sink, Parquet):
                        sink.take(self.rows, [event.as_dict() for event in self.events])
                    sink.close()

    @contextmanager
    def _reported(self, sink: Any, what: str) -> Iterator[None]:
        """A sink that fails is told of once, and asked again at the next row: training goes on."""
        name = getattr(sink, "__name__", type(sink).__name__)
        try:
            yield
        except Exception as error:  # noqa: BLE001  whatever a logger does, the user's training is not its victim
            message = f"{name} did not take {what}: {type(error).__name__}: {error}"
            first = not any(failure.startswith(f"{name} ") for failure in self.failures)
            self.failures.append(message)
            if first:
                warnings.warn(
                    f"lockstep.watch: {message}. Training goes on and nothing is lost: the rows are in w.rows, "
                    "w.parquet(path) saves them, w.failures lists what was not delivered.",
                    stacklevel=2,
                )

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """What goes wrong in here is told of and leaves the user's loop alone."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  a watch must not end a training
            message = f"{what} could not be measured at step {self.updates}: {type(error).__name__}: {error}"
            first = not self.failures
            self.failures.append(message)
            self._unhook()
            self._open = None
            if first:
                warnings.warn(f"lockstep.watch: {message}. Training goes on.", stacklevel=2)


def _shape(model: nn.Module) -> Any:
    """Equal for a model with the same modules in the same places, and parameters of the same shapes."""
    parameters = [(name, tuple(p.shape)) for name, p in model.named_parameters()]
    return parameters, [(path, id(module)) for path, module in model.named_modules()]


def _budget(budget: Any, every: Any) -> Budget:
    """``"default"``: rows that were asked for are taken; where they are far apart, not all looks at ties between."""
    if budget == "default":
        close = isinstance(every, int) and every < EVERY
        return Budget(None if close else SHARE, rows=every is None)
    if budget is None:
        return Budget(None)
    if isinstance(budget, bool) or not isinstance(budget, (int, float)) or not 0 < budget < 1:
        raise UsageError(
            f"budget is a share of the training's time, between 0 and 1, or None to take every row, got {budget!r}."
        )
    return Budget(float(budget))


def _refuse_sinks(sinks: Sequence[Any]) -> None:
    wrong = [s for s in sinks if not callable(s) and not isinstance(s, Parquet)]
    if wrong:
        raise UsageError(
            f"a sink is a callable sink(values, step=step), Parquet(path) or TensorBoard(folder), got "
            f"{', '.join(repr(s) for s in wrong)}. For a file: sinks=[Parquet({str(wrong[0])!r})]."
        )
