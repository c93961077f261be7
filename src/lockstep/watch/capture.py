"""Activations and gradients of one training pass, caught by hooks that exist for that pass only.

A unit's activation is what its nonlinearity gives, yet ``nn.Linear`` gives what goes in. So the function is looked
for: a module without parameters that takes the layer's output (``nn.ReLU``), or, where the code calls ``F.relu``,
the node that autograd put behind the layer, found by walking back from what the next layer takes in. A norm in
between is stepped over: a channel is judged by what follows its BatchNorm. If nothing is found, the layer's own
output is taken. ``Seen.function`` says which.

Hooks copy at most ``samples`` evenly spread rows at once, so that in-place functions cannot change them and no
graph is kept alive. They do nothing while ``torch.compile`` traces.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from lockstep.symbolic.places import Place
from lockstep.symbolic.subject import Subject
from lockstep.watch.layers import Watched

from ..symbolic.gradients import unravelled

REACH = 24  # autograd nodes looked at behind one tensor
NOT_A_FUNCTION = ("Dropout", "Identity", "Pool", "Flatten", "Pad", "Upsample")

COMPILED = "it ran inside torch.compile, where hooks do not run; give probe=, a batch of inputs"
NO_PASS = "no pass with gradients called it since the last update (hooks do not run inside torch.compile); give probe="
HIDDEN = (
    "torch's fused kernel does not show it (inner recurrent layer, or projection of an attention)"
)
HALF = "the loss may be scaled (autocast to float16): give scaler=, the GradScaler in use"

Function = Callable[[Tensor], Tensor]


@dataclass
class Seen:
    """What one pass showed of a layer: ``h`` (S, U) after its ``function``, ``gradient`` (S, U) of the loss by z."""

    z: Tensor
    node: Any = None
    index: tuple[Tensor, ...] = ()
    h: Tensor | None = None
    function: str = ""
    gradient: Tensor | None = None
    scaled: bool = False
    through: str = ""


@dataclass
class Capture:
    """Hooks on the modules of ``layers``. ``seen``: layer → what was seen; ``failed``: layer → why not."""

    layers: list[Watched]
    subject: Subject
    samples: int
    spend: Callable[[float], None] = lambda seconds: None
    seen: dict[str, Seen] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    _handles: list[Any] = field(default_factory=list)
    _nodes: dict[Any, str] = field(default_factory=dict)
    _indices: dict[tuple[Any, ...], tuple[Tensor, ...]] = field(default_factory=dict)

    def know(self, layers: list[Watched], subject: Subject) -> None:
        """The model has other layers by now."""
        self.layers, self.subject, self._indices = layers, subject, {}

    def install(self) -> None:
        """Put the hooks on, with nothing seen yet."""
        self.remove()
        self.seen, self.failed, self._nodes = {}, {}, {}
        own: dict[str, list[Place]] = {}
        for layer in self.layers:
            if layer.place.source in ("output", "input", "hidden"):
                own.setdefault(layer.place.module, []).append(layer.place)
        inside: tuple[str, ...] = ()
        for path, module in self.subject.modules.items():
            here = tuple(own.get(path, ()))
            if compiled(module) or path.startswith(inside):
                inside += (f"{path}." if path else "",)
                self.failed |= {place.name: COMPILED for place in here}
                continue
            if not here and (any(True for _ in module.children()) or _has_tensors(module)):
                continue
            hook = partial(self._leave, path, here) if here else self._function
            self._handles.append(module.register_forward_hook(hook))
            if here:
                enter = partial(self._enter, here)
                self._handles.append(module.register_forward_pre_hook(enter))

    def remove(self) -> None:
        """Take every hook off; harmless if there are none."""
        while self._handles:
            self._handles.pop().remove()

    def finish(self) -> dict[str, Seen]:
        """What was seen; channels in front of a norm get the norm's activations."""
        for one in self.seen.values():
            behind = self.seen.get(one.through)
            if one.h is None and behind is not None and behind.h is not None:
                one.h, one.function = behind.h, f"{one.through}, {behind.function}"
        for one in self.seen.values():
            one.node = None
            if one.h is None:
                one.h = one.z
        self._nodes = {}
        return self.seen

    # -- hooks: they never raise into the user's pass ----------------------------------------------

    def _enter(self, here: tuple[Place, ...], module: nn.Module, args: Any) -> None:
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return
        with self._guarded(here):
            first = args[0] if args else None
            if not isinstance(first, Tensor):
                return
            self._behind(first)
            for place in here:
                if place.source == "input":
                    self._see(place, first)

    def _leave(
        self, path: str, here: tuple[Place, ...], module: nn.Module, _: Any, output: Any
    ) -> None:
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return
        with self._guarded(here):
            first = output[0] if isinstance(output, (tuple, list)) and output else output
            if isinstance(first, PackedSequence):
                first = first.data
            if not isinstance(first, Tensor) or not first.is_floating_point():
                return
            if isinstance(module, nn.RNNBase):
                self._recurrent(path, module, here, first)
                return
            for place in here:
                if place.source == "output":
                    self._see(place, first)
                    self._norm(place, module, first)

    def _function(self, module: nn.Module, _: Any, output: Any) -> None:
        """A module without parameters: perhaps the activation function of the layer before."""
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return
        kind = type(module).__name__
        if not isinstance(output, Tensor) or output.grad_fn is None:
            return
        if any(word in kind for word in NOT_A_FUNCTION):
            return
        with self._guarded(()):
            for name, _consumer in self._found(output.grad_fn):
                one = self.seen[name]
                if one.h is None and output.shape == one.node[1]:
                    one.h, one.function = _sample(output, one.node[2], one.index), kind
                    self._nodes[output.grad_fn] = name

    # -- what they do ------------------------------------------------------------------------------

    @contextmanager
    def _guarded(self, here: tuple[Place, ...]) -> Iterator[None]:
        start = time.perf_counter()
        try:
            with torch.no_grad():
                yield
        except Exception as error:  # noqa: BLE001  the user's training goes on; the row says why
            for place in here:
                self.failed[place.name] = f"it could not be read: {type(error).__name__}: {error}"
        finally:
            self.spend(time.perf_counter() - start)

    def _see(self, place: Place, x: Tensor) -> None:
        if place.name in self.seen:
            return  # the first call of a pass stands for it
        shape, axis, node = x.shape, place.axis, x.grad_fn
        if place.span > 1 and shape[axis] != place.width:
            x = x.flatten(axis, axis + place.span - 1)
        if not -x.dim() <= axis < x.dim() or x.shape[axis] != place.width:
            self.failed[place.name] = (
                f"its output of shape {tuple(shape)} has no axis of {place.width} units"
            )
            return
        axis = axis % x.dim()
        index = self._index(tuple(x.shape), axis, x.device)
        one = Seen(_sample(x, axis, index), (node, shape, axis), index)
        self.seen[place.name] = one
        if node is not None:
            self._nodes[node] = place.name
            one.scaled = x.dtype == torch.float16
            x.register_hook(partial(self._gradient, one, axis))

    def _gradient(self, one: Seen, axis: int, gradient: Tensor) -> None:
        with self._guarded(()):
            if one.gradient is None:
                one.gradient = _sample(gradient, axis, one.index)

    def _recurrent(
        self, path: str, module: nn.RNNBase, here: tuple[Place, ...], sequence: Tensor
    ) -> None:
        """The top layer's hidden states, which are the output; of the others nothing is shown."""
        top, size = module.num_layers - 1, module.hidden_size
        for place in here:
            layer, _, reverse = place.part.removeprefix("l").partition("_")
            if int(layer) == top and not module.proj_size and place.name not in self.seen:
                part = sequence[..., size:] if reverse else sequence[..., :size]
                part = part.reshape(-1, size)
                index = self._index(tuple(part.shape), 1, part.device)
                values = _sample(part, 1, index)
                self.seen[place.name] = Seen(values, h=values, function="the recurrence's own")

    def _norm(self, place: Place, module: nn.Module, output: Tensor) -> None:
        """A norm's channels are those of the layer in front of it."""
        if not isinstance(module, _NORMS) or output.grad_fn is None:
            return
        for child, _ in output.grad_fn.next_functions:
            name = self._nodes.get(child)
            if name and name != place.name and self.seen[name].z.shape[1] == place.width:
                self.seen[name].through = place.name

    def _behind(self, x: Tensor) -> None:
        """Functions that were called without a module, between a layer and the one that takes ``x`` in."""
        if x.grad_fn is None:
            return
        for name, consumer in self._found(x.grad_fn):
            one = self.seen[name]
            known = None if consumer is None else _known(consumer)
            if one.h is None and known is not None:
                one.h, one.function = known[1](one.z), known[0]

    def _found(self, start: Any) -> Iterator[tuple[str, Any]]:
        """Layers whose output lies behind ``start``, each with the node that takes it in."""
        queue: list[tuple[Any, Any]] = [(start, None)]
        seen: set[Any] = set()
        for node, consumer in queue:
            if node in self._nodes:
                yield self._nodes[node], consumer
                continue
            if node in seen or len(seen) >= REACH:
                continue
            seen.add(node)
            queue += [(child, node) for child, _ in node.next_functions if child is not None]

    def _index(self, shape: tuple[int, ...], axis: int, device: torch.device) -> tuple[Tensor, ...]:
        """Evenly spread positions of all axes but the units'."""
        key = (shape, axis, device)
        if key not in self._indices:
            others = [size for n, size in enumerate(shape) if n != axis]
            total = 1
            for size in others:
                total *= size
            count = min(total, self.samples)
            flat = torch.arange(count, device=device) * total // max(count, 1)
            self._indices[key] = unravelled(flat, others)
        return self._indices[key]


