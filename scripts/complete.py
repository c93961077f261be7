"""What a public docstring must hold, checked by `make docs` and by tests/test_public_api.py.

Every public name has a text and an example that runs (``>>>``). Besides:

* ``Shapes:`` where tensors go in or out: a function with a parameter called model, inputs, x or y, or annotated as a
  tensor; a class with a field, property or method of tensors. Letters as at the head of ``src/lockstep/types.py``.
* ``Source:`` for every function and result: the work (arXiv number that docs/papers.bib holds, or doi), or the page of
  this repository that derives it; ``Source: none, because …`` where there is no mathematics. Errors need none.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CARRIERS = {"model", "inputs", "x", "y"}


def gaps(face: object, names: list[str]) -> list[str]:
    """What is missing from the docstrings of ``names``, one line each."""
    return [f"{name}: {gap}" for name in names for gap in found_in(getattr(face, name))]


def found_in(value: Any) -> Iterator[str]:
    """The gaps of one name; what is neither class nor function needs no docstring."""
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return
    text = own_docstring(value)
    if not text:
        yield "no docstring"
        return
    if ">>>" not in text:
        yield "no example (>>>)"
    if has_tensors(value) and not re.search(r"^Shapes: \S", text, re.MULTILINE):
        yield "no shapes (Shapes: ...), though tensors go in or out"
    if not (inspect.isclass(value) and issubclass(value, Exception)):
        yield from source(text)
    for key, member in vars(value).items() if inspect.isclass(value) else ():
        function = getattr(member, "__func__", member)
        documented = isinstance(member, property) or inspect.isroutine(function)
        if key[0] != "_" and documented and not own_docstring(function):
            yield f"no docstring of .{key}"


def own_docstring(value: Any) -> str:
    """A text of its own: not inherited, and not the signature that dataclasses fill in."""
    text = (vars(value) if inspect.isclass(value) else {"__doc__": value.__doc__}).get("__doc__")
    filled_in = str(text).startswith(f"{getattr(value, '__name__', '')}(")
    return "" if not text or filled_in else inspect.cleandoc(text)


def has_tensors(value: Any) -> bool:
    """Whether a function or a class takes or gives tensors, by its annotations."""
    if not inspect.isclass(value):
        parameters = inspect.signature(value).parameters.values()
        return any(p.name in CARRIERS or "Tensor" in str(p.annotation) for p in parameters)
    members: list[Callable[..., Any]] = [
        getattr(member, "fget", None) or getattr(member, "__func__", member)
        for key, member in vars(value).items()
        if key[0] != "_"
    ]
    notes = [*getattr(value, "__annotations__", {}).values()]
    notes += [getattr(member, "__annotations__", {}).get("return", "") for member in members]
    return any(re.search(r"\bTensor\b", str(note)) for note in notes)


def source(text: str) -> Iterator[str]:
    """Is there a source, and is it one that a reader can find?"""
    said = re.search(r"^Source: (.+?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    if not said:
        yield "no source (Source: ...)"
        return
    bibliography = (ROOT / "docs" / "papers.bib").read_text("utf-8")
    works = re.findall(r"arXiv (\d{4}\.\d{4,5})", said[1])
    files = re.findall(r"``([\w./-]+\.(?:md|py|v))``", said[1])
    yield from (
        f"docs/papers.bib does not hold arXiv {work}" for work in works if work not in bibliography
    )
    yield from (f"there is no file {file}" for file in files if not (ROOT / file).exists())
    named = works or files or re.search(r"doi 10\.\d{4,}/\S", said[1])
    if not named and not re.match(r"none, because \S", said[1]):
        yield "the source names no work (arXiv, doi) and no page; or say: none, because ..."
