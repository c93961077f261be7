"""The transverse Hessian of dense units in closed form: ``H_t = [[B, C], [C^T, 0]]`` (+ decay).

For m equal copies of a hidden unit (incoming w with bias, outgoing v each; ``z_n = w . x_n``, ``e_n`` the derivative of
the loss by what the unit feeds, ``s`` the activation) differences that sum to zero over the copies obey, to first
order, ``d <- (I - lr H_t) d`` under gradient descent, with

    B = sum_n (v . e_n) s''(z_n) x_n x_n^T        C = sum_n s'(z_n) x_n e_n^T.

There is no Gauss-Newton term: to first order the copies' common output does not change. The lower right block is 0, so
where C is not 0 the matrix is indefinite and some difference grows; at a critical point of the smaller network C
vanishes for one output, and B decides (Fukumizu and Amari 2000). Moving the two copies by ``+eps d`` and ``-eps d``
changes the loss by ``eps^2 d . H_t d``: the steepest split is along the lowest eigenvector (Liu, Wu, Wang 2019, whose
matrix is B). How differences grow in training is the business of :func:`lockstep.forecast`: the product over the
trajectory, not one matrix.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..suggest import closest_first
from ..symbolic.subject import call_with, quarters, refuse_unusable

NEAR = 1e-5  # copies may differ by so much of their length


@dataclass(frozen=True, eq=False)
class TransverseHessian:
    """``matrix`` (d, d) with d = inputs + bias + outputs, ``eigenvalues`` (d,) ascending, ``eigenvectors`` in columns.

    ``names`` are the parameters of the blocks in their order (weight, bias if there is one, one outgoing weight or
    more) with ``sizes``; ``inner`` counts the incoming entries, so that B is ``matrix[:inner, :inner]``.

    Shapes: ``matrix`` (d, d), ``eigenvalues`` (d,), ``eigenvectors`` (d, d).

    Source: Fukumizu and Amari 2000, doi 10.1016/S0893-6080(00)00009-5; the derivation is in ``docs/forecast.md``.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1)).double()
    >>> for p in net.parameters():
    ...     _ = torch.nn.init.constant_(p, 0.5)
    >>> x = torch.linspace(-2, 2, 16, dtype=torch.float64).reshape(-1, 1)
    >>> h = transverse_hessian(net, x, x.sin(), loss=torch.nn.functional.mse_loss, layer="0", units=(0, 1))
    >>> h.names, h.sizes, h.inner
    (('0.weight', '0.bias', '2.weight'), (1, 1, 1), 2)
    """

    layer: str
    units: tuple[int, ...]
    matrix: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    inner: int
    shapes: dict[str, torch.Size]

    @property
    def B(self) -> Tensor:
        """Curvature along incoming weights (I, I): the splitting matrix."""
        return self.matrix[: self.inner, : self.inner]

    @property
    def C(self) -> Tensor:
        """Coupling of incoming and outgoing weights (I, O)."""
        return self.matrix[: self.inner, self.inner :]

    def displacement(self, vector: Tensor) -> dict[str, Tensor]:
        """Parameter → displacement by ``vector`` (d,) for the first unit and its opposite for the second.

        Of length 1 in all if ``vector`` is; what ``forecast(start=...)`` takes.
        """
        if len(self.units) < 2:
            raise UsageError("one unit alone has no difference: give transverse_hessian two units")
        out = {}
        for name, part in zip(self.names, vector.split(list(self.sizes)), strict=True):
            full = torch.zeros(self.shapes[name], dtype=torch.float64)
            axis = 0 if name.startswith(f"{self.layer}.") else 1
            for unit, sign in zip(self.units, (1.0, -1.0), strict=False):
                view = full.select(axis, unit)
                view.copy_(sign * part.reshape(view.shape) / 2**0.5)
            out[name] = full
        return out

    def __str__(self) -> str:
        low, high = float(self.eigenvalues[0]), float(self.eigenvalues[-1])
        negative = int((self.eigenvalues < -1e-12 * max(abs(low), abs(high))).sum())
        return (
            f"transverse Hessian of units {self.units} of {self.layer!r}: {len(self.eigenvalues)} dimensions, "
            f"eigenvalues {low:.5g} to {high:.5g}, {negative} negative"
        )


def transverse_hessian(
    model: nn.Module,
    x: Any,
    y: Any = None,
    *,
    loss: Callable[..., Tensor],
    layer: str,
    units: Sequence[int],
    decay: float = 0.0,
) -> TransverseHessian:
    """The closed form ``[[B, C], [C^T, 0]] + decay I`` for equal units of a dense layer, in float64.

    ``layer`` is the path of a ``Linear`` whose units go through an elementwise activation into one or more ``Linear``
    layers; ``units`` are equal copies (one unit alone is taken as a copy as it stands). ``x`` (N, …), ``y``,
    ``loss(output, y)`` as for :func:`lockstep.forecast`. The model is left as it was.

    Shapes: ``x`` (N, I), ``y`` (N, O); the matrix (d, d), d = inputs + bias + outputs.

    Source: Fukumizu and Amari 2000, doi 10.1016/S0893-6080(00)00009-5; the derivation is in ``docs/forecast.md``.

    >>> net = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1)).double()
    >>> for p in net.parameters():
    ...     _ = nn.init.constant_(p, 0.5)
    >>> x = torch.linspace(-2, 2, 16, dtype=torch.float64).reshape(-1, 1)
    >>> h = transverse_hessian(net, x, x.sin(), loss=nn.functional.mse_loss, layer="0", units=(0, 1))
    >>> tuple(h.matrix.shape), bool(h.eigenvalues[0] < 0 < h.eigenvalues[-1])
    ((3, 3), True)

    Raises :class:`~lockstep.UsageError` for other layers and for units that are not equal; use
    :func:`lockstep.forecast` there, which needs no closed form.
    """
    first = checked(model, layer, units)
    with quarters():
        twin = copy.deepcopy(model).double()
        seen = observe(twin, layer, wide(x), wide(y), loss)
        readers = [reader for reader in seen.readers if reads(seen, reader, first)]
        e = (
            torch.autograd.grad(seen.loss, [r.output for r in readers], retain_graph=True)
            if readers
            else ()
        )
        slope, bend = activation(seen, readers, first)
        v_e = sum(
            (flat(g) @ r.weight[:, first] for g, r in zip(e, readers, strict=True)),
            start=torch.zeros(len(slope), dtype=torch.float64),
        )
        require_all_paths(seen, slope * v_e, first, layer)
        equal(seen, readers, units, layer)
        owner: Any = twin.get_submodule(layer)
        inputs = flat(seen.inputs)
        if owner.bias is not None:
            inputs = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.float64)], 1)
        fed = torch.cat([flat(g) for g in e], 1)
        B = inputs.T @ (inputs * (v_e * bend)[:, None])
        C = inputs.T @ (fed * slope[:, None])
    inner, outer = len(B), C.shape[1]
    matrix = torch.cat(
        [torch.cat([B, C], 1), torch.cat([C.T, torch.zeros(outer, outer).double()], 1)]
    )
    matrix = (matrix + decay * torch.eye(inner + outer, dtype=torch.float64)).detach()
    eigenvalues, eigenvectors = torch.linalg.eigh(matrix)
    names = [f"{layer}.weight", *([f"{layer}.bias"] if owner.bias is not None else [])]
    sizes = [seen.inputs.shape[-1], *([1] if owner.bias is not None else [])]
    names += [f"{r.path}.weight" for r in readers]
    sizes += [r.weight.shape[0] for r in readers]
    shapes = {name: twin.get_parameter(name).shape for name in names}
    return TransverseHessian(
        layer,
        tuple(units),
        matrix,
        eigenvalues,
        eigenvectors,
        tuple(names),
        tuple(sizes),
        inner,
        shapes,
    )


@dataclass(frozen=True, eq=False)
class Reader:
    """A dense layer: what it was given, its weight (O, U), and what it returned."""

    path: str
    given: Tensor
    weight: Tensor
    output: Tensor


@dataclass(frozen=True, eq=False)
class Seen:
    """One forward pass: inputs and pre-activations of the layer, all dense layers behind it, the loss."""

    inputs: Tensor
    z: Tensor
    own: Tensor
    readers: tuple[Reader, ...]
    loss: Tensor


def observe(model: nn.Module, layer: str, x: Any, y: Any, loss: Callable[..., Tensor]) -> Seen:
    """Runs the model once and keeps what the formula needs."""
    owner: Any = model.get_submodule(layer)
    found: dict[str, Any] = {}
    readers: list[Reader] = []

    def look(path: str) -> Callable[..., None]:
        def hook(module: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
            if module is owner:
                found["calls"] = found.get("calls", 0) + 1
                found["inputs"], found["z"] = args[0].detach(), output
            elif "z" in found and args[0].shape[-1] == owner.out_features:
                readers.append(Reader(path, args[0], module.weight, output))

        return hook

    for path, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(look(path))
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    output = call_with(model, x)
    value = loss(output) if y is None else loss(output, y)
    if found.get("calls") != 1:
        raise UsageError(
            f"layer {layer!r} was called {found.get('calls', 0)} times in one pass: the closed form is for a layer "
            "that is used once; forecast() follows any use"
        )
    return Seen(found["inputs"], found["z"], owner.weight, tuple(readers), value)


def reads(seen: Seen, reader: Reader, unit: int) -> bool:
    """Whether column ``unit`` of what ``reader`` is given is a function of pre-activation ``unit`` alone."""
    if not reader.given.requires_grad:
        return False
    part = derivative(reader.given[..., unit].sum(), seen.z)
    own = part[..., unit].abs().sum()
    return bool(own > 0) and bool((part.abs().sum() - own) <= 1e-12 * own)


def activation(seen: Seen, readers: Sequence[Reader], unit: int) -> tuple[Tensor, Tensor]:
    """s'(z_n) and s''(z_n) of the unit, (S,) each."""
    samples = flat(seen.z).shape[0]
    if not readers:
        return torch.zeros(samples).double(), torch.zeros(samples).double()
    given = readers[0].given[..., unit]
    (slope,) = torch.autograd.grad(given.sum(), seen.z, create_graph=True)
    slope = slope[..., unit]
    if not slope.requires_grad:
        return slope.reshape(-1), torch.zeros(samples).double()
    bend = derivative(slope.sum(), seen.z)
    return slope.detach().reshape(-1), bend[..., unit].reshape(-1)


