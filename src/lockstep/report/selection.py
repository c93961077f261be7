"""Which findings to show: ``--select``, ``--ignore`` and a baseline of known ones."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockstep.errors import UsageError
from lockstep.outputs import write
from lockstep.report.fingerprint import fingerprints
from lockstep.report.rules import rules
from lockstep.suggest import closest_first
from lockstep.types import Audit, Finding

BASELINE = "lockstep-baseline/1"


@dataclass(frozen=True)
class Pattern:
    """A code or the start of one, and (for ``--ignore``) the places it is meant for."""

    prefix: str
    place: str = "*"

    def matches(self, finding: Finding) -> bool:
        """Whether a finding falls under this pattern; ``*`` and ``?`` are wild in places."""
        # Layer names contain brackets ("lstm[l0]"), which fnmatch would read as sets of letters.
        place = self.place.replace("[", "[[]")
        return finding.code.startswith(self.prefix) and fnmatch.fnmatchcase(finding.where, place)


def patterns(select: Sequence[str], ignore: Sequence[str]) -> tuple[list[Pattern], list[Pattern]]:
    """Read ``LS``, ``LS00``, ``LS004,LS005`` and, for ``ignore``, ``LS004:encoder.*.bias``.

    Codes that no rule starts with are refused, all of them at once.

    >>> patterns(["LS00"], ["LS004:*.bias"])[1][0].place
    '*.bias'
    """
    problems: list[str] = []
    selected = [_pattern(item, "--select", problems) for item in _items(select)]
    ignored = [_pattern(item, "--ignore", problems) for item in _items(ignore)]
    problems += [
        f"--select {str(item.prefix) + ':' + item.place!r}: places can be given to --ignore only"
        for item in selected
        if item.place != "*"
    ]
    if problems:
        raise UsageError("\n".join(problems))
    return selected, ignored


def _items(given: Sequence[str]) -> list[str]:
    return [part.strip() for text in given for part in text.split(",") if part.strip()]


def _pattern(item: str, option: str, problems: list[str]) -> Pattern:
    code, _, place = item.partition(":")
    if not any(known.startswith(code.upper()) for known in rules()):
        problems.append(
            f"{option} {item!r}: no such code; known are "
            f"{closest_first(code.upper(), rules(), most=20)}, and their beginnings such as 'LS00'"
        )
    return Pattern(code.upper(), place or "*")


def chosen(
    audit: Audit,
    select: Sequence[Pattern] = (),
    ignore: Sequence[Pattern] = (),
    baseline: frozenset[str] = frozenset(),
) -> Audit:
    """The same audit with fewer findings listed; its classes and locks stay what they are."""
    kept = [
        finding
        for finding, identity in zip(audit.findings, fingerprints(audit), strict=True)
        if (not select or any(pattern.matches(finding) for pattern in select))
        and not any(pattern.matches(finding) for pattern in ignore)
        and identity not in baseline
    ]
    return dataclasses.replace(audit, findings=tuple(kept))


def write_baseline(audit: Audit, path: Path) -> None:
    """Write the findings of today as the ones that are known; code and place are for the reader."""
    rows = [
        {"code": finding.code, "where": finding.where, "fingerprint": identity}
        for finding, identity in zip(audit.findings, fingerprints(audit), strict=True)
    ]
    document = {"schema": BASELINE, "findings": rows}
    write(json.dumps(document, indent=2) + "\n", path)


def read_baseline(path: Path) -> frozenset[str]:
    """The fingerprints of a baseline file."""
    remedy = f"write one with `lockstep audit TARGET --write-baseline {path}`"
    try:
        document: Any = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"--baseline {path}: there is no such file; {remedy}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"--baseline {path}: cannot be read ({error}); {remedy}") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != BASELINE:
        raise UsageError(
            f'--baseline {path}: "schema" is {schema!r} and should be {BASELINE!r}; {remedy}'
        )
    try:
        return frozenset(str(row["fingerprint"]) for row in document["findings"])
    except (KeyError, TypeError) as error:
        raise UsageError(f"--baseline {path}: a row has no fingerprint; {remedy}") from error
