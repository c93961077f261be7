"""Walks from a unit up to J: single factors while there is one way, a sum with terms where it branches.

The rule behind the sums is ``delta_j = g'(z_j) · Σ_k w_kj delta_k``; a term is one ``k``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lockstep.explain.activations import rule_for
from lockstep.explain.chain import Chain, Stage
from lockstep.explain.derivation import Factor, Term
from lockstep.explain.guest import Run
from lockstep.explain.losses import loss_formula
from lockstep.explain.naming import Names
from lockstep.explain.network import Network

Path = tuple[tuple[Factor, ...], tuple[Term, ...]]


@dataclass(frozen=True, eq=False)
class Walk:
    """One chain in one notation. ``scale`` turns dJ into a sample's own; ``lead`` is the shape of rows."""

    run: Run
    network: Network
    chain: Chain
    names: Names
    scale: float
    lead: tuple[int, ...]

    def upwards(self, level: int, unit: int, suffix: Tensor) -> Path:
        """Factors from J down to unit ``unit`` of stage ``level``'s source, and the terms of a sum.

        ``suffix`` (N,) is the product of everything below, so that a term can state its share.
        """
        below: list[Factor] = []
        while level < len(self.chain.stages):
            stage = self.chain.stages[level]
            if self.branches(stage):
                total = self.total(level, unit)
                terms = self.terms(level, unit, suffix) if stage.kind != "vjp" else ()
                return (total, *reversed(below)), terms
            if stage.kind != "reshape":
                below.append(self.single(stage, unit))
                suffix = suffix * below[-1].value
            unit = 0 if stage.kind == "dense" else unit
            level += 1
        return (self.loss_factor(unit), *reversed(below)), ()

    @staticmethod
    def branches(stage: Stage) -> bool:
        """True where more than one path leads on (or the paths are not known)."""
        if stage.kind == "dense":
            return stage.dense is not None and stage.dense.width > 1
        return stage.kind in ("softmax", "vjp")

    def single(self, stage: Stage, unit: int) -> Factor:
        """An activation's derivative, or the one weight that leads on."""
        if stage.dense is not None:
            return self.edge(stage, unit, 0)
        source, output = self.symbol(stage.source, unit), self.symbol(stage.output, unit)
        if source == output:
            output += "'"
        op = stage.ops[0]
        rule = (
            rule_for(op.name, op.args, op.kwargs)
            if len(stage.ops) == 1 and len(op.inputs) == 1
            else None
        )
        formula = rule[0].format(z=source, a=output) if rule else f"{stage.ops[-1].name}'({source})"
        if stage.local is None:
            raise AssertionError("an activation stage has local derivatives")
        return Factor(f"d{output}/d{source}", formula, stage.local[:, unit].reshape(self.lead))

    def edge(self, stage: Stage, unit: int, k: int) -> Factor:
        """dz_k/da_unit of a dense stage: the weight between them."""
        dense = stage.dense
        if dense is None:
            raise AssertionError("an edge belongs to a dense stage")
        index = (unit, k) if dense.transposed else (k, unit)
        value = dense.matrix[k, unit].expand(self.lead).clone()
        source, output = self.symbol(stage.source, unit), self.symbol(stage.output, k)
        return Factor(f"d{output}/d{source}", self.names.weight(dense.weight, index), value)

    def total(self, level: int, unit: int) -> Factor:
        """dJ/d(unit) where the chain branches: the sum over paths, by the backward recursion."""
        stage = self.chain.stages[level]
        source = self.symbol(stage.source, unit)
        value = (stage.delta[:, unit] * self.scale).reshape(self.lead)
        if stage.kind == "vjp":
            through = ", ".join(dict.fromkeys(op.name for op in stage.ops))
            return Factor(f"dJ/d{source}", f"vector-Jacobian product through {through}", value)
        return Factor(f"dJ/d{source}", self.sum_formula(stage, unit), value, sum=True)

    def sum_formula(self, stage: Stage, unit: int) -> str:
        """``w5 dJ/dz3 + w7 dJ/dz4``, or with an ellipsis where there are many."""
        if stage.dense is None:
            return "sum over the outputs of the softmax"
        edges = [self.edge(stage, unit, k) for k in range(min(stage.dense.width, 3))]
        heads = [self.symbol(stage.output, k) for k in range(len(edges))]
        parts = [f"{e.formula} dJ/d{z}" for e, z in zip(edges, heads, strict=True)]
        return " + ".join(parts) + (" + …" if stage.dense.width > 3 else "")

    def terms(self, level: int, unit: int, suffix: Tensor) -> tuple[Term, ...]:
        """One term a next unit, the largest share of the gradient first."""
        stage = self.chain.stages[level]
        edges = self.edges(stage, unit)
        after = self.after(level)
        values = after * edges * self.scale
        shares = (values * suffix.reshape(-1, 1)).sum(0) / self.scale
        order = shares.abs().argsort(descending=True, stable=True).tolist()
        return tuple(
            self.term(level, unit, k, suffix, values[:, k].reshape(self.lead), float(shares[k]))
            for k in order
        )

    def edges(self, stage: Stage, unit: int) -> Tensor:
        """Derivatives (R, K) of the K next values with respect to ``unit``."""
        if stage.dense is not None:
            return stage.dense.matrix[:, unit].expand(stage.delta.shape[0], -1)
        s = stage.output.detach().reshape(stage.delta.shape)
        own = torch.zeros_like(s)
        own[:, unit] = 1
        if stage.ops[0].name == "softmax":
            return s * (own - s[:, unit : unit + 1])
        return own - s[:, unit : unit + 1].exp()

    def after(self, level: int) -> Tensor:
        """delta (R, K) at the output of a stage."""
        later = self.chain.stages[level + 1 :]
        return later[0].delta if later else self.chain.top

    def term(
        self, level: int, unit: int, k: int, suffix: Tensor, value: Tensor, share: float
    ) -> Term:
        """The path through next unit ``k``; its factors are spelt out when somebody reads them."""
        stage = self.chain.stages[level]
        local = self.edges(stage, unit)[:, k].reshape(self.lead)

        def spell() -> tuple[Factor, ...]:
            last = self.edge(stage, unit, k) if stage.dense else self.softmax_edge(stage, unit, k)
            return (*self.without_terms(level + 1, k)[0], last)

        def expand() -> tuple[Term, ...]:
            return self.upwards(level + 1, k, suffix * local)[1]

        return Term(self.symbol(stage.output, k), value, share, spell, expand)

    def without_terms(self, level: int, unit: int) -> Path:
        """Factors only: the tree is opened where somebody looks at it, not before."""
        return Walk.upwards(Shallow(**self.__dict__), level, unit, torch.ones(self.lead))

    def softmax_edge(self, stage: Stage, unit: int, k: int) -> Factor:
        """d softmax_k / d z_unit."""
        source, output = self.symbol(stage.source, unit), self.symbol(stage.output, k)
        output += "'" if output == source else ""
        mixed = f"{output} ([{k} = {unit}] - softmax_{unit})"
        formula = mixed if stage.ops[0].name == "softmax" else f"[{k} = {unit}] - softmax_{unit}"
        return Factor(
            f"d{output}/d{source}", formula, self.edges(stage, unit)[:, k].reshape(self.lead)
        )

    def loss_factor(self, unit: int) -> Factor:
        """dJ/d(output), a sample's own."""
        values = self.chain.top * self.scale
        o, outputs = self.symbol(self.chain.end, unit), values.shape[1]
        formula = loss_formula(self.chain, self.run.target, values)
        if formula.startswith("of the loss") and not self.chain.reaches_output:
            formula = "vector-Jacobian product of all that follows"
        formula = formula.format(o=o, y=self.names.target(unit, outputs), k=unit, O=outputs)
        return Factor(f"dJ/d{o}", formula, values[:, unit].reshape(self.lead))

    def symbol(self, tensor: Tensor, unit: int) -> str:
        """The name of one value."""
        place = self.network.place(tensor)
        if place.kind != "h":
            return self.names.value(place, unit)
        number = next((n for n, s in enumerate(self.chain.stages) if s.output is tensor), 0)
        return f"h{number}[{unit}]" if number else f"h[{unit}]"


class Shallow(Walk):
    """A walk that does not list terms."""

    def terms(self, level: int, unit: int, suffix: Tensor) -> tuple[Term, ...]:
        """None: the caller wants factors only."""
        return ()
