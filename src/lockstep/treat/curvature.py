"""How the loss bends along differences of tied units, without a Hessian.

Units of a class are one point with m copies. A displacement ``c_r * v`` of copy r, with coefficients that sum to
zero, leaves the loss unchanged to first order (equal units have equal gradients), and changes it by

    |c|^2 * eps^2 / 2 * v' H_t v

to second, where ``H_t`` is the Hessian on such differences, the same for every c with ``|c| = 1``. For dense units
it is ``[[B, C], [C', 0]]`` with ``B`` the splitting matrix of Liu, Wu, Wang (arXiv 1910.02366) and ``C`` from what
the units feed; here it is only multiplied with, by differentiating the loss twice. Two copies moved by +eps and
-eps have ``|c|^2 = 2``: the loss changes by ``eps^2 * lambda_min`` along the lowest (``transverse.lowest``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..symbolic.subject import call_with, quarters
from . import function

Displacement = Mapping[str, Tensor]


class Landscape:
    """The loss of a float64 copy of a model, and products with its Hessian."""

    def __init__(
        self, model: nn.Module, inputs: Any, loss: Callable[..., Any], targets: Any
    ) -> None:
        self.model, self.inputs = model, inputs
        self.loss, self.targets = loss, targets
        self.parameters = dict(model.named_parameters())
        for p in self.parameters.values():  # of a copy: what does not train may be moved as well
            p.requires_grad_(p.is_floating_point())

    def value(self) -> Tensor:
        """The loss, as a graph."""
        with quarters(), function.noiseless(self.model):
            torch.manual_seed(0)
            output = call_with(self.model, self.inputs)
            value = self.loss(output) if self.targets is None else self.loss(output, self.targets)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise UsageError(
                "the loss must be one number for the fastest direction to exist: end it with .mean()"
            )
        return value.reshape(())

    def hessian_times(self, displacement: Displacement) -> dict[str, Tensor]:
        """H times a displacement (parameter → tensor of its shape)."""
        names = list(self.parameters)
        with quarters(), function.noiseless(self.model):
            gradients: Sequence[Tensor | None] = torch.autograd.grad(
                self.value(),
                [self.parameters[n] for n in names],
                create_graph=True,
                allow_unused=True,
            )
            products = [
                (g * displacement[n].to(g)).sum()
                for n, g in zip(names, gradients, strict=True)
                if g is not None and g.requires_grad and n in displacement
            ]
            if not products:
                return {n: torch.zeros_like(self.parameters[n]) for n in names}
            total = torch.stack(products).sum()
            seconds: Sequence[Tensor | None] = torch.autograd.grad(
                total, [self.parameters[n] for n in names], allow_unused=True
            )
        return {
            n: torch.zeros_like(self.parameters[n]) if h is None else h
            for n, h in zip(names, seconds, strict=True)
        }


def spread(count: int) -> Tensor:
    """(count,) different coefficients that sum to zero, the largest of them 1: for two copies 1 and -1."""
    return torch.linspace(1, -1, count, dtype=torch.double)


def pieces(entries: Sequence[tuple[str, Tensor]], v: Tensor) -> list[tuple[str, Tensor, Tensor]]:
    """``v`` cut into what belongs to each ``(parameter, flat indices)``."""
    sizes = [len(at) for _, at in entries]
    return [(n, at, part) for (n, at), part in zip(entries, v.split(sizes), strict=True)]
