"""``compare``: two chains factor by factor; what is the same and why, what differs, and the verdict.

Two weights of one layer have chains of the same shape, so factor meets factor. Where a chain branches,
the summands are paired by the unit they go through: the delta of that unit is the same symbol in both,
so what can differ is the outgoing weight. Weights of different layers share the factors next to J.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lockstep.explain.certified import lasting
from lockstep.explain.derivation import Derivation, Factor, number, numbers
from lockstep.explain.derive import derive, locate
from lockstep.explain.guest import Loss, admitted, as_guest, run
from lockstep.explain.losses import reduction_of
from lockstep.explain.naming import names_for
from lockstep.explain.network import read
from lockstep.explain.updates import update_notes

SYMBOL, VALUES = "the same symbol", "equal values"


@dataclass(frozen=True, eq=False)
class FactorPair:
    """The factors of ``a`` and ``b`` at one place; None where only the other chain has one."""

    a: Factor | None
    b: Factor | None
    why: str

    def __str__(self) -> str:
        sides = [f"{f.symbol} = {f.formula}" if f else "–" for f in (self.a, self.b)]
        return f"{sides[0]} | {sides[1]}: {self.why}"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two derivations side by side: ``same`` and ``differ`` list factor pairs, ``verdict`` says it.

    ``notes`` say when the update would not differ although the gradients do. ``equal`` is True when
    the two gradients are.

    Shapes: the values of a factor are (N,).

    Source: ``docs/why/index.md``.

    >>> import torch
    >>> from lockstep.explain.bundled import course_network
    >>> net = course_network(bias=False, weights=(0.5, -0.25, 0.5, -0.25, 0.5, 1.0))
    >>> x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0]])
    >>> seen = compare(net, x, y, torch.nn.functional.mse_loss, "w1", "w3")
    >>> [(pair.a.symbol, pair.b.symbol) for pair in seen.differ], len(seen.same)
    ([('dz3/da1', 'dz3/da2')], 4)
    """

    a: Derivation
    b: Derivation
    same: tuple[FactorPair, ...]
    differ: tuple[FactorPair, ...]
    verdict: str
    notes: tuple[str, ...] = field(default=())

    @property
    def equal(self) -> bool:
        """True when dJ/da and dJ/db are equal on this data."""
        return close(torch.tensor(self.a.gradient), torch.tensor(self.b.gradient))

    def text(self) -> str:
        """Plain text: a table of the two chains, then the verdict and the notes."""
        rows = [("", f"dJ/d{self.a.weight}", f"dJ/d{self.b.weight}", "")]
        pairs = [("same", p) for p in self.same] + [("DIFFER", p) for p in self.differ]
        rows += [(mark, cell(p.a), cell(p.b), p.why) for mark, p in pairs]
        rows.append(("product", numbers(self.a.product, 2), numbers(self.b.product, 2), ""))
        rows.append((self.a.reduction, number(self.a.gradient), number(self.b.gradient), ""))
        sizes = [max(len(row[k]) for row in rows) for k in range(4)]
        lines = [
            "  ".join(c.ljust(n) for c, n in zip(r, sizes, strict=True)).rstrip() for r in rows
        ]
        return "\n".join([*lines, "", self.verdict, *self.notes])

    def latex(self) -> str:
        """Both derivations, one above the other."""
        return rf"\begin{{gathered}} {self.a.latex()} \\ {self.b.latex()} \end{{gathered}}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        return self.text()


def cell(factor: Factor | None) -> str:
    """One factor in a table."""
    return (
        "" if factor is None else f"{factor.symbol} = {factor.formula} = {numbers(factor.value, 2)}"
    )


def compare(
    model: nn.Module,
    x: Any,
    y: Any,
    loss: Loss,
    a: str,
    b: str,
    *,
    notation: str | None = None,
    certify: bool = True,
) -> Comparison:
    """Two gradients side by side: which factors are the same and why, which differ, and a verdict.

    Arguments as for :func:`explain`; ``a`` and ``b`` name two weights. With ``certify`` the audit is
    asked whether equal gradients stay equal. The model is left as it was.

    Shapes: ``x`` (N, I), ``y`` (N, O), N one or more.

    Source: ``docs/why/index.md``; why an update may be the same for different gradients:
    ``src/lockstep/explain/updates.py``.

    >>> import torch
    >>> from lockstep.explain.bundled import course_network
    >>> net = course_network(bias=False, weights=(0.5, -0.25, 0.5, -0.25, 0.5, 1.0))
    >>> x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0]])
    >>> print(compare(net, x, y, torch.nn.functional.mse_loss, "w1", "w3").verdict)
    dJ/dw1 and dJ/dw3 differ because w5 = 0.5 and w6 = 1 differ.
    >>> print(compare(net, x, y, torch.nn.functional.mse_loss, "w1", "w2").verdict)
    dJ/dw1 and dJ/dw2 differ because x1 and x2 differ.
    """
    with as_guest():
        subject, loss = admitted(model, loss)
        observed = run(subject, x, y, loss)
        network = read(observed)
        reduction = reduction_of(observed, loss)
        names = names_for(network, notation)
        entries = [locate(observed, network, reduction, name) for name in (a, b)]
        left, right = (derive(entry, names) for entry in entries)
        pairs = paired(left, right)
        same = tuple(p for p in pairs if p.why in (SYMBOL, VALUES))
        differ = tuple(p for p in pairs if p.why not in (SYMBOL, VALUES))
        notes = update_notes(entries[0], entries[1], names)
    verdict = sentence(left, right, differ)
    equal = close(torch.tensor(left.gradient), torch.tensor(right.gradient))
    if equal and certify and left.name != right.name:
        verdict += lasting(model, x, entries[0], entries[1])
    return Comparison(left, right, same, differ, verdict, notes)


