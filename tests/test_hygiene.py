"""Checks on the repository itself. Each is shown a wrong example that it must catch."""

from __future__ import annotations

import ast
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
UNTRACKED = {".git", ".venv", "build", "dist", "__pycache__"}

# Written so that this file does not hold what it forbids.
PRIVATE = re.compile(
    r"/(?:work|root|Users)/|/home/\w|/tmp/(?:bash)"  # paths of one machine
    r"|pypi\.(?:org|python)|pythonhosted\.|download\.pytorch\.|index[-]url"  # registry hosts
    r"|://[^/\s:@\"']+:[^/\s@\"']+@|BEGIN [A-Z ]*PRIVATE KEY"  # credentials
)

Problems = Iterator[tuple[int, str]]


def tracked(root: Path = ROOT) -> list[Path]:
    """Files of the project, also those not yet committed; without git, all but the caches."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        files = [root / line for line in listed.stdout.splitlines()]
    else:
        files = [path for path in root.rglob("*") if not UNTRACKED & {*path.parts}]
    return sorted(path for path in files if path.is_file())


PYTHON = [path for path in tracked() if path.suffix == ".py"]
SOURCES = [path for path in PYTHON if path.is_relative_to(ROOT / "src")]
TESTS = [path for path in PYTHON if path.is_relative_to(ROOT / "tests")]


def name_of(node: ast.expr) -> str:
    """``pytest.raises`` of the call ``pytest.raises(...)``; empty for what has no name."""
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    return ((node, name_of(node.func)) for node in ast.walk(tree) if isinstance(node, ast.Call))


def no_assertion(tree: ast.AST) -> Problems:
    """Tests, and the helpers they trust (``assert_*``, ``check_*``), that cannot fail."""
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    # Trust spreads from functions with an assert to those of the same file that call them.
    trusted: set[str] = set()
    while grown := {node.name for node in functions if can_fail(node, trusted)} - trusted:
        trusted |= grown
    for node in functions:
        tests = node.name.startswith(("test_", "assert_", "check_"))
        if tests and node.name not in trusted:
            yield node.lineno, f"{node.name} asserts nothing"


def can_fail(function: ast.FunctionDef | ast.AsyncFunctionDef, trusted: set[str]) -> bool:
    """It asserts (a helper may raise), or calls pytest.raises, assert_*, check, or a trusted one."""
    enough = ast.Assert if function.name.startswith("test_") else ast.Assert | ast.Raise
    if any(isinstance(node, enough) for node in ast.walk(function)):
        return True
    return any(
        name in {"pytest.raises", "pytest.warns", "pytest.fail"}
        or name in trusted
        or re.match(r"(assert_|check$|check_)", name.split(".")[-1])
        for _, name in calls(function)
    )


def bare_comparison(tree: ast.AST) -> Problems:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Compare):
            yield node.lineno, f"result thrown away: {ast.unparse(node)}"


def raises_without_match(tree: ast.AST) -> Problems:
    for node, name in calls(tree):
        if name != "pytest.raises":
            continue
        match = next((keyword.value for keyword in node.keywords if keyword.arg == "match"), None)
        if match is None or (isinstance(match, ast.Constant) and not match.value):
            yield node.lineno, "pytest.raises without match="


def raise_without_text(tree: ast.AST) -> Problems:
    """``raise ValueError``, ``raise ValueError()``, and the comma where an f-string was meant."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Raise) or node.exc is None:
            continue
        call = node.exc
        if isinstance(call, ast.Name | ast.Attribute):
            if name_of(call).split(".")[-1][:1].isupper():
                yield node.lineno, f"raise {name_of(call)} without a text"
        elif isinstance(call, ast.Call) and name_of(call.func).split(".")[-1][:1].isupper():
            if not call.args and not call.keywords:
                yield node.lineno, f"{ast.unparse(node)} without a text"
            elif len(call.args) > 1 and isinstance(call.args[0], ast.Constant | ast.JoinedStr):
                yield node.lineno, f"a tuple for a message: {ast.unparse(node)}"


def private_text(text: str) -> Problems:
    for number, line in enumerate(text.splitlines(), 1):
        if found := PRIVATE.search(line):
            yield number, f"private path, registry host or credential: {found.group()!r}"


def vague_name(path: Path) -> str | None:
    """``utils`` and ``core`` say nothing about what is inside."""
    vague = {"utils", "util", "core", "helpers", "misc", "common"} & {path.stem, *path.parts}
    return f"{path}: a name that says nothing: {sorted(vague)[0]}" if vague else None


def skips(tree: ast.AST) -> Problems:
    wanted = re.compile(r"pytest\.(mark\.(skip|skipif|xfail)|skip|xfail|importorskip)$")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and wanted.match(name_of(node)):
            yield node.lineno, f"{name_of(node)} without a row in tests/SKIPS.md"


def undeclared(tree: ast.AST, declared: set[str]) -> Problems:
    """Third-party modules that are imported but are no dependency of any kind."""
    known = declared | set(sys.stdlib_module_names) | {"lockstep"}
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module]
        for module in modules:
            if (top := module.split(".")[0]) not in known:
                assert isinstance(node, ast.stmt)
                yield node.lineno, f"{top} is imported but not declared in pyproject.toml"


def all_problems(files: list[Path], check: Callable[[ast.AST], Problems]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line}: {message}"
        for path in files
        for line, message in check(ast.parse(path.read_text(encoding="utf-8")))
    ]


