"""Stage 5. In: a model, data, a loss, a weight. Out: its gradient as a chain of factors, and experiments."""

from lockstep.explain.derivation import Derivation, Factor, Term
from lockstep.explain.derive import explain
from lockstep.explain.drawing import Drawing, draw
from lockstep.explain.history import History
from lockstep.explain.sidebyside import Comparison, FactorPair, compare
from lockstep.explain.training import train
from lockstep.explain.tying import Change, Tied, tie

__all__ = [
    "Change",
    "Comparison",
    "Derivation",
    "Drawing",
    "Factor",
    "FactorPair",
    "History",
    "Term",
    "Tied",
    "compare",
    "draw",
    "explain",
    "tie",
    "train",
]