def paired(a: Derivation, b: Derivation) -> list[FactorPair]:
    """Factors against factors, from J on; sums are opened where they differ."""
    if a.name.partition("[")[0] != b.name.partition("[")[0] or len(a.factors) != len(b.factors):
        return unlike(a, b)
    pairs: list[FactorPair] = []
    for p, q in zip(a.factors, b.factors, strict=True):
        why = relation(p, q)
        over_uses = p.symbol.startswith("Σ")
        opened = opened_sums(a, b) if p.sum and why == "" and not over_uses else []
        parts = which_part(a, b) if over_uses and why == "" else "values differ"
        pairs += opened or [FactorPair(p, q, why or parts)]
    return pairs


def which_part(a: Derivation, b: Derivation) -> str:
    """Of a sum over uses of ``delta · input``: which of the two differs, use by use."""
    others = {term.via: term for term in b.terms}
    if set(others) != {term.via for term in a.terms}:
        return "they are sums over different uses"
    pairs = [(term.factors, others[term.via].factors) for term in a.terms]
    parts = [
        name
        for k, name in enumerate(("deltas", "inputs"))
        if not all(close(p[k].value, q[k].value) for p, q in pairs)
    ]
    return f"the {' and the '.join(parts)} differ"


def relation(p: Factor, q: Factor) -> str:
    """Why two factors are the same; empty if they are not."""
    if not close(p.value, q.value):
        return ""
    named = p.formula == q.formula and not p.sum and "product" not in p.formula
    return SYMBOL if named or p.symbol == q.symbol else VALUES


def opened_sums(a: Derivation, b: Derivation) -> list[FactorPair]:
    """The summands' edges, paired by the unit they lead to; the largest differences first."""
    others = {term.via: term for term in b.terms}
    if not a.terms or set(others) != {term.via for term in a.terms}:
        return []
    found = []
    for term in a.terms:
        p, q = term.factors[-1], others[term.via].factors[-1]
        why = relation(p, q)
        size = float((term.value - others[term.via].value).abs().sum())
        heads = [
            FactorPair(f, g, relation(f, g))
            for f, g in zip(term.factors[:-1], others[term.via].factors[:-1], strict=True)
        ]
        found.append((size, [h for h in heads if h.why], FactorPair(p, q, why or "values differ")))
    found.sort(key=lambda item: -item[0])
    return [pair for _, heads, edge in found for pair in (*heads, edge)]


def unlike(a: Derivation, b: Derivation) -> list[FactorPair]:
    """Chains of different shapes: the common beginning next to J, then each one's own rest."""
    pairs, shared = [], 0
    for p, q in zip(a.factors, b.factors, strict=False):
        if relation(p, q) != SYMBOL:
            break
        pairs.append(FactorPair(p, q, SYMBOL))
        shared += 1
    pairs += [FactorPair(p, None, f"only in dJ/d{a.weight}") for p in a.factors[shared:]]
    return pairs + [FactorPair(None, q, f"only in dJ/d{b.weight}") for q in b.factors[shared:]]


def sentence(a: Derivation, b: Derivation, differ: tuple[FactorPair, ...]) -> str:
    """The verdict in one sentence."""
    both = f"dJ/d{a.weight} and dJ/d{b.weight}"
    equal = close(torch.tensor(a.gradient), torch.tensor(b.gradient))
    if a.name == b.name:
        return f"dJ/d{a.weight} is compared with itself: every factor is the same."
    if any(pair.a is None or pair.b is None for pair in differ):
        mine, yours = (
            " · ".join(f.formula for f in side if f)
            for side in ([p.a for p in differ], [p.b for p in differ])
        )
        how = "are equal on this data, though" if equal else "differ because"
        return f"{both} {how} their chains part: {mine or '1'} against {yours or '1'}."
    if not differ:
        return f"{both} are equal: every factor is equal."
    reasons = [
        p.why if p.a.symbol.startswith("Σ") else differing(p.a, p.b) for p in differ if p.a and p.b
    ]
    listed = ", and ".join(reasons[:3]) + (
        f", and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    )
    if not equal:
        return f"{both} differ because {listed}."
    zero = next((f.symbol for f in a.factors if not f.value.any()), None)
    hidden = f" ({zero} is 0 on every sample and hides it)" if zero and a.gradient == 0 else ""
    return f"{both} are equal on this data, although {listed}{hidden}."


def differing(p: Factor, q: Factor) -> str:
    """``w5 = 0.3 and w6 = -0.8 differ``; values only where they are the same for every sample."""
    one = [bool((f.value == f.value.reshape(-1)[0]).all()) for f in (p, q)]
    weights = all(one) and p.formula[:1] in "wWb"
    if weights:
        left, right = apart(p.value, q.value)
        return f"{p.formula} = {left} and {q.formula} = {right} differ"
    if any(mark in p.formula for mark in " ("):
        return f"{p.symbol} = {p.formula} and {q.symbol} = {q.formula} differ"
    return f"{p.formula} and {q.formula} differ"


def apart(p: Tensor, q: Tensor) -> tuple[str, str]:
    """The common values, with as many digits (four at least) as tell them from each other."""
    a, b = (float(value.reshape(-1)[0]) + 0.0 for value in (p, q))
    digits = next((d for d in range(4, 17) if f"{a:.{d}g}" != f"{b:.{d}g}"), 17)
    return f"{a:.{digits}g}", f"{b:.{digits}g}"


def close(p: Tensor, q: Tensor) -> bool:
    """Equal up to the rounding of a sum."""
    return p.shape == q.shape and torch.allclose(p, q, rtol=1e-9, atol=1e-300)
