"""One pass: the user's forward and PyTorch's backward over one field, at one symbolic step."""

from __future__ import annotations

import dataclasses
import gc
import random
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import LockstepError, MissingRuleError, UndecidedError, UsageError
from ..field.arithmetic import STORE, Field
from ..field.dispatch import LIBRARIES, engine, paused, read_mask
from ..field.mixing import stable_key
from ..field.residue import Promised, Residue, known, promised, symbolic
from .gradients import Gradient
from .memory import watched
from .places import Place
from .recorder import Recorder
from .records import Pass
from .subject import Subject

Loss = Callable[..., Any]
COUNTS = "forward() counts in {}: what it does only after many calls is not seen"
Point = Mapping[str, Callable[[], Tensor]]
"""Parameter → what gives its residues; it is called once somebody reads them, and again."""
CACHES = ("past_key_values", "cache_params", "mems", "past_buckets_states")
"""Outputs that only speed up generation: no loss is taken of them."""


@dataclasses.dataclass(frozen=True)
class Example:
    """What the model is run on: ``inputs``, ``targets`` and ``loss`` as given, ``data`` ``"any"`` or ``"given"``."""

    inputs: Any
    targets: Any = None
    loss: Loss | None = None
    data: str = "any"


def run_pass(
    subject: Subject,
    example: Example,
    places: list[Place],
    point: Point,
    f: Field,
    *,
    step: int,
    moving: frozenset[str],
    sample: int = 0,
    quiet_noise: bool = False,
    details: bool = False,
    shaken: bool = False,
    choices: list[Tensor] | None = None,
    doubted: Callable[[Pass], frozenset[str]] | None = None,
    calls: int = 0,
) -> Pass:
    """Forward and backward at a ``point``; see :class:`Pass` for what comes back.

    Of the parameters that ``doubted(pass)`` names, ``Pass.again`` then holds the gradients under other cotangents,
    where that is possible without another forward: zeros by chance are cleared up so.

    ``calls`` on other data lead up to it, for models that keep a state (:mod:`memory`).
    ``step`` and ``sample`` choose the symbols of data, cotangents and noise. A ``shaken`` pass makes the same
    ``choices`` (by maxima, top k) as the one that wrote them.
    """
    _seed(stable_key("noise", f.p, f.seed, step, sample))
    generator = torch.Generator().manual_seed(
        stable_key("data", f.p, f.seed, step, sample) & 0x7FFFFFFF
    )
    leaves: dict[str, Residue] = {}
    for name, residues in point.items():
        original = subject.parameters[name]
        cell = Promised(residues, parameter=name)
        leaves[name] = promised(original.shape, cell, original.dtype)
        leaves[name].requires_grad_(original.requires_grad)
        # The user's own masks and scales of gradients; where there is a path they do not take it away.
        hooks = (original._backward_hooks or {}) if original.requires_grad and not shaken else {}
        for hook in hooks.values():
            leaves[name].register_hook(hook)
    tensors: dict[str, Tensor] = dict(leaves)
    tensors |= {name: _constant(buffer) for name, buffer in subject.buffers.items()}
    earlier = [symbols(example.inputs, f, generator, example.data) for _ in range(calls)]
    inputs = symbols(example.inputs, f, generator, example.data)
    targets = symbols(example.targets, f, generator, example.data)
    record = Pass()
    with (
        _uncollected(),
        _explained(subject, example),
        engine(f, quiet_noise=quiet_noise, shaken=shaken) as guest,
    ):
        guest.choices = choices
        guest.selective = bool(choices) or any(
            not t.is_floating_point() for _, t in named_tensors(example.inputs)
        )
        guest.libraries += (subject.library,) if subject.library else ()
        recorder = Recorder(guest, subject.modules, places, keep_products=details)
        with subject.bind(tensors):
            changes = watched(subject, tensors)
            with torch.no_grad():
                for others in earlier:
                    subject.call(others)
            with recorder.watching():
                outputs = subject.call(inputs)
            record.kept = {} if calls else changes()
            heads = _outputs(outputs, targets, example) + _residues(subject.added())
            if point and not heads and next(float_tensors(outputs), None) is None:
                raise UsageError(
                    f"forward() returned {_said(outputs)}, no float tensor: the audit asks what any loss of the "
                    "outputs can teach the weights. Return the logits (not their argmax), or the loss"
                )
            guest.where, guest.backward = (lambda: "backward"), True
            record.degree = max((h.degree for h in heads), default=1)
            backward = _Backward(heads, leaves, f, generator, example.loss is not None)
            gradients = backward.of(moving, keep=doubted is not None)
            record.noisy = tuple(guest.noisy)
            counters = [name for name, number in record.kept.items() if number]
            record.assumed = (*guest.assumed, *map(COUNTS.format, counters))
            with paused():
                for (name, leaf), g in zip(leaves.items(), gradients, strict=True):
                    record.gradients[name] = gradient = Gradient(g, f)
                    record.read[name] = _read(leaf)
                    record.degree = max(record.degree, gradient.degree)
                names = doubted(record) if doubted is not None else None
            if names and backward.repeatable:
                second = zip(leaves, backward.of(names), strict=True)
                record.again = {name: Gradient(g, f) for name, g in second if name in names}
    record.units = recorder.finish({name: leaf.stored for name, leaf in leaves.items()})
    record.products, record.unseen = recorder.products or [], frozenset(recorder.unseen)
    return record