# Distributions that are not called like their module.
IMPORTED_AS = {"scikit_learn": "sklearn", "pyyaml": "yaml"}


def declared_modules() -> tuple[set[str], set[str]]:
    """Distribution names at run time (extras included), and for development as well."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]

    def names(rows: list[str]) -> set[str]:
        found = {re.split(r"[^\w-]", row)[0].replace("-", "_") for row in rows}
        return {IMPORTED_AS.get(name, name) for name in found}

    tools = names(extras["test"]) | names(extras["dev"])
    run = names(project["dependencies"]).union(
        *(names(rows) for extra, rows in extras.items() if extra not in {"test", "dev"})
    )
    return run, run | tools


def test_every_test_asserts() -> None:
    assert all_problems(TESTS, no_assertion) == []


def test_no_comparison_is_thrown_away() -> None:
    assert all_problems(PYTHON, bare_comparison) == []


def test_every_raises_has_match() -> None:
    assert all_problems(TESTS, raises_without_match) == []


def test_every_raise_has_a_text() -> None:
    assert all_problems(SOURCES, raise_without_text) == []


def test_no_private_text() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {message}"
        for path in tracked()
        for line, message in private_text(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


def test_no_vague_module_names() -> None:
    named = [vague_name(path.relative_to(ROOT / "src")) for path in SOURCES]
    assert [message for message in named if message] == []


def test_every_skip_is_listed() -> None:
    listed = (ROOT / "tests" / "SKIPS.md").read_text(encoding="utf-8")
    silent = [path for path in TESTS if str(path.relative_to(ROOT)) not in listed]
    assert all_problems(silent, skips) == []


def test_every_import_is_declared() -> None:
    run, develop = declared_modules()
    # Helpers that stand beside the tests, and the scripts that are tested.
    own = {path.stem for path in (ROOT / "tests").rglob("*")} | {"examples", "scripts"}
    assert all_problems(SOURCES, lambda tree: undeclared(tree, run)) == []
    assert all_problems(TESTS, lambda tree: undeclared(tree, develop | own)) == []


def test_the_network_is_out_of_reach() -> None:
    with socket.socket() as line, pytest.raises(RuntimeError, match="tried to reach the network"):
        line.connect(("192.0.2.1", 80))


@pytest.mark.parametrize(
    ("check", "wrong", "right"),
    [
        (no_assertion, "def test_x():\n    f()", "def test_x():\n    assert f()"),
        (
            no_assertion,
            "def assert_close(a, b):\n    a == b",
            "def test_x():\n    assert_close(1, 1)",
        ),
        (no_assertion, "async def test_x(): f()", "def test_x():\n    lockstep.check(1)"),
        (no_assertion, "def test_x():\n    checked()", "def helper():\n    f()"),
        (no_assertion, "def test_x():\n    raise E", "def assert_x():\n    raise E"),
        (
            no_assertion,
            "def same(a): return a == 1\ndef test_x(): same(1)",
            "def same(a): assert a == 1\ndef twice(a): same(a)\ndef test_x(): twice(1)",
        ),
        (bare_comparison, "def f(a):\n    a == 1", "def f(a):\n    return a == 1"),
        (bare_comparison, "1 < 2", "x = 1 < 2"),
        (raises_without_match, "pytest.raises(E)", "pytest.raises(E, match='why')"),
        (raises_without_match, "pytest.raises(E, match='')", "other.raises(E)"),
        (raise_without_text, "raise ValueError", "raise"),
        (raise_without_text, "raise ValueError()", "raise error"),
        (raise_without_text, "raise a.UsageError('a {}', b)", "raise a.UsageError(f'a {b}')"),
        (raise_without_text, "raise UsageError(f'{a}', b)", "raise typer.Exit(code=2)"),
        (skips, "@pytest.mark.skip\ndef test_x(): f()", "@pytest.mark.slow\ndef test_x(): f()"),
        (skips, "pytest.importorskip('keras')", "importorskip"),
        (lambda tree: undeclared(tree, {"torch"}), "import pandas", "import torch.nn, json"),
        (lambda tree: undeclared(tree, {"torch"}), "from pandas import x", "from . import x"),
    ],
)
def test_each_check_can_fail(check: Callable[[ast.AST], Problems], wrong: str, right: str) -> None:
    assert len(list(check(ast.parse(wrong)))) == 1
    assert list(check(ast.parse(right))) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "see /wo" + "rk/main",
        "in /ro" + "ot/x",
        "/tmp/ba" + "sh_jobs",
        "https://py" + "pi.org/simple",
        "https://me:se" + "cret@host",
    ],
)
def test_private_text_is_found(wrong: str) -> None:
    assert [line for line, _ in private_text("fine\n" + wrong)] == [2]


@pytest.mark.parametrize("fine", ["network/layer", "a://b/c:d", "the root / of it", "work in docs"])
def test_harmless_text_is_left_alone(fine: str) -> None:
    assert list(private_text(fine)) == []


def test_vague_names_are_found() -> None:
    assert vague_name(Path("lockstep/utils.py"))
    assert vague_name(Path("lockstep/core/x.py"))
    assert vague_name(Path("lockstep/score.py")) is None


def test_files_outside_git_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").touch()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "b.py").touch()
    assert tracked(tmp_path) == [tmp_path / "a.py"]
