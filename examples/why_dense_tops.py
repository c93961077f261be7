"""The dense top of a CNN and of an RNN on scikit-learn's digits: the same factors, the same answer.

Explains one weight of each dense top exactly, compares two, then trains with two units of the top tied
in their incoming weights only, and tied in both.
Run: python examples/why_dense_tops.py [folder for the figure]
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from lockstep.explain import compare, explain, tie, train


class CNN(nn.Module):
    """A convolution, then a dense top 8 - 10."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2)
        self.top, self.out = nn.Linear(36, 8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.top(torch.relu(self.conv(x[:, None])).flatten(1))))


class RNN(nn.Module):
    """The digit's rows as a sequence into a GRU, then a dense top 8 - 10."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 12, batch_first=True)
        self.top, self.out = nn.Linear(12, 8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.top(self.gru(x)[0][:, -1])))


def digits() -> tuple[Tensor, Tensor]:
    """300 digits as (N, 8, 8) between 0 and 1, and their classes."""
    images = load_digits()
    return torch.tensor(images.images[:300] / 16), torch.tensor(images.target[:300])


def main(folder: Path) -> None:
    x, y = digits()
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, kind in zip(axes, (CNN, RNN), strict=True):
        torch.manual_seed(0)
        net = kind().double()
        inputs = 20 if kind is CNN else 3  # an input that is not always 0, a hidden state
        names = (f"top.weight[0,{inputs}]", f"top.weight[1,{inputs}]")
        why = explain(net, x, y, F.cross_entropy, names[0])
        print(f"{kind.__name__}: {why.summary().splitlines()[0]}")
        for both in (False, True):
            torch.manual_seed(0)
            net = kind().double()
            tie(net, "top", [0, 1], outgoing=both)
            if not both:
                print(f"  {compare(net, x, y, F.cross_entropy, *names).verdict}")
            adam = partial(torch.optim.Adam, lr=0.01)
            history = train(
                net, x, y, loss=F.cross_entropy, optimizer=adam, steps=120, progress=False
            )
            gap, name = history.distance("top", 0, 1), "both tied" if both else "incoming tied"
            print(f"  {name}: units 0 and 1 apart by {gap[0]:.2g} -> {gap[-1]:.2g}")
            axis.plot(gap.clamp(min=1e-17), label=name)
        axis.set(yscale="log", title=f"dense top of the {kind.__name__}", xlabel="step")
        axis.set_ylabel("max |a_0 - a_1|")
        axis.legend()
    figure.savefig(folder / "dense_tops.png", dpi=80)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("."))
