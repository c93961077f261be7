"""From a weight's layer to J: the stages in between, and the chain rule applied to them by hand.

A *bottleneck* is a tensor through which everything from ``z`` to J passes. Between two bottlenecks lies
one stage: a dense layer, an elementwise activation, a softmax, a reshape; anything else is one numeric
vector-Jacobian product. Going back from J, ``delta(t) = dJ/dt`` obeys

    dense      delta(t) = delta(s) W                 s = t Wᵀ + b
    activation delta(t) = delta(s) * g'(t)           s = g(t)
    softmax    delta(t) = s * (delta(s) - Σ s delta(s))

(Rumelhart, Hinton & Williams 1986). Only ``dJ/d output`` comes from autograd, the loss being the user's
own, so a comparison of the product with autograd's gradient is a check of every stage.

Shapes: ``R`` rows (samples, or samples times positions), ``U`` units; every tensor is seen as (R, U).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lockstep.explain.activations import ELEMENTWISE, RESHAPE, ROWWISE, rule_for
from lockstep.explain.guest import Run
from lockstep.explain.network import Dense, Network
from lockstep.explain.tape import Op, tensors_in

Kind = Literal["dense", "activation", "softmax", "reshape", "vjp"]


@dataclass(frozen=True, eq=False)
class Stage:
    """One step towards J. ``delta`` (R, U) is dJ/d(source); ``local`` (R, U) is g' of an activation."""

    kind: Kind
    source: Tensor
    output: Tensor
    ops: tuple[Op, ...]
    dense: Dense | None
    local: Tensor | None
    delta: Tensor


@dataclass(frozen=True, eq=False)
class Chain:
    """The stages from ``z`` (the first one's source) to the output; ``top`` (R, U) is dJ/d output."""

    start: Tensor
    stages: tuple[Stage, ...]
    end: Tensor
    top: Tensor
    reaches_output: bool

    @property
    def delta(self) -> Tensor:
        """dJ/d(start), shape (R, U)."""
        return self.stages[0].delta if self.stages else self.top


def follow_to_loss(run: Run, network: Network, start: Tensor) -> Chain:
    """The chain from ``start`` (…, U) to J."""
    rows = start.numel() // max(1, start.shape[-1]) if start.dim() else 1
    links, end, reaches = bottlenecks(run, start)
    top = as_rows(gradient(run.J, end), rows)
    if top is None:
        links, end, reaches = [], start, False
        top = gradient(run.J, start).reshape(rows, -1)
    stages: list[Stage] = []
    delta = top
    for source, output, ops in reversed(links):
        stage = stage_of(network, source, output, ops, delta, rows)
        if stage is None:  # rows are mixed here: nothing below can be read a row at a time
            return follow_numeric(run, start, rows)
        stages.append(stage)
        delta = stage.delta
    return Chain(start, tuple(reversed(stages)), end, top, reaches)


def follow_numeric(run: Run, start: Tensor, rows: int) -> Chain:
    """Everything between ``start`` and J as one number a row and unit."""
    return Chain(start, (), start, gradient(run.J, start).reshape(rows, -1), False)


Link = tuple[Tensor, Tensor, tuple[Op, ...]]


def bottlenecks(run: Run, start: Tensor) -> tuple[list[Link], Tensor, bool]:
    """Links between successive bottlenecks from ``start`` on, the last one, and whether it is the output."""
    outputs = {id(t): t for t in tensors_in(run.output)}
    ops = relevant(run, start, set(outputs))
    last_use = {id(t): n for n, op in enumerate(ops) for t in op.inputs}
    live, current, block = {id(start): start}, start, []
    links: list[Link] = []
    for n, op in enumerate(ops):
        block.append(op)
        live.update((id(t), t) for t in op.outputs)
        live = {k: t for k, t in live.items() if k in outputs or last_use.get(k, -1) > n}
        if len(live) == 1:
            (tensor,) = live.values()
            if tensor is not current and id(tensor) not in run.tape.dirty:
                links.append((current, tensor, tuple(block)))
                current, block = tensor, []
    return links, current, id(current) in outputs and not block


