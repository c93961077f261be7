"""Imports run one way, and ``import lockstep`` stays light.

A stage may import what stands before it, at module level; siblings on one line do not see each other.
Imports inside a function are free: they are how the edges load what they need on use.
"""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "lockstep"

# The arrow. A new top-level module gets its place here, or the test fails.
ORDER = (
    ("suggest", "on_use"),
    ("errors",),
    ("outputs",),
    ("types",),
    ("field",),
    ("symbolic",),
    ("partition",),
    ("certificate",),
    ("pipeline",),
    ("transverse",),
    ("explain", "forecast", "watch", "treat"),
    ("report",),
    ("targets", "lint"),
    ("cli", "lab"),
    ("__main__", "__init__"),
)
RANK = {part: rank for rank, parts in enumerate(ORDER) for part in parts}

# The edge: reads these only, and nobody imports it before it is used. Of `symbolic` it makes what a
# framework brings along: a Subject, and the Places of its units.
INTEGRATIONS_MAY_IMPORT = {"suggest", "errors", "types", "symbolic", "pipeline", "targets"}
INTEGRATIONS_MAY_IMPORT |= {"integrations", "watch"}

# The certificate's checker must reach its verdict without the code it checks: not through an import
# of its own package either, and of `partition` not even inside a function.
CHECKER = Path("certificate", "check.py")
CHECKER_AVOIDS = {"field", "symbolic", "partition", "pipeline"}

HEAVY = {"transformers", "keras", "matplotlib", "nicegui", "lightning", "pandas"}


def module_level(node: ast.AST) -> Iterator[ast.stmt]:
    """Statements that run on import: also those under if, try, with and class, not in functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.stmt):
            yield child
        yield from module_level(child)


def imported(file: Path, src: Path, *, everywhere: bool = False) -> Iterator[tuple[int, str]]:
    """``(line, dotted name below lockstep)`` of what ``file`` imports of lockstep.

    >>> from pathlib import Path
    >>> sorted({name for _, name in imported(SRC / "__init__.py", SRC)}) != ["partition"]
    True
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    package = ("lockstep", *file.relative_to(src).parent.parts)
    for node in ast.walk(tree) if everywhere else module_level(tree):
        names: list[tuple[str, ...]] = []
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            names = [(*base, alias.name) for alias in node.names]
        for top, *rest in names:
            if top == "lockstep":
                assert isinstance(node, ast.stmt)
                yield node.lineno, ".".join(rest)


def part_of(dotted: str) -> str:
    """The stage a dotted name belongs to; a public name (``from lockstep import audit``) is __init__."""
    first = dotted.split(".")[0]
    return first if first in RANK or first == "integrations" else "__init__"


def objection(here: str, there: str) -> str | None:
    """Why ``here`` may not import ``there``, or None."""
    if here == there or here == "__init__":
        return None
    if here == "integrations":
        return None if there in INTEGRATIONS_MAY_IMPORT else "integrations see the pipeline only"
    if there == "integrations":
        return "integrations are imported on use, inside a function"
    if here not in RANK:
        return "a module without a place in ORDER"
    if RANK[there] == RANK[here]:
        return "siblings do not import one another"
    return "against the arrow" if RANK[there] > RANK[here] else None


def reached(file: Path, src: Path) -> dict[str, str]:
    """Stages that importing ``file`` pulls in through its own package, and by which line."""
    found: dict[str, str] = {}
    queue, seen = [file], set()
    while queue:
        current = queue.pop()
        seen.add(current)
        for line, dotted in imported(current, src):
            found.setdefault(part_of(dotted), f"{current.relative_to(src)}:{line}")
            if part_of(dotted) == file.relative_to(src).parts[0]:
                module = src.joinpath(*dotted.split("."))
                near = [module.with_suffix(".py"), module.parent.with_suffix(".py")]
                queue += [path for path in near if path.is_file() and path not in seen]
    return found


def violations(src: Path) -> list[str]:
    """Every import of the tree ``src`` that breaks the rules above, as ``file:line: reason``."""
    found = []
    for file in sorted(src.rglob("*.py")):
        place = file.relative_to(src)
        here = place.parts[0].removesuffix(".py")
        for line, dotted in imported(file, src):
            if reason := objection(here, part_of(dotted)):
                found.append(f"{place}:{line}: {here} imports {part_of(dotted)}: {reason}")
    checker = src / CHECKER
    if checker.exists():
        for part, where in reached(checker, src).items():
            if part in CHECKER_AVOIDS:
                found.append(f"{where}: the checker reaches {part}: it must not trust the engine")
        for line, dotted in imported(checker, src, everywhere=True):
            if part_of(dotted) == "partition":
                found.append(f"{CHECKER}:{line}: the checker uses partition: it must not")
    return found


