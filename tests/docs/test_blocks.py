"""Every block of every page does what the page says: programs, prompts and commands run, and print what is printed.

The rules of the pages are at the head of ``blocks.py``. A page is one row, its steps run in one process and one
folder, which holds what a reader would have there (``reader/``); what is slow or needs an optional package has a row of
its own.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
import shutil
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import torch
import typer
from docs.blocks import Step, steps
from typer.testing import CliRunner

from lockstep.cli import app

ROOT = Path(__file__).parents[2]
READER = Path(__file__).with_name("reader")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for pattern in ("*.md", "docs/**/*.md", "src/**/*.md", "tests/**/*.md", "[pb]*/*.md")
    for path in sorted(ROOT.glob(pattern))
    # Decisions are prose; the others' programs are run by tests/report/test_rules.py and tests/field/test_readme.py.
    if not {"decisions", "rules", "field"} & set(path.parts)
}  # fmt: skip
EXTRAS = re.compile(r"import (?:keras|lightning)|transformers|nicegui|keras|config\.json")
SLOW = re.compile(r"^python examples/|^lockstep forecast .*--rounding")
# Done elsewhere: the targets and the lab have tests of their own, and nothing is installed by a test.
NOT_RUN = re.compile(
    r"^(?:make|pip install|lockstep lab|python -m (?:benchmarks|examples\.papers))\b"
)
ALL = {page: steps(page, text) for page, text in PAGES.items()}


def marks(step: Step) -> list[pytest.MarkDecorator]:
    """Those of a step that gets a row of its own; of the two pages with the whole story the README's is quick to run."""
    if step.kind == "pycon":
        return []
    slow = SLOW.search(step.text) or (step.text == "lockstep story" and step.page != "README.md")
    return [pytest.mark.slow] * bool(slow) + [pytest.mark.extras] * bool(EXTRAS.search(step.text))


def rows() -> Iterator[object]:
    for page, found in ALL.items():
        if together := [step for step in found if not marks(step)]:
            yield pytest.param(together, id=page)
        for step in filter(marks, found):
            yield pytest.param([step], id=f"{page}:{step.line}", marks=marks(step))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's folder, from which the commands are given."""
    shutil.copytree(READER, tmp_path, dirs_exist_ok=True)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def faults(todo: list[Step]) -> list[str]:
    """What each step does otherwise than its page says."""
    names: dict[str, object] = {}
    found = []
    for step in todo:
        # Not the seed of the other tests, nor PyTorch's own: what is printed must not rest on either.
        torch.manual_seed(1729)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            said = DO[step.kind](step, names)
        found += [f"{step.page}:{step.line}: {said}"] * bool(said)
    return found


def differs(step: Step, printed: str) -> str:
    """Empty, or what was printed beside what the page prints."""
    if step.printed is None or doctest.OutputChecker().check_output(
        step.printed.rstrip() + "\n", printed.rstrip() + "\n", doctest.ELLIPSIS
    ):
        return ""
    return f"printed\n{printed}\nbut the page says\n{step.printed}"


def program(step: Step, _: dict[str, object]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            exec(compile(step.text, f"{step.page}:{step.line}", "exec"), {"__name__": "__main__"})
        except Exception:  # noqa: BLE001  whatever a program raises is told with its page and line
            return traceback.format_exc()
    if step.printed is None and out.getvalue():
        return f"the page does not show that this prints\n{out.getvalue()}"
    return differs(step, out.getvalue())


def prompts(step: Step, names: dict[str, object]) -> str:
    test = doctest.DocTestParser().get_doctest(step.text, names, step.page, step.page, step.line)
    out: list[str] = []
    failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(
        test, out=out.append, clear_globs=False
    )
    names.update(test.globs)
    return "".join(out) if failed.failed else ""


def command(step: Step, _: dict[str, object]) -> str:
    if why := not_there(step.text):
        return why
    if NOT_RUN.match(step.text):
        return ""
    name, *arguments = shlex.split(step.text, comments=True)
    if name == "lockstep":
        if "model.keras" in arguments:
            keras_file()
        done = CliRunner().invoke(app, arguments)
        code, out, err = done.exit_code, done.stdout, done.output
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
    elif name == "python":
        run = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, check=False
        )
        code, out, err = run.returncode, run.stdout, run.stderr
        drawn = "folder for the figure" in Path(arguments[0]).read_text("utf-8")
        if code == 0 and drawn and not list(Path.cwd().glob("*.png")):
            return "the figure is missing"
    else:
        return f"nothing is known about {name!r}; commands are lockstep, python, make and pip"
    if code != step.exit_code:
        return f"{step.text} exits with {code}, not {step.exit_code}\n{err}"
    return differs(step, out)


def keras_file() -> None:
    """What the pages call ``model.keras``."""
    import keras

    net = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(2)]
    )
    net.save("model.keras")


