"""Stage 5. In: a model and what an audit says of it. Out: a plan, and a receipt once it is carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .merging import merge
    from .plan import Plan, Receipt, Refusal
    from .recycling import recycle
    from .untying import untie
    from .widening import widen
else:
    from lockstep.on_use import import_on_use

    import_on_use(
        __name__,
        {
            ".merging": "merge",
            ".plan": "Plan Receipt Refusal",
            ".recycling": "recycle",
            ".untying": "untie",
            ".widening": "widen",
        },
    )

__all__ = ["Plan", "Receipt", "Refusal", "merge", "recycle", "untie", "widen"]
