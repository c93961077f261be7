"""Stage 5. In: a model, data, a loss, a weight. Out: its gradient as a chain of factors, and experiments."""

from lockstep.explain.derivation import Derivation, Factor, Term
from lockstep.explain.derive import explain
from lockstep.explain.sidebyside import Comparison, FactorPair, compare

__all__ = ["Comparison", "Derivation", "Factor", "FactorPair", "Term", "compare", "explain"]
