"""The user's model as a guest: everything it owns is put back as it was, also after an error.

A :class:`Subject` says which parameters a model has and how it is called with other tensors in their place.
"""

from __future__ import annotations

import copy
import math
import random
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import NonFiniteError, UsageError
from ..field.dispatch import paused
from .places import Place, places

PLAIN = frozenset((bool, int, float, str, type(None)))
CONTAINERS = (dict, OrderedDict, defaultdict, list, set, deque)
"""Of attributes (hooks among them), whose contents a run may change."""


@dataclass(frozen=True)
class Subject:
    """A model to audit.

    ``parameters`` (name → tensor; tied ones once) and ``buffers`` are the originals, never written to.
    ``call(inputs)`` runs the forward pass; ``bind(tensors)`` is a context in which the model uses ``tensors``.
    ``modules`` (path → module, outer ones first) and ``places`` say where its units are. ``training`` is the
    mode it runs in, ``notes`` what else the verdict takes for granted.

    Frameworks other than plain PyTorch may bring their own: ``prepare`` makes tensors of their kinds of
    inputs, ``criterion`` makes ``loss(output, target)`` of their losses, ``added()`` lists the losses that the
    last ``call`` added by itself, ``library`` is the folder whose lines are not the user's. ``twin(dtype)`` is the
    subject of a copy, to be trained in ``dtype`` (None: as it is); ``wide`` says whether the model computes in
    float64 once its tensors are of that dtype.
    """

    model: nn.Module
    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    call: Callable[[Any], Any]
    bind: Callable[[Mapping[str, Tensor]], Any]
    modules: Mapping[str, nn.Module]
    places: tuple[Place, ...]
    training: bool
    notes: tuple[str, ...] = ()
    prepare: Callable[[Any], Any] = lambda inputs: inputs
    criterion: Callable[[Any], Any] = lambda loss: loss
    added: Callable[[], Sequence[Any]] = tuple
    twin: Callable[[torch.dtype | None], Subject] | None = None
    wide: bool = True
    library: str = ""


def subject_of(model: Any) -> Subject:
    """The subject for an eager ``nn.Module`` (or a Keras 3 model on the torch backend)."""
    if isinstance(model, Subject):
        return model
    if isinstance(getattr(model, "_orig_mod", None), nn.Module):
        model = model._orig_mod  # torch.compile: the eager module is what can be followed
    if hasattr(model, "stateless_call") and not isinstance(model, type):
        # Of any backend: it says what to do about the others.
        from ..integrations.keras import keras_subject

        return keras_subject(model)
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"audit() wants a torch.nn.Module, got {type(model).__name__}: pass the model object itself, "
            "not its class, its state_dict or its output"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise UsageError(
            "TorchScript modules cannot be followed op by op: pass the eager nn.Module"
        )
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    refuse_unusable(parameters, buffers)
    return Subject(
        model=model,
        parameters=parameters,
        buffers=buffers,
        call=lambda inputs: call_with(model, inputs),
        bind=lambda tensors: bound(model, tensors),
        modules=dict(model.named_modules()),
        places=tuple(places(model, {id(p): n for n, p in parameters.items()})),
        training=model.training,
        twin=lambda dtype: subject_of(_copied(model, dtype)),
    )


def duplicate(model: nn.Module) -> nn.Module:
    """A deep copy, also of modules that keep what they computed last (``prune``, ``weight_norm`` of old).

    Tensors that have a graph cannot be copied with it; they are computed anew by the next call.
    """
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    return copy.deepcopy(model, computed)


