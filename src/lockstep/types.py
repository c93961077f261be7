"""Frozen values that pass between stages. They hold results and know how to print them; no logic.

Shape letters, used alike in code and docs: ``N`` batch, ``T`` time or token, ``C`` channel,
``H, W`` height and width, ``E`` embedding, ``U`` units of a layer, ``O`` outputs, ``I`` inputs.

Classes are stored; "the class of unit i" is derived, so the two cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from rich.console import RenderableType

Classes = tuple[tuple[int, ...], ...]
Update = Literal["any", "additive"]
Kind = Literal["twin", "mirror", "balanced", "module"]
Verdict = Literal["locked", "mirror", "separates", "undecided"]
Direction = Literal["forward", "backward", "none"]

LOCKING_CODES = ("LS001", "LS002", "LS003", "LS004", "LS005")


@dataclass(frozen=True)
class Layer:
    """Units of one layer and the classes they can never leave.

    ``classes`` partitions ``range(width)``: twins (and, for additive updates, balanced units) share a
    class; singletons are included; each class ascends and classes are ordered by their first unit.
    ``history`` holds ``(step, direction, classes)`` from the start up to the fixed pattern: the
    partition by activations after ``step`` updates (``"forward"``) and by the gradients that the
    ``step``-th update applies (``"backward"``), each met with all before it. ``unread`` are the units that the example
    never reaches: there is no verdict on those, and each stands alone.

    Source: ``docs/theory.md`` (equitable partitions: Joudaki et al., arXiv 2510.00304).

    >>> Layer("0", 3, ((0, 2), (1,))).effective_width
    2
    """

    name: str
    width: int
    classes: Classes
    history: tuple[tuple[int, Direction, Classes], ...] = ()
    unread: tuple[int, ...] = ()

    @property
    def effective_width(self) -> int:
        """Number of classes: how many different functions the layer can ever compute."""
        return len(self.classes)

    def class_of(self, unit: int) -> tuple[int, ...]:
        """The class that holds ``unit``."""
        return next(members for members in self.classes if unit in members)

    def __str__(self) -> str:
        """One line: ``0: 1 of 2 {0, 1}``."""
        from lockstep.report.shorten import tied

        return f"{self.name}: {self.effective_width} of {self.width} {tied(self)}".rstrip()


@dataclass(frozen=True)
class Group:
    """Units, or modules, that are locked to one another for ever.

    ``where`` is a layer's name, or for ``kind="module"`` the tuple of paths of modules (or names of bare parameters);
    ``units`` are indices into the layer (or into ``where``). Of a mirror group, ``signs`` says who is whose negative.

    Source: ``docs/theory.md`` (equitable partitions: Joudaki et al., arXiv 2510.00304).
    The kinds: ``docs/glossary.md``.

    >>> print(Group("mirror", "0", (0, 1), (1, -1)))
    mirror in 0: {+0, -1}
    """

    kind: Kind
    where: str | tuple[str, ...]
    units: tuple[int, ...]
    signs: tuple[int, ...] = ()

    def __str__(self) -> str:
        """One line: ``twin in 0: {0, 1}``, ``mirror in 0: {+0, -1}``, ``module: a = b``."""
        if not isinstance(self.where, str):
            return "module: " + " = ".join(self.where[unit] for unit in self.units)
        signs = self.signs or (0,) * len(self.units)
        marks = {-1: "-", 0: "", 1: "+"}
        units = (f"{marks[sign]}{unit}" for unit, sign in zip(self.units, signs, strict=True))
        return f"{self.kind} in {self.where}: {{{', '.join(units)}}}"


@dataclass(frozen=True)
class Frozen:
    """Entries of a parameter whose gradient is identically zero at every step.

    ``indices`` are index tuples into the parameter; at most ``Frozen.SHOWN`` are kept, ``count`` counts all.

    Source: ``src/lockstep/report/rules/LS004.md``.

    >>> print(Frozen("0.bias", 2, 2, ((0,), (1,))))
    0.bias: 2 of 2 entries frozen
    """

    parameter: str
    count: int
    total: int
    indices: tuple[tuple[int, ...], ...] = ()

    SHOWN = 4096

    def __str__(self) -> str:
        """One line: ``0.bias: 2 of 2 entries frozen``."""
        return f"{self.parameter}: {self.count} of {self.total} entries frozen"


@dataclass(frozen=True)
class Finding:
    """One line of the report: a code (``lockstep rule CODE`` explains it), a place, a message, a cure.

    Source: the page of the code, as ``src/lockstep/report/rules/LS001.md``.

    >>> print(Finding("LS001", "0", "units {0, 1} can never differentiate"))
    LS001 0: units {0, 1} can never differentiate
    """

    code: str
    where: str
    message: str
    cure: str = ""

    def __str__(self) -> str:
        """One line, as linters print it: ``LS001 0: message (cure)``."""
        cure = f" ({self.cure})" if self.cure else ""
        return f"{self.code} {self.where}: {self.message}{cure}"


class Explains(Protocol):
    """What knows the live model: which entries part two units."""

    def __call__(self, layer: str, i: int, j: int) -> str: ...


@dataclass(frozen=True)
class Reason:
    """Why two units stay equal, or what separates them.

    ``step`` is the number of symbolic steps after which they differ (0: they differ as initialised);
    ``direction`` says whether activations (``"forward"``) or gradients (``"backward"``) differ first.

    Source: ``docs/theory.md``.

    >>> print(Reason("separates", 1, "backward", "their outgoing weights differ"))
    separates at step 1 (backward): their outgoing weights differ
    """

    verdict: Verdict
    step: int | None
    direction: Direction
    because: str

    def __str__(self) -> str:
        when = "" if self.step is None else f" at step {self.step} ({self.direction})"
        return f"{self.verdict}{when}: {self.because}"


@dataclass(frozen=True)
class Assumptions:
    """What the certificate takes for granted; printed with every verdict.

    ``optimizer`` names the class ("any elementwise optimizer" if none was given), ``loss`` the loss
    ("any loss of the outputs"), ``data`` is ``"any"`` or ``"given"``, ``mode`` ``"train"`` or ``"eval"``,
    ``noise`` the modules that draw noise, ``notes`` free sentences.
    """

    update: Update
    optimizer: str
    loss: str
    data: str
    mode: str
    noise: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The sentence printed under every verdict."""
        from lockstep.report.text import assumptions_line

        return assumptions_line(self)


