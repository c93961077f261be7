"""Where the units of Keras layers are: one :class:`~lockstep.symbolic.places.Place` a layer.

Keras puts units last: kernels are ``(in, out)``, outputs ``(..., out)`` unless ``channels_first``. A
recurrent layer goes by its own name (``lstm``: its hidden units; the two halves of ``Bidirectional``
by theirs), an attention's projections by theirs (``attention/query``, all heads in a row), its heads
are ``attention[heads]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from torch import Tensor

from lockstep.symbolic.places import Place, places

Own = dict[str, tuple[str, Tensor]]
"""A layer's own weights: short name -> (name in the model, tensor)."""

APART = ("lora_kernel_a", "lora_embeddings_a", "depthwise_kernel")
"""Weights with units of their own between the layer's inputs and its units."""


@dataclass(frozen=True)
class Units:
    """``width`` units along ``axis`` of the output (from there on ``span`` axes in a row).

    Weights have them along their last axes, but for those that ``axes`` names.
    """

    width: int
    axis: int = -1
    span: int = 1
    axes: Mapping[str, int] = field(default_factory=dict)


def keras_places(
    keras: Any, layers: Mapping[str, Any], named: Mapping[int, str]
) -> tuple[Place, ...]:
    """All layers with weights, outer ones first; ``named`` names each weight by its tensor's id."""
    kinds = keras.layers
    cells = {id(layer.cell) for layer in layers.values() if _has_cell(kinds, layer)}
    attention = {
        id(layer._output_dense): path or layer.name
        for path, layer in layers.items()
        if isinstance(layer, kinds.MultiHeadAttention | kinds.GroupQueryAttention)
    }
    found: list[Place] = []
    for path, layer in layers.items():
        if id(layer) in cells:
            continue  # its layer stands for it
        if is_torch(layer):
            found += [_inside(path, place) for place in places(layer.module, dict(named))]
            continue
        own = _own(layer.cell if _has_cell(kinds, layer) else layer, named)
        if id(layer) in attention:
            found.append(_heads(attention[id(layer)], path, layers, own, named))
        if own:
            found += _of_layer(kinds, path, layer, own)
    return tuple(found)


def is_torch(layer: Any) -> bool:
    """``TorchModuleWrapper``: a plain PyTorch module inside, which reads its own parameters."""
    return hasattr(layer, "_track_module_parameters")


def own_variables(layer: Any, trainable: bool = True) -> list[Any]:
    """The variables that ``layer`` itself holds; not those of layers inside that it points to."""
    inside = {
        id(variable)
        for inner in layer._flatten_layers(include_self=False)
        for variable in (*inner._trainable_variables, *inner._non_trainable_variables)
    }
    held = layer._trainable_variables if trainable else layer._non_trainable_variables
    return [variable for variable in held if id(variable) not in inside]


def _has_cell(kinds: Any, layer: Any) -> bool:
    """Recurrent layers that bring their own cell; ``RNN(cell)`` calls its user's cells as layers."""
    named = (kinds.LSTM, kinds.GRU, kinds.SimpleRNN)
    return isinstance(layer, (*named, kinds.ConvLSTM1D, kinds.ConvLSTM2D, kinds.ConvLSTM3D))


def _inside(path: str, place: Place) -> Place:
    """A place of a PyTorch module inside the Keras layer ``path``."""
    if place.module or place.source == "parameter":
        name = f"{path}/{place.name}"
    else:
        name = path + place.part.join("[]") if place.part else path
    return replace(place, name=name, module=f"{path}/{place.module}" if place.module else path)


def _own(layer: Any, named: Mapping[int, str]) -> Own:
    held = [(named.get(id(variable.value)), variable.value) for variable in own_variables(layer)]
    return {name.rpartition("/")[2]: (name, value) for name, value in held if name is not None}


def _of_layer(kinds: Any, path: str, layer: Any, own: Own) -> list[Place]:
    units = _units(kinds, layer, own)
    if units is None:
        return _custom(path, layer, own)
    slices = tuple(_slices(own, units))
    place = Place(
        path or layer.name, path, units.width, "output", units.axis, slices, span=units.span
    )
    return [place, *_bare(path, [own[short] for short in APART if short in own], units.axes)]