def compiled(module: nn.Module) -> bool:
    """Wrapped by ``torch.compile``, or compiled in place."""
    wrapped = isinstance(getattr(module, "_orig_mod", None), nn.Module)
    return wrapped or getattr(module, "_compiled_call_impl", None) is not None


_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


def _has_tensors(module: nn.Module) -> bool:
    return any(p is not None for p in module._parameters.values())


def _sample(x: Tensor, axis: int, index: tuple[Tensor, ...]) -> Tensor:
    """(S, U) in at least float32, a copy."""
    if x.dim() != len(index) + 1:  # several axes number the units together
        x = x.flatten(axis, axis + x.dim() - len(index) - 1)
    columns = x.detach().movedim(axis, -1)
    picked = columns[index] if index else columns[None].clone()
    return picked if picked.dtype in (torch.float32, torch.float64) else picked.float()


def _known(node: Any) -> tuple[str, Function] | None:
    """The elementwise function of an autograd node, with its settings."""
    name = node.name().rstrip("0123456789").removesuffix("Backward")
    make = FUNCTIONS.get(name)
    return None if make is None else (name.lower(), make(node))


def _scaled_elu(node: Any) -> Function:
    alpha, scale, inner = node._saved_alpha, node._saved_scale, node._saved_input_scale
    return lambda z: torch.where(z > 0, scale * z, scale * alpha * torch.expm1(z * inner))


