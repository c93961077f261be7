"""Stage 4, second half. In: a claim and a model. Out: nothing to object, or all reasons at once.

The checker does not ask the engine's partition anything. Four defences, each of which stops forgeries
that the other three let through (``tests/attacks``):

1. *form*: the claim adds up (``form.py``, ``consistent.py``, ``primes.py``);
2. *identity*: it is about this model, these weights, this example and mode (``identity.py``);
3. *other primes*: it is true under symbolic training over fields and symbols it has not seen, by a loop
   of the checker's own; ties that it hides count as false, too (``retraining.py``, ``symbols.py``,
   ``modules.py``);
4. *float64*: the real model, trained by PyTorch's optimizers, does not contradict it (``float64.py``).

What an accepted certificate still rests on: the op rules and the pass of ``field`` and ``symbolic``,
which 3 shares with the engine (4 does not), and the bound of its *own* run, three primes once more.
Sentences (messages, cures, reasons in words) are not claims and are not verified.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from lockstep.certificate import claim as paper
from lockstep.certificate import consistent, identity, primes
from lockstep.certificate.form import form_problems, parse
from lockstep.certificate.question import ANY_OPTIMIZER, Checked, Loss, Optimizer, Question
from lockstep.errors import CertificateError, LockstepError, UsageError
from lockstep.types import Audit

LANES = 3


def check(
    audit: Audit | str | Path,
    model: Any,
    inputs: Any,
    *,
    loss: Loss | None = None,
    targets: Any = None,
    optimizer: Optimizer | None = None,
    seed: int = 0,
) -> Checked:
    """Verify a certificate against the model it speaks of; raise ``CertificateError`` with all reasons.

    ``audit`` is an :class:`Audit`, its JSON text, or a path to it. ``inputs`` is an example like the
    audited one: same shapes, same integers (same numbers, if the audit was made with ``data="given"``).
    A certificate that assumes a loss, or an optimizer with state or groups, is checked with the same
    ``loss``, ``targets`` and ``optimizer``. The model is left exactly as it was, also after a refusal.
    Returns what was done, and what could not be seen. Method and limits: the head of this file.

    Shapes: ``inputs`` (N, …), as audited.

    Source: ``docs/certificate.md`` and the head of ``src/lockstep/certificate/check.py``.

    >>> import torch, lockstep
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    >>> for p in net.parameters():
    ...     _ = torch.nn.init.constant_(p, 0.5)
    >>> x = torch.zeros(4, 2)
    >>> certificate = lockstep.audit(net, x)
    >>> lockstep.check(certificate, net, x).trained
    ('SGD with momentum', 'Adam with coupled decay', 'arbitrary')
    >>> with torch.no_grad():
    ...     _ = net[2].weight[0, 0].add_(1)
    >>> lockstep.check(certificate, net, x)
    Traceback (most recent call last):
        ...
    lockstep.errors.CertificateError: certificate refused for ...
    """
    claim, reasons = _read(audit)
    reasons += [reason for reason in consistent.inconsistencies(claim) if reason not in reasons]
    question = Question(claim, model, inputs, loss, targets, optimizer, seed)
    try:
        checked = _against_model(question, reasons)
    except LockstepError as error:
        if not reasons:
            raise  # nothing against the claim itself: it could not be examined
        reasons.append(f"the model could not be examined any further: {error}")
    if reasons:
        raise CertificateError(list(dict.fromkeys(reasons)))
    return checked


def _read(audit: Audit | str | Path) -> tuple[Audit, list[str]]:
    """The claim, and what is wrong with the paper it is written on."""
    if isinstance(audit, Audit):
        return audit, []
    if not isinstance(audit, str | Path):
        raise UsageError(
            f"check() wants a certificate, got {type(audit).__name__}: give an Audit, its JSON text, or a path"
        )
    text = audit
    if isinstance(audit, Path) or not audit.lstrip().startswith("{"):
        try:
            text = Path(audit).read_text("utf-8")
        except (OSError, ValueError) as error:
            raise UsageError(
                f"the certificate {str(audit)[:200]!r} cannot be read: {error}. Give an Audit, its JSON text, or a path"
            ) from error
    try:
        return paper.audit_of(parse(str(text))), []
    except CertificateError as error:
        loaded = json.loads(str(text))
        if list(form_problems(loaded)):
            raise  # not even a claim of the right form: there is nothing to hold against a model
        return paper.audit_of(loaded), list(error.reasons)


def _against_model(question: Question, reasons: list[str]) -> Checked:
    """Defences 2 to 4: adds to ``reasons``, and says what was done."""
    # On use only: to read a certificate, or to refuse one for its form, needs no engine.
    from lockstep.certificate import float64, symbols
    from lockstep.field.arithmetic import Field
    from lockstep.field.mixing import stable_key
    from lockstep.symbolic.digest import digest
    from lockstep.symbolic.passes import named_tensors
    from lockstep.symbolic.subject import quarters, subject_of

    claim = question.claim
    with quarters():
        subject = subject_of(question.model)
        prepared = dataclasses.replace(
            question,
            model=subject.model,
            inputs=subject.prepare(question.inputs),
            targets=subject.prepare(question.targets),
            loss=subject.criterion(question.loss),
        )
        strange = identity.strangers(prepared, subject)
        inputs = tuple(
            (name, str(t.dtype).removeprefix("torch."), tuple(t.shape))
            for name, t in named_tensors(prepared.inputs)
        )
        reasons += strange
        sealed = digest(subject)
        reasons += identity.differences(prepared, subject, sealed, inputs)
        if strange:
            # Of a model that the claim does not speak of it says nothing true or false.
            return Checked((), ())
        key = f"{question.seed} {sealed}"
        fresh = primes.others({prime for prime, _ in claim.evidence.lanes}, LANES, key)
        fields = [Field(p, seed=stable_key("check", key, p) & 0x7FFFFFFF) for p in fresh]
        reasons += symbols.refutations(prepared, subject, fields)
        training = float64.train(prepared, frozenset(prepared.plan(subject.parameters).keys))
    reasons += training.reasons
    notes = list(training.notes)
    if question.optimizer is None and claim.assumptions.optimizer not in ANY_OPTIMIZER:
        notes.append(
            f"the certificate names {claim.assumptions.optimizer}, which was not given: checked for "
            f"updates of grade {claim.assumptions.update!r} without state, one parameter group"
        )
    return Checked(fresh, tuple(training.tried), tuple(notes))
