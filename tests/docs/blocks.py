"""The code blocks of a Markdown page as steps that can be carried out, in the order of the page.

A fence says by its language what it is:

* ``python``: a program of its own; a ``text`` block right behind it is what it prints
* ``pycon``: a doctest; the blocks of a page share their names
* ``console``: lines ``$ command``, each with what it prints below; a ``text`` block may follow instead
* ``sh``: commands whose output is not shown
* ``yaml``, ``coq``: read by tests of their own

Of printed text ``...`` may stand for what is left out: any part of a line, or any lines. A command exits with 0
unless ``# exit code N`` stands behind it. Anything else (a ``text`` block that nothing prints, a command in a block
without a language) is a mistake of the page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FENCE = re.compile(r"^```(\w*)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
EXIT = re.compile(r"#.*\bexit code (\d)")
BARE = re.compile(r"^ {4}(?:\$ |>>> |lockstep |make |pip |python ).*", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """``kind``: python, pycon, command or mistake; ``printed``: None where the page does not show it."""

    page: str
    line: int
    kind: str
    text: str
    printed: str | None = None

    @property
    def exit_code(self) -> int:
        found = EXIT.search(self.text)
        return int(found[1]) if found else 0


def steps(page: str, text: str) -> list[Step]:
    """Every step of a page, the mistakes of its form among them."""
    found: list[Step] = []
    for fence in FENCE.finditer(text):
        kind, inside, shown = fence.groups()
        line = text[: fence.start()].count("\n") + 2
        if kind == "python":
            found.append(Step(page, line, kind, inside, shown))
        elif kind == "console":
            for command in COMMAND.finditer(inside):
                at = line + inside[: command.start()].count("\n")
                found.append(Step(page, at, "command", command[1], command[2] or shown))
        elif shown is not None or kind not in ("pycon", "sh", "yaml", "coq"):
            found.append(
                Step(page, line, "mistake", f"nothing prints what is in this block: {kind}")
            )
        elif kind == "pycon":
            found.append(Step(page, line, kind, inside))
        elif kind == "sh":
            for n, command in enumerate(inside.splitlines()):
                if command.strip():
                    found.append(Step(page, line + n, "command", command))
    outside = FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), text)
    for bare in BARE.finditer(outside):
        line = outside[: bare.start()].count("\n") + 1
        found.append(
            Step(page, line, "mistake", f"a command outside of a block: {bare[0].strip()}")
        )
    return found
