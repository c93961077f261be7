"""Stage 5. In: a model, data, a loss, a weight. Out: its gradient as a chain of factors, and experiments."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockstep.explain.derivation import Derivation, Factor, Term
    from lockstep.explain.derive import explain
    from lockstep.explain.drawing import Drawing, draw
    from lockstep.explain.history import History
    from lockstep.explain.sidebyside import Comparison, FactorPair, compare
    from lockstep.explain.training import train
    from lockstep.explain.tying import Change, Tied, tie
else:
    from lockstep.on_use import import_on_use

    import_on_use(
        __name__,
        {
            ".derivation": "Derivation Factor Term",
            ".derive": "explain",
            ".drawing": "Drawing draw",
            ".history": "History",
            ".sidebyside": "Comparison FactorPair compare",
            ".training": "train",
            ".tying": "Change Tied tie",
        },
    )

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
