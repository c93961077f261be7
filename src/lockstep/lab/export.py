"""A run to take away: as a Python script that reproduces it with the library alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lockstep.lab import network as nets
from lockstep.lab.state import State

LIST = 4  # numbers a line


def as_script(state: State, chosen: Sequence[str] = ()) -> str:
    """Python that builds the same network, trains it as far, and prints what the lab shows of it.

    ``chosen`` are the paths of one or two entries, whose chains are printed; by default of two units' first weights.

    >>> "train(" in as_script(State(steps=100))
    True
    """
    start = state if state.weights is None else replace(state, weights=None)
    pair = ["0.weight[0,0]", f"0.weight[{other(state)}]"]
    asked = ("explain", chosen) if len(chosen) == 1 else ("compare", chosen or pair)
    lines = [
        '"""A run of the Lockstep lab: the same start, data and updates, to the last bit."""',
        "",
        "import torch",
        "from torch import nn",
        "",
        f"from lockstep import audit, {asked[0]}, train",
        "from lockstep.lab.datasets import points",
        "",
        "torch.set_num_threads(1)",
        f"x, y = points({state.data!r}, {state.samples}, {state.noise!r}, seed={state.data_seed})",
        "",
        f"torch.manual_seed({state.seed})",
        *dense(start),
        f"net = nn.Sequential({', '.join(modules(state))}).double()",
        *given(state),
        "",
        f"loss = nn.functional.{nets.LOSSES[state.loss].__name__}",
        f"def optimizer(parameters): return {optimizer(state)}",
        "",
        "print(audit(net, x[:4]))",
    ]
    if not state.dropout:
        names = ", ".join(f'"{path}"' for path in asked[1])
        lines.append(f"print({asked[0]}(net, x, y, loss, {names}))")
    if state.steps:
        lines += [
            f"history = train(net, x, y, loss=loss, optimizer=optimizer, steps={state.steps},",
            f"                batch_size={state.batch or None}, seed={state.seed})",
            "print(history)",
            "print([float(w) for w in history.weights[-1]])",
        ]
    return "\n".join(lines) + "\n"


def dense(state: State) -> list[str]:
    """Layers drawn in the order in which the lab draws them."""
    pairs = zip(state.sizes, state.sizes[1:], strict=False)
    return [
        f"dense{n} = nn.Linear({before}, {units}, bias={state.bias})"
        for n, (before, units) in enumerate(pairs, 1)
    ]


def modules(state: State) -> list[str]:
    """The modules of the ``Sequential``."""
    listed: list[str] = []
    for n in range(1, len(state.hidden) + 1):
        listed += [f"dense{n}", f"nn.{nets.ACTIVATIONS[state.activation].__name__}()"]
        if state.dropout:
            listed.append(f"nn.Dropout({state.dropout!r})")
    listed.append(f"dense{len(state.hidden) + 1}")
    return listed + [f"nn.{type(module).__name__}()" for module in nets.output(state)]


def given(state: State) -> list[str]:
    """The start, where it is not drawn."""
    if state.weights is None:
        return []
    rows = [state.weights[n : n + LIST] for n in range(0, len(state.weights), LIST)]
    listed = [f"    {', '.join(map(repr, row))}," for row in rows]
    return [
        "start = [",
        *listed,
        "]",
        "nn.utils.vector_to_parameters(torch.tensor(start, dtype=torch.float64), net.parameters())",
    ]


def optimizer(state: State) -> str:
    """The optimizer's construction."""
    made = nets.optimizer(state)(nets.network(State()).parameters())
    momentum = ", momentum=0.9" if state.optimizer == "momentum" else ""
    return f"torch.optim.{type(made).__name__}(parameters, lr={state.lr!r}{momentum})"


def other(state: State) -> str:
    """A second weight to compare with: the next unit's, or the next input's of a single unit."""
    return "1,0" if state.hidden[0] > 1 else "0,1"