def test_imports_follow_the_arrow() -> None:
    assert violations(SRC) == []


@pytest.mark.parametrize(
    ("file", "text", "phrase"),
    [
        ("types.py", "import lockstep.field", "types imports field: against the arrow"),
        ("field/rules/x.py", "from lockstep.symbolic import run", "field imports symbolic"),
        ("field/rules/x.py", "from ...symbolic import run", "field imports symbolic"),
        ("field/rules/x.py", "from lockstep import audit", "field imports __init__: against"),
        ("partition/x.py", "if True:\n    from lockstep import report", "partition imports report"),
        ("treat/x.py", "from lockstep.explain.chain import f", "treat imports explain: siblings"),
        ("integrations/keras.py", "from lockstep.field import f", "integrations see the pipeline"),
        ("report/x.py", "import lockstep.integrations.keras", "on use, inside a function"),
        ("helpers.py", "from lockstep.types import Audit", "without a place in ORDER"),
        (
            "certificate/check.py",
            "from lockstep.symbolic import run",
            "the checker reaches symbolic",
        ),
        (
            "certificate/check.py",
            "from lockstep.certificate.near import f",
            "checker reaches partition",
        ),
        (
            "certificate/check.py",
            "def f():\n    from lockstep.partition import g",
            "uses partition",
        ),
    ],
)
def test_the_arrow_checker_can_fail(tmp_path: Path, file: str, text: str, phrase: str) -> None:
    near = {"certificate/near.py": "from lockstep.partition import g"}
    for name, content in {**near, file: text}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content + "\n", encoding="utf-8")
    assert any(phrase in line for line in violations(tmp_path))


def test_the_arrow_checker_accepts_a_good_tree(tmp_path: Path) -> None:
    good = {
        "types.py": "from lockstep.errors import UsageError",
        "pipeline.py": "from lockstep.certificate import claim\nimport lockstep.field",
        "treat/x.py": "def f():\n    from lockstep.explain import chain",
        "integrations/keras.py": "from lockstep.pipeline import audit",
        "certificate/check.py": "from lockstep.types import Audit",
        "cli.py": "def lab():\n    from lockstep import lab",
    }
    for name, content in good.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n", encoding="utf-8")
    assert violations(tmp_path) == []


def loaded_after(statement: str) -> set[str]:
    """Top-level modules in memory after ``statement`` ran in a fresh interpreter."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_import_lockstep_stays_light() -> None:
    assert loaded_after("import lockstep") & HEAVY == set()


@pytest.mark.parametrize("statement", ["import lockstep", "import lockstep.cli"])
def test_torch_is_imported_on_use(statement: str) -> None:
    """So that ``lockstep --help`` and ``lockstep rule`` answer at once."""
    assert "torch" not in loaded_after(statement)
    assert "torch" in loaded_after(f"{statement}\nimport lockstep\nlockstep.audit")


FACES = [
    file.parent.relative_to(SRC)
    for file in sorted(SRC.rglob("__init__.py"))
    if "import_on_use(" in file.read_text("utf-8")
]


def named_twice(tree: ast.Module) -> tuple[set[str], set[str]]:
    """``module.name`` of what a face tells type checkers, and of what it imports on use."""
    typed = {
        f"{'.' * node.level}{node.module}.{alias.name}".removeprefix(".")
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    (found,) = (ast.literal_eval(n.args[1]) for n in calls if "import_on_use" in ast.dump(n.func))
    used = {f"{m.removeprefix('.')}.{name}" for m, names in found.items() for name in names.split()}
    return typed, used


@pytest.mark.parametrize("face", FACES, ids=str)
def test_type_checkers_see_what_python_imports_on_use(face: Path) -> None:
    typed, used = named_twice(ast.parse((SRC / face / "__init__.py").read_text("utf-8")))
    package = ".".join(("lockstep", *face.parts)) + "."
    assert {name.removeprefix(package) for name in typed} == used
    module = importlib.import_module(package[:-1])
    assert {name.rsplit(".", 1)[1] for name in used} <= set(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def test_a_name_for_type_checkers_only_is_seen() -> None:
    text = "if TYPE_CHECKING:\n    from .a import b, c\nelse:\n    import_on_use(__name__, {'.a': 'b'})"
    assert named_twice(ast.parse(text)) == ({"a.b", "a.c"}, {"a.b"})


def test_functions_hide_the_submodules_of_their_name() -> None:
    code = "import lockstep.forecast.rounding\nprint(callable(lockstep.forecast), callable(lockstep.rounding))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


def test_a_heavy_import_is_seen() -> None:
    stand_in = "import sys, types; sys.modules['keras.layers'] = types.ModuleType('keras.layers')"
    assert loaded_after(stand_in) & HEAVY == {"keras"}
