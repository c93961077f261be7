"""What breaks a lock, and what does not.

No paper: measured here. Twins and mirror pairs survive every elementwise optimizer, clipping and L-BFGS, exactly; units
in proportion survive plain gradient descent only. Noise, and optimizer state that differs from copy to copy, break a
lock at once; the latter is the cure of [yu2026] for copied units. The size of a break depends on the random start (5
to 95 % of starts lie a factor of 4 either way: for GELU it is quadratic in the weights), so it is the median of 21.
Run: python -m examples.papers.grades [folder for the figure]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lockstep

from .table import NOTHING, Row, axes, below, factor, main, save

O = torch.optim  # noqa: E741
SGD, ADAM = partial(O.SGD, lr=0.05), partial(O.Adam, lr=0.01)
SGD_L2 = partial(O.SGD, lr=0.05, weight_decay=1e-2)
MOMENTUM = partial(O.SGD, lr=0.05, momentum=0.9, weight_decay=1e-2)
RPROP = partial(O.Rprop, lr=0.001)
ADAGRAD_L2 = partial(O.Adagrad, lr=0.01, weight_decay=1e-2)
EVERY = {
    "SGD": SGD, "momentum + L2": MOMENTUM, "Adam": ADAM, "AdamW": partial(O.AdamW, lr=0.01),
    "Adam + L2": partial(O.Adam, lr=0.01, weight_decay=1e-2), "Adagrad + L2": ADAGRAD_L2, "Rprop": RPROP,
}  # fmt: skip
STARTS = 21
STEP = (
    "what SGD .05 makes of it is .05 times the difference of two draws of N(0, 1e-3), at its largest of seven entries "
    "1e-4; the earlier run must have had a larger rate or another network."
)


@dataclass(frozen=True)
class Case:
    """Unit 1 is made from unit 0: its incoming weights and bias times ``into``, its outgoing ones times ``out``."""

    into: float
    out: float
    activation: type[nn.Module]
    l1: float = 0.0
    dropout: float = 0.0


TWIN, MIRROR = Case(1, 1, nn.Tanh), Case(-1, -1, nn.Tanh)
PROPORTIONAL = Case(2, 2, nn.ReLU)
KEPT = {
    "twins": (TWIN, EVERY),
    "mirror, tanh": (MIRROR, EVERY),
    "proportional (2w, 2o), ReLU": (PROPORTIONAL, {"SGD": SGD, "SGD + L2": SGD_L2, "momentum + L2": MOMENTUM}),
    "twins, L1 penalty": (Case(1, 1, nn.Tanh, l1=1e-2), {"SGD": SGD}),
    "mirror, tanh, L1 penalty": (Case(-1, -1, nn.Tanh, l1=1e-2), {"SGD": SGD}),
}  # fmt: skip
BROKEN = [  # what, case, optimizer, after how many steps, how far off
    ("twins, dropout .2, SGD", Case(1, 1, nn.Tanh, dropout=0.2), SGD, 1, 2.1e-3),
    ("mirror, tanh, dropout .2, SGD", Case(-1, -1, nn.Tanh, dropout=0.2), SGD, 1, 2.1e-3),
    ("proportional, ReLU, Adam", PROPORTIONAL, ADAM, 1, 1.0e-2),
    ("proportional, ReLU, Adam", PROPORTIONAL, ADAM, 10, 9.3e-2),
    ("proportional, ReLU, Rprop", PROPORTIONAL, RPROP, 1, 1e-3),
    ("proportional, ReLU, Adagrad + L2", PROPORTIONAL, ADAGRAD_L2, 1, 1e-2),
    ("proportional, ReLU, SGD + L1", Case(2, 2, nn.ReLU, l1=1e-2), SGD, 1, 5e-4),
    ("(-w, o), tanh, SGD", Case(-1, 1, nn.Tanh), SGD, 1, 2.9e-2),
    ("(2w, o/2), ReLU, SGD", Case(2, 0.5, nn.ReLU), SGD, 1, 1.4e-2),
    ("(-w, -o), sigmoid, SGD", Case(-1, -1, nn.Sigmoid), SGD, 1, 2.0e-2),
    ("(-w, -o), GELU, SGD", Case(-1, -1, nn.GELU), SGD, 1, 4.7e-3),
]  # fmt: skip


def network(case: Case, seed: int) -> nn.Sequential:
    """4-8-2 with weights N(0, 1/fan in), biases 0, units 0 and 1 related."""
    torch.manual_seed(seed)
    noise = [nn.Dropout(case.dropout)] if case.dropout else []
    net = nn.Sequential(nn.Linear(4, 8), case.activation(), *noise, nn.Linear(8, 2)).double()
    first, last = net[0], net[-1]
    with torch.no_grad():
        for layer in (first, last):
            layer.weight.normal_(0, layer.in_features**-0.5)
            layer.bias.zero_()
        first.weight[1] = case.into * first.weight[0]
        last.weight[:, 1] = case.out * last.weight[:, 0]
    return net


def deviations(case: Case, make: Callable[..., O.Optimizer], steps: int, seed: int = 0) -> Tensor:
    """How far units 0 and 1 are from their relation, after 0 to ``steps`` updates."""
    net = network(case, seed)
    x = torch.randn(64, 4, dtype=torch.float64)
    y = (x @ torch.randn(4, 2, dtype=torch.float64)).sin()

    def loss(output: Tensor, target: Tensor) -> Tensor:
        penalty = sum(p.abs().sum() for p in net.parameters()) if case.l1 else 0.0
        return F.mse_loss(output, target) + case.l1 * penalty

    history = lockstep.train(net, x, y, loss=loss, optimizer=make, steps=steps, progress=False)
    rows, columns = history.parameter("0.weight"), history.parameter(f"{len(net) - 1}.weight")
    apart = [rows[:, 1] - case.into * rows[:, 0], columns[..., 1] - case.out * columns[..., 0]]
    return torch.cat(apart, 1).abs().amax(1)


def clipped(params: list[nn.Parameter]) -> O.Optimizer:
    """SGD after clipping by global norm, and by value."""
    optimizer = SGD(params)

    def clip(*_: object) -> None:
        given = optimizer.param_groups[0]["params"]
        nn.utils.clip_grad_norm_(given, 0.1)
        nn.utils.clip_grad_value_(given, 0.01)

    optimizer.register_step_pre_hook(clip)
    return optimizer


def noisy(params: list[nn.Parameter]) -> O.Optimizer:
    """SGD on gradients with noise N(0, 1e-3) in every entry."""
    optimizer = SGD(params)

    def disturb(*_: object) -> None:
        for p in optimizer.param_groups[0]["params"]:
            p.grad += 1e-3 * torch.randn_like(p)

    optimizer.register_step_pre_hook(disturb)
    return optimizer


def uneven(params: list[nn.Parameter]) -> O.Optimizer:
    """Adam; after five steps the second moments of unit 1 are multiplied by 4."""
    optimizer, taken = ADAM(params), [0]

    def disturb(*_: object) -> None:
        if taken[0] == 5:
            given = optimizer.param_groups[0]["params"]
            optimizer.state[given[0]]["exp_avg_sq"][1] *= 4
            optimizer.state[given[2]]["exp_avg_sq"][:, 1] *= 4
        taken[0] += 1

    optimizer.register_step_pre_hook(disturb)
    return optimizer


def lbfgs(steps: int = 5) -> float:
    """The gap of twins after L-BFGS, which ``lockstep.train`` does not run: it wants a closure."""
    net = network(TWIN, 0)
    x = torch.randn(64, 4, dtype=torch.float64)
    y = (x @ torch.randn(4, 2, dtype=torch.float64)).sin()
    optimizer = O.LBFGS(net.parameters(), lr=0.1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.mse_loss(net(x), y)
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return float((net[0].weight[0] - net[0].weight[1]).detach().abs().max())


def reproduce(folder: Path, steps: int = 200) -> list[Row]:
    rows = []
    for what, (case, optimizers) in KEPT.items():
        for name, make in optimizers.items():
            worst = float(deviations(case, make, steps).max())
            rows.append(below(f"{what}, {name}: {steps} steps", 0, worst, "measured"))
    rows += [
        below(f"twins, SGD, clipped: {steps} steps", 0, float(deviations(TWIN, clipped, steps).max()), "measured"),
        below("twins, L-BFGS: 5 steps", 0, lbfgs(), "measured"),
    ]  # fmt: skip
    broken = [
        *BROKEN,
        ("twins, gradient noise 1e-3, SGD", TWIN, noisy, 1, 3.6e-4),
        ("twins, second moments of one times 4, Adam", TWIN, uneven, 6, 4.7e-3),
    ]
    figure, plot = axes("Deviation from the relation", "step", "deviation", log=True, zero=True)
    for what, case, make, after, stated in broken:
        sizes = [float(deviations(case, make, after, seed)[-1]) for seed in range(STARTS)]
        at = "1 step" if after == 1 else f"{after} steps"
        row = factor(f"{what}: median after {at}", stated, median(sizes), 3, "measured")
        rows.append(row.because(STEP) if make is noisy else row)
    for what, case, make in (
        ("twins, Adam + L2", TWIN, EVERY["Adam + L2"]),
        ("twins, dropout", BROKEN[0][1], SGD),
        ("proportional, SGD", PROPORTIONAL, SGD),
        ("proportional, Adam", PROPORTIONAL, ADAM),
        ("(-w, -o), GELU, SGD", BROKEN[-1][1], SGD),
    ):
        plot.plot(deviations(case, make, steps).clamp(min=NOTHING), label=what)
    plot.legend(fontsize=6)
    save(figure, folder, "grades")
    return rows


if __name__ == "__main__":
    main(reproduce)
