"""Zero, constant, orthogonal, identity and random starts, with and without dropout: what is left locked?

The audit answers for ever, the training shows it: different units of a 4-4-4-1 tanh network before and
after 200 steps.
Run: python examples/why_initialisations.py [folder for the figure]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lockstep.explain import train
from lockstep.pipeline import audit

STARTS: dict[str, Callable[[Tensor], object]] = {
    "zero": nn.init.zeros_,
    "constant": lambda w: nn.init.constant_(w, 0.3),
    "identity": nn.init.eye_,
    "orthogonal": nn.init.orthogonal_,
    "random": nn.init.xavier_uniform_,
}


def network(start: str, dropout: bool) -> nn.Sequential:
    """4-4-4-1 tanh with zero biases; dropout after the first hidden layer if wanted."""
    torch.manual_seed(0)
    drop = [nn.Dropout(0.2)] if dropout else []
    hidden = [nn.Linear(4, 4), nn.Tanh(), *drop, nn.Linear(4, 4), nn.Tanh()]
    net = nn.Sequential(*hidden, nn.Linear(4, 1)).double()
    for module in net:
        if isinstance(module, nn.Linear):
            STARTS[start](module.weight.data)
            nn.init.zeros_(module.bias)
    return net


def data() -> tuple[Tensor, Tensor]:
    """100 points and a smooth function of them."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(100, 4, generator=generator, dtype=torch.float64)
    return x, (x[:, :1] - 2 * x[:, 1:2] * x[:, 2:3]).sin()


def main(folder: Path) -> None:
    x, y = data()
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
    print(f"{'start':<24}certified classes      trained   frozen entries")
    for axis, dropout in zip(axes, (False, True), strict=True):
        for k, start in enumerate(STARTS):
            net = network(start, dropout)
            result = audit(net, x[:8])
            classes = [layer.effective_width for layer in result.layers.values()][:2]
            frozen = sum(entry.count for entry in result.frozen)
            sgd = partial(torch.optim.SGD, lr=0.1)
            history = train(net, x, y, loss=F.mse_loss, optimizer=sgd, steps=200, progress=False)
            widths = [history.effective_width(layer) for layer in history.layers][:2]
            after = [int(width[-1]) for width in widths]
            name = f"{start}{', dropout' if dropout else ''}"
            print(f"{name:<24}{classes!s:<23}{after!s:<10}{frozen}")
            axis.plot(sum(widths), label=start, linewidth=10 - 2 * k)  # thinner lines on top
        axis.set(title=f"{'with' if dropout else 'no'} dropout", xlabel="step")
        axis.set_ylabel("different hidden units of 8")
        axis.legend()
    figure.savefig(folder / "initialisations.png", dpi=80)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("."))
