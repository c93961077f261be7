"""Stage 5. In: model, data, optimizer. Out: how fast tied units separate or merge, or why that is unknown.

**Statement.** Training is a map F on (parameters, optimizer state). It keeps the tied manifold, and a small
difference d across it goes to ``DF d``; so after t steps the difference is the product of t tangent maps applied to
the first, and its length grows like the product's. Neither the smallest eigenvalue of the transverse Hessian at
one point nor its sign says what that product does (the eigenvectors turn, the residuals shrink).

**Conditions.** Differences small enough for first order; a step that can be differentiated where it stands; no
noise that differs from unit to unit. Each is tried, and failing it is the verdict.

**References.** Oseledets 1968 and Benettin et al. 1980 (growth rates of tangent products); Fukumizu and Amari 2000 and
Saad and Solla 1995 (duplicate units); Pearlmutter 1994 (Hessian-vector products).

Five units, two of them equal: the difference has (inputs + 1 + outputs) entries, and is followed without ever
making the Hessian.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..types import Escape, Leak, Rounding
    from .honesty import rounding
    from .predict import forecast
    from .result import Forecast, GroupForecast
else:
    from lockstep.on_use import import_on_use

    import_on_use(
        __name__,
        {
            "..types": "Escape Leak Rounding",
            ".honesty": "rounding",
            ".predict": "forecast",
            ".result": "Forecast GroupForecast",
        },
    )

__all__ = ["Escape", "Forecast", "GroupForecast", "Leak", "Rounding", "forecast", "rounding"]
