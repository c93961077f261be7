"""Two students of a two-unit teacher start equal: when do they separate, and does the forecast see it coming?

Run: python examples/forecast_plateau.py [folder for the figure]
"""

from __future__ import annotations

import math
import sys
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from lockstep import forecast

STEPS, SIZE = 200, 1e-6


def students() -> nn.Sequential:
    """2-2-1 with tanh; both hidden units equal, in and out."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        for p, value in zip(net.parameters(), (0.3, 0.0, 0.5, 0.0), strict=True):
            p.fill_(value)
    return net


def lesson() -> tuple[torch.Tensor, torch.Tensor]:
    """x (64, 2) and what the teacher, tanh(2 x1) + tanh(2 x2), says of it."""
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, torch.tanh(2 * x).sum(1, keepdim=True)


def measured(start: dict[str, torch.Tensor]) -> list[float]:
    """The difference after each step of ordinary training, from a displacement of length SIZE along ``start``."""
    net, (x, y) = students(), lesson()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name in start:
                p.add_(start[name], alpha=SIZE)
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    sizes = []
    for _ in range(STEPS):
        sgd.zero_grad()
        F.mse_loss(net(x), y).backward()
        sgd.step()
        rows, columns = net[0].weight.detach(), net[2].weight.detach()
        biases = net[0].bias.detach()
        gaps = [rows[0] - rows[1], biases[:1] - biases[1:], columns[0, :1] - columns[0, 1:]]
        sizes.append(float(torch.cat(gaps).norm()) / math.sqrt(2))
    return sizes


def main(folder: Path) -> None:
    net, (x, y) = students(), lesson()
    given = {"loss": F.mse_loss, "optimizer": partial(torch.optim.SGD, lr=0.1), "steps": STEPS}
    seen = forecast(net, x, y, **given)
    one = seen.groups[0]
    print(f"{one.group}: {one.verdict}, {one.rate:+.4f} a step at the end")
    fastest = forecast(net, x, y, **given, start=one.direction).groups[0]
    grown = measured(one.direction)
    step = next(t for t, size in enumerate(grown, 1) if size >= 1e-4)
    print(f"1e-6 becomes 1e-4 at step {step}, predicted {fastest.separates_at(SIZE, 1e-4)}")
    draw(folder / "forecast_plateau.png", fastest.log_growth, grown, seen.losses)


def draw(
    file: Path, log_growth: tuple[float, ...], grown: list[float], losses: tuple[float, ...]
) -> None:
    """Predicted and measured difference over the loss."""
    from matplotlib.figure import Figure

    figure = Figure((6, 4.5), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    steps = range(1, STEPS + 1)
    above.plot(steps, losses)
    above.set(ylabel="loss, units tied")
    below.semilogy(steps, [SIZE * math.exp(g) for g in log_growth], label="forecast")
    below.semilogy(steps, grown, "--", label="measured")
    below.set(xlabel="step", ylabel="difference of the units")
    below.legend()
    figure.savefig(file, dpi=80)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("."))
