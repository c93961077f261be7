"""Ratios within one run: audit against float32 forward + backward, and against training in float64.

    python -m benchmarks [name ...]      names: gpt resnet growth units training train explain watching

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

from lockstep import audit, watch

from .models import GPT, dense, ids, resnet18
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
    base, ours = alternately(lambda: step(model, x), lambda: audit(model, x))
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


def step_times(model: nn.Module, x: Tensor, count: int) -> list[float]:
    """Seconds of each of ``count`` training steps with AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def one() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    return [timed(one) for _ in range(count)]


def watching() -> None:
    """What a watch adds to training: one row, in steps; and a whole run at the default interval and budget."""
    table = Table(title="watch(model): added to the time of training")
    columns = (
        "model",
        "layers",
        "step",
        "one row / step",
        "run",
        "rows",
        "left out",
        "added",
        "spread",
    )
    for column in columns:
        table.add_column(column)
    torch.manual_seed(0)
    cases = {
        "dense 64-256-256-10, 128 samples": (mlp(), torch.randn(128, 64), 1000),
        "dense 64-16-16-10, 50 samples": (mlp(16), torch.randn(50, 64), 2000),
        "dense 64-256-256-10, half twins": (mlp(256, twins=True), torch.randn(128, 64), 1000),
        "dense 64-2048-2048-10, 64 samples": (mlp(2048), torch.randn(64, 64), 200),
        "GPT-like, 2 layers, width 256, 8 x 32": (GPT(256, 2, 1000, 4), ids(8, 32, 1000), 200),
        "ResNet-18, 8 x 3 x 32 x 32": (resnet18(), torch.randn(8, 3, 32, 32), 200),
    }
    for name, (model, x, count) in cases.items():
        step_times(model, x, 10)
        with watch(model, every=10, budget=None) as w:
            found = step_times(model, x, 50)
        row = statistics.median(found[10::10])
        base = statistics.median(t for n, t in enumerate(found) if n % 10)
        ratios = []
        for _ in range(3):
            plain = timed(lambda m=model, x=x, n=count: step_times(m, x, n))
            start = time.perf_counter()
            left = watched(model, x, count)
            ratios.append((time.perf_counter() - start) / plain - 1)
        table.add_row(
            name,
            str(len(w.layers)),
            f"{base * 1e3:.2f} ms",
            f"{row / base - 1:.2f}",
            f"{count} steps",
            str(count // 100 + 1 - left),
            str(left),
            f"{statistics.median(ratios):+.1%}",
            f"{min(ratios):+.1%}..{max(ratios):+.1%}",
        )
    console.print(table)


def watched(model: nn.Module, x: Tensor, count: int) -> int:
    """Train under a watch at its defaults; how many rows it left out."""
    with watch(model) as w:
        step_times(model, x, count)
    return len(w.skipped)


def mlp(width: int = 256, twins: bool = False) -> nn.Sequential:
    """64-width-width-10 with ReLU; with ``twins`` each unit of the hidden layers has a copy."""
    layers = [nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    half = width // 2
    with torch.no_grad():
        for layer in (model[0], model[2]) if twins else ():
            layer.weight[half:], layer.bias[half:] = layer.weight[:half], layer.bias[:half]
        for layer in (model[2], model[4]) if twins else ():
            layer.weight[:, half:] = layer.weight[:, :half]
    return model


BENCHMARKS = {
    f.__name__: f for f in (gpt, resnet, growth, units, training, train, explain, watching)
}

if __name__ == "__main__":
    unknown = [name for name in sys.argv[1:] if name not in BENCHMARKS]
    if unknown:
        raise SystemExit(
            f"unknown benchmark {', '.join(unknown)}; choose from {', '.join(BENCHMARKS)}"
        )
    for name in sys.argv[1:] or BENCHMARKS:
        BENCHMARKS[name]()
