"""A weight used many times: its gradient is the sum over uses of ``delta · input``.

A convolution uses one weight at every position, a recurrent layer at every time step, a shared dense
layer at every call. ``delta`` is ``dJ/dz`` at that use; for a recurrent layer the recurrence is unrolled
from its own weights (Werbos 1990, backpropagation through time) and must give the module's own output.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lockstep.explain.chain import gradient
from lockstep.explain.guest import Run
from lockstep.explain.network import Network
from lockstep.explain.recurrent import RECURRENT, unrolled
from lockstep.explain.tape import Op

CONVOLUTION = {"conv1d": 1, "conv2d": 2, "conv3d": 3}


@dataclass(frozen=True, eq=False)
class Positions:
    """``delta`` and ``inputs``, both (N, P), with a label for each of the P uses."""

    delta: Tensor
    inputs: Tensor
    labels: tuple[str, ...]
    what: str


def positions_of(
    run: Run, network: Network, parameter: str, index: tuple[int, ...]
) -> Positions | None:
    """The uses of one entry of ``parameter``; None when a use is of a kind not known here."""
    uses = run.tape.consumers(run.parameters[parameter])
    parts = [use_of(run, network, op, parameter, index) for op in uses]
    found = [part for part in parts if part is not None]
    if not found or len(found) < len(parts) or len({p.delta.shape[0] for p in found}) > 1:
        return None
    if len(found) == 1:
        return found[0]
    labels = [f"call {n}{', ' + k if k else ''}" for n, p in enumerate(found, 1) for k in p.labels]
    delta, inputs = (
        torch.cat(list(t), 1) for t in zip(*((p.delta, p.inputs) for p in found), strict=True)
    )
    return Positions(delta, inputs, tuple(labels), "calls")


def use_of(
    run: Run, network: Network, op: Op, parameter: str, index: tuple[int, ...]
) -> Positions | None:
    """The positions of one call."""
    weight = run.parameters[parameter]
    if op.name in CONVOLUTION:
        return convolved(run, op, weight, index)
    if op.name in RECURRENT:
        found = unrolled(run, op, parameter, index)
        if found is None:
            return None
        delta, inputs = found
        return Positions(
            delta, inputs, tuple(f"t={t}" for t in range(delta.shape[1])), "time steps"
        )
    dense = next((d for d in network.layers if d.op is op), None)
    if dense is None:
        return None
    delta = gradient(run.J, dense.output)
    j, i = (index[1], index[0]) if dense.transposed and len(index) == 2 else (index[0], index[-1])
    source = (
        torch.ones_like(delta[..., j]) if op.argument(2, "bias") is weight else dense.source[..., i]
    )
    rows = delta[..., j].reshape(delta.shape[0] if delta.dim() > 1 else 1, -1)
    labels = ("",) if rows.shape[1] == 1 else tuple(f"row {p}" for p in range(rows.shape[1]))
    return Positions(rows, source.detach().reshape(rows.shape), labels, "rows")


def convolved(run: Run, op: Op, weight: Tensor, index: tuple[int, ...]) -> Positions:
    """delta (N, P) of output channel ``index[0]`` and the input entry that the weight meets there."""
    dims = CONVOLUTION[op.name]
    delta = gradient(run.J, op.outputs[0])
    if delta.dim() == dims + 1:
        delta = delta[None]
    here = delta[:, index[0]]
    labels = tuple(f"at {p}" for p in itertools.product(*(range(n) for n in here.shape[1:])))
    if weight is op.argument(2, "bias"):
        inputs = torch.ones_like(here)
    else:
        inputs = met(op, weight, index, dims, here.shape[1:])
    flat = (here.shape[0], -1)
    return Positions(here.reshape(flat), inputs.reshape(flat), labels, "positions")


def met(op: Op, weight: Tensor, index: tuple[int, ...], dims: int, size: torch.Size) -> Tensor:
    """The (padded) input entries that ``weight[index]`` is multiplied with, shape (N, *size)."""
    source = op.argument(0, "input").detach()
    source = source[None] if source.dim() == dims + 1 else source
    stride = spread(op.argument(3, "stride", 1), dims)
    dilation = spread(op.argument(5, "dilation", 1), dims)
    groups = op.argument(6, "groups", 1)
    padding = both_sides(op.argument(4, "padding", 0), weight.shape[2:], dilation, dims)
    source = F.pad(source, [n for pair in reversed(padding) for n in pair])
    channel = (index[0] // (weight.shape[0] // groups)) * weight.shape[1] + index[1]
    cut: list[Any] = [slice(None), channel]
    for k, step, gap, count in zip(index[2:], stride, dilation, size, strict=True):
        cut.append(slice(k * gap, k * gap + (count - 1) * step + 1, step))
    return source[tuple(cut)]


def spread(value: Any, dims: int) -> tuple[int, ...]:
    """One number a dimension."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (int(value),)
    return values * dims if len(values) == 1 else values


def both_sides(
    padding: Any, kernel: torch.Size, dilation: tuple[int, ...], dims: int
) -> list[tuple[int, int]]:
    """Padding before and after, a dimension; ``"same"`` puts the odd one after, as PyTorch does."""
    if padding == "valid":
        return [(0, 0)] * dims
    if padding == "same":
        total = [gap * (k - 1) for gap, k in zip(dilation, kernel, strict=True)]
        return [(n // 2, n - n // 2) for n in total]
    return [(n, n) for n in spread(padding, dims)]
