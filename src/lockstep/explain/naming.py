"""What things are called: ``w3``, ``z1``, ``a2`` in the course's notation, ``W[l][j,i]`` otherwise.

Course notation numbers unit by unit: ``w1 w2`` feed unit 1, ``w3 w4`` unit 2, … ; ``b1 b2 …`` are the
units' biases, and ``z``, ``a`` count units through all layers. In index notation ``l`` counts dense
layers from 1 (or is the module's path where the network has other layers too) and ``j, i`` are PyTorch's
own indices, from 0.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from lockstep.errors import UsageError
from lockstep.explain.network import SMALL, Dense, Network, Place

Index = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Names:
    """Symbols for the values and weights of one network. ``course`` picks the notation."""

    network: Network
    course: bool

    def value(self, place: Place, unit: int, reader: Dense | None = None) -> str:
        """The symbol of one value; ``reader`` is the layer that reads a hidden one."""
        if self.course and place.kind != "h":
            return f"{place.kind}{self.first_unit(place.layer) + unit + 1}"
        if place.kind == "x":
            return f"x[{unit}]"
        if place.kind == "h":
            return f"h[{unit}]" if reader is None else f"h[{self.label(reader)}][{unit}]"
        return f"{place.kind}[{self.label(self.network.layers[place.layer - 1])}][{unit}]"

    def target(self, unit: int, outputs: int) -> str:
        """``y``, or one of several outputs' targets."""
        if outputs == 1:
            return "y"
        return f"y{unit + 1}" if self.course else f"y[{unit}]"

    def weight(self, parameter: str, index: Index) -> str:
        """The symbol of one entry of a parameter."""
        dense = self.network.layer_of(parameter)
        if dense is None or len(index) > 2:
            return f"{parameter}[{','.join(map(str, index))}]"
        j, i = self.oriented(dense, parameter, index)
        if parameter == dense.bias:
            return (
                f"b{self.first_unit(dense.number) + j + 1}"
                if self.course
                else f"b[{self.label(dense)}][{j}]"
            )
        if self.course:
            return f"w{self.first_weight(dense.number) + j * dense.matrix.shape[1] + i + 1}"
        return f"W[{self.label(dense)}][{j},{i}]"

    @staticmethod
    def oriented(dense: Dense, parameter: str, index: Index) -> Index:
        """(unit, input) of a weight's entry, (unit, 0) of a bias's."""
        if parameter == dense.bias:
            return index[0], 0
        return (index[1], index[0]) if dense.transposed else (index[0], index[1])

    def label(self, dense: Dense) -> str:
        """The layer's number in a network of dense layers only, else its module's path."""
        return str(dense.number) if self.network.dense_only else dense.path

    def first_unit(self, layer: int) -> int:
        """How many units come before the units of ``layer``."""
        return sum(d.width for d in self.network.layers[: max(0, layer - 1)])

    def first_weight(self, layer: int) -> int:
        """How many weights come before the weights of ``layer``."""
        return sum(d.matrix.numel() for d in self.network.layers[: layer - 1])


def names_for(network: Network, notation: str | None = None) -> Names:
    """Names in ``"course"`` or ``"index"`` notation; by default course on a small dense network."""
    if notation not in (None, "course", "index"):
        raise UsageError(f"notation must be 'course' or 'index', got {notation!r}.")
    if notation == "course" and not network.dense_only:
        raise UsageError(
            "course notation (w1, z1, a1) numbers dense layers only; use notation='index'."
        )
    course = notation == "course" or (
        notation is None and network.dense_only and size_of(network) <= SMALL
    )
    return Names(network, course)