def relevant(run: Run, start: Tensor, outputs: set[int]) -> list[Op]:
    """The calls on a path from ``start`` to an output."""
    reached, forward = {id(start)}, []
    for op in run.tape.ops:
        if any(id(t) in reached for t in op.inputs):
            forward.append(op)
            reached |= {id(t) for t in op.outputs}
    needed, backward = set(outputs), []
    for op in reversed(forward):
        if any(id(t) in needed for t in op.outputs):
            backward.append(op)
            needed |= {id(t) for t in op.inputs}
    return backward[::-1]


def stage_of(
    network: Network, source: Tensor, output: Tensor, ops: Sequence[Op], delta: Tensor, rows: int
) -> Stage | None:
    """The stage between two bottlenecks with ``delta`` (R, U) at its output; None if it mixes rows."""
    dense = next((d for d in network.layers if d.op is ops[0]), None) if len(ops) == 1 else None
    kind: Kind = "vjp"
    local: Tensor | None = None
    inner: Tensor | None
    if dense is not None and dense.source is source and source.numel() == rows * source.shape[-1]:
        kind, inner = "dense", delta @ dense.matrix
    elif all(op.name in RESHAPE for op in ops) and source.numel() == output.numel():
        kind, inner = "reshape", delta
    elif is_added_bias(network, output, ops) or is_elementwise(source, output, ops):
        kind = "reshape" if is_added_bias(network, output, ops) else "activation"
        local = local_derivative(source, output, ops).reshape(rows, -1)
        inner = delta * local
    elif len(ops) == 1 and ops[0].name in ROWWISE and is_last_dim(ops[0], source):
        kind, inner = "softmax", through_softmax(ops[0], output.detach().reshape(rows, -1), delta)
    else:
        inner = as_rows(gradient(output, source, delta.reshape(output.shape)), rows)
    if inner is None or source.numel() % rows:
        return None
    return Stage(kind, source, output, tuple(ops), dense, local, inner.reshape(rows, -1))


def is_added_bias(network: Network, output: Tensor, ops: Sequence[Op]) -> bool:
    """True for the ``+ b`` of a dense layer written as ``x @ W + b``."""
    return len(ops) == 1 and id(output) in network.shifts


def is_elementwise(source: Tensor, output: Tensor, ops: Sequence[Op]) -> bool:
    """True when every call acts element by element on what depends on ``source``."""
    active = {id(source)}
    for op in ops:
        used = [t for t in op.inputs if id(t) in active]
        if op.name not in ELEMENTWISE or any(t.shape != op.outputs[0].shape for t in used):
            return False
        active |= {id(t) for t in op.outputs}
    return source.shape == output.shape


def local_derivative(source: Tensor, output: Tensor, ops: Sequence[Op]) -> Tensor:
    """g'(source), by formula where there is one."""
    op = ops[0]
    rule = rule_for(op.name, op.args, op.kwargs) if len(ops) == 1 and len(op.inputs) == 1 else None
    if rule is not None:
        return rule[1](source.detach(), output.detach())
    return gradient(output, source, torch.ones_like(output))


def is_last_dim(op: Op, source: Tensor) -> bool:
    """True for a softmax over the last dimension."""
    dim = op.argument(1, "dim")
    return dim is not None and dim % source.dim() == source.dim() - 1


def through_softmax(op: Op, s: Tensor, delta: Tensor) -> Tensor:
    """delta before a softmax or log-softmax with output ``s`` (R, U)."""
    if op.name == "softmax":
        return s * (delta - (s * delta).sum(1, keepdim=True))
    return delta - s.exp() * delta.sum(1, keepdim=True)


def gradient(output: Tensor, source: Tensor, delta: Tensor | None = None) -> Tensor:
    """autograd's vector-Jacobian product, zeros where ``output`` does not depend on ``source``."""
    if output is source:
        return torch.ones_like(source) if delta is None else delta
    (result,) = torch.autograd.grad(
        output, source, delta, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return result.detach()


def as_rows(tensor: Tensor, rows: int) -> Tensor | None:
    """``tensor`` as (R, U), or None when its entries cannot be dealt to the rows in order."""
    if tensor.numel() % rows:
        return None
    return tensor.reshape(rows, -1)
