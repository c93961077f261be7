"""What the documentation site generates while it is built (a hook of mkdocs): no page is typed twice.

``reference.md`` comes from the public names, ``rules.md`` from the texts of ``lockstep rule``, ``method.md``
and ``proofs.md`` are READMEs that stand beside what they describe. Formulas become MathML, which browsers
draw by themselves: the site loads nothing from anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

from complete import gaps
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

import lockstep
from lockstep.report.rules import rules

ROOT = Path(__file__).resolve().parents[1]
COPIED = {"method.md": ROOT / "src/lockstep/README.md", "proofs.md": ROOT / "proofs/README.md"}
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
KINDS = {
    "Functions": lambda thing: callable(thing) and not isinstance(thing, type),
    "Results": lambda thing: isinstance(thing, type) and not issubclass(thing, Exception),
    "Errors": lambda thing: isinstance(thing, type) and issubclass(thing, Exception),
}


def generated() -> dict[str, str]:
    """Page → Markdown."""
    pages = {"reference.md": "\n".join(reference()), "rules.md": "\n".join(codes())}
    return pages | {n: file.read_text("utf-8") for n, file in COPIED.items() if file.exists()}


def reference() -> Iterator[str]:
    """Every public name, from its docstring."""
    yield "# Reference\n\nEverything that `import lockstep` offers, from the docstrings.\n"
    for title, belongs in KINDS.items():
        yield f"## {title}\n"
        for name in sorted(set(lockstep.__all__) - {"__version__"}, key=str.lower):
            if belongs(thing := getattr(lockstep, name)):
                yield f"::: {thing.__module__}.{name}\n    options:\n      heading_level: 3\n"


def codes() -> Iterator[str]:
    """The nine codes: a table, then the page of each."""
    yield "# Finding codes\n\nThe same texts as `lockstep rule CODE` prints. LS001 to LS005 make exit code 1.\n"
    yield "| code | name | meaning |\n| --- | --- | --- |"
    for rule in rules().values():
        summary = " ".join(rule.summary.split()).replace("|", "\\|")
        yield f"| [{rule.code}](#{rule.code.lower()}-{rule.name}) | {rule.name} | {summary} |"
    for rule in rules().values():
        yield "\n" + re.sub(r"^(#+ )", r"#\1", fenceless(rule.text), flags=re.MULTILINE)


def fenceless(text: str) -> str:
    """``text`` with comments of code blocks kept from being taken for headings."""
    parts = re.split(r"(```.*?```)", text, flags=re.DOTALL)
    return "".join(
        re.sub(r"^# ", " # ", p, flags=re.MULTILINE) if p[:3] == "```" else p for p in parts
    )


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Refuses incomplete docstrings, and leaves pages out of the navigation that do not exist."""
    if found := gaps(lockstep, sorted(lockstep.__all__)):
        raise PluginError(
            "incomplete docstrings (scripts/complete.py says what each needs):\n" + "\n".join(found)
        )
    there = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    config.nav = kept(config.nav, there | set(generated()))
    return config


def kept(items: list[Any], there: set[str]) -> list[Any]:
    """The entries of the navigation whose page is there."""
    found = []
    for item in items:
        ((title, below),) = item.items()
        if isinstance(below, list):
            found.append({title: kept(below, there)})
        elif below in there:
            found.append(item)
    return found


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    for name, text in generated().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """TeX to MathML."""
    return FORMULA.sub(drawn, html)


def drawn(match: re.Match[str]) -> str:
    """One formula, as a block if it stands alone."""
    display = "block" if match[1] == "div" else "inline"
    return convert(unescape(match[2]), display=display)
