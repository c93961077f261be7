"""What the schema of an ATen op says of it, read once for each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

SIGHTS = frozenset(
    "alias as_strided detach diagonal expand permute select slice split split_with_sizes squeeze t transpose unbind "
    "unfold unsqueeze view".split()
)
"""Ops that give nothing but their first argument, seen another way."""


@dataclass(frozen=True, eq=False, slots=True)
class Op:
    """``name`` without the underscore of in-place forms; ``outs``, the names of its ``out=`` arguments.

    ``view``: the result may share storage with an argument; ``sight``: it always does, and no more than that.
    ``reseen``: the op changes how its argument itself is seen (``transpose_``).
    """

    name: str
    inplace: bool
    view: bool
    sight: bool
    reseen: bool
    outs: tuple[str, ...]


@cache
def op_of(func: Any) -> Op:
    """The :class:`Op` of an overload, such as ``torch.ops.aten.add_.Tensor``."""
    schema = func._schema
    name = schema.name.split("::")[1]
    inplace = schema.is_mutable and name.endswith("_") and not name.endswith("__")
    aliases = [a.alias_info for a in schema.arguments if a.alias_info is not None]
    return Op(
        name=name[:-1] if inplace else name,
        inplace=inplace,
        view=any(not alias.is_write for alias in aliases),
        sight=name in SIGHTS and func._overloadname != "dtype",
        reseen=torch.Tag.inplace_view in func.tags,
        # Whatever they are called: max has ``max`` and ``max_values``.
        outs=tuple(a.name for a in schema.arguments if a.is_out),
    )
