"""Unrolls ``nn.RNN``, ``nn.GRU`` and ``nn.LSTM`` from their weights, one time step at a time.

The equations are PyTorch's (Elman; Cho et al. 2014; Hochreiter & Schmidhuber 1997). Input and hidden
projections are kept as separate tensors ``zi_t = W_ih x_t + b_ih`` and ``zh_t = W_hh h_{t-1} + b_hh``,
so that every weight meets its own delta. Shapes: ``T`` time, ``N`` batch, ``U`` units, ``G`` gates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lockstep.explain.guest import Run
from lockstep.explain.tape import Op

RECURRENT = frozenset({"rnn_tanh", "rnn_relu", "lstm", "gru"})


@dataclass(frozen=True, eq=False)
class Step:
    """Projections at one time step: ``zi, zh`` (N, G·U), what they read: ``x`` (N, I), ``h`` (N, U)."""

    zi: Tensor
    zh: Tensor
    x: Tensor
    h: Tensor


def unrolled(
    run: Run, op: Op, parameter: str, index: tuple[int, ...]
) -> tuple[Tensor, Tensor] | None:
    """delta (N, T) and input (N, T) of one recurrent weight; None if the call is not a plain one."""
    source, hidden, weights, has_bias, layers, dropout, training, both, batch_first = op.args[:9]
    if not isinstance(weights, (list, tuple)) or (dropout and training and layers > 1):
        return None
    per = 4 if has_bias else 2
    if len(weights) != per * layers * (2 if both else 1):
        return None  # a projection (proj_size) adds a matrix
    sequence = source.transpose(0, 1) if batch_first else source
    states = list(hidden) if op.name == "lstm" else [hidden]
    final: list[list[Tensor]] = [[] for _ in states]
    steps: dict[int, list[Step]] = {}
    for layer in range(layers):
        parts = []
        for direction in range(2 if both else 1):
            n = layer * (2 if both else 1) + direction
            own = list(weights[n * per : (n + 1) * per])
            start = [s[n] for s in states]
            out, last, steps[n] = one_direction(op.name, sequence, start, own, direction == 1)
            parts.append(out)
            for kept, state in zip(final, last, strict=True):
                kept.append(state)
        sequence = torch.cat(parts, -1)
    output = sequence.transpose(0, 1) if batch_first else sequence
    mine = [output, *(torch.stack(kept) for kept in final)]
    if any(not torch.allclose(a, b, atol=1e-9) for a, b in zip(mine, op.outputs, strict=True)):
        return None
    spot = next(k for k, w in enumerate(weights) if w is run.parameters[parameter])
    return deltas(run, op, mine, steps[spot // per], spot % per, index)


def deltas(
    run: Run, op: Op, mine: list[Tensor], steps: list[Step], role: int, index: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """delta and input at each step; ``role`` 0 W_ih, 1 W_hh, 2 b_ih, 3 b_hh."""
    outer = torch.autograd.grad(
        run.J, op.outputs, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    read = [step.zi if role % 2 == 0 else step.zh for step in steps]
    inner = torch.autograd.grad(
        mine, read, list(outer), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    met = [step.x if role == 0 else step.h for step in steps]
    inputs = [t[:, index[1]] if role < 2 else torch.ones_like(t[:, 0]) for t in met]
    return (
        torch.stack([d[:, index[0]] for d in inner], 1).detach(),
        torch.stack(inputs, 1).detach(),
    )


def one_direction(
    kind: str, sequence: Tensor, start: list[Tensor], weights: list[Tensor], backward: bool
) -> tuple[Tensor, list[Tensor], list[Step]]:
    """Outputs (T, N, U), final states and the steps in the order of time."""
    times = range(sequence.shape[0])
    state, outputs, steps = start, {}, {}
    biases = weights[2:] if len(weights) == 4 else [0.0, 0.0]
    for t in reversed(times) if backward else times:
        x, h = sequence[t], state[0]
        zi, zh = x @ weights[0].T + biases[0], h @ weights[1].T + biases[1]
        steps[t] = Step(zi, zh, x, h)
        state = advanced(kind, zi, zh, state)
        outputs[t] = state[0]
    return torch.stack([outputs[t] for t in times]), state, [steps[t] for t in times]


def advanced(kind: str, zi: Tensor, zh: Tensor, state: list[Tensor]) -> list[Tensor]:
    """The next state from the two projections."""
    if kind == "rnn_tanh":
        return [torch.tanh(zi + zh)]
    if kind == "rnn_relu":
        return [torch.relu(zi + zh)]
    if kind == "lstm":
        i, f, g, o = (zi + zh).chunk(4, -1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return [torch.sigmoid(o) * torch.tanh(c), c]
    (ri, ui, ni), (rh, uh, nh) = zi.chunk(3, -1), zh.chunk(3, -1)
    n = torch.tanh(ni + torch.sigmoid(ri + rh) * nh)
    u = torch.sigmoid(ui + uh)
    return [(1 - u) * n + u * state[0]]
