"""A Keras 3 model on the torch backend -> a :class:`~lockstep.symbolic.subject.Subject`.

A Keras model is an ``nn.Module``, yet ``torch.func.functional_call`` silently changes nothing in it:
layers read their own variables. What ``stateless_call`` does is done here, a ``StatelessScope`` in which
every variable has another value, but around the model's own ``__call__``, so that inputs are cast and
masked as the user has it. Assignments inside the scope (moving statistics, seeds, RNN states) stay inside.

Names are the user's: ``dense`` for a layer, ``encoder/dense/kernel`` for a weight, without the name of
the model itself. Weights created as trainable are parameters (``layer.trainable = False`` keeps them
still); moving statistics are buffers; seeds and counters are left alone.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lockstep.errors import UndecidedError, UsageError
from lockstep.integrations.keras_files import torch_keras
from lockstep.integrations.keras_units import is_torch, keras_places, own_variables
from lockstep.symbolic.subject import Subject, bound, refuse_unusable

MODE = "Keras: the model is called with training={}"
RULES = (
    "Keras: penalties of regularizers and constraints on weights count as part of the update, losses of "
    "add_loss and activity regularizers as losses"
)


def keras_subject(model: Any, *, training: bool = True) -> Subject:
    """The subject for a built Keras model, called with ``training``.

    Whether a Keras model trains is an argument of each call, not a state of the model (and ``fit`` leaves
    ``model.training`` False), so an audit, which is about training, says ``training=True`` unless told.
    ``lockstep.audit(keras_subject(model, training=False), inputs)`` audits the network as it predicts.
    """
    keras = torch_keras(f"the model {model.name!r}")
    layers = layers_of(model)
    _refuse_unbuilt(model)
    parameters, buffers, variables = _variables(layers)
    wrapped = {path: layer.module for path, layer in layers.items() if is_torch(layer)}
    named = {id(t): name for name, t in parameters.items()}
    for path, module in wrapped.items():
        buffers |= {_join(path, n): b for n, b in module.named_buffers() if b is not None}
    refuse_unusable(parameters, buffers)
    scopes: list[Any] = []

    @contextmanager
    def bind(tensors: Mapping[str, Tensor]) -> Iterator[None]:
        scope = keras.StatelessScope(collect_losses=True)
        scope.state_mapping.update({id(v): tensors[n] for n, v in variables if n in tensors})
        with ExitStack() as stack:
            stack.enter_context(_as_found(keras, layers.values()))
            for path, module in wrapped.items():
                everything = [*module.named_parameters(), *module.named_buffers()]
                inner = {n: named.get(id(t), _join(path, n)) for n, t in everything}
                theirs = {n: tensors[name] for n, name in inner.items() if name in tensors}
                stack.enter_context(bound(module, theirs))
            scopes.append(stack.enter_context(scope))
            try:
                yield
            finally:
                scopes.remove(scope)

    def call(inputs: Any) -> Any:
        args, kwargs = arguments(model, inputs)
        return model(*args, **kwargs, training=training)

    def twin(dtype: torch.dtype | None) -> Subject:
        if dtype not in (None, *{t.dtype for t in parameters.values()}):
            raise UndecidedError(
                f"operations of Keras return to {keras.config.floatx()} by themselves, so that no Keras model is "
                f"trained in {str(dtype).removeprefix('torch.')}"
            )
        return keras_subject(copy.deepcopy(model), training=training)

    modules = dict(layers)
    for path, module in wrapped.items():
        modules |= {_join(path, n) if n else path: m for n, m in module.named_modules()}
    return Subject(
        model=model,
        parameters=parameters,
        buffers=buffers,
        call=call,
        bind=bind,
        modules=modules,
        places=keras_places(keras, layers, named),
        training=training,
        notes=(MODE.format(training), RULES),
        prepare=_tensors,
        criterion=lambda loss: _output_first(keras, loss),
        added=lambda: list(scopes[-1].losses) if scopes else [],
        twin=twin,
        wide=False,
        library=str(Path(keras.__file__).parent),
    )


# -- what a model consists of -------------------------------------------------------------------------


def layers_of(model: Any) -> dict[str, Any]:
    """Path -> layer, outer ones first; the model itself has the path ``""``; a shared layer its first path."""
    found, seen = {"": model}, {id(model)}

    def walk(prefix: str, outer: Any) -> None:
        for layer in outer._flatten_layers(include_self=False, recursive=False):
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            path, again = _join(prefix, layer.name), 1
            while path in found:  # names are unique in Functional models, not in subclassed ones
                again += 1
                path = f"{_join(prefix, layer.name)}#{again}"
            found[path] = layer
            walk(path, layer)

    walk("", model)
    return found


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


Variables = list[tuple[str, Any]]


def _variables(layers: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor], Variables]:
    """Parameters, buffers, and (name, variable) of both; a tied tensor has one name, its first."""
    parameters: dict[str, Tensor] = {}
    buffers: dict[str, Tensor] = {}
    variables: Variables = []
    names: dict[int, str] = {}
    for path, layer in layers.items():
        for store, moving in ((parameters, True), (buffers, False)):
            for variable in own_variables(layer, moving):
                value = variable.value
                if not value.is_floating_point():
                    continue
                name = names.get(id(value))
                if name is None:
                    name = names[id(value)] = _name(path, layer, variable, {*parameters, *buffers})
                    store[name] = value
                variables.append((name, variable))
    return parameters, buffers, variables


def _name(path: str, layer: Any, variable: Any, taken: set[str]) -> str:
    """``dense/kernel``. A nameless weight is called by a number of the session, so its attribute serves."""
    short = variable.name
    if is_torch(layer):
        short = next(n for n, p in layer.module.named_parameters() if p is variable.value)
    elif re.fullmatch(r"variable(_\d+)?", short):
        short = next((key for key, value in vars(layer).items() if value is variable), short)
    name, again = _join(path, short), 1
    while name in taken:
        again += 1
        name = f"{_join(path, short)}#{again}"
    return name


def _refuse_unbuilt(model: Any) -> None:
    if not model.built:
        raise UsageError(
            f"the Keras model {model.name!r} is not built: its weights do not exist yet. Call it once on an "
            "example, model(inputs), or model.build(input_shape), or begin it with keras.Input(shape), "
            "before the audit"
        )


# -- how it is called -----------------------------------------------------------------------------------


def arguments(model: Any, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Example inputs as arguments of ``model``: Keras models with several inputs take one list or dict of them.

    A subclassed model whose ``call`` takes several arguments gets them one by one, or by name.
    """
    parameters = inspect.signature(model.call).parameters.values()
    plain = [p for p in parameters if p.name not in ("training", "mask")]
    if isinstance(inputs, Mapping):
        if set(inputs) <= {p.name for p in plain}:
            return (), dict(inputs)
        return (dict(inputs),), {}
    if not isinstance(inputs, (tuple, list)):
        return (inputs,), {}
    spread = [p for p in plain if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(inputs) == 1 or len(spread) > 1 or any(p.kind is p.VAR_POSITIONAL for p in plain):
        return tuple(inputs), {}
    return (list(inputs),), {}


def _tensors(value: Any) -> Any:
    """NumPy arrays, the usual inputs of Keras, as tensors."""
    if isinstance(value, Mapping):
        return {key: _tensors(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        items = [_tensors(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if hasattr(value, "__array_interface__"):
        return torch.as_tensor(value)
    return value


def _output_first(keras: Any, loss: Any) -> Any:
    """Losses of Keras take the target first, and a function's value a sample is averaged, as in ``fit``."""
    theirs = str(getattr(loss, "__module__", "")).partition(".")[0] == "keras"
    if not theirs and not isinstance(loss, keras.losses.Loss):
        return loss

    def swapped(output: Any, target: Any) -> Any:
        value = loss(target, output)
        return value.mean() if value.dim() else value

    swapped.__name__ = getattr(loss, "__name__", type(loss).__name__)
    return swapped


# -- and left as it was found -----------------------------------------------------------------------------


@contextmanager
def _as_found(keras: Any, layers: Any) -> Iterator[None]:
    """Attributes of the layers and Keras' global state, restored on leaving.

    Layers keep things between calls outside of variables: dropout masks of RNN cells, ids of losses.
    A layer that would create weights now is refused, because those could not be taken back.
    """
    from keras.src.backend.common import global_state

    layers = list(layers)
    attributes = [(layer, dict(vars(layer))) for layer in layers]
    containers = [
        (value, value.copy())
        for _, own in attributes
        for value in own.values()
        if isinstance(value, (list, set, dict))
    ]
    generator = global_state.get_global_attribute("global_seed_generator")
    filtering = keras.config.is_traceback_filtering_enabled()
    try:
        for layer in layers:
            stateless = getattr(layer.build, "_is_default", False)
            if not layer.built and not (stateless and all(inner.built for inner in layer._layers)):
                vars(layer)["_maybe_build"] = _refuse_to_build(layer)
        keras.config.disable_traceback_filtering()  # it rewrites the texts of errors that pass
        yield
    finally:
        if filtering:
            keras.config.enable_traceback_filtering()
        global_state.set_global_attribute("global_seed_generator", generator)
        for layer, own in attributes:
            vars(layer).clear()
            vars(layer).update(own)
        for container, before in containers:
            _refill(container, before)


def _refuse_to_build(layer: Any) -> Callable[[Any], None]:
    def refuse(_call_spec: Any) -> None:
        raise UsageError(
            f"the layer {layer.name!r} of the Keras model has no weights yet: call the model once on an "
            "example, model(inputs), before the audit"
        )

    return refuse


def _refill(container: Any, before: Any) -> None:
    """The old content, past the trackers of Keras' own containers."""
    if container == before:
        return
    if isinstance(container, list):
        list.__setitem__(container, slice(None), list(before))
        return
    kind: Any = set if isinstance(container, set) else dict
    kind.clear(container)
    kind.update(container, before)
