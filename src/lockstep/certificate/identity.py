"""Second defence: whose certificate is this? Another model, other weights, other inputs, another mode."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from lockstep.certificate.question import ANY_LOSS, ANY_OPTIMIZER, Question, few


def strangers(question: Question, subject: Any) -> list[str]:
    """What does not fit the architecture; with any of it the claim is about another model.

    Heads are found only by running the model, so they are judged later.
    """
    claim, found = question.claim, []
    claimed = {name: layer.width for name, layer in claim.layers.items() if "[heads]" not in name}
    own = {place.name: place.width for place in subject.places}
    if extra := sorted(set(claimed) - set(own)):
        found.append(f"another model: it has no layer {few(extra)}")
    if missing := sorted(set(own) - set(claimed)):
        found.append(f"another model: its layer {few(missing)} is not in the certificate")
    for name in sorted(set(claimed) & set(own)):
        if claimed[name] != own[name]:
            said, is_ = claimed[name], own[name]
            found.append(
                f"another model: layer {name} has {is_} units, the certificate says {said}"
            )
    entries = sum(p.numel() for p in subject.parameters.values())
    if entries != claim.parameters:
        found.append(
            f"another model: it has {entries} parameter entries, the certificate says "
            f"{claim.parameters}"
        )
    return [*found, *_frozen(question, subject)]


def _frozen(question: Question, subject: Any) -> Iterator[str]:
    for frozen in question.claim.frozen:
        p = subject.parameters.get(frozen.parameter)
        if p is None:
            yield f"another model: it has no parameter {frozen.parameter}"
            continue
        outside = [
            index
            for index in frozen.indices
            if len(index) != p.dim() or any(i >= n for i, n in zip(index, p.shape, strict=True))
        ]
        if frozen.total != prod(p.shape) or outside:
            yield (
                f"frozen/{frozen.parameter}: its shape is {tuple(p.shape)}; the certificate counts "
                f"{frozen.total} entries" + (f" and names {few(outside)}" if outside else "")
            )
        if not p.requires_grad:
            yield f"frozen/{frozen.parameter}: it does not require gradients, so it is not frozen"


def differences(
    question: Question,
    subject: Any,
    digest: str,
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...],
) -> Iterator[str]:
    """The model fits, but its values, its mode, the example or the training differ from the claim's."""
    claim = question.claim
    given = claim.assumptions
    if digest != claim.digest:
        yield (
            "the weights changed since the audit (or buffers, names, dtypes, requires_grad): the digest is "
            f"{digest[:12]}…, the certificate says {claim.digest[:12]}…"
        )
    if inputs != claim.inputs:
        yield f"inputs: these are {_example(inputs)}, the certificate speaks of {_example(claim.inputs)}"
    mode = "train" if subject.training else "eval"
    if mode != given.mode:
        yield f"mode: the model is in {mode} mode, the certificate speaks of {given.mode} mode"
    yield from _loss(question)
    yield from _optimizer(question, subject)


def _example(inputs: tuple[tuple[str, str, tuple[int, ...]], ...]) -> str:
    return "; ".join(f"{name} {dtype}{list(shape)}" for name, dtype, shape in inputs) or "nothing"


def _loss(question: Question) -> Iterator[str]:
    said, loss = question.claim.assumptions.loss, question.loss
    given = ANY_LOSS if loss is None else getattr(loss, "__name__", str(loss))
    if given != said:
        cure = "; pass it: check(..., loss=, targets=)" if loss is None else ""
        yield f"loss: the certificate assumes {said!r}, the check was given {given!r}{cure}"


def _optimizer(question: Question, subject: Any) -> Iterator[str]:
    from lockstep.symbolic.optimizer import plan_of

    said, optimizer = question.claim.assumptions.optimizer, question.optimizer
    if optimizer is None:
        return  # any update of the claimed grade is tried; see the notes of check()
    plan = plan_of(subject.parameters, optimizer, None)
    if said not in (plan.name, *ANY_OPTIMIZER):
        yield f"optimizer: the certificate assumes {said!r}, the check was given {plan.name!r}"
    if question.claim.assumptions.update == "additive" and plan.update == "any":
        yield f"optimizer: {plan.name} as given is not additive, the certificate assumes that it is"
