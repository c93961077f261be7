"""The layers that are watched, under the names that an audit uses, and each unit's row of weights.

Names come from the same :class:`~lockstep.symbolic.places.Place` table, so that they cannot drift apart; heads of
attentions, which an audit sees from the ops, are added here as ``attn[heads]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lockstep.errors import UsageError
from lockstep.symbolic.attention import COUNTS
from lockstep.symbolic.places import Place
from lockstep.symbolic.subject import Subject, subject_of

ELEMENTWISE = "its parameters are gains and biases: equal gains do not make equal units"
GROUPED = "its units read different channels (groups > 1): equal weights do not make equal units"
PARAMETRIZED = "its weights are computed by a parametrization, and are no parameters of its own"
ALONE = "it has one unit"


@dataclass(frozen=True)
class Watched:
    """One layer: its ``place``, and why its weights do not tell units apart (empty if they do)."""

    place: Place
    weightless: str = ""

    @property
    def name(self) -> str:
        """As in ``Audit.layers``."""
        return self.place.name


def watched_layers(
    model: Any, only: tuple[str, ...] | None = None
) -> tuple[Subject, list[Watched]]:
    """The subject and its layers; ``only`` keeps those of these names."""
    if not isinstance(model, (nn.Module, Subject)) and not hasattr(model, "stateless_call"):
        raise UsageError(
            f"watch() wants the model, a torch.nn.Module or a Keras model on the torch backend, got "
            f"{type(model).__name__}."
        )
    subject = subject_of(model)
    layers = []
    for place in subject.places:
        layers.append(Watched(place, _weightless(place, subject)))
        if place.source == "projection" and place.part == "v":
            layers += _heads(place, subject)
    layers += [Watched(place) for place in _attentions(subject)]
    if not layers:
        raise UsageError(
            f"{type(subject.model).__name__} has no parameters: there is nothing to watch."
        )
    if only is None:
        return subject, layers
    unknown = sorted(set(only) - {layer.name for layer in layers})
    if unknown:
        raise UsageError(
            f"there is no layer {', '.join(map(repr, unknown))}. Layers: "
            f"{', '.join(layer.name for layer in layers)}."
        )
    return subject, [layer for layer in layers if layer.name in only]


def _heads(value: Place, subject: Subject) -> list[Watched]:
    module = subject.modules[value.module]
    if not isinstance(module, nn.MultiheadAttention) or module.num_heads < 2:
        return []
    name = f"{value.module}[heads]"
    return [Watched(Place(name, value.module, module.num_heads, "heads"))]


SEPARATE = (
    ("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("q_lin", "k_lin", "v_lin"),
    ("to_q", "to_k", "to_v"), ("q", "k", "v"),
)  # fmt: skip
PACKED = ("c_attn", "qkv")
"""Projections of an attention that others have written, as transformers and timm call them."""


def _attentions(subject: Subject) -> Iterator[Place]:
    """Heads of modules whose projections are layers of their own, or one packed layer of q, k and v in a row."""
    for path, module in subject.modules.items():
        children = dict(module.named_children())
        trio = next((t for t in SEPARATE if all(n in children for n in t)), None)
        names = trio or tuple(n for n in PACKED if n in children)[:1]
        weights: list[Any] = [getattr(children[n], "weight", None) for n in names]
        if not names or not all(isinstance(w, Tensor) and w.dim() == 2 for w in weights):
            continue
        linear = isinstance(children[names[0]], nn.Linear)
        axis = 0 if linear else 1  # GPT-2 keeps its weights as (in, out)
        heads = _number_of_heads(module, weights[0].shape[axis] // (1 if trio else 3))
        slices = []
        for name in names:
            for key, at in (("weight", axis), ("bias", 0)):
                full = f"{path}.{name}.{key}" if path else f"{name}.{key}"
                if full in subject.parameters:
                    slices.append((full, at))
        if heads > 1 and len(slices) >= len(names):
            name = f"{path}[heads]" if path else "[heads]"
            yield Place(name, path, heads, "heads", slices=tuple(slices))


def _number_of_heads(module: nn.Module, rows: int) -> int:
    """From the width of one, or their count, where the module or its config has it; 0 if not."""
    dim = next((getattr(module, n, None) for n in DIMS if getattr(module, n, None)), None)
    if isinstance(dim, int) and rows % dim == 0:
        return rows // dim
    for holder in (module, getattr(module, "config", None)):
        for name in COUNTS:
            count = getattr(holder, name, None)
            if isinstance(count, int) and count > 0 and rows % count == 0:
                return count
    return 0


DIMS = ("head_dim", "attention_head_size", "key_value_proj_dim", "dim_head", "head_size")


def _weightless(place: Place, subject: Subject) -> str:
    if place.width < 2:
        return ALONE
    if getattr(subject.modules.get(place.module), "groups", 1) not in (1, None):
        return GROUPED
    module = subject.modules.get(place.module)
    if module is not None and parametrize.is_parametrized(module):
        return PARAMETRIZED
    shapes = [subject.parameters[name].dim() for name, _ in place.slices]
    return "" if any(dim > place.span for dim in shapes) else ELEMENTWISE


def rows(layer: Watched, subject: Subject, tensors: Mapping[str, Tensor]) -> Tensor | None:
    """(U, K): each unit's slices of ``tensors`` in a row; None if one of them is missing."""
    found = blocks(layer, subject, tensors)
    if not found:
        return None
    return found[0] if len(found) == 1 else torch.cat(found, 1)


