""":func:`rounding`: do locked units stay bitwise equal on this machine, and when will rounding have separated them?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..errors import LockstepError
from ..pipeline import audit
from ..symbolic.passes import Example
from ..symbolic.subject import quarters, subject_of
from ..types import Escape, Group, Leak, Rounding
from .gradient import Loss
from .predict import Batches, Groups, Stream, live, parsed, prepared, require, run, tensors
from .result import GroupForecast
from .rounding import drift
from .update import Optimizer

PRECISIONS = (torch.float32, torch.float64)
SETTLED = 10  # steps after the first difference from which its growth is forecast


def rounding(
    model: nn.Module,
    x: Any,
    y: Any = None,
    *,
    loss: Loss,
    optimizer: Optimizer,
    steps: int,
    groups: Groups | None = None,
    batches: Batches | None = None,
    threshold: float | None = None,
    seed: int = 0,
) -> Rounding:
    """Trains copies of ``model`` in float32 and float64 and looks, step by step, whether locked units still agree.

    In exact arithmetic they agree for ever; in floats a kernel may sum one unit's terms in another order than its
    twin's. Which shapes do depends on the machine, the build and the number of threads, so it is measured.
    Arguments as for :func:`lockstep.forecast`; ``threshold`` is the length of difference that counts as separated (by
    default 1 % of the weights concerned). From the first difference the forecast says when that is reached.
    The model is left as it was.

    Shapes: ``x`` (N, …), ``y`` (N, …).

    Source: ``docs/forecast.md``; measured in ``examples/papers/rounding.py``.

    >>> from functools import partial
    >>> net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    >>> for p in net.parameters():
    ...     _ = nn.init.constant_(p, 0.1)
    >>> x = torch.linspace(-1, 1, 16).reshape(8, 2)
    >>> seen = rounding(net, x, x[:, :1], loss=nn.functional.mse_loss,
    ...                 optimizer=partial(torch.optim.SGD, lr=0.1), steps=5)
    >>> [escape.leak.dtype for escape in seen.escapes]
    ['float32', 'float64']

    Raises :class:`~lockstep.UsageError` for what cannot be used.
    """
    require(loss, steps, 4, batches, x)
    draw = Stream(tensors(x), tensors(y), batches)
    example = draw(0)[0] if x is None else tensors(x)
    if groups is None:
        found = audit(model, example, optimizer=optimizer, seed=seed).locked
    with quarters():
        subject = subject_of(model)
        chosen = found if groups is None else parsed(subject, groups)
        if not chosen:
            return Rounding((), steps, machine(), "no locked units: nothing could drift apart")
        case = prepared(subject, Example(subject.prepare(example)), chosen, optimizer, seed)
        draw.prepare = subject.prepare
        forecast = run(case, loss, optimizer, draw, steps, None, 4, seed, None)
    spaces = live(case)
    told = [
        one
        for one, (_, cluster) in zip(forecast.groups, case.targets, strict=True)
        if cluster.space is not None
    ]
    escapes: list[Escape] = []
    because: list[str] = []
    for dtype in PRECISIONS:
        try:
            seen = drift(
                subject, case.values, case.layout, spaces, draw, loss, optimizer, steps, dtype
            )
        except (LockstepError, RuntimeError, TypeError, ValueError) as error:
            kind = str(dtype).removeprefix("torch.")
            because.append(f"{kind}: not measured: {type(error).__name__}: {error}")
            continue
        for one, leak, sizes in zip(told, seen.leaks(), seen.sizes, strict=True):
            escapes.append(escape(one, leak, sizes, threshold))
    return Rounding(tuple(escapes), steps, machine(), "\n".join(because))


def escape(
    one: GroupForecast, leak: Leak, sizes: tuple[float, ...], threshold: float | None
) -> Escape:
    """The forecast from a measured leak, and what was seen."""
    wanted = threshold or 0.01 * one.scale or 0.01
    predicted = None
    if one.log_growth and leak.step is not None:
        # Rounding goes on while the first difference grows, so the forecast starts a few steps later.
        few = range(leak.step, min(leak.step + SETTLED, len(sizes) - 1) + 1)
        begun = max((t for t in few if 0 < sizes[t] < wanted / 10), default=leak.step)
        later = replace(leak, step=begun, size=sizes[begun])
        predicted = replace(one, leak=later, size=0.0).separates_at(threshold=wanted)
    seen = next((step for step, size in enumerate(sizes) if size >= wanted), None)
    because = one.because if one.verdict != "separates" else ""
    group = one.group
    assert isinstance(group, Group)
    return Escape(group, leak, sizes, wanted, predicted, seen, because)


def machine() -> str:
    """What a rounding depends on."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__}, CPU {capability}, {torch.get_num_threads()} thread(s)"
