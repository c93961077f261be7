"""Equal in series is not locked.

No paper: measured here. torch.nn.TransformerEncoder deep-copies its layer, so all layers start equal. They see
different inputs and separate at the first step; copies matter when they are parallel.
Run: python -m examples.papers.series [folder for the figure]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import lockstep

from .table import Row, axes, factor, main, same, save


def encoder() -> nn.TransformerEncoder:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).double()


def cubes(output: Tensor, _: Tensor) -> Tensor:
    return output.pow(3).mean()


def reproduce(folder: Path) -> list[Row]:
    net = encoder()
    x = torch.randn(4, 5, 16, dtype=torch.float64)
    codes = {finding.code for finding in lockstep.audit(net, x).findings}
    sgd = partial(torch.optim.SGD, lr=0.01)
    history = lockstep.train(net, x, x, loss=cubes, optimizer=sgd, steps=20, progress=False)
    first, second = (history.parameter(f"layers.{k}.linear1.weight") for k in (0, 1))
    gap = (first - second).abs().flatten(1).amax(1)
    figure, plot = axes("Deep-copied encoder layers", "step", "gap of layers 0 and 1")
    plot.plot(gap)
    save(figure, folder, "series")
    return [
        same("finding LS007 (copied, will separate)", True, "LS007" in codes, "measured"),
        same(
            "locked units or modules (LS001, LS003)", 0, len(codes & {"LS001", "LS003"}), "measured"
        ),
        *(
            factor(f"gap of linear1 after step {k}", 4e-4 * k, float(gap[k]), 4, "measured")
            for k in (1, 2, 3)
        ),
    ]


if __name__ == "__main__":
    main(reproduce)