@dataclass(frozen=True)
class Evidence:
    """How the verdict was reached, and how sure it is.

    ``lanes`` are the independent runs as ``(prime, seed)``; ``steps`` the symbolic steps until the
    pattern was fixed; ``degree`` the largest syntactic degree of a compared polynomial; ``claims`` how many
    equalities and zeros are claimed; ``bound`` = claims * (degree / prime)^lanes (Schwartz-Zippel).
    """

    lanes: tuple[tuple[int, int], ...]
    steps: int
    degree: int
    claims: int
    bound: float
    seconds: float = 0.0

    def __str__(self) -> str:
        """The sentence printed under every verdict."""
        from lockstep.report.text import evidence_line

        return evidence_line(self)


@dataclass(frozen=True)
class Leak:
    """Rounding on this machine: the first difference that real training of exactly tied units showed.

    ``step`` is the number of updates after which it was seen (None: bitwise equal for all ``steps`` tried), ``size``
    its length (2-norm over all parameters of the difference's space) in training with ``dtype``.

    Source: ``docs/forecast.md``; the effect: https://github.com/pytorch/pytorch/issues/192420, in ``docs/papers.md``.

    >>> print(Leak("float32", 10, 3, 1.5e-8))
    float32: first differ at step 3, by 1.5e-08
    """

    dtype: str
    steps: int
    step: int | None
    size: float

    def __str__(self) -> str:
        if self.step is None:
            return f"{self.dtype}: bitwise equal for {self.steps} steps"
        return f"{self.dtype}: first differ at step {self.step}, by {self.size:.1e}"


@dataclass(frozen=True)
class Escape:
    """One group in one precision.

    ``leak`` is the first difference; ``sizes[t]`` the length of the difference after t steps of real training;
    ``predicted`` the step at which rounding alone will have grown to ``threshold``, from the leak and the forecast
    (None: never, as far as can be told); ``seen`` the step at which it had, if it did within the run.

    Source: ``docs/forecast.md``.

    >>> print(Escape(Group("twin", "0", (0, 1)), Leak("float32", 5, None, 0.0), (), 0.01, None, None))
    twin in 0: {0, 1}: float32: bitwise equal for 5 steps
    """

    group: Group
    leak: Leak
    sizes: tuple[float, ...]
    threshold: float
    predicted: int | None
    seen: int | None
    because: str = ""

    def __str__(self) -> str:
        if self.leak.step is None:
            return f"{self.group}: {self.leak}"
        end = (
            "not forecast to separate"
            if self.predicted is None
            else (f"rounding alone reaches {self.threshold:.2g} at step {self.predicted}")
        )
        seen = f" (seen at step {self.seen})" if self.seen is not None else ""
        why = f": {self.because}" if self.because and self.predicted is None else ""
        return f"{self.group}: {self.leak}; {end}{seen}{why}"


