"""Fourth defence: the model itself, a deep copy of it, trained in float64 by PyTorch's own optimizers.

Random data, random losses, a handful of steps. What the claim ties must move together up to rounding,
what it calls frozen must get no gradient beyond rounding. This knows nothing of fields, rules or
partitions, so an error that the engine and the symbolic check share still has to pass here.

How much rounding? ``EQUAL``, relative to the layer's largest activation, and ``STILL``, relative to the
largest gradient of the step. One step loses about n * 1.1e-16 in sums of n terms, n up to some 1e4 here:
1e-12. From then on a difference between tied units grows at the transverse rate of the training, and so
fast that no constant covers long runs: balanced locks reach 1e-9 after a hundred steps of Adam (FACTS
F5), a mixture of equal components 6e-8 after ten (F15), constant nets drift to O(1) at some widths (F31).
Hence few steps, clipped gradients, small rates, an Adam whose epsilon does not turn a rounding gradient
into a step, and gradients that were found to be rounding at a claimed-frozen entry are set to 0, as the
claim says they are. That leaves 1e-9 with room; weights that differ by 1e-7 stand out, one unit in the
last place does not (the fields decide that).

A tie that is claimed to break (singletons) is not tested here: some separate too slowly for any float.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lockstep.certificate.consistent import tied
from lockstep.certificate.observe import Watch
from lockstep.certificate.optimizers import Make, optimizers
from lockstep.certificate.question import Question, few
from lockstep.certificate.samples import call, floats, fresh
from lockstep.symbolic.subject import duplicate

EQUAL, STILL = 1e-9, 1e-9
STEPS, CLIP = 5, 1.0


@dataclass
class Training:
    """Reasons against the claim, what could not be seen, and the optimizers that were tried."""

    reasons: dict[str, None] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    tried: list[str] = field(default_factory=list)


def train(question: Question, moving: frozenset[str]) -> Training:
    """Train copies of the model; ``moving`` names the parameters that the optimizer holds."""
    found = Training()
    if not question.claims_ties:
        found.notes[
            "nothing is claimed locked or frozen, so no float64 training could refute it"
        ] = None
        return found
    if hasattr(question.model, "stateless_call"):
        found.notes["no float64 training: Keras computes in the dtypes of its own policy"] = None
        return found
    for number, (name, make) in enumerate(optimizers(question).items()):
        try:
            with _doubles(question.seed + number):
                net = copied(question.model)
                _Course(question, net, moving, name, found).run(make)
            found.tried.append(name)
        except Exception as error:  # noqa: BLE001  whatever the user's code raises on doubles
            found.notes[f"no float64 training with {name}: {type(error).__name__}: {error}"] = None
    return found


def copied(model: nn.Module) -> nn.Module:
    """A deep copy in float64. Hooks on parameters, which may bend gradients, do not come along by themselves."""
    net: nn.Module = duplicate(model).double()
    for p, q in zip(model.parameters(), net.parameters(), strict=True):
        for hook in (p._backward_hooks or {}).values():
            q.register_hook(hook)
    return net


@contextmanager
def _doubles(seed: int) -> Iterator[None]:
    """New tensors are float64, as the copy is; random numbers start from ``seed``."""
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


class _Course:
    """One copy under one optimizer."""

    def __init__(
        self, question: Question, net: nn.Module, moving: frozenset[str], name: str, found: Training
    ) -> None:
        self.question, self.net, self.name, self.found = question, net, name, found
        self.parameters = {n: p for n, p in net.named_parameters() if n in moving}
        locked = {group.where for group in question.claim.locked}
        layers = [
            layer for layer in question.claim.layers.values() if tied(layer) or layer.name in locked
        ]
        self.watch = Watch(net, layers)

    def run(self, make: Make) -> None:
        optimizer = make(self.net, list(self.parameters.values())) if self.parameters else None
        for step in range(STEPS + 1):
            with self.watch.watching() as units:
                loss = self._loss()
            self._compare_units(step, units)
            self._compare_modules(step)
            if optimizer is None or loss is None or step == STEPS:
                break
            optimizer.zero_grad()
            loss.backward()
            self._compare_gradients(step)
            nn.utils.clip_grad_norm_(list(self.parameters.values()), CLIP)
            optimizer.step()
            if not all(bool(torch.isfinite(p).all()) for p in self.parameters.values()):
                raise FloatingPointError(f"weights are no longer finite after step {step}")
        if blind := self.watch.blind:
            self.found.notes[
                f"not visible to hooks, verified over the fields only: {few(blind)}"
            ] = None

    def _loss(self) -> Tensor | None:
        question, given = self.question, self.question.claim.assumptions.data == "given"
        outputs = call(self.net, fresh(question.inputs, keep=given))
        if question.loss is not None:
            targets = fresh(question.targets, keep=True)
            value: Tensor = (
                question.loss(outputs) if targets is None else question.loss(outputs, targets)
            )
            return value if value.requires_grad else None
        # Linear and quadratic terms with random factors: gradients that no structure explains.
        terms = [
            (torch.randn_like(out) * out).sum() + (torch.randn_like(out) * out.square()).sum() / 2
            for out in floats(outputs)
            if out.requires_grad
        ]
        return torch.stack(terms).sum() if terms else None

    def _refute(self, place: str, step: int, gap: float) -> None:
        text = f"in float64 they are {gap:.1e} apart after {step} steps of {self.name}"
        # One optimizer is enough to refute; the first that does is named.
        if not any(reason.startswith(place) for reason in self.found.reasons):
            self.found.reasons[f"{place}: {text}"] = None

    def _compare_units(self, step: int, units: Mapping[str, Tensor]) -> None:
        claim = self.question.claim
        for name, values in units.items():
            scale = max(float(values.abs().max()) if values.numel() else 0.0, 1e-30)
            for members in tied(claim.layers[name]):
                gap = float((values[list(members)] - values[members[0]]).abs().max()) / scale
                if not gap <= EQUAL:
                    self._refute(
                        f"layers/{name}: units {few(members)} are claimed equal", step, gap
                    )
            for group in claim.locked:
                if group.where == name and group.kind == "mirror" and values.numel():
                    signs = torch.tensor(group.signs)[:, None]
                    signed = values[list(group.units)] * signs
                    gap = float((signed - signed[0]).abs().max()) / scale
                    if not gap <= EQUAL:
                        self._refute(f"locked/{group}: units are claimed opposite", step, gap)

    def _compare_modules(self, step: int) -> None:
        for group in self.question.claim.locked:
            if isinstance(group.where, str):
                continue
            first, *rest = (list(self._below(path)) for path in group.where)
            for path, other in zip(group.where[1:], rest, strict=True):
                for p, q in zip(first, other, strict=True):
                    scale = max(float(p.detach().abs().max()), 1e-30)
                    gap = float((p.detach() - q.detach()).abs().max()) / scale if p.numel() else 0.0
                    if not gap <= EQUAL:
                        self._refute(
                            f"locked/module: {group.where[0]} and {path} are claimed equal",
                            step,
                            gap,
                        )

    def _below(self, path: str) -> Iterator[Tensor]:
        """The parameters of a module, or the one of that name."""
        try:
            yield self.net.get_parameter(path)
        except AttributeError:
            yield from self.net.get_submodule(path).parameters()

    def _compare_gradients(self, step: int) -> None:
        grads = [p.grad for p in self.parameters.values() if p.grad is not None and p.numel()]
        top = max((float(g.abs().max()) for g in grads), default=0.0)
        for frozen in self.question.claim.frozen:
            p = self.parameters.get(frozen.parameter)
            if p is None or p.grad is None or not frozen.indices:
                continue
            at = (...,) if frozen.count == frozen.total else tuple(torch.tensor(frozen.indices).t())
            size = float(p.grad[at].abs().max()) / max(top, 1e-30)
            if not size <= STILL:
                place = (
                    f"frozen/{frozen.parameter}: is claimed frozen, has in float64 a gradient of"
                )
                if not any(reason.startswith(place) for reason in self.found.reasons):
                    text = f"{size:.1e} of the largest at step {step} of {self.name}"
                    self.found.reasons[f"{place} {text}"] = None
            else:
                p.grad[at] = 0.0
