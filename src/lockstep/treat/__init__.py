"""Stage 5. In: a model and what an audit says of it. Out: a plan, and a receipt once it is carried out."""

from __future__ import annotations

from .merging import merge
from .plan import Plan, Receipt, Refusal
from .recycling import recycle
from .untying import untie
from .widening import widen

__all__ = ["Plan", "Receipt", "Refusal", "merge", "recycle", "untie", "widen"]