def drawn(residues: Mapping[str, Tensor]) -> Point:
    """The point of residues that are there already."""
    return {name: partial(_same, r) for name, r in residues.items()}


def _same(residues: Tensor) -> Tensor:
    return residues


def _constant(buffer: Tensor) -> Tensor:
    """A copy of a buffer, for one run."""
    if not (buffer.is_floating_point() or buffer.is_complex()):
        return buffer.clone()
    copy = known(buffer.detach().clone())
    copy.cell.fixed = True
    return copy


def _seed(key: int) -> None:
    """All generators that ``forward`` may draw from; :func:`quarters` restores them."""
    torch.manual_seed(key & 0x7FFFFFFF)
    random.seed(key)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(key & 0x7FFFFFFF)


def _read(leaf: Residue) -> Tensor | None:
    """Which entries were read: None for all of them."""
    if leaf.cell.all_read:
        return None
    return torch.as_strided(read_mask(leaf.cell), leaf.shape, leaf.stride(), leaf.storage_offset())


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection: ten thousand short-lived containers would set off a dozen, all in vain."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def _explained(subject: Subject, example: Example) -> Iterator[None]:
    """An error amid a run: whose is it? The model (and the loss) are rehearsed with ordinary tensors."""
    try:
        yield
    except Exception as error:
        ours = isinstance(error, LockstepError)
        if ours and (error.__cause__ is None or isinstance(error, MissingRuleError)):
            raise
        tensors = [*named_tensors(example.inputs), *named_tensors(example.targets, "target")]
        shapes = ", ".join(f"{n}: {tuple(t.shape)} {t.dtype}" for n, t in tensors) or "no tensors"
        with paused(), torch.random.fork_rng(devices=[]):
            _rehearse(subject, example, shapes)
        if ours:
            raise
        text = f"{type(error).__name__}: {error}"
        raise UndecidedError(
            f"the model runs on the example ({shapes}) with ordinary tensors, but not over the finite field: {text}\n"
            f"raised at {_innermost(error)}. If that is a line of Lockstep it is a fault of an op rule: please report "
            "it with the model's code"
        ) from error


def _rehearse(subject: Subject, example: Example, shapes: str) -> None:
    """Raise what forward(), the loss or the backward pass raise on the example itself."""
    what = "the model's forward()"
    buffers = {n: b.clone() for n, b in subject.buffers.items()}
    try:
        with subject.bind({**subject.parameters, **buffers}):
            outputs = subject.call(example.inputs)
            what = "the loss"
            if example.loss is not None:
                pair = (outputs,) if example.targets is None else (outputs, example.targets)
                outputs = example.loss(*pair)
            what = "the backward pass"
            live = [t for t in float_tensors(outputs) if t.requires_grad]
            wanted = [p for p in subject.parameters.values() if p.requires_grad]
            if live and wanted:
                torch.autograd.grad(
                    live, wanted, [torch.ones_like(t) for t in live], allow_unused=True
                )
    except Exception as error:
        raise UsageError(
            f"{what} failed on the example ({shapes}): {type(error).__name__}: {error}\nraised at "
            f"{_innermost(error, LIBRARIES)}. Check the shapes, dtypes and ranges of inputs and "
            "targets: the same call must work outside Lockstep"
        ) from error


def _innermost(error: BaseException, libraries: tuple[str, ...] = LIBRARIES[:1]) -> str:
    """``file:line`` of the innermost frame outside ``libraries`` (PyTorch), or of the innermost one."""
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((f for f in reversed(frames) if not f.filename.startswith(libraries)), frames[-1])
    return f"{frame.filename}:{frame.lineno}"


def _outputs(outputs: Any, targets: Any, example: Example) -> list[Residue]:
    """The tensors that get a cotangent: all float outputs, or the loss."""
    loss = example.loss
    if loss is not None:
        value = loss(outputs) if targets is None else loss(outputs, targets)
        if not isinstance(value, Residue):
            raise UsageError(
                f"the loss returned {type(value).__name__}, not a tensor computed from the output: it must be "
                "loss(output, target), or loss(output) where no targets are given"
            )
        if value.numel() != 1:
            raise UsageError(
                f"the loss has shape {tuple(value.shape)}: it must be a single number (use mean or sum)"
            )
        return [value]
    return _residues(outputs)


