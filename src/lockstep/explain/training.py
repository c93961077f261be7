"""``train``: a plain PyTorch training loop that keeps what every weight was at every step.

Recording costs one concatenation a step. Distances between units and effective widths are not measured
while training; :class:`~lockstep.explain.history.History` computes them from the recorded weights.
"""

from __future__ import annotations

import copy
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lockstep.errors import UsageError
from lockstep.explain.guest import REFUSALS, Loss, arguments, checked, evaluate, refuse_weights
from lockstep.explain.history import History
from lockstep.explain.tape import tensors_in

Optimizer = torch.optim.Optimizer | Callable[[Iterable[Tensor]], torch.optim.Optimizer]
MEMORY = 2**26  # bytes of recorded weights; beyond it every second, third, … step is kept


def train(
    model: nn.Module,
    x: Any,
    y: Any,
    *,
    loss: Loss,
    optimizer: Optimizer,
    steps: int,
    batch_size: int | None = None,
    shuffle: bool = True,
    seed: int = 0,
    record_every: int | None = None,
    progress: bool | None = None,
) -> History:
    """Trains ``model`` in place for ``steps`` updates and records every weight and the loss.

    ``x`` (N, …) and ``y`` (N, …) as for :func:`explain`; ``optimizer`` is an instance on the model's
    parameters or a function of parameters (``functools.partial(torch.optim.SGD, lr=0.1)``). The whole
    batch is used unless ``batch_size`` is given. ``seed`` fixes batches and noise; the global random
    state is restored. ``progress`` shows a bar on stderr (by default on a terminal only).

    Shapes: ``x`` (N, …), ``y`` (N, …).

    Source: ``docs/why/index.md``; the optimizers are PyTorch's own.

    >>> from functools import partial
    >>> from lockstep.explain.bundled import coffee, course_network
    >>> from lockstep.explain.tying import tie
    >>> net, (x, y) = course_network(seed=1), coffee()
    >>> _ = tie(net, "0", [0, 1])
    >>> history = train(net, x, y, loss=nn.functional.mse_loss,
    ...                 optimizer=partial(torch.optim.Adam, lr=0.05), steps=50)
    >>> history.after("w1") == history.after("w3"), history.after("w1") == history.before("w1")
    (True, False)

    Raises :class:`~lockstep.errors.UsageError` if x, y or the loss do not fit, or the loss becomes NaN.
    """
    if hasattr(model, "stateless_call"):
        raise UsageError(
            f"train() runs a PyTorch loop on a torch.nn.Module, got {type(model).__name__}. Train a Keras "
            "model with its own fit(), and record layer.get_weights() in a keras.callbacks.LambdaCallback "
            "(examples/why_keras.py does); explain, compare, tie and audit take it as it is."
        )
    refuse_weights(model)
    counts = {"steps": steps, "batch_size": batch_size, "record_every": record_every}
    if wrong := [
        f"{name} must be at least 1, got {n}"
        for name, n in counts.items()
        if n is not None and n < 1
    ]:
        raise UsageError("; ".join(wrong) + ".")
    x, y = checked(x, "x"), checked(y, "y")
    skeleton = copy.deepcopy(model)
    run = Training(
        model,
        x,
        y,
        loss=loss,
        optimizer=optimizer,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
    )
    with run.going_on():
        record = Record(model, steps, record_every)
        for step in bar(range(steps), progress):
            J = run.objective()
            record.write(step, J)
            run.update(J)
        with torch.no_grad():
            J = run.objective()
        record.write(steps, J)
    try:
        return record.history(skeleton, x, run.opt)
    except UsageError:  # diverged: NaN is no result
        model.load_state_dict(skeleton.state_dict())
        raise


class Training:
    """The loop of :func:`train` one update at a time, for whoever wants to stop and go on.

    Everything happens inside ``with training.going_on():``, where gradients are on and noise is drawn from
    the training's own random state. In whatever portions the updates are done, they are the same updates.

    >>> from functools import partial
    >>> from lockstep.explain.bundled import coffee, course_network
    >>> net, (x, y) = course_network(), coffee()
    >>> run = Training(net, x, y, loss=nn.functional.mse_loss, optimizer=partial(torch.optim.SGD, lr=1.0))
    >>> for _ in range(2):
    ...     with run.going_on():
    ...         run.update(run.objective())
    """

    def __init__(
        self,
        model: nn.Module,
        x: Any,
        y: Any,
        *,
        loss: Loss,
        optimizer: Optimizer,
        batch_size: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        self.model, self.loss = model, loss
        with seeded(seed):
            self.noise = torch.get_rng_state()
        with self.going_on():
            self.opt = closureless(optimizer_for(optimizer, model))
            self.batches = batches_of(x, y, batch_size, shuffle, seed)
            self.batch = next(self.batches)
            # an x, y or loss that does not fit is refused in words
            evaluate(loss, fitting(model, self.batch[0]), self.batch[1])

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Gradients on, the training's random state; the global one is put back after."""
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.noise)
            try:
                yield
            finally:
                self.noise = torch.get_rng_state()

    def objective(self) -> Tensor:
        """J of the batch at hand."""
        self.opt.zero_grad(set_to_none=True)
        return objective(self.loss, self.model, *self.batch)

    def update(self, J: Tensor) -> None:
        """One update of the weights; the next batch is at hand after it."""
        J.backward()
        self.opt.step()
        self.batch = next(self.batches)


