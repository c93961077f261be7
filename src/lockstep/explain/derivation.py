"""The result of ``explain``: factors, terms where the chain branches, and their printed forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from lockstep.explain.latex import derivation_latex

SHOWN_SAMPLES = 4


@dataclass(frozen=True, eq=False)
class Factor:
    """One factor of a chain: ``symbol`` (``"dz3/da1"``), ``formula`` (``"w5"``), ``value`` a sample (N,).

    ``sum`` is True when the value is a sum over paths, listed in the derivation's ``terms``.

    Shapes: ``value`` (N,).

    Source: the chain rule, as in :class:`Derivation`; doi 10.1038/323533a0.

    >>> import torch
    >>> print(Factor("dz3/da1", "w5", torch.tensor([0.5, 0.5])))
    dz3/da1 = w5 = 0.5 (all)
    """

    symbol: str
    formula: str
    value: Tensor
    sum: bool = False

    def __str__(self) -> str:
        return f"{self.symbol} = {self.formula} = {numbers(self.value)}"


@dataclass(frozen=True, eq=False)
class Term:
    """One summand where a chain branches: the path through ``via``.

    ``factors`` multiply to ``value`` (N,), this path's part of the sum; ``share`` is its part of the
    gradient (a number; the shares of all terms add up to it). ``terms`` opens the next branching, if
    the first factor is itself a sum.
    """

    via: str
    value: Tensor
    share: float
    spell: Callable[[], tuple[Factor, ...]] = field(repr=False)
    expand: Callable[[], tuple[Term, ...]] = field(default=tuple, repr=False)

    @cached_property
    def factors(self) -> tuple[Factor, ...]:
        """The factors of this path, from J (or the next branching) down."""
        return self.spell()

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """The summands of the first factor, largest share first; empty where the path is one chain."""
        return self.expand()


@dataclass(frozen=True, eq=False)
class Derivation:
    """``dJ/dw`` of one weight as a product of factors, read from J back to the weight.

    ``factors`` multiply to ``product`` (N,), one value a sample; its ``reduction`` over the batch is
    ``gradient``, which agrees with ``autograd`` (PyTorch's own) to a relative 1e-6 in float64.
    ``terms`` are the summands where the chain branches, largest first. ``weight`` is the symbol,
    ``name`` PyTorch's name of the entry, ``current`` its value.

    Shapes: ``product`` and each factor's ``value`` (N,).

    Source: the chain rule, as in Rumelhart, Hinton & Williams, Nature 323 (1986), doi 10.1038/323533a0.

    >>> import torch, lockstep
    >>> from lockstep.explain.bundled import course_network
    >>> net = course_network(bias=False, weights=(0.5, -0.25, 0.5, -0.25, 0.5, 1.0))
    >>> x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0]])
    >>> why = lockstep.explain(net, x, y, torch.nn.functional.mse_loss, "w1")
    >>> [factor.formula for factor in why.factors]
    ['2 (a3 - y)', 'a3 (1 - a3)', 'w5', 'a1 (1 - a1)', 'x1']
    """

    weight: str
    name: str
    current: float
    factors: tuple[Factor, ...]
    terms: tuple[Term, ...]
    gradient: float
    autograd: float
    reduction: str
    notation: str
    another: Callable[[str], Derivation] = field(repr=False)

    @property
    def product(self) -> Tensor:
        """The product of the factors a sample, shape (N,)."""
        result = torch.ones_like(self.factors[0].value)
        for factor in self.factors:
            result = result * factor.value
        return result

    @property
    def chain(self) -> str:
        """``dJ/da3 · da3/dz3 · …``"""
        return " · ".join(factor.symbol for factor in self.factors)

    def text(self, *, depth: int = 2, width: int = 6, notation: str | None = None) -> str:
        """Plain text. Trees are cut after ``depth`` levels and ``width`` terms; what is cut is stated."""
        if notation not in (None, self.notation):
            return self.another(notation or "").text(depth=depth, width=width)
        rows = [("factor", "formula", "value a sample")]
        rows += [(f.symbol, f.formula, numbers(f.value)) for f in self.factors]
        rows.append(("product", "", numbers(self.product)))
        sizes = [max(len(row[k]) for row in rows) for k in range(2)]
        lines = [f"dJ/d{self.weight} = {self.chain}", ""]
        lines += ["  ".join((a.ljust(sizes[0]), b.ljust(sizes[1]), c)).rstrip() for a, b, c in rows]
        lines.insert(-1, "-" * len(lines[2]))
        lines += ["", self.summary()]
        if self.terms:
            total = next((f.symbol for f in self.factors if f.sum), "the sum")
            lines += ["", f"{total} is a sum over {len(self.terms)} terms (share of the gradient):"]
            lines += tree(self.terms, depth, width, "  ")
        return "\n".join(lines)

    def summary(self) -> str:
        """The gradient, its reduction over the batch, and the update in two lines."""
        count = self.product.numel()
        over = f"{self.reduction} of {count} samples" if count > 1 else "one sample"
        if self.product.dim() > 1:
            over = f"{self.reduction} of {len(self.product)} samples, summed over positions"
        if self.reduction == "as given":
            over = f"sum of {count} values" if count > 1 else "the whole batch"
        sign = "-" if self.gradient >= 0 else "+"
        return (
            f"dJ/d{self.weight} = {number(self.gradient)} ({over}; autograd: {number(self.autograd)})\n"
            f"{self.weight} := {self.weight} - alpha dJ/d{self.weight}"
            f" = {number(self.current)} {sign} {number(abs(self.gradient))} alpha"
        )

    def latex(self, *, notation: str | None = None) -> str:
        """LaTeX of the chain, its formulas and (for one sample) its numbers; no dollar signs."""
        if notation not in (None, self.notation):
            return self.another(notation or "").latex()
        return derivation_latex(self)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        return self.text()


def tree(terms: tuple[Term, ...], depth: int, width: int, indent: str) -> list[str]:
    """Terms as an indented tree, with a line for what was cut."""
    lines = []
    for term in terms[:width]:
        chain = " · ".join(f.symbol for f in term.factors)
        lines.append(
            f"{indent}via {term.via}: {chain} = {numbers(term.value)}  share {number(term.share)}"
        )
        if depth > 1:
            lines += tree(term.terms, depth - 1, width, indent + "    ")
        elif term.factors[0].sum:
            lines.append(f"{indent}    (cut here: {term.factors[0].symbol} branches again)")
    rest = terms[width:]
    if rest:
        size = sum(abs(t.share) for t in terms) or 1.0
        part = 100 * sum(abs(t.share) for t in rest) / size
        lines.append(
            f"{indent}({len(rest)} more cut: together {number(sum(t.share for t in rest))},"
            f" {part:.2g} % of the absolute shares)"
        )
    return lines


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value + 0.0:.4g}"  # + 0.0 turns a negative zero into zero


def numbers(value: Tensor, shown: int = SHOWN_SAMPLES) -> str:
    """A value a sample: the first few, and how many more."""
    flat = value.reshape(-1)
    if flat.numel() > 1 and bool((flat == flat[0]).all()):
        return f"{number(float(flat[0]))} (all)"
    first = ", ".join(number(float(v)) for v in flat[:shown])
    more = flat.numel() - shown
    return first + (f", … {more} more" if more > 0 else "")
