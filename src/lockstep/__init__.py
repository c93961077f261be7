"""Which units of a neural network can never differentiate, and why the others do.

This is the only place where public names are gathered; ``tests/public_api.txt`` lists them.
"""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__"]
