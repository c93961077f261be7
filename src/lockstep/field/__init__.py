"""Stage 1. Arithmetic modulo p, the residue tensor, and a rule for each ATen op."""

from .registry import rule

__all__ = ["rule"]
