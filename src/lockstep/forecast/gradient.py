"""The gradient of the loss at any point, and how it changes along directions (Hessian-vector products).

The model runs as a guest on float64 copies of parameters and buffers. ``H v`` is the gradient of ``<g, v>`` by a
second backward pass (Pearlmutter 1994); no Hessian is ever made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import LockstepError, UndecidedError, UsageError
from ..symbolic.passes import float_tensors
from ..symbolic.subject import Subject
from ..transverse.classes import Layout

Loss = Callable[..., Any]
Batch = tuple[Any, Any]


@dataclass
class Graph:
    """A loss and its gradient (n,) at one point, with the graph that leads there."""

    loss: float
    gradient: Tensor
    leaves: list[Tensor]
    parts: Sequence[Any]  # None where the loss does not depend on the parameter
    layout: Layout

    def curved(self, vectors: Tensor) -> Tensor:
        """(k, n) the Hessian times each of ``vectors`` (k, n)."""
        out = torch.zeros_like(vectors)
        live = [
            (i, part)
            for i, part in enumerate(self.parts)
            if part is not None and part.requires_grad
        ]
        if not live:
            return out
        for row, vector in enumerate(vectors):
            pieces = list(self.layout.split(vector).values())
            product = torch.stack([(part * pieces[i]).sum() for i, part in live]).sum()
            found: Sequence[Any] = torch.autograd.grad(
                product, self.leaves, retain_graph=True, allow_unused=True
            )
            out[row] = torch.cat(
                [
                    (torch.zeros_like(leaf) if g is None else g).reshape(-1)
                    for leaf, g in zip(self.leaves, found, strict=True)
                ]
            )
        return out


class Objective:
    """``J(theta, batch)`` of one model in one dtype; buffers go on from call to call as in training."""

    def __init__(self, subject: Subject, loss: Loss, dtype: torch.dtype | None) -> None:
        self.subject, self.loss, self.dtype = subject, subject.criterion(loss), dtype
        self.fixed = {name: self.cast(p.detach()) for name, p in subject.parameters.items()}
        self.buffers = {name: self.cast(b.detach()).clone() for name, b in subject.buffers.items()}

    def cast(self, value: Any) -> Any:
        """Floating tensors inside ``value`` in the dtype of the forecast."""
        if isinstance(value, Tensor):
            return value.to(self.dtype) if self.dtype and value.is_floating_point() else value
        if isinstance(value, Mapping):
            return {key: self.cast(item) for key, item in value.items()}
        if isinstance(value, (tuple, list)):
            return tuple(self.cast(item) for item in value)
        return value

    def at(
        self,
        theta: Tensor,
        layout: Layout,
        batch: Batch,
        *,
        graph: bool = False,
        trial: bool = False,
        seed: int = 0,
    ) -> Graph:
        """Loss and gradient; with ``graph`` they can be differentiated again, on ``trial`` buffers stay."""
        x, y = batch
        leaves = {
            name: part.detach().to(self.fixed[name].dtype).clone().requires_grad_()
            for name, part in layout.split(theta).items()
        }
        buffers = (
            {n: b.clone() for n, b in self.buffers.items()} if trial or graph else self.buffers
        )
        # Not torch.manual_seed: it writes down the stack each time, for devices that are not there yet.
        torch.default_generator.manual_seed(seed)
        with self.subject.bind({**self.fixed, **leaves, **buffers}):
            output = self.subject.call(self.cast(x))
            value = self._value(output, self.cast(y))
            for extra in float_tensors(self.subject.added()):
                value = value + extra.sum()
        if graph and not trial:
            self.buffers = {n: b.detach() for n, b in buffers.items()}
        if not value.requires_grad:
            raise UsageError("the loss does not depend on any trainable parameter of the model")
        parts: Sequence[Tensor | None] = torch.autograd.grad(
            value, list(leaves.values()), create_graph=graph, allow_unused=True
        )
        flat = torch.cat(
            [
                (torch.zeros_like(leaf) if g is None else g.detach()).reshape(-1)
                for leaf, g in zip(leaves.values(), parts, strict=True)
            ]
        )
        return Graph(
            float(value.detach()), flat.double(), list(leaves.values()), list(parts), layout
        )

    def _value(self, output: Any, y: Any) -> Tensor:
        value = self.loss(output) if y is None else self.loss(output, y)
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(
                f"the loss must be one number, got {shape}: use reduction='mean', or end it with .mean()"
            )
        return value.reshape(())


def objective(
    subject: Subject, loss: Loss, theta: Callable[[Objective], Tensor], layout: Layout, batch: Batch
) -> Objective:
    """In float64 where the model takes it, else in the model's own dtype; errors of the user's code in words."""
    wide = Objective(subject, loss, torch.float64 if subject.wide else None)
    try:
        wide.at(theta(wide), layout, batch, trial=True)
    except LockstepError:
        raise
    except Exception as error:  # noqa: BLE001  the user's model: tried once more, told in words
        own = Objective(subject, loss, None)
        try:
            own.at(theta(own), layout, batch, trial=True)
        except LockstepError:
            raise
        except Exception as again:  # noqa: BLE001  ... and here are the words
            shapes = ", ".join(str(tuple(t.shape)) for t in _tensors(batch)) or "none"
            raise UsageError(
                f"the model or the loss failed on the data (shapes {shapes}): {type(again).__name__}: {again}. "
                "x must be what the model is called with, y what the loss compares its output with"
            ) from error
        return own
    return wide


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, Mapping) else value
    return (
        [t for item in items for t in _tensors(item)]
        if isinstance(value, (Mapping, tuple, list))
        else []
    )


def refuse_hooks(subject: Subject, names: Sequence[str]) -> None:
    """What the user's hooks make of a gradient before it reaches the optimizer is no part of what is followed."""
    kinds = ("_backward_hooks", "_post_accumulate_grad_hooks")
    hooked = [n for n in names if any(getattr(subject.parameters[n], k, None) for k in kinds)]
    if hooked:
        more = f" and {len(hooked) - 5} more" if len(hooked) > 5 else ""
        raise UndecidedError(
            f"parameters {', '.join(map(repr, hooked[:5]))}{more} have hooks that change their gradient or act on it "
            "(register_hook, register_post_accumulate_grad_hook), and these are not followed. Remove them for the "
            "forecast"
        )
    held = [
        str(getattr(v, "path", v))
        for v in getattr(subject.model, "trainable_variables", ())
        if getattr(v, "regularizer", None) is not None or getattr(v, "constraint", None) is not None
    ]
    if held:
        raise UndecidedError(
            f"the Keras weights {', '.join(map(repr, held[:5]))} have a regularizer or a constraint, which is part of "
            "neither the loss nor the optimizer that is followed. Put the penalty into the loss, or build them without"
        )


def refuse_noise(objective: Objective, theta: Tensor, layout: Layout, batch: Batch) -> None:
    """Two passes at one point must agree: a difference of units that draw their own noise is no tangent's matter."""
    first, second = (
        objective.at(theta, layout, batch, trial=True, seed=seed).gradient for seed in (0, 1)
    )
    if float((first - second).norm()) > 1e-9 * float(first.norm()):
        noisy = [
            f"{name!r} ({type(module).__name__})"
            for name, module in objective.subject.modules.items()
            if module.training
            and ("Dropout" in type(module).__name__ or bool(getattr(module, "dropout", False)))
        ]
        who = ", ".join(noisy) or "its forward"
        raise UndecidedError(
            f"the model draws random numbers ({who}): noise that differs from unit to unit takes copies apart by "
            "itself, at once. Call model.eval(), or set the noise to 0, to see what the gradients do"
        )