def find_weight(
    weight: str, parameters: Mapping[str, Tensor], network: Network
) -> tuple[str, Index]:
    """``"0.weight[1,0]"``, ``"w3"``, ``"b1"`` or ``"W[1][1,0]"`` as (parameter, index).

    Raises :class:`~lockstep.errors.UsageError` that lists the names that do exist, closest first.
    """
    if not isinstance(weight, str):
        raise UsageError(
            f"a weight is named by a text, as '0.weight[1,0]' or 'w3', got {weight!r} ({type(weight).__name__})."
        )
    weight = weight.strip()
    course = course_names(network) if size_of(network) <= SMALL else {}
    match = re.fullmatch(r"([wb])(\d+)", weight)
    found = in_course(match[1], int(match[2]), network) if match else None
    if found is not None:
        return found
    match = re.fullmatch(r"([Wb])\[([^\]]+)\]\[([\d\s,]+)\]", weight)
    if match:
        names = Names(network, course=False)
        for dense in network.layers:
            if names.label(dense) == match[2]:
                parameter = dense.weight if match[1] == "W" else dense.bias or ""
                index = tuple(int(k) for k in match[3].split(","))
                if match[1] == "W" and dense.transposed:
                    index = index[::-1]
                return checked_entry(weight, parameter, index, parameters, course)
    match = re.fullmatch(r"(.+?)\[([\d\s,]+)\]", weight)
    if match:
        index = tuple(int(k) for k in match[2].split(","))
        return checked_entry(weight, match[1], index, parameters, course)
    if weight in parameters and parameters[weight].numel() == 1:
        return weight, (0,) * parameters[weight].dim()
    if weight in parameters:
        shape = tuple(parameters[weight].shape)
        raise UsageError(
            f"{weight!r} is a parameter of shape {shape}; name one entry of it, {first_to_last(weight, shape)}."
        )
    raise unknown(weight, parameters, course)


def size_of(network: Network) -> int:
    """How many weights the dense layers have."""
    return sum(dense.matrix.numel() for dense in network.layers)


def in_course(kind: str, number: int, network: Network) -> tuple[str, Index] | None:
    """The entry called ``w{number}`` or ``b{number}``, counted through the layers; None if there is none."""
    left = number - 1
    for dense in network.layers if network.dense_only else ():
        units, inputs = dense.width, int(dense.matrix.shape[1])
        count = units * inputs if kind == "w" else units
        if 0 <= left < count and kind == "w":
            j, i = divmod(left, inputs)
            return dense.weight, (i, j) if dense.transposed else (j, i)
        if 0 <= left < count and dense.bias:
            return dense.bias, (left,)
        left -= count
    return None


def course_names(network: Network) -> dict[str, tuple[str, Index]]:
    """``w1, w2, …, b1, …`` of a network of dense layers with their places; empty for other networks."""
    if not network.dense_only:
        return {}
    names = Names(network, course=True)
    found: dict[str, tuple[str, Index]] = {}
    for dense in network.layers:
        for j in range(dense.width):
            for i in range(dense.matrix.shape[1]):
                index = (i, j) if dense.transposed else (j, i)
                found[names.weight(dense.weight, index)] = (dense.weight, index)
            if dense.bias:
                found[names.weight(dense.bias, (j,))] = (dense.bias, (j,))
    return found


def checked_entry(
    weight: str,
    parameter: str,
    index: Index,
    parameters: Mapping[str, Tensor],
    course: Mapping[str, tuple[str, Index]],
) -> tuple[str, Index]:
    """The entry, if the parameter exists and the index lies inside it."""
    if parameter not in parameters:
        raise unknown(weight, parameters, course)
    shape = tuple(parameters[parameter].shape)
    if len(index) != len(shape) or any(k >= n for k, n in zip(index, shape, strict=True)):
        raise UsageError(
            f"there is no weight {weight!r}: {parameter!r} has shape {shape}, so its entries run "
            f"{first_to_last(parameter, shape)}."
        )
    return parameter, index


def first_to_last(parameter: str, shape: Index) -> str:
    """``from '0.weight[0,0]' to '0.weight[4,2]'``."""
    ends = (",".join("0" for _ in shape), ",".join(str(n - 1) for n in shape))
    return "from " + " to ".join(f"'{parameter}[{end}]'" for end in ends)


def unknown(
    weight: str, parameters: Mapping[str, Tensor], course: Mapping[str, tuple[str, Index]]
) -> UsageError:
    """The error that lists what does exist, the closest names first."""
    entries = [f"{n}[{','.join('0' for _ in p.shape)}]" for n, p in parameters.items()]
    known = [*course, *entries]
    close = difflib.get_close_matches(weight, known, n=len(known), cutoff=0.0)[:8]
    shapes = ", ".join(f"{n} {tuple(p.shape)}" for n, p in list(parameters.items())[:20])
    return UsageError(
        f"there is no weight {weight!r}. Closest: {', '.join(close)}. Parameters: {shapes}. "
        "Name an entry as 'parameter[j,i]', or w1, w2, …, b1, … on a network of dense layers."
    )
