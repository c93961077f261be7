"""The scripts of examples/papers, the page they write, and the judges that say "agrees"."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from examples.papers import table
from examples.papers.__main__ import ORDER, page, section, sections_of

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "examples" / "papers"
PAGE = (ROOT / "docs" / "papers-table.md").read_text("utf-8")
KEYS = set(re.findall(r"^@\w+\{([^,]+),$", (ROOT / "docs" / "papers.bib").read_text("utf-8"), re.M))
SHARED = {"__init__", "__main__", "data", "table"}
QUICK = ("course_network", "one_sided", "redundancy")


def doc(name: str) -> str:
    return ast.get_docstring(ast.parse((SCRIPTS / f"{name}.py").read_text("utf-8"))) or ""


def private(source: str) -> list[str]:
    """What a script takes from Lockstep that is not public."""
    tree = ast.parse(source)
    imported = [
        f"from {node.module}" for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lockstep")
    ]  # fmt: skip
    imported += [
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
        for alias in node.names if alias.name.startswith("lockstep.")
    ]  # fmt: skip
    return imported + [
        node.attr for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "lockstep" and node.attr[0] == "_"
    ]  # fmt: skip


def test_every_script_is_run_and_has_its_place_on_the_page() -> None:
    names = {path.stem for path in SCRIPTS.glob("*.py")} - SHARED
    assert names == set(ORDER)
    assert re.findall(r"^!\[.*\]\(papers/(\w+)\.png\)$", PAGE, re.MULTILINE) == list(ORDER)
    assert {path.stem for path in (ROOT / "docs" / "papers").glob("*.png")} == names


@pytest.mark.parametrize("name", ORDER)
def test_a_script_names_its_source_and_uses_public_functions_only(name: str) -> None:
    _, text, keys = table.about(doc(name))
    assert set(keys) <= KEYS
    assert keys or "No paper" in text
    assert private((SCRIPTS / f"{name}.py").read_text("utf-8")) == []
    assert f"python -m examples.papers.{name}" in doc(name)


def test_the_bibliography_says_what_is_run_again() -> None:
    cited: dict[str, list[str]] = {}
    for name in ORDER:
        for key in dict.fromkeys(table.about(doc(name))[2]):
            cited.setdefault(key, []).append(name)
    entries = re.split(r"\n(?=- `|\n)", (ROOT / "docs" / "papers.md").read_text("utf-8"))
    said = {
        entry.split("`")[1]: re.findall(r"`(\w+)`", entry.split("Run again:")[1])
        for entry in entries
        if "Run again:" in entry
    }
    assert said == cited


def test_a_private_import_would_be_noticed() -> None:
    wrong = "import lockstep.field\nfrom lockstep.explain import tie\nlockstep._x"
    assert private(wrong) == ["from lockstep.explain", "lockstep.field", "_x"]


@pytest.mark.parametrize(
    "right, wrong",
    [
        (table.same("q", 3, 3), table.same("q", 3, 4)),
        (table.near("q", 1.0, 1.009, rel=0.01), table.near("q", 1.0, 1.011, rel=0.01)),
        (table.near("q", 0.0, 1e-3, off=2e-3), table.near("q", 0.0, -3e-3, off=2e-3)),
        (table.factor("q", 1e-3, 2.9e-3), table.factor("q", 1e-3, 3.1e-3)),
        (table.factor("q", 1e-3, 4e-4), table.factor("q", 1e-3, 0.0)),
        (table.below("q", 0, 0.0), table.below("q", 0, 1e-30)),
        (table.below("q", 1e-3, 9e-4), table.below("q", 1e-3, 1e-3)),
        (table.above("q", 1e-3, 2e-3), table.above("q", 1e-3, 1e-3)),
        (table.near("q", 1.0, 1.0, rel=0.1), table.near("q", 1.0, float("nan"), rel=0.1)),
        (table.above("q", 1.0, 2.0), table.above("q", 1.0, float("nan"))),
    ],
)
def test_a_judge_can_say_no(right: table.Row, wrong: table.Row) -> None:
    assert (right.agrees, wrong.agrees) == (True, False)
    assert "| yes |" in str(right)
    assert "| **no** |" in str(wrong)


def test_the_page_says_where_ours_differs_and_why() -> None:
    sections = {name: section(name, [table.same("q", 1, 1)], "papers") for name in ORDER}
    differs = table.same("epochs", 728, 730).because("another rule to stop.")
    sections["xnor"] = section("xnor", [differs, table.reported("time", "1", "2")], "papers")
    text = page(sections)
    assert "- epochs: another rule to stop." in text
    assert f"{len(ORDER) - 1} of {len(ORDER)} numbers agree, 1 more" in text
    assert page(sections_of(text)) == text


def test_the_page_is_the_sum_of_its_sections() -> None:
    def without_versions(text: str) -> str:
        return re.sub(r"Python .*?,\nCPU", "", text, flags=re.DOTALL)

    assert without_versions(page(sections_of(PAGE))) == without_versions(PAGE)


def on_page(name: str) -> dict[str, str]:
    """Quantity -> the verdict of the page, for one script."""
    title, _, _ = table.about(doc(name))
    part = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    cells = [line.strip("|").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return {c[0].strip(): c[-1].strip() for c in cells[2:]}


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in ORDER]
)
def test_a_script_gives_the_verdicts_of_the_page(name: str, tmp_path: Path) -> None:
    rows = table.run(name, tmp_path)
    verdicts = {True: "yes", False: "**no**", None: "–"}
    assert {row.quantity: verdicts[row.agrees] for row in rows} == on_page(name)
    assert (tmp_path / f"{name}.png").stat().st_size > 2000