def not_there(text: str) -> str:
    """Empty, or what a command names that does not exist: a target, an extra, a subcommand, an option."""
    words = shlex.split(text.removesuffix("…"), comments=True)
    if words[0] == "make":
        targets = set(
            re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        )
        targets |= set(
            re.findall(r"^([\w-]+):", (ROOT / "proofs/Makefile").read_text("utf-8"), re.MULTILINE)
        )
        asked = {
            w for n, w in enumerate(words[1:]) if "=" not in w and w != "-C" and words[n] != "-C"
        }
        return f"no such target: {asked - targets}" if asked - targets else ""
    if words[:2] == ["pip", "install"]:
        asked = {
            extra
            for w in words[2:]
            for extra in re.findall(r"[\w-]+", "".join(re.findall(r"\[(.+)\]", w)))
        }
        extras = set(metadata.metadata("lockstep").get_all("Provides-Extra") or ())
        return f"no such extra: {asked - extras}" if asked - extras else ""
    if words[0] != "lockstep" or len(words) == 1:
        return ""
    group = typer.main.get_command(app)
    known = group.commands.get(words[1])  # type: ignore[attr-defined]
    if words[1].startswith("-"):
        return ""
    if known is None:
        return f"there is no command {words[1]!r}"
    options = {o for p in known.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    unknown = [w for w in words[2:] if w.startswith("--") and w.split("=")[0] not in options]
    return f"lockstep {words[1]} has no {unknown}" if unknown else ""


DO = {"python": program, "pycon": prompts, "command": command, "mistake": lambda step, _: step.text}


@pytest.mark.whole
@pytest.mark.parametrize("todo", list(rows()))
def test_a_page_does_what_it_says(todo: list[Step], folder: Path) -> None:
    if found := faults(todo):
        pytest.fail("\n\n".join(found), pytrace=False)


INLINE = re.compile(r"`(lockstep [a-z][^`]*|make [a-z][^`]*)`")


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_exist(page: str) -> None:
    said = [not_there(" ".join(found.split())) for found in INLINE.findall(PAGES[page])]
    assert [why for why in said if why] == []


WRONG = [
    ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "printed\n1\n\nbut the page says\n2"),
    ("```python\nprint(1)\n```\n", "the page does not show that this prints\n1"),
    ("```python\n1 / 0\n```\n", "ZeroDivisionError: division by zero"),
    ("```pycon\n>>> 1\n2\n\n```\n", "Expected:\n    2\nGot:\n    1"),
    ("```console\n$ lockstep rule LS001\nnothing\n```\n", "printed\n# LS001"),
    (
        "```console\n$ lockstep rule LS001\n...\n## Cure\n...\n## Example\n...\n```\n",
        "printed\n# LS001",
    ),
    ("```sh\nlockstep rule LS099\n```\n", "exits with 2, not 0"),
    ("```sh\nlockstep rule LS001  # exit code 1\n```\n", "exits with 0, not 1"),
    ("```sh\nlockstep nonsense\n```\n", "there is no command 'nonsense'"),
    ("```sh\nlockstep lab --prot 1\n```\n", "lockstep lab has no ['--prot']"),
    ("```sh\nmake tset\n```\n", "no such target: {'tset'}"),
    ("```sh\npip install 'lockstep[labs]'\n```\n", "no such extra: {'labs'}"),
    ("```sh\nrm -r model.py\n```\n", "nothing is known about 'rm'"),
    ("```text\n1 of 6\n```\n", "nothing prints what is in this block"),
    ("```\nlockstep rule LS001\n```\n", "nothing prints what is in this block"),
    ("    lockstep rule LS001\n", "a command outside of a block: lockstep rule LS001"),
]


@pytest.mark.parametrize("text, words", WRONG)
def test_a_wrong_block_is_noticed(text: str, words: str, folder: Path) -> None:
    (said,) = faults(steps("page.md", text))
    assert said.startswith("page.md:") and words in said


def test_a_wrong_command_in_the_text_is_noticed() -> None:
    assert [
        not_there(found) for found in INLINE.findall("see `lockstep audits` and `make wheel`")
    ] == [
        "there is no command 'audits'",
        "no such target: {'wheel'}",
    ]


RIGHT = """
```console
$ lockstep rule LS001
# LS001 ...
...
## Cure
...
$ lockstep rule LS099  # exit code 2
```

```pycon
>>> print("a", 1, "b")
a ... b

```
"""


def test_what_is_left_out_may_be_anything(folder: Path) -> None:
    assert [step.kind for step in steps("page.md", RIGHT)] == ["command", "command", "pycon"]
    assert faults(steps("page.md", RIGHT)) == []


def test_no_page_is_forgotten() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/tutorial.md", "docs/why/index.md"} <= set(PAGES)
    assert sum(map(len, ALL.values())) > 60
