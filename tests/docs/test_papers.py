"""The bibliography and its annotations name the same works, each once, and say how each was read."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
BIB = (DOCS / "papers.bib").read_text("utf-8")
PAGE = (DOCS / "papers.md").read_text("utf-8")
MARKS = ("*read*", "*abstract*", "*from memory*")


def in_bib(text: str) -> list[str]:
    return re.findall(r"^@\w+\{([^,]+),$", text, re.MULTILINE)


def in_page(text: str) -> list[str]:
    return re.findall(r"^- `([^`]+)`", text, re.MULTILINE)


def fields(text: str) -> dict[str, str]:
    """Key -> the fields of its entry."""
    return dict(re.findall(r"^@\w+\{([^,]+),\n(.*?)^\}$", text, re.MULTILINE | re.DOTALL))


def unmarked(text: str) -> list[str]:
    """Entries that do not say whether the work was read, its abstract only, or neither."""
    entries = re.split(r"\n(?=- `)", text)[1:]
    return [e.split("`")[1] for e in entries if sum(mark in e for mark in MARKS) != 1]


def untitled_without_reason(text: str) -> list[str]:
    return [key for key, f in fields(text).items() if "title =" not in f and "title" not in f]


def test_every_work_is_annotated_and_every_annotation_has_its_work() -> None:
    assert in_bib(BIB) == in_page(PAGE)
    assert len(set(in_bib(BIB))) == len(fields(BIB)) == len(in_bib(BIB)) > 60


def test_every_annotation_says_how_the_work_was_used() -> None:
    assert unmarked(PAGE) == []
    assert unmarked(PAGE.replace("*from memory*. Likewise", "Likewise")) == ["tensorflow46770"]


def test_a_missing_title_is_explained() -> None:
    assert untitled_without_reason(BIB) == []
    assert untitled_without_reason("@misc{x,\n  year = {2000},\n}\n") == ["x"]


def test_every_arxiv_link_is_the_one_of_the_entry() -> None:
    eprints = {
        k: m[1] for k, f in fields(BIB).items() if (m := re.search(r"eprint = \{(.+?)\}", f))
    }
    links = dict(re.findall(r"^- `([^`]+)`[^`]*?arxiv\.org/abs/([\d.]+)\)", PAGE, re.MULTILINE))
    assert links == eprints


def test_every_question_opens_with_what_is_open() -> None:
    sections = PAGE.split("\n## ")[1:]
    assert [s.splitlines()[0] for s in sections if "\n\nOpen: " not in s] == []
