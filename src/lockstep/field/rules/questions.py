"""Questions that Python code asks about values: answered for constants (elsewhere), refused for symbols."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from ..running import active, may_coincide
from .operands import residues
from .predicates import same


@rule("_local_scalar_dense", "item", infinite=True)
def local_scalar(f: Field, x: Tensor) -> float:
    """An infinity is an infinity whatever the data."""
    if bool(torch.isinf(x)):
        return float(x)
    raise active().refuse_value("Python code")


@rule("is_nonzero", infinite=True)
def is_nonzero(f: Field, x: Tensor) -> bool:
    return bool(local_scalar(f, x))


@rule("_is_all_true", infinite=True)
def is_all_true(f: Field, x: Tensor) -> Tensor:
    """Asked by the argument checks of ``torch.distributions``: a run that goes on has passed them."""
    active().assumed.setdefault("arguments of torch.distributions are valid")
    return torch.ones((), dtype=torch.bool)


@rule("equal", infinite=True)
def equal(f: Field, a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    answer = same(f, residues(f, a), residues(f, b), may_coincide(a, b))
    if answer.dtype is not torch.bool:
        raise active().refuse_value("Python code (torch.equal)")
    return bool(answer.all())


@rule("_has_same_storage_numel", infinite=True)
def same_storage(f: Field, a: Tensor, b: Tensor) -> bool:
    """Asked by forward-mode derivatives; not about values."""
    return (
        a.untyped_storage().nbytes() // a.element_size()
        == b.untyped_storage().nbytes() // b.element_size()
    )


@rule(
    *(
        "nonzero",
        "nonzero_numpy",
        "nonzero_static",
        "_unique",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
    ),
    *(
        "bincount",
        "histc",
        "_histogramdd_bin_edges",
        "mode",
        "bucketize",
        "searchsorted",
        "multinomial",
    ),
    infinite=True,
)
def data_dependent(f: Field, *_: Any, **__: Any) -> Tensor:
    raise active().refuse_value("the shape or the integers of a result")