def _copied(model: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    twin = duplicate(model)
    if dtype is None:
        return twin

    def cast(t: Tensor) -> Tensor:  # ``to(dtype)`` would drop imaginary parts
        kind = dtype.to_complex() if t.is_complex() else dtype
        return t.to(kind) if t.is_complex() or t.is_floating_point() else t

    return twin._apply(cast)


def refuse_empty(parameters: Mapping[str, Tensor]) -> None:
    """Parameters without a shape, or without numbers."""
    lazy = [n for n, p in parameters.items() if nn.parameter.is_lazy(p)]
    if lazy:
        raise UsageError(
            f"parameters {', '.join(lazy)} of lazy modules have no shape yet: run the model once on an "
            "example before the audit"
        )
    meta = [n for n, p in parameters.items() if p.is_meta]
    if meta:
        raise UsageError(
            f"parameters {', '.join(meta[:5])} are on the meta device and hold no values: build the model without "
            "torch.device('meta'), or give it values with to_empty and an initialisation"
        )


def refuse_unusable(parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> None:
    refuse_empty(parameters)
    broken = [
        f"{n} ({int((~torch.isfinite(p)).sum())} of {p.numel()} entries)"
        for n, p in parameters.items()
        if p.is_floating_point()
        # A sum is finite only if all its terms are: the quickest look, and most often the only one.
        and not math.isfinite(p.detach().sum())
        and not bool(torch.isfinite(p).all())
    ]
    if broken:
        raise NonFiniteError(
            f"NaN or infinite weights in {', '.join(broken)}: such a network has no exact training; reload "
            "or re-initialise these parameters"
        )
    undefined = [n for n, b in buffers.items() if _has_nan(b)]
    if undefined:
        raise NonFiniteError(
            f"NaN in the buffers {', '.join(undefined)}: nothing exact follows from it; reset or reload them"
        )
    complex_ones = [n for n, p in parameters.items() if p.is_complex()]
    if complex_ones:
        raise NonFiniteError(
            f"parameters {', '.join(complex_ones)} are complex; the engine follows real parameters only: "
            "store real and imaginary parts as two real parameters"
        )


def _has_nan(b: Tensor) -> bool:
    return b.is_floating_point() and not b.is_meta and bool(b.isnan().any())


def call_with(model: Callable[..., Any], inputs: Any) -> Any:
    """A tensor is the one argument, a tuple or list the positional ones, a dict the named ones."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, (tuple, list)):
        return model(*inputs)
    return model(inputs)


@contextmanager
def bound(model: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """``model`` uses ``tensors`` in place of its parameters and buffers of those names.

    Done by hand rather than by ``torch.func.functional_call`` because every attribute is restored too
    (caches, counters, ``weight`` of the old weight norm) and RNNs keep a list of their weights.
    """
    by_id = {id(t): tensors[n] for n, t in _everything(model) if n in tensors}
    saved = [(m, dict(m.__dict__), dict(m._parameters), dict(m._buffers)) for m in model.modules()]
    contents = [
        (value, value.copy())
        for _, own, *_ in saved
        for value in own.values()
        if type(value) in CONTAINERS
    ]
    with paused():
        plain = [(t, t._version, t.detach().clone()) for t in _attributes(saved)]
    try:
        for m in model.modules():
            for store in (m._parameters, m._buffers):
                for key, old in store.items():
                    if old is not None and id(old) in by_id:
                        store[key] = by_id[id(old)]  # type: ignore[assignment]
            if isinstance(m, nn.RNNBase):
                m.__dict__["_flat_weights"] = [m._parameters.get(n) for n in m._flat_weights_names]
        yield
    finally:
        for (
            value,
            before,
        ) in contents:  # a module may keep what it has computed in a dictionary of its own
            value.clear()
            value.update(before) if hasattr(value, "update") else value.extend(before)
        with paused(), torch.no_grad():
            for t, version, content in plain:
                if t._version != version:
                    t.copy_(content)
        for m, attributes, parameters, buffers in saved:
            m.__dict__.clear()
            m.__dict__.update(attributes)
            for store, old_store in ((m._parameters, parameters), (m._buffers, buffers)):
                store.clear()
                store.update(old_store)  # type: ignore[arg-type]


def _attributes(saved: Sequence[tuple[nn.Module, dict[str, Any], Any, Any]]) -> Iterator[Tensor]:
    """Tensors in plain attributes, or in lists and dictionaries there: nothing says that they are the model's."""
    for _, own, *_ in saved:
        for value in own.values():
            kind = type(value)
            if kind in PLAIN:
                continue
            items = value.values() if kind is dict else value
            for item in items if kind is dict or isinstance(value, (list, tuple)) else (value,):
                if type(item) is Tensor and item.layout is torch.strided and not item.is_meta:
                    yield item


def _everything(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    for name, b in model.named_buffers():
        if b is not None:
            yield name, b


@contextmanager
def quarters() -> Iterator[None]:
    """Random states, autograd and backend switches as the engine needs them, restored on leaving."""
    python, numpy_state = random.getstate(), _numpy_state()
    fast = torch.backends.mha.get_fastpath_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast("cpu", enabled=False))
        stack.enter_context(torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH))
        torch.backends.mha.set_fastpath_enabled(False)
        if deterministic:  # only then: the call imports PyTorch's compiler, seconds of it
            torch.use_deterministic_algorithms(False)
        onednn = torch._C._get_mkldnn_enabled()
        torch._C._set_mkldnn_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            if deterministic:
                torch.use_deterministic_algorithms(True)
            torch._C._set_mkldnn_enabled(onednn)
            random.setstate(python)
            _restore_numpy(numpy_state)


def _numpy_state() -> Any:
    """The state of NumPy's global generator, if the program uses NumPy at all; it is no dependency of ours."""
    numpy = sys.modules.get("numpy")
    return None if numpy is None else numpy.random.get_state()


def _restore_numpy(state: Any) -> None:
    if state is not None:
        sys.modules["numpy"].random.set_state(state)
