"""From tiny starts, units first gather on one line.

The units of a layer condense on few directions early in training from small weights [zhou2021]: for tanh the part of a
unit along v = mean(y x) grows at the rate |v|. Condensed units are parallel, not equal: nothing is locked.
Run: python -m examples.papers.condensation [folder for the figure]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lockstep

from .table import Row, above, axes, main, near, same, save


def samples(seed: int) -> tuple[Tensor, Tensor]:
    """80 points of [-4, 2]^5 with a column of ones, and y = Σ 3.5 sin(5 x_k + 1)."""
    x = torch.tensor(np.random.default_rng(seed).uniform(-4, 2, (80, 5)))
    y = 3.5 * torch.sin(5 * x + 1).sum(1, keepdim=True)
    return torch.cat([x, torch.ones(80, 1, dtype=x.dtype)], 1), y


def network(size: float, seed: int, act: nn.Module) -> nn.Sequential:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(6, 50, bias=False), act, nn.Linear(50, 1, bias=False)).double()
    for p in net.parameters():
        nn.init.normal_(p, std=size)
    return net


def half_square(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output, target) / 2


def reproduce(folder: Path) -> list[Row]:
    x, y = samples(0)
    v = (y * x).mean(0)
    net = network(1e-6, 0, nn.Tanh())
    width = lockstep.audit(net, x).layers["0"].effective_width
    sgd = partial(torch.optim.SGD, lr=1e-3)
    history = lockstep.train(net, x, y, loss=half_square, optimizer=sgd, steps=2500, progress=False)
    w, a = history.parameter("0.weight"), history.parameter("2.weight")[:, 0]
    along = (w @ (v / v.norm()) + a).norm(dim=1)
    steps = np.arange(200, 1501)
    slope = float(np.polyfit(1e-3 * steps, along[200:1501].log().numpy(), 1)[0])
    cosine = F.cosine_similarity(w[-1], v.expand_as(w[-1]), dim=1).abs().mean()
    rows = [
        near("length of v", 2.6832, float(v.norm()), rel=1e-3, kind="measured"),
        near(
            "growth rate a unit of time, beside the length of v", float(v.norm()), slope, rel=5e-3
        ),
        near("growth rate, steps 200 to 1500", 2.6797, slope, rel=5e-3, kind="measured"),
        near(
            "mean of abs cos(w, v) at step 2500", 0.99993, float(cosine), off=1e-3, kind="measured"
        ),
        same("classes of 50 units (parallel is not equal)", 50, width, "measured"),
    ]
    figure, plot = axes("Condensation of 50 units, Adam", "step", "mean |cos| of all pairs")
    for act, name, lr in ((nn.Tanh(), "tanh", 1e-3), (nn.Sigmoid(), "sigmoid", 8e-4)):
        ends = []
        for seed in range(3):
            x, y = samples(seed)
            net = network(0.005, seed, act)
            adam = partial(torch.optim.Adam, lr=lr)
            with lockstep.watch(net, every=10) as seen:
                lockstep.train(
                    net, x, y, loss=half_square, optimizer=adam, steps=100, progress=False
                )
            course = seen.column("0", "abs_cosine")
            plot.plot(list(course), list(course.values()), label=f"{name}, seed {seed}")
            ends.append(course[100])
            if name == "tanh" and seed == 0:
                rows.append(
                    near(
                        "Adam, tanh: mean of abs cos at the start",
                        0.34,
                        course[0],
                        off=0.03,
                        kind="measured",
                    )
                )
        stated = "three of .943, .990, .997" if name == "tanh" else "one line"
        rows.append(above(f"Adam, {name}: smallest mean of abs cos, 3 seeds, after 100 steps ({stated})", 0.9,
                          min(ends), "measured"))  # fmt: skip
    plot.legend(fontsize=6)
    save(figure, folder, "condensation")
    return rows


if __name__ == "__main__":
    main(reproduce)