def _said(outputs: Any) -> str:
    if isinstance(outputs, Tensor):
        return f"a tensor of {str(outputs.dtype).removeprefix('torch.')}"
    return "None" if outputs is None else f"a {type(outputs).__name__} without one"


def _residues(value: Any) -> list[Residue]:
    return [t for t in float_tensors(value) if isinstance(t, Residue)]


class _Backward:
    """PyTorch's backward pass from ``heads``: from fresh cotangents each time, or from a loss."""

    def __init__(
        self,
        heads: list[Residue],
        leaves: Mapping[str, Residue],
        f: Field,
        generator: torch.Generator,
        has_loss: bool,
    ) -> None:
        self._live = [h for h in heads if h.requires_grad]
        self._leaves, self._field, self._generator = leaves, f, generator
        self._has_loss = has_loss
        self._reentrant = _reentrant(self._live)

    @property
    def repeatable(self) -> bool:
        """Whether another call tells anything new: from other cotangents, through a graph that can be kept."""
        return not self._has_loss and not self._reentrant

    def of(self, names: frozenset[str], keep: bool = False) -> list[Any]:
        """The gradient of each leaf in turn, None for those not in ``names``; ``keep`` the graph for another call."""
        wanted = [n for n, leaf in self._leaves.items() if leaf.requires_grad and n in names]
        if not self._live or not wanted:
            return [None] * len(self._leaves)
        with paused():
            cotangents = [symbolic(self._cotangent(h), h.dtype) for h in self._live]
        ends = [_End.apply(*pair) for pair in zip(self._live, cotangents, strict=True)]
        if self._reentrant:
            torch.autograd.backward(ends)
            return [leaf.grad if n in wanted else None for n, leaf in self._leaves.items()]
        found = torch.autograd.grad(
            ends,
            [self._leaves[n] for n in wanted],
            allow_unused=True,
            retain_graph=keep and self.repeatable,
        )
        by_name = dict(zip(wanted, found, strict=True))
        return [by_name.get(n) for n in self._leaves]

    def _cotangent(self, head: Residue) -> Tensor:
        if self._has_loss:
            return torch.ones(head.shape, dtype=STORE)
        return self._field.symbols(head.shape, self._generator)


class _End(torch.autograd.Function):
    """A number whose gradient with respect to ``head`` is ``cotangent``.

    Given to autograd beside the heads, cotangents make it import PyTorch's symbolic shapes: a second of SymPy.
    """

    @staticmethod
    def forward(ctx: Any, head: Tensor, cotangent: Tensor) -> Tensor:
        ctx.cotangent = cotangent
        return torch.zeros(())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None]:
        return ctx.cotangent, None


def _reentrant(heads: list[Residue]) -> bool:
    """Whether a user's ``autograd.Function`` is part of the graph.

    It may run a backward pass of its own inside (checkpoints with ``use_reentrant=True``, reversible layers), which
    adds to ``.grad`` and is not seen by ``autograd.grad``.
    """
    waiting: list[Any] = [h.grad_fn for h in heads]
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            return True
        seen.add(node)
        waiting.extend(after for after, _ in node.next_functions)
    return False


# -- walking through inputs and outputs ---------------------------------------------------------------


def symbols(value: Any, f: Field, generator: torch.Generator, data: str) -> Any:
    """Inputs as the engine sees them: float tensors become symbols, everything else stays."""
    if isinstance(value, Tensor):
        if not (value.is_floating_point() or value.is_complex()):
            return value.clone()
        if data == "given":
            return known(value.detach().clone())
        pairs = (2,) if value.is_complex() else ()
        drawn = f.symbols((*value.shape, *pairs), generator)
        symbol = symbolic(torch.view_as_complex(drawn) if pairs else drawn, value.dtype)
        symbol.cell.data = True
        return symbol
    if isinstance(value, Mapping):
        items = {k: symbols(v, f, generator, data) for k, v in value.items()}
        return items if type(value) is dict else _same_mapping(value, items)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(symbols(v, f, generator, data) for v in value))
    if isinstance(value, (tuple, list)):
        return type(value)(symbols(v, f, generator, data) for v in value)
    return value


def _same_mapping(value: Mapping[str, Any], items: dict[str, Any]) -> Any:
    try:
        return type(value)(items)  # type: ignore[call-arg]
    except TypeError:
        return items


def float_tensors(value: Any) -> Iterator[Tensor]:
    """Float tensors in tensors, tuples, lists, dicts and dataclasses (``ModelOutput``), caches left out."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
        elif value.is_complex():
            yield torch.view_as_real(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key not in CACHES:
                yield from float_tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from float_tensors(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for fld in dataclasses.fields(value):
            if fld.name not in CACHES:
                yield from float_tensors(getattr(value, fld.name))


def named_tensors(value: Any, name: str = "input") -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of every tensor in the example."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from named_tensors(item, str(key))
    elif isinstance(value, (tuple, list)):
        for n, item in enumerate(value):
            yield from named_tensors(item, f"{name}{n}")
