"""The pages for readers name the theorems that are there, quote them as they are, and leave none out."""

from __future__ import annotations

import re

import pytest

from proofs import coq

README = (coq.PROOFS / "README.md").read_text(encoding="utf-8")
THEORY = (coq.PROOFS.parent / "docs" / "theory.md").read_text(encoding="utf-8")
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in coq.PROOFS.glob("*.v")}


def checked() -> set[str]:
    """The theorems whose assumptions the build prints."""
    return set(re.findall(r"^Print Assumptions (\w+)\.$", SOURCES["Assumptions.v"], re.MULTILINE))


def stated(text: str) -> set[str]:
    return set(re.findall(r"^(?:Theorem|Lemma) (\w+)", text, re.MULTILINE))


def test_every_main_theorem_is_checked_for_assumptions():
    theorems = re.findall(r"^Theorem (\w+)", "\n".join(SOURCES.values()), re.MULTILINE)
    assert set(theorems) - {"one_pass", "one_pass_symmetric"} <= checked()


def test_the_readme_maps_every_checked_theorem_to_its_file():
    rows = re.findall(r"\| `(\w+)` \| \[(\w+\.v)\]\((\w+\.v)\) \|", README)
    assert {theorem for theorem, *_ in rows} == checked()
    assert all(theorem in stated(SOURCES[file]) and file == link for theorem, file, link in rows)


def test_the_theory_page_names_the_theorems():
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+|equitableP)`", THEORY))
    assert named == checked() - {"backprop_activations"}


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("quoted", re.findall(r"```coq\n(.*?)```", README, re.DOTALL))
def test_quoted_statements_are_those_of_the_files(quoted):
    assert any(squeezed(quoted) in squeezed(text) for text in SOURCES.values())


def test_every_file_is_built():
    built = (coq.PROOFS / "_CoqProject").read_text(encoding="utf-8").split()
    assert {name for name in SOURCES if name != "Assumptions.v"} == {
        n for n in built if n.endswith(".v")
    }