def objective(loss: Loss, model: nn.Module, x: Any, y: Any) -> Tensor:
    """J of one batch."""
    return loss(call(model, x)) if y is None else loss(call(model, x), y)


def call(model: nn.Module, x: Any) -> Any:
    """The model on ``x``, given as tensor, tuple or dict."""
    if isinstance(x, Tensor):
        return model(x)
    args, kwargs = arguments(x)
    return model(*args, **kwargs)


def fitting(model: nn.Module, x: Any) -> Any:
    """The output on ``x``; an x that does not fit is refused in words."""
    try:
        return call(model, x)
    except REFUSALS as error:
        given = ", ".join(f"{tuple(t.shape)} {t.dtype}" for t in tensors_in(x))
        dtypes = ", ".join(sorted({str(p.dtype) for p in model.parameters()}))
        raise UsageError(
            f"the model refused x of {given}: {error}. x needs the shape that {type(model).__name__} is called with, "
            f"samples first, and the dtype of its weights ({dtypes})."
        ) from error


class Record:
    """Flat weights and losses at the recorded steps; the first and the last step always are."""

    def __init__(self, model: nn.Module, steps: int, every: int | None) -> None:
        self.named = dict(model.named_parameters())
        self.tensors = [p.detach() for p in self.named.values()]
        size = sum(t.numel() for t in self.tensors)
        dtype = (
            torch.float64 if any(t.dtype == torch.float64 for t in self.tensors) else torch.float32
        )
        self.every = every or max(1, math.ceil((steps + 1) * size * 8 / MEMORY))
        self.last = steps
        self.kept = sorted({*range(0, steps + 1, self.every), steps})
        self.weights = torch.empty(len(self.kept), size, dtype=dtype)
        # Views where that is possible: making them anew would be a third of the cost of a record.
        self.flat = [t.view(-1) if t.is_contiguous() else None for t in self.tensors]
        self.rows = iter(self.weights)
        self.values: list[Tensor] = []

    def write(self, step: int, J: Tensor) -> None:
        """Keeps the state before update ``step`` (the final one has ``step == steps``)."""
        if step % self.every and step != self.last:
            return
        self.values.append(J.detach())
        pairs = zip(self.flat, self.tensors, strict=True)
        torch.cat([t.reshape(-1) if f is None else f for f, t in pairs], out=next(self.rows))

    def history(self, skeleton: nn.Module, x: Any, opt: torch.optim.Optimizer) -> History:
        """The finished record; refuses a run that left the finite numbers."""
        losses = torch.stack([J.reshape(()) for J in self.values]).double()
        bad = ~torch.isfinite(losses)
        if bad.any():
            first = self.kept[int(bad.nonzero()[0])]
            raise UsageError(
                f"the loss is not finite from step {first} on: training diverged. Use a smaller learning "
                f"rate than {opt.param_groups[0].get('lr')}, or scale x. The weights are as they were before."
            )
        shapes = {name: tuple(p.shape) for name, p in self.named.items()}
        return History(
            shapes, tuple(self.kept), self.weights, losses, type(opt).__name__, skeleton, x
        )


def optimizer_for(optimizer: Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer, made on the model's trainable parameters if a function was given."""
    if isinstance(optimizer, torch.optim.Optimizer):
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if held.isdisjoint(map(id, model.parameters())):
            raise UsageError(
                "the optimizer holds no parameter of this model: it was made for another one (a copy?). Make it on "
                "model.parameters(), or give a function such as functools.partial(torch.optim.SGD, lr=0.1)."
            )
        return optimizer
    params = [p for p in model.parameters() if p.requires_grad]
    if not params:
        raise UsageError("there is nothing to train: every parameter has requires_grad=False.")
    given: Any = optimizer  # whatever a caller without a type checker may pass
    try:
        made = given(params) if callable(given) else given
    except ValueError as error:
        raise UsageError(f"the optimizer refused the parameters of this model: {error}") from error
    if not isinstance(made, torch.optim.Optimizer):
        raise UsageError(
            f"optimizer must be a torch optimizer or a function of parameters that makes one, got "
            f"{type(made).__name__}. For example functools.partial(torch.optim.SGD, lr=0.1)."
        )
    return made


def closureless(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Refuses an optimizer that has to evaluate the loss itself."""
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UsageError(
            f"{type(optimizer).__name__}.step wants a closure that evaluates the loss again; train() calls step() once "
            "an update. Use another optimizer, or write the loop and look at it with lockstep.watch."
        )
    return optimizer


def batches_of(
    x: Any, y: Any, size: int | None, shuffle: bool, seed: int
) -> Iterator[tuple[Any, Any]]:
    """Endless batches: everything, or slices of a fresh permutation each epoch."""
    if size is None:
        while True:
            yield x, y
    if isinstance(x, Tensor) and isinstance(y, Tensor) and len(x) != len(y):
        raise UsageError(f"x holds {len(x)} samples and y {len(y)}: give one target a sample.")
    if not isinstance(x, Tensor):
        raise UsageError(
            "batch_size needs x as one tensor (N, …); train on the whole batch instead."
        )
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(x), generator=generator) if shuffle else torch.arange(len(x))
        for part in order.split(size):
            yield x[part], None if y is None else y[part]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A fixed random state inside, the old one after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def bar(steps: range, progress: bool | None) -> Iterable[int]:
    """A progress bar on stderr, if wanted."""
    if not (sys.stderr.isatty() if progress is None else progress):
        return steps
    from rich.console import Console
    from rich.progress import track

    return track(steps, description="training", console=Console(stderr=True), transient=True)
