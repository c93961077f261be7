"""Which units of a neural network can never differentiate, and why the others do.

This is the only place where public names are gathered; ``tests/public_api.txt`` lists them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .certificate.check import check
    from .errors import CertificateError, LockstepError, UndecidedError, UsageError
    from .explain import Comparison, Derivation, Factor, History, compare, explain, tie, train
    from .forecast import Escape, Forecast, GroupForecast, Leak, Rounding, forecast, rounding
    from .lab import lab
    from .lint import assert_no_locked_units
    from .pipeline import audit
    from .transverse import TransverseHessian, transverse_hessian
    from .treat import Plan, Receipt, merge, recycle, untie, widen
    from .types import Audit, Finding, Frozen, Group, Layer, Reason
    from .watch import Watch, watch
else:
    from .on_use import import_on_use

    import_on_use(
        __name__,
        {
            ".certificate.check": "check",
            ".errors": "CertificateError LockstepError UndecidedError UsageError",
            ".explain": "Comparison Derivation Factor History compare explain tie train",
            ".forecast": "Escape Forecast GroupForecast Leak Rounding forecast rounding",
            ".lab": "lab",
            ".lint": "assert_no_locked_units",
            ".pipeline": "audit",
            ".transverse": "TransverseHessian transverse_hessian",
            ".treat": "Plan Receipt merge recycle untie widen",
            ".types": "Audit Finding Frozen Group Layer Reason",
            ".watch": "Watch watch",
        },
    )

__version__ = "0.1.0"

__all__ = [
    "Audit",
    "CertificateError",
    "Comparison",
    "Derivation",
    "Escape",
    "Factor",
    "Finding",
    "Forecast",
    "Frozen",
    "Group",
    "GroupForecast",
    "History",
    "Layer",
    "Leak",
    "LockstepError",
    "Plan",
    "Reason",
    "Receipt",
    "Rounding",
    "TransverseHessian",
    "UndecidedError",
    "UsageError",
    "Watch",
    "__version__",
    "assert_no_locked_units",
    "audit",
    "check",
    "compare",
    "explain",
    "forecast",
    "lab",
    "merge",
    "recycle",
    "rounding",
    "tie",
    "train",
    "transverse_hessian",
    "untie",
    "watch",
    "widen",
]
