"""Ratios within one run: audit against float32 forward + backward, and against training in float64.

    python -m benchmarks [name ...]      names: gpt biased resnet growth units training train explain watching

Every figure is a ratio of medians taken alternately in one process, since machines are shared and noisy; the
spread of each is printed beside it. Nothing is written anywhere.
"""

from __future__ import annotations

import copy
import resource
import statistics
import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lockstep import audit

from .models import GPT, dense, ids, resnet18
from .watching import CASES
from .watching import run as watched_run
from .why import OPTIMIZERS, STEPS, explained, plain, recorded

console = Console()


def step(model: nn.Module, x: Tensor) -> None:
    """One float32 forward and backward, gradients dropped again."""
    model(x).sum().backward()
    for p in model.parameters():
        p.grad = None


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def alternately(
    one: Callable[[], object], other: Callable[[], object], rounds: int = 7
) -> tuple[list[float], list[float]]:
    """Seconds of both, measured in turn after a warm-up of each."""
    one(), other()
    pairs = [(timed(one), timed(other)) for _ in range(rounds)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def summary(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1e3:.0f} ms ({min(seconds) * 1e3:.0f}..{max(seconds) * 1e3:.0f})"


def against_step(title: str, model: nn.Module, x: Tensor) -> None:
    """Audit against one float32 step; and the memory that the audit adds at its peak."""
    parameters = sum(p.numel() for p in model.parameters())
    audit(nn.Linear(2, 2), torch.zeros(4, 2))  # what an audit imports is no part of its memory
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = audit(model, x)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / (4 * parameters)
    base, ours = alternately(lambda: step(model, x), lambda: audit(model, x), rounds=21)
    ratio = statistics.median(ours) / statistics.median(base)
    table = Table(title=title)
    for column in (
        "parameters",
        "float32 step",
        "audit",
        "ratio",
        "memory added / float32 parameters",
        "findings",
    ):
        table.add_column(column)
    codes = " ".join(sorted({f.code for f in result.findings})) or "none"
    table.add_row(
        f"{parameters / 1e6:.1f} M",
        summary(base),
        summary(ours),
        f"{ratio:.2f}",
        f"{peak:.2f}",
        codes,
    )
    console.print(table)


def gpt() -> None:
    """36M-parameter GPT-like model, 2 x 4 tokens. Run alone for an honest memory figure."""
    torch.manual_seed(0)
    against_step("GPT-like, 4 layers, width 768, 2 x 4 tokens", GPT(), ids(2, 4))


def biased() -> None:
    """The same model with biases of the keys, which are frozen: as most transformers are."""
    torch.manual_seed(0)
    against_step("GPT-like with frozen key biases", GPT(bias=True), ids(2, 4))


def resnet() -> None:
    """ResNet-18 on 4 x 3 x 64 x 64."""
    torch.manual_seed(0)
    against_step("ResNet-18, 4 x 3 x 64 x 64", resnet18(), torch.zeros(4, 3, 64, 64))


def growth() -> None:
    """Seconds per million parameters should stay level."""
    table = Table(title="growth with parameters (GPT-like, 2 x 4 tokens)")
    for column in ("parameters", "audit", "ms per million parameters"):
        table.add_column(column)
    for width, layers in ((128, 4), (256, 4), (512, 6), (1024, 8), (1536, 10)):
        model = GPT(width, layers, 1000, width // 64)
        parameters = sum(p.numel() for p in model.parameters()) / 1e6
        audit(model, ids(2, 4, 1000))
        seconds = statistics.median(
            timed(lambda m=model: audit(m, ids(2, 4, 1000))) for _ in range(3)
        )
        table.add_row(
            f"{parameters:.1f} M", f"{seconds * 1e3:.0f} ms", f"{seconds * 1e3 / parameters:.1f}"
        )
        del model
    console.print(table)


def units() -> None:
    """Half of the units are twins of the other half, so that every stage has work to do."""
    table = Table(title="growth with units a layer (half of them twins)")
    for column in ("units", "audit", "µs per unit"):
        table.add_column(column)
    for width in (64, 256, 1024, 4096, 16384):
        model = dense(width)
        with torch.no_grad():
            model[0].weight[width // 2 :] = model[0].weight[: width // 2]
            model[0].bias[width // 2 :] = model[0].bias[: width // 2]
            model[2].weight[:, width // 2 :] = model[2].weight[:, : width // 2]
        result = audit(model, torch.zeros(4, 64))
        assert result.layers["0"].effective_width == width // 2
        seconds = statistics.median(
            timed(lambda m=model: audit(m, torch.zeros(4, 64))) for _ in range(3)
        )
        table.add_row(str(width), f"{seconds * 1e3:.0f} ms", f"{seconds * 1e6 / width:.1f}")
    console.print(table)


def train_and_compare(model: nn.Module, x: Tensor, steps: int) -> int:
    """What one would do instead: train a float64 copy on random data, compare all pairs of hidden units."""
    twin = copy.deepcopy(model).double()
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.05)
    data = torch.randn(*x.shape, dtype=torch.float64)
    target = torch.randn_like(twin(data))
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(twin(data), target).backward()
        optimizer.step()
    hidden = twin[1](twin[0](data)).detach()
    return int((torch.cdist(hidden.t(), hidden.t()) < 1e-9).sum())


def training() -> None:
    """Audit against 100 float64 steps and a comparison of all pairs."""
    table = Table(title="audit against training 100 steps in float64 and comparing all pairs")
    for column in ("units", "training", "audit", "ratio"):
        table.add_column(column)
    for width in (64, 1024, 4096):
        model, x = dense(width), torch.zeros(64, 64)
        theirs, ours = alternately(
            lambda m=model, x=x: train_and_compare(m, x, 100), lambda m=model, x=x: audit(m, x), 3
        )
        ratio = statistics.median(ours) / statistics.median(theirs)
        table.add_row(str(width), summary(theirs), summary(ours), f"{ratio:.3f}")
    console.print(table)


def train() -> None:
    """Training with every weight recorded, against the plain loop (at most 1.3)."""
    table = Table(title=f"train, {STEPS} steps recorded, against the plain loop")
    for column in ("network", "optimizer", "plain", "recorded", "ratio"):
        table.add_column(column)
    for widths in ((2, 2, 1), (2, 16, 16, 1), (64, 32, 32, 10)):
        for name in OPTIMIZERS:
            assert plain(widths, name) == recorded(widths, name), "not the same training"
            base, ours = alternately(
                lambda w=widths, n=name: plain(w, n),
                lambda w=widths, n=name: recorded(w, n),
                rounds=21,
            )
            ratio = statistics.median(ours) / statistics.median(base)
            shape = "-".join(map(str, widths))
            table.add_row(shape, name, summary(base), summary(ours), f"{ratio:.2f}")
    console.print(table)


def explain() -> None:
    """One weight of a network with four hidden layers of 256 units (under a second)."""
    explained()
    seconds = [timed(explained) for _ in range(5)]
    table = Table(title="explain one weight, 256-256-256-256-256-1, 32 samples")
    table.add_column("time")
    table.add_row(summary(seconds))
    console.print(table)


def watching(rounds: int = 3) -> None:
    """What a watch adds to training at the default interval and budget: at most 5 %."""
    table = Table(title="watch(model): added to the time of training")
    columns = "model", "layers", "step", "one row / step", "run", "rows", "left out"
    for column in (*columns, "added", "spread", "added, processor", "a second plain arm"):
        table.add_column(column)
    for name, (model, x, count) in CASES.items():
        torch.manual_seed(0)
        runs = [watched_run(model(), x(), count) for _ in range(rounds)]
        wall, processor = zip(*(r.added(r.watched) for r in runs), strict=True)
        none, _ = zip(*(r.added(r.control) for r in runs), strict=True)
        table.add_row(
            name,
            str(runs[0].layers),
            f"{statistics.median(runs[0].plain.wall) * 1e3:.2f} ms",
            f"{statistics.median(r.row() for r in runs):.2f}",
            f"{count} steps",
            " ".join(str(len(r.rows)) for r in runs),
            " ".join(str(r.left_out) for r in runs),
            f"{statistics.median(wall):+.1%}",
            f"{min(wall):+.1%}..{max(wall):+.1%}",
            f"{statistics.median(processor):+.1%}",
            f"{min(none):+.1%}..{max(none):+.1%}",
        )
    console.print(table)


BENCHMARKS = {
    f.__name__: f for f in (gpt, biased, resnet, growth, units, training, train, explain, watching)
}

if __name__ == "__main__":
    unknown = [name for name in sys.argv[1:] if name not in BENCHMARKS]
    if unknown:
        raise SystemExit(
            f"unknown benchmark {', '.join(unknown)}; choose from {', '.join(BENCHMARKS)}"
        )
    for name in sys.argv[1:] or BENCHMARKS:
        BENCHMARKS[name]()
