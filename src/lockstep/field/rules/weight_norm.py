"""Weight norm, ``w = v g / |v|``, and what else rescales whole rows by their norm."""

from __future__ import annotations

from torch import Tensor

from ..arithmetic import Field
from ..mixing import stable_key
from ..registry import rule
from ..running import choosing
from .powers import root
from .reductions import norm


def _rest(v: Tensor, dim: int) -> tuple[int, ...]:
    return tuple(d for d in range(v.dim()) if d != dim % v.dim())


@rule("_weight_norm_interface", degree="sum")
def weight_norm(f: Field, v: Tensor, g: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """(w, |v|); norms over all dimensions but ``dim``."""
    size = root(f, f.dot(v, v, _rest(v, dim), True))
    return f.mul(v, f.mul(g, f.inverse(size))), size


@rule("_weight_norm_interface_backward", degree="sum")
def weight_norm_backward(
    f: Field, grad: Tensor, v: Tensor, g: Tensor, size: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    """The gradient for ``v`` has no part along ``v``: exact, because ``|v|^2`` is taken as the sum it is."""
    rest, inverse = _rest(v, dim), f.inverse(size)
    along = f.dot(grad, v, rest, True)
    square = f.dot(v, v, rest, True)
    across = f.sub(grad, f.mul(v, f.mul(along, f.inverse(square))))
    return f.mul(f.mul(g, inverse), across), f.mul(along, inverse)


@rule("embedding_renorm", degree="sum")
def embedding_renorm(
    f: Field, weight: Tensor, index: Tensor, max_norm: float, norm_type: float
) -> Tensor:
    """Rows that are looked up shrink to ``max_norm``: each by an uninterpreted factor of its norm."""
    choosing()
    rows = index.reshape(-1).unique()
    factor = f.function(
        norm(f, weight[rows], norm_type, (1,), True), stable_key("renorm", max_norm)
    )
    return weight.index_copy(0, rows, f.mul(weight[rows], factor))


@rule("renorm", degree="sum")
def renorm(f: Field, x: Tensor, p: float, dim: int, max_norm: float) -> Tensor:
    choosing()
    factor = f.function(norm(f, x, float(p), _rest(x, dim), True), stable_key("renorm", max_norm))
    return f.mul(x, factor)
