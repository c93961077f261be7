"""Every refusal Lockstep can make. Each carries an exit code for the command line.

``UsageError`` (exit code 2): the request cannot be carried out as given.
``UndecidedError`` (exit code 3): the request is fine, but the engine cannot decide; it never guesses.
``CertificateError`` (exit code 1 of ``lockstep check``): a claim that does not hold, with all reasons.
"""

from __future__ import annotations


class LockstepError(Exception):
    """Base class of every error that Lockstep raises on purpose.

    >>> import torch, lockstep
    >>> try:
    ...     lockstep.audit(torch.nn.Linear(2, 1), torch.zeros(4, 3))
    ... except LockstepError as error:
    ...     print(type(error).__name__, error.exit_code)
    UsageError 2
    """

    exit_code = 2


class UsageError(LockstepError, ValueError):
    """What was given cannot be used; the message says what, where, why and what to do.

    >>> import torch, lockstep
    >>> try:
    ...     lockstep.tie(torch.nn.Sequential(torch.nn.Linear(2, 2)), "1", [0, 1])
    ... except UsageError as error:
    ...     print(error)  # doctest: +ELLIPSIS
    there is no Linear or Conv layer '1' to tie units of. Layers: '0' (Linear). ...
    """


class UndecidedError(LockstepError, RuntimeError):
    """The engine cannot decide; the message says which op or value, where, and what to do.

    >>> import torch, lockstep
    >>> net = torch.nn.Linear(2, 1)
    >>> _ = torch.nn.init.constant_(net.bias, float("nan"))
    >>> try:
    ...     lockstep.audit(net, torch.zeros(4, 2))
    ... except UndecidedError as error:
    ...     print(type(error).__name__, error.exit_code)
    NonFiniteError 3
    """

    exit_code = 3


class MissingRuleError(UndecidedError):
    """One or more ATen ops have no rule over the finite field."""


class ControlFlowError(UndecidedError):
    """Python control flow (or an index) depends on the value of a float."""


class NonFiniteError(UndecidedError):
    """A parameter or buffer holds NaN or infinity."""


class CertificateError(LockstepError, ValueError):
    """A certificate was refused. ``reasons`` lists every reason, not only the first.

    >>> print(CertificateError(["it is about other weights", "units 0 and 1 of layer '0' differ"]))
    certificate refused for 2 reason(s):
      1. it is about other weights
      2. units 0 and 1 of layer '0' differ
    """

    exit_code = 1

    def __init__(self, reasons: list[str] | tuple[str, ...]) -> None:
        self.reasons = tuple(reasons)
        lines = "\n".join(f"  {n}. {reason}" for n, reason in enumerate(self.reasons, 1))
        super().__init__(f"certificate refused for {len(self.reasons)} reason(s):\n{lines}")
