"""``explain``: run as a guest, read the network, apply the chain rule by hand, hold it against autograd."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lockstep.errors import UndecidedError, UsageError
from lockstep.explain.chain import follow_to_loss, gradient
from lockstep.explain.derivation import Derivation, Factor, Term, number
from lockstep.explain.guest import Loss, Run, admitted, as_guest, run
from lockstep.explain.losses import Reduction, reduction_of
from lockstep.explain.naming import Names, find_weight, names_for
from lockstep.explain.network import Dense, Network, read
from lockstep.explain.paths import Walk
from lockstep.explain.positions import Positions, positions_of

TOLERANCE = 1e-6  # relative to autograd's gradient, in float64
ROUNDING = 1e-12  # relative to the sum of absolute summands, where they cancel


@dataclass(frozen=True, eq=False)
class Entry:
    """One weight of one run: where it is, what the run knows, and autograd's gradient of it."""

    run: Run
    network: Network
    parameter: str
    index: tuple[int, ...]
    reduction: Reduction
    autograd: float
    lead: tuple[int, ...]

    @property
    def current(self) -> float:
        """The weight's value."""
        return float(self.run.parameters[self.parameter].detach()[self.index])

    @property
    def samples(self) -> int:
        """N, by which a mean over the batch divides."""
        output = self.run.output
        return (
            int(output.shape[0]) if isinstance(output, Tensor) and output.dim() > 1 else self.rows
        )

    @property
    def rows(self) -> int:
        """Length of the first dimension of the layer's output."""
        return self.lead[0] if self.lead else 1

    @property
    def scale(self) -> float:
        """What turns dJ/d(something) into the derivative of a sample's own loss."""
        return float(self.samples) if self.reduction == "mean" else 1.0

    @property
    def name(self) -> str:
        """PyTorch's name of the entry: ``"0.weight[1,0]"``."""
        return f"{self.parameter}[{','.join(map(str, self.index))}]"


def explain(
    model: nn.Module, x: Any, y: Any, loss: Loss, weight: str, *, notation: str | None = None
) -> Derivation:
    """``dJ/dw`` of one weight as a chain of factors, each with symbol, formula and value a sample.

    ``x`` (N, I) is a tensor, a tuple or a dict of them; ``loss(output, y)``, or ``loss(output)`` when
    ``y`` is None, gives one number J. ``weight`` is ``"0.weight[1,0]"``, or ``"w3"`` (course notation) on
    a network of dense layers. Dense layers with any activation are exact, and where the chain branches
    its ``terms`` form a tree over paths; a convolution's or recurrent weight is a sum over positions or
    time steps; any other module is one numeric vector-Jacobian product. The model is left as it was.

    Source: the chain rule, as in Rumelhart, Hinton & Williams, Nature 323 (1986), doi 10.1038/323533a0.

    Shapes: ``x`` (N, I) or (N, …), ``y`` (N, O), N one or more.

    >>> import torch
    >>> from lockstep.explain.bundled import course_network
    >>> net = course_network(bias=False, weights=(0.5, -0.25, 0.5, -0.25, 0.5, 1.0))
    >>> x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0]])
    >>> why = explain(net, x, y, lambda a, t: ((a - t) ** 2).mean() / 2, "w1")
    >>> print(why.chain)
    dJ/da3 · da3/dz3 · dz3/da1 · da1/dz1 · dz1/dw1
    >>> print(f"{why.gradient:.10f}")
    -0.0087381694

    Raises :class:`~lockstep.errors.UsageError` for a weight, loss, x or y that cannot be used, a forward
    that draws random numbers, NaN, or an integer model; :class:`~lockstep.errors.UndecidedError` if the
    product is not autograd's gradient.
    """
    with as_guest():
        subject, loss = admitted(model, loss)
        observed = run(subject, x, y, loss)
        network = read(observed)
        reduction = reduction_of(observed, loss)
        entry = locate(observed, network, reduction, weight)
        return derive(entry, names_for(network, notation))


def locate(observed: Run, network: Network, reduction: Reduction, weight: str) -> Entry:
    """Finds the weight and autograd's gradient of it."""
    parameter, index = find_weight(weight, observed.parameters, network)
    tensor = observed.parameters[parameter]
    (whole,) = torch.autograd.grad(observed.J, tensor, retain_graph=True, allow_unused=True)
    if whole is None:
        raise UsageError(
            f"J does not depend on {weight!r} ({parameter}): this x never reaches it, or forward detaches "
            "what it computes. Choose an x that uses it, or another weight."
        )
    return Entry(observed, network, parameter, index, reduction, float(whole[index]), ())


def derive(entry: Entry, names: Names) -> Derivation:
    """The derivation in one notation; raises if its product is not autograd's gradient."""
    dense = only_use(entry)
    if dense is not None:
        factors, terms, entry = along_chain(entry, names, dense)
    else:
        uses = positions_of(entry.run, entry.network, entry.parameter, entry.index)
        if uses is None:  # a value that no sample owns alone
            entry = replace(entry, reduction="as given")
        factors, terms = over_positions(entry, names, uses) if uses else as_one(entry, names)
    total, size = product_of(factors), sum_of_sizes(factors, terms)
    gradient_ = float(total.sum() / entry.scale)
    refuse_mismatch(entry, gradient_, size / entry.scale)
    return Derivation(
        weight=names.weight(entry.parameter, entry.index),
        name=entry.name,
        current=entry.current,
        factors=factors,
        terms=terms,
        gradient=gradient_,
        autograd=entry.autograd,
        reduction=entry.reduction,
        notation="course" if names.course else "index",
        another=lambda notation: derive(entry, names_for(entry.network, notation)),
    )