def blocks(layer: Watched, subject: Subject, tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """The units' rows (U, k) in each parameter, views where possible; empty if one of them is missing."""
    place = layer.place
    if place.source == "heads":
        return _heads_blocks(place, subject, tensors)
    if any(name not in tensors for name, _ in place.slices):
        return []
    if place.source == "projection":
        first, last = place.rows
        found = [tensors[place.slices[0][0]][first:last]]
        for name, _ in place.slices[1:]:
            offset = "qkv".index(place.part) * place.width
            found.append(tensors[name][offset : offset + place.width, None])
        return found
    return [_block(tensors[name], axis, place) for name, axis in place.slices]


def _block(t: Tensor, axis: int, place: Place) -> Tensor:
    """A parameter's slices (U, k). Gates of a recurrent layer are stacked blocks of ``width`` rows."""
    if place.span == 1 and axis == 0 and t.dim() == 2 and len(t) == place.width:
        return t  # the usual case, at each look at ties
    if place.span > 1:
        t = t.flatten(axis, min(axis + place.span, t.dim()) - 1)
    if axis:
        t = t.movedim(axis, 0)
    if t.shape[0] == place.width:
        return t.reshape(place.width, -1)
    stacked = t.reshape(t.shape[0] // place.width, place.width, -1)
    return stacked.permute(1, 0, 2).reshape(place.width, prod(t.shape) // place.width)


def _heads_blocks(place: Place, subject: Subject, tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """A head's rows of the three projections, with their biases; a shared key-value head is each of its queries'."""
    if place.slices:
        if any(name not in tensors for name, _ in place.slices):
            return []
        found = []
        first, axis = place.slices[0]
        packed = sum(name.endswith("weight") for name, _ in place.slices) == 1
        size = tensors[first].shape[axis] // (place.width * (3 if packed else 1))
        for name, at in place.slices:
            t = tensors[name].t() if at else tensors[name]
            each = t.reshape(len(t) // size, -1)
            if packed:
                found += list(each.reshape(3, place.width, -1))
            else:
                found.append(each.repeat_interleave(place.width // len(each), 0))
        return found
    prefix = f"{place.module}." if place.module else ""
    names = [f"{prefix}in_proj_weight"]
    if names[0] not in tensors:
        names = [f"{prefix}{letter}_proj_weight" for letter in "qkv"]
    names += [f"{prefix}in_proj_bias"] if f"{prefix}in_proj_bias" in subject.parameters else []
    if any(name not in tensors for name in names):
        return []
    parts: list[Tensor] = []
    for name in names:
        t = tensors[name]
        size = len(t) // place.width if "in_proj" not in name else len(t) // (3 * place.width)
        parts += list(t.reshape(-1, place.width, size * prod(t.shape[1:])))
    return parts


def vectors(layer: Watched, tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """The layer's one-dimensional parameters: biases and gains, of projections their rows only."""
    place = layer.place
    out = []
    for name, _ in place.slices if place.source != "heads" else ():
        t = tensors.get(name)
        if t is None or t.dim() != 1:
            continue
        if place.source == "projection":
            offset = "qkv".index(place.part) * place.width
            t = t[offset : offset + place.width]
        out.append(t)
    return out
