"""The nine finding codes. The texts are data: one Markdown file a code beside this module.

A page opens with ``# CODE name`` and one sentence; its sections are Mathematics, Example, Cure and
Sources. ``lockstep rule CODE`` prints it, SARIF carries it as the rule's help, and a test runs the
example and expects the code.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources

from lockstep.errors import UsageError
from lockstep.suggest import closest_first
from lockstep.types import LOCKING_CODES


@dataclass(frozen=True)
class Rule:
    """One finding code: ``summary`` is its sentence, ``text`` the whole page in Markdown."""

    code: str
    name: str
    summary: str
    text: str

    @property
    def locking(self) -> bool:
        """True for LS001 to LS005, which make exit code 1; the others inform."""
        return self.code in LOCKING_CODES


@functools.cache
def rules() -> dict[str, Rule]:
    """Code -> rule, in order of code.

    >>> rules()["LS001"].name
    'locked-units'
    """
    pages = [page for page in resources.files(__name__).iterdir() if page.name.endswith(".md")]
    read = [_read(page.read_text("utf-8")) for page in sorted(pages, key=lambda page: page.name)]
    return {found.code: found for found in read}


def rule(code: str) -> Rule | None:
    """The rule of a code, or None when a newer version wrote the document."""
    return rules().get(code)


def required(code: str) -> Rule:
    """The rule of a code as a user types it; an unknown one raises with the list of known codes."""
    found = rule(code.strip().upper())
    if found is None:
        raise UsageError(
            f"no rule {code!r}; the codes are {closest_first(code.upper(), rules(), most=20)}. "
            "`lockstep rule` lists them with their names."
        )
    return found


def _read(text: str) -> Rule:
    heading, summary, _ = text.split("\n\n", 2)
    code, name = heading.removeprefix("# ").split()
    return Rule(code, name, " ".join(summary.split()), text)
