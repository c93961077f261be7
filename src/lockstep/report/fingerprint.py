"""An identity for each finding that survives a new wording, a new seed and a moved line.

It is made of the code, the place and the facts behind the finding (which units, how many frozen
entries), not of the message. So a baseline written last year still matches, and a *new* pair of
locked units in a layer that is in the baseline is reported all the same.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

from lockstep.types import Audit, Group, Kind

KINDS: dict[str, tuple[Kind, ...]] = {
    "LS001": ("twin",),
    "LS002": ("mirror",),
    "LS003": ("module", "twin"),
    "LS005": ("balanced",),
}


def fingerprints(audit: Audit) -> list[str]:
    """One hexadecimal identity a finding, in the order of ``audit.findings``."""
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for finding in audit.findings:
        key = (finding.code, finding.where)
        facts = [*key, seen[key], *_facts(audit, *key)]
        seen[key] += 1
        found.append(hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32])
    return found


def _facts(audit: Audit, code: str, where: str) -> Sequence[object]:
    if code == "LS004":
        return [[item.count, item.total] for item in audit.frozen if item.parameter == where]
    return sorted(
        [
            group.kind,
            *([group.where] if isinstance(group.where, str) else group.where),
            *group.units,
        ]
        for group in audit.locked
        if group.kind in KINDS.get(code, ()) and _touches(group, where)
    )


def _touches(group: Group, where: str) -> bool:
    return group.where == where if isinstance(group.where, str) else where in group.where
