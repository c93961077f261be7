"""Equal units, unequal bits.

Numerical libraries do not promise equal results for equal rows [pytorch192420] [transformerengine3556]
[tensorflow46770]. What this machine does is shown, not judged: the exact verdict is one class a layer at every width.
Run: python -m examples.papers.rounding [folder for the figure]
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import lockstep

from .table import NOTHING, Row, axes, main, reported, same, save

WIDTHS = {8: "0", 31: "0.012", 33: "9e-05", 48: "8e-04", 64: "0", 65: "5e-05"}


def constant(width: int, dtype: torch.dtype) -> nn.Sequential:
    sizes = (10, width, width, 1)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.Tanh()]
    net = nn.Sequential(*layers[:-1]).to(dtype)
    for p in net.parameters():
        nn.init.constant_(p, 0.1)
    return net


def drift(width: int, dtype: torch.dtype) -> float:
    """The largest difference of two rows of a hidden layer after 1000 steps of Adam from equal weights."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 10, generator=generator, dtype=torch.float64).to(dtype)
    net = constant(width, dtype)
    adam = partial(torch.optim.Adam, lr=0.01)
    lockstep.train(net, x, x.sum(1, keepdim=True).sin(), loss=F.mse_loss, optimizer=adam, steps=1000,
                   record_every=1000, progress=False)  # fmt: skip
    return max(float((net[k].weight - net[k].weight[0]).detach().abs().max()) for k in (0, 2))


def unequal_products(shapes: int) -> int:
    """In how many float32 products with every unit twice the results of equal units differ in bits."""
    rng = np.random.default_rng(0)
    found = 0
    for units, inputs, samples in rng.integers(1, 70, (shapes, 3)):
        x = rng.standard_normal((samples, inputs)).astype(np.float32)
        weight = rng.standard_normal((units, inputs)).astype(np.float32)
        out = x @ np.concatenate([weight, weight]).T
        found += not np.array_equal(out[:, :units], out[:, units:])
    return found


def reproduce(folder: Path) -> list[Row]:
    x = torch.randn(8, 10)
    rows, seen = [], {torch.float32: [], torch.float64: []}
    for width, stated in WIDTHS.items():
        layers = lockstep.audit(constant(width, torch.float32), x).layers
        found = f"{layers['0'].effective_width}, {layers['2'].effective_width}"
        rows.append(
            same(f"width {width}: exact classes of the hidden layers", "1, 1", found, "derived")
        )
        for dtype, gaps in seen.items():
            gaps.append(drift(width, dtype))
        rows.append(reported(f"width {width}: spread by rounding after 1000 steps, float32", stated,
                             f"{seen[torch.float32][-1]:.2g}"))  # fmt: skip
    rows.append(reported("NumPy, float32: products with every unit twice that differ in bits, of 600", "47",
                         str(unequal_products(600))))  # fmt: skip
    figure, plot = axes(
        "Drift of equal units by rounding", "width", "spread after 1000 steps", log=True, zero=True
    )
    for dtype, gaps in seen.items():
        plot.plot(
            [str(w) for w in WIDTHS], [max(g, NOTHING) for g in gaps], "o", label=str(dtype)[6:]
        )
    plot.legend(fontsize=7)
    save(figure, folder, "rounding")
    return rows


if __name__ == "__main__":
    main(reproduce)
