"""Reads a tape: which calls are dense layers, and what every tensor is called (x, z, a of a layer).

A dense layer is ``linear(t, W, b)``, or a matrix product with a parameter and an addition of one.
A tensor's *place* is ``Place("z", l)`` for the pre-activations of dense layer ``l``, ``Place("a", l)``
for its activations, ``Place("x", 0)`` for the inputs; anything else is a hidden value ``h``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from lockstep.explain.activations import ELEMENTWISE, RESHAPE
from lockstep.explain.guest import Run
from lockstep.explain.tape import Op

SMALL = 60  # weights and biases up to which the course notation stays readable


@dataclass(frozen=True)
class Place:
    """What a tensor is: ``kind`` one of ``x z a h``, ``layer`` the dense layer (1, 2, …) it belongs to."""

    kind: str
    layer: int


@dataclass(frozen=True, eq=False)
class Dense:
    """One dense layer as called: ``weight`` (O, I), or (I, O) if ``transposed``, on ``source`` (…, I)."""

    number: int
    weight: str
    bias: str | None
    transposed: bool
    matrix: torch.Tensor
    source: torch.Tensor
    output: torch.Tensor
    op: Op

    @property
    def path(self) -> str:
        """The module that owns the weight: ``"0"`` for ``"0.weight"``, ``"dense"`` for ``"dense/kernel"``."""
        return self.weight[: max(0, *map(self.weight.rfind, "./"))] or self.weight

    @property
    def width(self) -> int:
        """Number of units."""
        return int(self.matrix.shape[0])


@dataclass(eq=False)
class Network:
    """The dense layers of a run in the order of their calls, and the place of every tensor."""

    layers: list[Dense] = field(default_factory=list)
    places: dict[int, Place] = field(default_factory=dict)
    shifts: dict[int, tuple[str, int]] = field(default_factory=dict)
    dense_only: bool = False

    def place(self, tensor: torch.Tensor) -> Place:
        """The place of ``tensor``; a hidden value if it is no layer's."""
        return self.places.get(id(tensor), Place("h", 0))

    def layer_of(self, parameter: str) -> Dense | None:
        """The dense layer that ``parameter`` is the weight or bias of."""
        return next((d for d in self.layers if parameter in (d.weight, d.bias)), None)


def read(run: Run) -> Network:
    """The dense layers and places of a run."""
    network = Network()
    names = {id(p): (name, False) for name, p in run.parameters.items()}
    for tensor in run.inputs:
        network.places[id(tensor)] = Place("x", 0)
    for op in run.tape.ops:
        if op.name in ("T", "t", "mT") and id(op.inputs[0]) in names:
            name, flipped = names[id(op.inputs[0])]
            names[id(op.outputs[0])] = (name, not flipped)
            continue
        dense = dense_of(op, names, len(network.layers) + 1)
        if dense is not None:
            network.layers.append(dense)
            network.places[id(dense.output)] = Place("z", dense.number)
        else:
            follow(op, network, names)
    network.dense_only = is_dense_only(run, network)
    return network


def dense_of(op: Op, names: dict[int, tuple[str, bool]], number: int) -> Dense | None:
    """The dense layer that ``op`` is, if it is one."""
    if op.name == "linear":
        source, weight, bias = (
            op.argument(0, "input"),
            op.argument(1, "weight"),
            op.argument(2, "bias"),
        )
    elif op.name in ("matmul", "mm"):
        source, weight, bias = op.argument(0, "input"), op.argument(1, "other"), None
    elif op.name == "addmm":
        bias, source, weight = (op.argument(i, k) for i, k in enumerate(("input", "mat1", "mat2")))
    else:
        return None
    if id(weight) not in names or weight.dim() != 2 or id(source) in names:
        return None
    name, flipped = names[id(weight)]
    stored_in_out = flipped if op.name == "linear" else not flipped
    matrix = weight if op.name == "linear" else weight.mT
    bias_name = names[id(bias)][0] if id(bias) in names else None
    if bias is not None and bias_name is None:
        return None
    return Dense(number, name, bias_name, stored_in_out, matrix.detach(), source, op.outputs[0], op)


def follow(op: Op, network: Network, names: dict[int, tuple[str, bool]]) -> None:
    """Hands the place of an operand on to the result of an activation, a reshape or an added bias."""
    known = [network.places[id(t)] for t in op.inputs if id(t) in network.places]
    if not known or len(op.outputs) != 1:
        return
    out, place = op.outputs[0], max(known, key=lambda p: p.layer)
    if op.name == "add" and place.kind == "z" and len(op.inputs) == 2:
        extra = next((t for t in op.inputs if id(t) in names), None)
        if extra is not None and extra.dim() == 1:
            network.shifts[id(out)] = (names[id(extra)][0], place.layer)
            dense = network.layers[place.layer - 1]
            fields = {**dense.__dict__, "bias": names[id(extra)][0]}
            network.layers[place.layer - 1] = Dense(**fields)
            network.places[id(out)] = place
            return
    if op.name in RESHAPE and out.numel() == op.inputs[0].numel():
        network.places[id(out)] = place
    elif op.name in ELEMENTWISE and place.kind in ("z", "a") and len({p.layer for p in known}) == 1:
        network.places[id(out)] = Place("a", place.layer)


def is_dense_only(run: Run, network: Network) -> bool:
    """True when every parameter is a dense layer's, each layer called once, fed by x or the one before."""
    owned = [d.weight for d in network.layers] + [d.bias for d in network.layers if d.bias]
    if sorted(owned) != sorted(run.parameters):
        return False
    for dense in network.layers:
        place = network.place(dense.source)
        if place.kind == "h" or place.layer != dense.number - 1:
            return False
    return True
