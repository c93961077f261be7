"""Passes over the data with recorded weights: what each unit computed at each recorded step.

Dropout is switched off for the passes; every other mode, and every buffer, is as it was when training
began. A batch norm that trains normalises the replayed batch, so its moving statistics do not matter; buffers
that a model reads in train mode and changes from step to step (counters, averages of its own) do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lockstep.explain.guest import Run, arguments
from lockstep.explain.network import Network, read
from lockstep.explain.positions import CONVOLUTION
from lockstep.explain.tape import Recorder, Tape, tensors_in


@dataclass(frozen=True, eq=False)
class Replay:
    """``rows`` (R',) records replayed; ``outputs`` layer → (R', N, U) activations."""

    rows: Tensor
    outputs: dict[str, Tensor]
    network: Network


def replay(model: nn.Module, x: Any, rows: Tensor, states: list[dict[str, Tensor]]) -> Replay:
    """One pass a state; ``model`` is a copy that nobody else holds."""
    for module in model.modules():
        if "Dropout" in type(module).__name__:
            module.eval()
    kept: dict[str, list[Tensor]] = {}
    network = Network()
    dtypes = {name: p.dtype for name, p in model.named_parameters()}
    for state in states:
        with torch.inference_mode(False), torch.enable_grad():
            found = one_pass(model, x, {n: t.to(dtypes[n]) for n, t in state.items()})
        network = read(found)
        for layer, activations in unit_outputs(found, network).items():
            kept.setdefault(layer, []).append(activations)
    return Replay(rows, {layer: torch.stack(list_) for layer, list_ in kept.items()}, network)


def one_pass(model: nn.Module, x: Any, state: dict[str, Tensor]) -> Run:
    """A recorded forward pass; buffers are copies."""
    parameters = {name: t.detach().clone().requires_grad_() for name, t in state.items()}
    buffers = {name: b.detach().clone() for name, b in model.named_buffers()}
    args, kwargs = arguments(x)
    tape = Tape()
    with Recorder(tape):
        output = torch.func.functional_call(model, {**parameters, **buffers}, args, kwargs)
    return Run(parameters, tuple(tensors_in(x)), tape, output, None, torch.zeros(()))


def unit_outputs(run: Run, network: Network) -> dict[str, Tensor]:
    """Layer → (N, U): activations of dense layers, outputs of convolutions (positions count as N)."""
    found: dict[str, Tensor] = {}
    names = {id(p): name.rpartition(".")[0] for name, p in run.parameters.items()}
    for op in run.tape.ops:
        out = op.outputs[0]
        place = network.place(out)
        if op.name in CONVOLUTION:
            channels = out.detach().movedim(-CONVOLUTION[op.name] - 1, -1)
            path = names.get(id(op.argument(1, "weight")), "")
            found[path] = channels.reshape(-1, channels.shape[-1])
        elif place.kind in ("z", "a"):
            dense = network.layers[place.layer - 1]
            if out.dim() and out.shape[-1] == dense.width:
                found[dense.path] = out.detach().reshape(-1, dense.width)
    return found