def derivative(value: Tensor, at: Tensor) -> Tensor:
    """Of a number; zeros where it does not depend on ``at``."""
    found: Sequence[Any] = torch.autograd.grad(value, at, retain_graph=True, allow_unused=True)
    return torch.zeros_like(at) if found[0] is None else found[0]


def require_all_paths(seen: Seen, explained: Tensor, unit: int, layer: str) -> None:
    """The dense layers found must be all that the unit acts through."""
    total = derivative(seen.loss, seen.z)
    gap = float((total.detach()[..., unit].reshape(-1) - explained.detach()).norm())
    if gap > 1e-9 * float(total.norm()) + 1e-300:
        raise UsageError(
            f"units of {layer!r} do not only go through an elementwise activation into dense layers (a norm, a "
            "residual connection, an attention or convolution reads them too): the closed form does not cover that; "
            "forecast() does"
        )


def equal(seen: Seen, readers: Sequence[Reader], units: Sequence[int], layer: str) -> None:
    """The units must be copies."""
    rows = seen.own.detach()[list(units)]
    columns = (
        torch.cat([r.weight.detach() for r in readers])[:, list(units)]
        if readers
        else rows[:, :0].T
    )
    for what, copies in (("incoming", rows), ("outgoing", columns.T)):
        apart = float((copies - copies[0]).norm())
        if apart > NEAR * float(copies.norm()):
            raise UsageError(
                f"units {list(units)} of {layer!r} are no copies: their {what} weights differ by {apart:.3g}. The "
                "transverse Hessian is about equal units; tie them first (lockstep.tie)"
            )


def checked(model: Any, layer: str, units: Sequence[int]) -> int:
    """The first unit, or an error that says what layers there are."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    refuse_unusable(dict(model.named_parameters()), dict(model.named_buffers()))
    dense = {n: m.out_features for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    if layer not in dense:
        raise UsageError(
            f"there is no dense layer {layer!r}; the model has {closest_first(layer, dense)}. For other layers "
            "forecast() follows differences without a closed form"
        )
    if not units or len(set(units)) < len(units) or not all(0 <= u < dense[layer] for u in units):
        raise UsageError(
            f"units {list(units)} of {layer!r}: give different ones of 0 to {dense[layer] - 1}"
        )
    return int(units[0])


def flat(t: Tensor) -> Tensor:
    """(…, U) → (S, U)."""
    return t.reshape(-1, t.shape[-1])


def wide(value: Any) -> Any:
    """Floating tensors inside ``value`` in float64."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {key: wide(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(wide(item) for item in value)
    return value