FUNCTIONS: Mapping[str, Callable[[Any], Function]] = {
    "Relu": lambda node: torch.relu,
    "Tanh": lambda node: torch.tanh,
    "Sigmoid": lambda node: torch.sigmoid,
    "Silu": lambda node: F.silu,
    "Mish": lambda node: F.mish,
    "Erf": lambda node: torch.erf,
    "Sin": lambda node: torch.sin,
    "Abs": lambda node: torch.abs,
    "Hardswish": lambda node: F.hardswish,
    "Hardsigmoid": lambda node: F.hardsigmoid,
    "LogSigmoid": lambda node: F.logsigmoid,
    "Gelu": lambda node: partial(F.gelu, approximate=node._saved_approximate),
    "LeakyRelu": lambda node: partial(F.leaky_relu, negative_slope=node._saved_negative_slope),
    "Elu": _scaled_elu,
    "Hardtanh": lambda node: partial(
        F.hardtanh, min_val=node._saved_min_val, max_val=node._saved_max_val
    ),
    "Softplus": lambda node: partial(
        F.softplus, beta=node._saved_beta, threshold=node._saved_threshold
    ),
    "Threshold": lambda node: torch.relu,
    "Pow": lambda node: lambda z: z**node._saved_exponent,
}


def withheld(layer: Watched, capture: Capture) -> str:
    """Why nothing was seen of a layer."""
    if layer.name in capture.failed:
        return capture.failed[layer.name]
    if layer.place.source in ("projection", "heads", "parameter"):
        return (
            HIDDEN
            if layer.place.source != "parameter"
            else "a bare parameter has no output of its own"
        )
    if layer.place.source == "hidden" and capture.seen:
        return HIDDEN
    return NO_PASS
