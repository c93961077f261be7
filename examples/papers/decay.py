"""Does weight decay drive copies together? One eigenvalue is no forecast.

A mirror or permutation symmetry makes its fixed set stationary, and strong decay pulls towards it [ziyin2023]; at a
critical point the lowest eigenvalue of one matrix decides about a duplicated unit [fukumizu2000]. Measured here on
400 digits, 64-6-10 tanh and one copy: in training neither is a forecast. Decay enlarges the residuals, and with
them what takes the copies apart; the eigenvalue at one point is wrong by large factors where the product along
training is right.
Run: python -m examples.papers.decay [folder for the figure]
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lockstep

from .data import digits
from .table import Row, above, axes, main, near, reported, save

LR = 0.5
SIZE = 1e-9  # of the displacement: small enough to stay linear at the gains that are met
STATED = {  # decay: lowest eigenvalue at the start, gain in training
    0.0: (-8.0e-4, 0.931),
    3e-3: (-5.81e-3, 252.3),
    2e-2: (-6.00e-3, 1388.0),
}


def images() -> tuple[Tensor, Tensor]:
    """The first 400 digits, with a column of ones."""
    x, y = digits()
    return torch.cat([x[:400], torch.ones(400, 1, dtype=x.dtype)], 1), y[:400]


def tied(decay: float, steps: int) -> nn.Sequential:
    """64-6-10, unit 0 copied with its outgoing weight halved, trained with the copies equal."""
    rng = np.random.default_rng(0)
    net = nn.Sequential(
        nn.Linear(65, 7, bias=False), nn.Tanh(), nn.Linear(7, 10, bias=False)
    ).double()
    with torch.no_grad():
        rows = torch.tensor(rng.standard_normal((6, 65)) / 8)
        columns = torch.tensor(rng.standard_normal((10, 6)) / 6**0.5)
        net[0].weight.copy_(rows[[*range(6), 0]])
        net[2].weight.copy_(columns[:, [*range(6), 0]])
        net[2].weight[:, [0, 6]] /= 2
    train(net, decay, steps)
    return net


def train(net: nn.Sequential, decay: float, steps: int) -> lockstep.History:
    make = partial(torch.optim.SGD, lr=LR, weight_decay=decay)
    return lockstep.train(net, *images(), loss=F.cross_entropy, optimizer=make, steps=steps, record_every=100,
                          progress=False)  # fmt: skip


def displacement(net: nn.Sequential) -> dict[str, Tensor]:
    """A random direction of length 1 for one copy, its opposite for the other."""
    delta = torch.tensor(np.random.default_rng(1).standard_normal(75))
    delta /= delta.norm()
    start = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    for unit, sign in ((0, 1), (6, -1)):
        start["0.weight"][unit] = sign * delta[:65]
        start["2.weight"][:, unit] = sign * delta[65:]
    return start


def reproduce(folder: Path, before: int = 2000, steps: int = 1000) -> list[Row]:
    rows, final = [], {}
    figure, plot = axes("Copies under weight decay", "step", "gain of their difference", log=True)
    for decay, (eigenvalue, gain) in STATED.items():
        net, (x, y) = tied(decay, before), images()
        h = lockstep.transverse_hessian(net, x, y, loss=F.cross_entropy, layer="0", units=(0, 6))
        lowest = float(h.eigenvalues[0]) + decay
        start = displacement(net)
        make = partial(torch.optim.SGD, lr=LR, weight_decay=decay)
        forecast = lockstep.forecast(net, x, y, loss=F.cross_entropy, optimizer=make, steps=steps,
                                     groups=[("0", (0, 6))], start=start)["0"]  # fmt: skip
        with torch.no_grad():
            for name, p in net.named_parameters():
                p += SIZE * start[name]
        history = train(net, decay, steps)
        w, o = history.parameter("0.weight"), history.parameter("2.weight")
        gap = torch.cat([w[:, 0] - w[:, 6], o[..., 0] - o[..., 6]], -1).norm(dim=1)
        measured, predicted = float(gap[-1] / gap[0]), math.exp(forecast.log_growth[-1])
        final[decay] = measured
        plot.plot(history.steps, gap / gap[0], label=f"decay {decay:g}")
        frozen = (1 - LR * lowest) ** steps
        what = f"decay {decay:g}: gain after {steps} steps"
        rows += [
            near(f"{what}, forecast beside our own training", measured, predicted, rel=1e-3, kind="derived"),
            reported(f"{what}, another start", f"{gain:g} after 4000", f"{measured:.4g}"),
            reported(f"decay {decay:g}: lowest eigenvalue at the start", f"{eigenvalue:.3g}", f"{lowest:.3g}"),
            above(f"{what}: what that eigenvalue alone says, over the measured one", 2, frozen / measured, "measured"),
        ]  # fmt: skip
    rows.append(
        above("gain under decay 2e-2 over gain without", 1, final[2e-2] / final[0.0], "measured")
    )
    plot.legend(fontsize=7)
    save(figure, folder, "decay")
    return rows


if __name__ == "__main__":
    main(reproduce)
