"""Two hidden layers, fully connected, ReLU: do the units of a layer arrive at the same weights over time?

No. From a random start they stay apart; only units that start tied in both directions stay equal.
Run: python examples/why_two_hidden_layers.py [folder for the figure]
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from lockstep.explain import History, tie, train
from lockstep.explain.bundled import coffee


def network() -> nn.Sequential:
    """2-4-4-1 with ReLU, as initialised by PyTorch."""
    torch.manual_seed(0)
    layers = [nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1), nn.Sigmoid()]
    return nn.Sequential(*layers).double()


def trained(tied: bool) -> History:
    """600 steps of Adam; with ``tied``, units 0 and 1 of both hidden layers start equal in and out."""
    net, (x, y) = network(), coffee()
    if tied:
        for layer in ("0", "2", "0"):  # the first again: tying layer 2 touched its outgoing weights
            tie(net, layer, [0, 1])
    adam = partial(torch.optim.Adam, lr=0.02)
    return train(net, x, y, loss=F.binary_cross_entropy, optimizer=adam, steps=600, progress=False)


def main(folder: Path) -> None:
    for tied in (False, True):
        history = trained(tied)
        print("tied:" if tied else "random:")
        for layer in ("0", "2"):
            width = history.effective_width(layer)
            gap = history.distance(layer, 0, 1)
            print(
                f"  layer {layer}: {int(width[0])} -> {int(width[-1])} different units of 4,"
                f" units 0 and 1 apart by {float(gap[0]):.3g} -> {float(gap[-1]):.3g}"
            )
        history.plot().savefig(
            folder / f"two_hidden_layers_{'tied' if tied else 'random'}.png", dpi=80
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("."))
