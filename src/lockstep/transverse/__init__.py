"""Between the audit and what is done about it. In: a model, groups of units. Out: the space of their differences.

Tied units are one point of a linear subspace M of parameter space (the *tied manifold*) that training never
leaves in exact arithmetic. What may take them apart is a displacement *across* M, an element of the normal
space V: sums to zero over the copies, in what they read and in what is read of them. ``classes`` holds the
arithmetic of such spaces, ``units`` says which entries belong to a unit, ``spaces`` finds V for groups of the
audit, ``nearly`` moves nearly equal units onto M, ``hessian`` is the closed form for dense units, and ``lanczos``
finds the lowest eigenvector where there is none.
:mod:`lockstep.forecast` and :mod:`lockstep.treat` both build on it.
"""

from .hessian import TransverseHessian, transverse_hessian
from .lanczos import lowest

__all__ = ["TransverseHessian", "lowest", "transverse_hessian"]