def _units(kinds: Any, layer: Any, own: Own) -> Units | None:
    """The units of the layers that Keras has; None for others."""
    if isinstance(layer, kinds.EinsumDense):
        return _einsum(layer)
    if isinstance(layer, kinds.Embedding):
        return Units(layer.output_dim)
    if isinstance(layer, kinds.BatchNormalization | kinds.GroupNormalization):
        return Units(_first(own).shape[0], layer.axis)
    rms = getattr(kinds, "RMSNormalization", kinds.LayerNormalization)  # younger than Keras 3.8
    if isinstance(layer, kinds.LayerNormalization | rms):
        axis = layer.axis if isinstance(layer.axis, int) else layer.axis[-1]
        return Units(_first(own).shape[-1], axis)
    if isinstance(layer, kinds.PReLU):
        return Units(layer.alpha.shape[-1]) if layer.alpha.shape[-1] > 1 else None
    cells = (kinds.LSTMCell, kinds.GRUCell, kinds.SimpleRNNCell)
    if isinstance(layer, (kinds.Dense, kinds.LSTM, kinds.GRU, kinds.SimpleRNN, *cells)):
        return Units(layer.units)
    return _convolution(layer, own)


def _first(own: Own) -> Tensor:
    return next(iter(own.values()))[1]


def _convolution(layer: Any, own: Own) -> Units | None:
    """Channels, counted from the end, because batch (and time) may stand before."""
    inner = getattr(layer, "cell", layer)
    if not hasattr(inner, "rank") or not hasattr(inner, "data_format"):
        return None
    axis = -1 if inner.data_format == "channels_last" else -(inner.rank + 1)
    kernel = inner.rank  # the axis behind the places: (h, w, in, out), but see below
    if "depthwise_kernel" in own:
        return Units(inner.filters, axis, 1, {"depthwise_kernel": kernel})
    if hasattr(inner, "depth_multiplier"):  # (h, w, in, copies)
        return Units(prod(own["kernel"][1].shape[kernel:]), axis, 2, {"kernel": kernel})
    transposed = type(inner).__name__.endswith("Transpose")  # (h, w, out, in)
    return Units(inner.filters, axis, 1, {"kernel": kernel} if transposed else {})


def _einsum(layer: Any) -> Units | None:
    """``abc,cde->abde``: units are what the kernel adds to the output, ``d`` and ``e`` in a row."""
    operands, output = layer.equation.replace(" ", "").split("->")
    kernel = operands.split(",")[1]
    units = "".join(letter for letter in kernel if letter in output)
    if not units or units not in kernel or units not in output:  # not in a row: the last alone
        units = kernel[-1]
    if units not in output:
        return None
    first = kernel.index(units)
    width = prod(layer.kernel.shape[first : first + len(units)])
    return Units(width, output.index(units) - len(output), len(units), {"kernel": first})


def _slices(own: Own, units: Units) -> Iterator[tuple[str, int]]:
    """The weights that belong to the units, with the (first) axis along which they do.

    Gates of a recurrent cell are blocks of ``width``.
    """
    for short, (name, p) in own.items():
        axis = units.axes.get(short, max(p.dim() - units.span, 0))
        size = prod(p.shape[axis : axis + units.span])
        if p.dim() and size and size % units.width == 0 and short not in APART:
            yield name, axis


def _bare(path: str, weights: Any, axes: Mapping[str, int] | None = None) -> list[Place]:
    """Weights that are layers of their own, units along the last axis."""
    found = []
    for name, p in weights:
        axis = (axes or {}).get(name.rpartition("/")[2], p.dim() - 1)
        slices = ((name, axis),) if p.dim() else ()
        found.append(Place(name, path, p.shape[axis] if p.dim() else 1, "parameter", axis, slices))
    return found


def _custom(path: str, layer: Any, own: Own) -> list[Place]:
    """A user's layer: a matrix, with or without a vector for the same units; else each weight alone."""
    widths = {p.shape[-1] for _, p in own.values() if p.dim()}
    dims = sorted(min(p.dim(), 2) for _, p in own.values())
    if len(widths) == 1 and dims in ([2], [1, 2]) and not layer._layers:
        units = Units(widths.pop())
        slices = tuple(_slices(own, units))
        return [Place(path or layer.name, path, units.width, "output", -1, slices)]
    return _bare(path, own.values())


def _heads(
    outer: str, path: str, layers: Mapping[str, Any], own: Own, named: Mapping[int, str]
) -> Place:
    """Heads are what the output projection, at ``path``, takes in: ``(batch, ..., heads, dim)``."""
    width = own["kernel"][1].shape[0]
    before = path.rpartition("/")[0]
    slices = []
    for projection in ("query", "key", "value"):
        for name, p in _own(
            layers[f"{before}/{projection}" if before else projection], named
        ).values():
            if p.dim() > 1 and p.shape[-2] == width:  # grouped keys and values are fewer
                slices.append((name, p.dim() - 2))
    return Place(f"{outer}[heads]", path, width, "input", -2, (*slices, (own["kernel"][0], 0)))
