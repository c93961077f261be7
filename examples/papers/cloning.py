"""Clones under noise: what the counters see.

Cloned units stay clones under SGD and drift apart under gradient noise or dropout, as the cloning R² of [joudaki2025]
shows (published for CIFAR-10; measured here on digits). The dormancy score of [sokar2023] does not see clones at all.
Run: python -m examples.papers.cloning [folder for the figure]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import lockstep

from .data import digits
from .table import NOTHING, Row, axes, main, near, same, save

STATED = {  # cloning R² of the first hidden layer after 500, 2000, 8000 steps
    "plain": (1.0, 1.0, 1.0),
    "noise .01": (0.9998, 0.9995, 0.9977),
    "dropout .1": (0.9989, 0.9985, 0.9935),
}
NOISE = "another stream of noise; one run is no mean, and the order of the three is the same."
TIMES = (500, 2000, 8000)


def noisy(params: Iterable[nn.Parameter], lr: float, size: float) -> torch.optim.SGD:
    """SGD that adds Gaussian noise to every entry: ``size`` times its parameter's gradient norm."""
    optimizer = torch.optim.SGD(params, lr=lr)

    def add(*_: object) -> None:
        for p in optimizer.param_groups[0]["params"]:
            p.grad += size * p.grad.norm() * torch.randn_like(p)

    optimizer.register_step_pre_hook(add)
    return optimizer


def cloned(dropout: float) -> tuple[nn.Sequential, dict[str, list[list[int]]]]:
    """64-16-16-10 trained for 400 steps, then every hidden unit twice; and the pairs."""
    torch.manual_seed(0)
    small = nn.Sequential(
        nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 10)
    ).double()
    x, y = digits()
    sgd = partial(torch.optim.SGD, lr=0.05)
    lockstep.train(small, x[:1500], y[:1500], loss=F.cross_entropy, optimizer=sgd, steps=400, batch_size=50,
                   record_every=400, progress=False)  # fmt: skip
    for layer in ("0", "2"):
        lockstep.widen(small, x[:64], layer, to=32, split="halves").apply()
    drop: Callable[[], nn.Module] = partial(nn.Dropout, dropout) if dropout else nn.Identity
    net = nn.Sequential(small[0], small[1], drop(), small[2], small[3], drop(), small[4])
    pairs = [[k, k + 1] for k in range(0, 32, 2)]
    return net, {"0": pairs}


def course(name: str, steps: int) -> list[dict[str, float]]:
    net, groups = cloned(0.1 if name == "dropout .1" else 0.0)
    make = partial(noisy, lr=0.05, size=0.01 if name == "noise .01" else 0.0)
    x, y = digits()
    with lockstep.watch(net, every=500, groups=groups, probe=x[1500:], layers=["0"]) as seen:
        lockstep.train(net, x[:1500], y[:1500], loss=F.cross_entropy, optimizer=make, steps=steps, batch_size=50,
                       record_every=steps, progress=False)  # fmt: skip
    return seen["0"]


def reproduce(folder: Path, steps: int = 8000) -> list[Row]:
    rows = []
    figure, plot = axes(
        "Clones on digits, first hidden layer", "step", "1 - cloning R²", log=True, zero=True
    )
    for name, stated in STATED.items():
        seen = {int(row["step"]): row for row in course(name, steps)}
        plot.plot(
            list(seen), [max(1 - row["cloning_r2"], NOTHING) for row in seen.values()], label=name
        )
        rows += [
            near(
                f"{name}: cloning R² after {at} steps",
                value,
                seen[at]["cloning_r2"],
                off=0.002,
                kind="measured",
            ).because(NOISE)
            for at, value in zip(TIMES, stated, strict=True)
            if at in seen
        ]
        if name == "plain":
            last = seen[max(seen)]
            rows.append(
                same(
                    f"plain: dormant units after {max(seen)} steps",
                    0.0,
                    last["dormant"],
                    "measured",
                )
            )
            rows.append(
                same(
                    f"plain: distinct units of 32 after {max(seen)} steps",
                    16,
                    last["distinct"],
                    "measured",
                )
            )
    plot.legend(fontsize=7)
    save(figure, folder, "cloning")
    return rows


if __name__ == "__main__":
    main(reproduce)
