"""The audit as a lint: one line in a reader's own tests that fails when a change locks or freezes units."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import UsageError
from .pipeline import audit
from .report import selection
from .types import LOCKING_CODES, Audit


def assert_no_locked_units(
    model: Any,
    inputs: Any = None,
    *,
    ignore: Sequence[str] = (),
    baseline: str | Path | None = None,
    **options: Any,
) -> Audit:
    """Fails with ``AssertionError`` if units are locked or entries frozen; returns the audit otherwise.

    ``model`` and ``inputs`` (batch first, at least 4 samples) as for :func:`lockstep.audit`, which also takes the
    other ``options``. What is meant to be is named by ``ignore`` (``"LS004"``, ``"LS004:encoder.*"``) or is in the
    file ``baseline``, as ``lockstep audit --write-baseline`` writes it.

    Shapes: ``inputs`` (N, …), N four or more.

    Source: ``docs/theory.md`` (equitable partitions: Joudaki et al., arXiv 2510.00304).

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    >>> assert_no_locked_units(net, torch.zeros(4, 2)).ok
    True
    >>> for p in net.parameters():
    ...     _ = torch.nn.init.constant_(p, 0.5)
    >>> assert_no_locked_units(net, torch.zeros(4, 2))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    AssertionError: this model locks or freezes units:
      LS001 0: units {0, 1} can never differentiate; effective width 1 of 2 (initialise their ...

    Raises :class:`~lockstep.errors.UsageError` for a baseline that does not exist or a code there is not, and what
    :func:`lockstep.audit` raises.
    """
    if isinstance(ignore, str):
        raise UsageError(f"ignore must be a list of codes, got the text {ignore!r}: [{ignore!r}].")
    selected, ignored = selection.patterns([], list(ignore))
    known = selection.read_baseline(Path(baseline)) if baseline is not None else frozenset()
    result = selection.chosen(audit(model, inputs, **options), selected, ignored, known)
    if not result.ok:
        locking = [f for f in result.findings if f.code in LOCKING_CODES]
        lines = "\n".join(f"  {finding}" for finding in locking)
        raise AssertionError(f"this model locks or freezes units:\n{lines}")
    return result