@dataclass(frozen=True)
class Rounding:
    """The result of :func:`rounding`: one :class:`Escape` a group and precision, and the machine.

    Source: ``docs/forecast.md``.

    >>> Rounding((), 5, "a machine").bitwise
    True
    """

    escapes: tuple[Escape, ...]
    steps: int
    machine: str
    because: str = ""

    @property
    def bitwise(self) -> bool:
        """Whether all groups stayed bitwise equal in both precisions for all steps."""
        return all(escape.leak.step is None for escape in self.escapes)

    def __str__(self) -> str:
        lines = [f"rounding over {self.steps} steps on {self.machine}"]
        return "\n".join(
            [*lines, *map(str, self.escapes), *([self.because] if self.because else [])]
        )


@dataclass(frozen=True)
class Audit:
    """The result of :func:`lockstep.audit`. Printable, JSON round trip, HTML in notebooks.

    ``layers`` maps a layer's name to its :class:`Layer`; ``locked`` lists groups of units and of modules;
    ``digest`` is the BLAKE3 of names, shapes, dtypes and bytes of parameters and buffers;
    ``inputs`` are the example's tensors as ``(name, dtype, shape)``; ``parameters`` counts scalar entries;
    ``because`` maps a layer's name to the sentence why its forward twins separate; ``rounding`` is what real training
    on this machine showed, where that was asked for.
    ``explainer(layer, i, j)`` looks the deciding entries up in the live model; it does not survive JSON.

    Source: ``docs/theory.md`` (equitable partitions: Joudaki et al., arXiv 2510.00304).

    >>> import torch, lockstep
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    >>> for p in net.parameters():
    ...     _ = torch.nn.init.constant_(p, 0.5)
    >>> seen = lockstep.audit(net, torch.zeros(4, 2))
    >>> print(seen.ok, seen.layers["0"], seen.reason("0", 0, 1).verdict)
    False 0: 1 of 2 {0, 1} locked
    >>> Audit.from_json(seen.to_json()) == seen
    True
    """

    layers: dict[str, Layer]
    locked: tuple[Group, ...]
    frozen: tuple[Frozen, ...]
    findings: tuple[Finding, ...]
    assumptions: Assumptions
    evidence: Evidence
    digest: str
    model: str = ""
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    parameters: int = 0
    because: dict[str, str] = field(default_factory=dict)
    rounding: Rounding | None = None
    explainer: Explains | None = field(default=None, compare=False, repr=False)

    @property
    def ok(self) -> bool:
        """True when no finding locks or freezes anything (codes LS001 to LS005)."""
        return not any(finding.code in LOCKING_CODES for finding in self.findings)

    def reason(self, layer: str, i: int, j: int) -> Reason:
        """Why units ``i`` and ``j`` of ``layer`` can never differentiate, or what separates them.

        >>> audit = Audit({"0": Layer("0", 2, ((0, 1),))}, (), (), (),
        ...               Assumptions("any", "SGD", "any loss", "any", "train"),
        ...               Evidence((), 1, 1, 0, 0.0), "")
        >>> audit.reason("0", 0, 1).verdict
        'locked'
        """
        # Here and below: rendering is imported on use, so that an audit alone stays light.
        from lockstep.report.reasons import reason

        return reason(self, layer, i, j)

    def to_json(self) -> str:
        """The certificate as JSON; ``Audit.from_json`` reads it back to an equal value."""
        from lockstep.certificate.claim import to_json

        return to_json(self)

    @classmethod
    def from_json(cls, text: str) -> Audit:
        """Read a certificate; ``CertificateError`` lists everything wrong with its form."""
        from lockstep.certificate.claim import from_json

        return from_json(text)

    def __rich__(self) -> RenderableType:
        """What ``rich.print(audit)`` and the terminal show."""
        from lockstep.report.text import render

        return render(self)

    def __str__(self) -> str:
        """The terminal's table as plain text."""
        from lockstep.report.text import plain

        return plain(self)

    def _repr_html_(self) -> str:
        """The picture and the findings, in a notebook."""
        from lockstep.report.html import fragment

        return fragment(self)