def only_use(entry: Entry) -> Dense | None:
    """The dense layer, if the parameter is used in that one place only and nothing overwrites it."""
    dense = entry.network.layer_of(entry.parameter)
    if dense is None:
        return None
    calls = [d for d in entry.network.layers if entry.parameter in (d.weight, d.bias)]
    uses = entry.run.tape.consumers(entry.run.parameters[entry.parameter])
    overwritten = id(dense.output) in entry.run.tape.dirty
    return dense if len(calls) == 1 and len(uses) == 1 and not overwritten else None


Parts = tuple[tuple[Factor, ...], tuple[Term, ...]]


def along_chain(
    entry: Entry, names: Names, dense: Dense
) -> tuple[tuple[Factor, ...], tuple[Term, ...], Entry]:
    """Factors from J to the weight of a dense layer."""
    j, i = names.oriented(dense, entry.parameter, entry.index)
    start = added(entry, dense)
    lead = tuple(start.shape[:-1])
    entry = replace(entry, lead=lead)
    chain = follow_to_loss(entry.run, entry.network, start)
    symbol = names.weight(entry.parameter, entry.index)
    z = names.value(entry.network.place(start), j)
    if entry.parameter == dense.bias:
        last = Factor(f"d{z}/d{symbol}", "1", torch.ones(lead, dtype=chain.delta.dtype))
    else:
        read_from = names.value(entry.network.place(dense.source), i, dense)
        last = Factor(f"d{z}/d{symbol}", read_from, dense.source[..., i].detach())
    walk = Walk(entry.run, entry.network, chain, names, entry.scale, lead)
    factors, terms = walk.upwards(0, j, last.value)
    return (*factors, last), terms, entry


def added(entry: Entry, dense: Dense) -> Tensor:
    """``z``: the layer's output, with the bias where ``x @ W + b`` adds it in a call of its own."""
    for op in entry.run.tape.consumers(dense.output):
        if id(op.outputs[0]) in entry.network.shifts:
            return op.outputs[0]
    return dense.output


def over_positions(entry: Entry, names: Names, uses: Positions) -> Parts:
    """One summed factor, and a term for every use, largest first."""
    symbol = names.weight(entry.parameter, entry.index)
    delta = uses.delta * entry.scale
    formula = f"Σ over {len(uses.labels)} {uses.what} of delta · input"
    total = Factor(f"Σ_p dJ/dz_p dz_p/d{symbol}", formula, (delta * uses.inputs).sum(1), sum=True)
    shares = (delta * uses.inputs).sum(0) / entry.scale
    terms = []
    for p in shares.abs().argsort(descending=True, stable=True).tolist():
        label = uses.labels[p]

        def spell(p: int = p, label: str = label) -> tuple[Factor, ...]:
            return (
                Factor("dJ/dz", f"delta {label}", delta[:, p]),
                Factor(f"dz/d{symbol}", f"input {label}", uses.inputs[:, p]),
            )

        terms.append(Term(label, delta[:, p] * uses.inputs[:, p], float(shares[p]), spell))
    return (total,), tuple(terms)


def as_one(entry: Entry, names: Names) -> Parts:
    """A parameter of any other call: one factor, its vector-Jacobian product through that call."""
    parameter = entry.run.parameters[entry.parameter]
    uses = entry.run.tape.consumers(parameter)
    total = torch.zeros_like(parameter)
    for op in uses:
        for out in op.outputs:
            total = total + gradient(out, parameter, gradient(entry.run.J, out))
    who = ", ".join(sorted({op.name for op in uses})) or "the model"
    symbol = names.weight(entry.parameter, entry.index)
    value = (total[entry.index] * entry.scale).reshape(1)
    return (Factor(f"dJ/d{symbol}", f"vector-Jacobian product through {who}", value),), ()


def product_of(factors: tuple[Factor, ...]) -> Tensor:
    """The product a sample."""
    result = torch.ones_like(factors[0].value)
    for factor in factors:
        result = result * factor.value
    return result


def sum_of_sizes(factors: tuple[Factor, ...], terms: tuple[Term, ...]) -> float:
    """The sum of absolute summands: the scale of rounding where they cancel."""
    size = float(product_of(factors).abs().sum())
    return size + sum(abs(term.share) for term in terms)


def refuse_mismatch(entry: Entry, found: float, size: float) -> None:
    """Raises unless the product is autograd's gradient."""
    double = entry.run.J.dtype == torch.float64
    allowed = TOLERANCE * abs(entry.autograd) + ROUNDING * size
    if not double:
        allowed = 1e3 * (allowed + 1e-6 * size)
    if not abs(found - entry.autograd) <= allowed:
        raise UndecidedError(
            f"the product of factors for {entry.name!r} is {number(found)}, autograd's gradient is "
            f"{number(entry.autograd)}: the chain read from this forward pass is not the whole "
            "derivative. A forward that overwrites tensors in place, detaches, or installs its own "
            "gradients (hooks, custom autograd functions) can do this; explain a weight above that place."
        )
