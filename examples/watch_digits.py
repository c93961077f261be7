"""Copies that separate and copies that do not, watched while a digits classifier trains.

A 64-16-10 network in which units 0 and 1 are twins in both directions, 2 and 3 in their incoming weights only.
Run: python examples/watch_digits.py [folder for the page and the figure]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from lockstep import watch


def network() -> nn.Sequential:
    """Unit 1 is a copy of unit 0, weights out of it included; unit 3 one of unit 2, weights in only."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    with torch.no_grad():
        model[0].weight[[1, 3]] = model[0].weight[[0, 2]]
        model[0].bias[[1, 3]] = model[0].bias[[0, 2]]
        model[2].weight[:, 1] = model[2].weight[:, 0]
    return model


def main(folder: Path) -> None:
    x, y = (torch.tensor(a) for a in load_digits(return_X_y=True))
    x = (x / 16).float()
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, every=50) as w:
        for n in range(500):
            batch = torch.arange(50 * n, 50 * n + 50) % len(x)
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    for event in w.events:
        print(event)
    first, last = w["0"][0], w["0"][-1]
    print(f"distinct units of 16: {first['distinct']} at first, {last['distinct']} in the end")
    print(f"gradient twins to the last: {w['0'][-2]['gradient_twins']}")
    w.html(folder / "watch.html")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, metric in zip(axes, ("distinct", "effective_rank"), strict=True):
        for layer in w.layers:
            values = w.column(layer, metric)
            axis.plot(list(values), list(values.values()), marker=".", label=f"layer {layer}")
        axis.set(title=metric.replace("_", " "), xlabel="updates", ylim=(0, 17))
    axes[0].legend()
    figure.savefig(folder / "watch.png", dpi=80)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("."))
