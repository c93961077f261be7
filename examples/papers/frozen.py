"""Frozen by algebra, and what floats make of it.

No paper: measured here. A softmax ignores what is added to all keys alike, a batch norm in training what is added to a
whole channel: key biases and biases before a batch norm have a gradient that is zero identically. In floats it is
rounding, and Adam, which divides by its size, turns that into motion of the stored value; what the network computes
does not care.
Run: python -m examples.papers.frozen [folder for the figure]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import lockstep

from .table import NOTHING, Row, above, axes, below, main, reported, same, save

ADAM, SGD = partial(torch.optim.Adam, lr=1e-3), partial(torch.optim.SGD, lr=1e-3)


class Attention(nn.Module):
    """Self-attention, 16 features in 4 heads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        nn.init.normal_(self.attention.in_proj_bias, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


def convolution() -> nn.Sequential:
    torch.manual_seed(0)
    top = [nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)]
    return nn.Sequential(nn.Conv2d(3, 4, 3), *top)


def gradients(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The gradient of the sum of cubes."""
    (net(x) ** 3).sum().backward()
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def motion(
    make: Callable[..., torch.optim.Optimizer], dtype: torch.dtype, steps: int = 100
) -> list[float]:
    """How far the key bias (entries 16 to 31) is from its start after each step on the sum of squares."""
    net = Attention().to(dtype)
    x = torch.randn(8, 5, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    bias = net.attention.in_proj_bias
    start, seen = bias.detach()[16:32].clone(), [0.0]
    optimizer = make(net.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        (net(x) ** 2).sum().backward()
        optimizer.step()
        seen.append(float((bias.detach()[16:32] - start).abs().max()))
    return seen


def reproduce(folder: Path) -> list[Row]:
    x = torch.randn(8, 5, 16, generator=torch.Generator().manual_seed(0))
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    rows = []
    for what, net, data, expected in (
        ("attention", Attention(), x, [("attention.in_proj_bias", 16)]),
        ("convolution, batch norm", convolution(), images, [("0.bias", 4)]),
    ):
        frozen = [(entry.parameter, entry.count) for entry in lockstep.audit(net, data).frozen]
        said = ", ".join(f"{count} of {name}" for name, count in frozen)
        wanted = ", ".join(f"{count} of {name}" for name, count in expected)
        rows.append(same(f"{what}: frozen entries", wanted, said, "derived"))
    bias = gradients(Attention().double(), x.double())["attention.in_proj_bias"].abs()
    query, key, value = (float(part.max()) for part in bias.split(16))
    rows += [
        below("gradient of the key bias over that of the query bias", 1e-12, key / query, "measured"),
        below("gradient of the key bias over that of the value bias", 1e-12, key / value, "measured"),
    ]  # fmt: skip
    found = gradients(convolution().double(), images.double())
    ratio = float(found["0.bias"].abs().max() / found["0.weight"].abs().max())
    what = "gradient of the convolution's bias over that of its weight"
    rows.append(below(what, 1e-12, ratio, "measured"))
    net = Attention().double()
    with torch.no_grad():
        before = net(x.double())
        net.attention.in_proj_bias[16:32] += 1
        change = float((net(x.double()) - before).abs().max())
    rows.append(below("change of the outputs when 1 is added to the key bias", 1e-12, change, "derived"))  # fmt: skip
    figure, plot = axes("A frozen key bias in training", "step", "moved by", log=True, zero=True)
    runs = {
        "Adam, float32": motion(ADAM, torch.float32),
        "Adam, float64": motion(ADAM, torch.float64),
        "SGD, float32": motion(SGD, torch.float32),
    }
    for name, seen in runs.items():
        plot.plot([max(s, NOTHING) for s in seen], label=name)
    plot.legend(fontsize=7)
    save(figure, folder, "frozen")
    single, double, sgd = (seen[-1] for seen in runs.values())
    return [
        *rows,
        reported("Adam, float32: key bias moved after 100 steps", "0.00066", f"{single:.2g}"),
        above("Adam: moved in float32 over moved in float64", 1e3, single / double, "measured"),
        below("SGD, float32: moved after 100 steps", 1e-7, sgd, "measured"),
    ]  # fmt: skip


if __name__ == "__main__":
    main(reproduce)
