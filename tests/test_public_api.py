"""The public names are a checked-in list, each is documented, and every example in src runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

import lockstep

LISTED = (Path(__file__).parent / "public_api.txt").read_text(encoding="utf-8").split()
MODULES = [
    module.name
    for module in pkgutil.walk_packages(lockstep.__path__, "lockstep.")
    if not module.name.endswith("__main__")
]


def undocumented(face: object, names: list[str]) -> list[str]:
    """What is wrong with the docstrings of ``names``: none at all, or a function without an example."""
    found = []
    for name in names:
        value = getattr(face, name)
        if not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        if not own_docstring(value):
            found.append(f"{name}: no docstring")
        elif inspect.isroutine(value) and ">>>" not in (value.__doc__ or ""):
            found.append(f"{name}: no example (>>>) in the docstring")
        if inspect.isclass(value):
            public = {key: member for key, member in vars(value).items() if key[:1] != "_"}
            found += [
                f"{name}.{key}: no docstring"
                for key, member in public.items()
                if callable(getattr(member, "__func__", member)) or isinstance(member, property)
                if not inspect.isclass(member) and not own_docstring(member)
            ]
    return found


def own_docstring(value: object) -> bool:
    """A text of its own: not inherited, and not the signature that dataclasses fill in."""
    text = (vars(value) if inspect.isclass(value) else {"__doc__": value.__doc__}).get("__doc__")
    return bool(text) and not str(text).startswith(f"{getattr(value, '__name__', '')}(")


def test_public_names_are_the_listed_ones() -> None:
    assert sorted(lockstep.__all__) == LISTED


def test_the_list_is_sorted_and_has_no_doubles() -> None:
    assert sorted(set(LISTED)) == LISTED


@pytest.mark.parametrize("name", LISTED)
def test_public_name_is_documented(name: str) -> None:
    assert undocumented(lockstep, [name]) == []


def test_the_package_says_what_it_is() -> None:
    assert own_docstring(lockstep)


def silent() -> None: ...


def wordy() -> None:
    """Words, no example."""


def good() -> int:
    """One.

    >>> good()
    1
    """
    return 1


@dataclass
class Bare:
    x: int = 0


class Half:
    """Has a text itself."""

    def method(self) -> None: ...


def test_a_missing_docstring_is_found() -> None:
    face = SimpleNamespace(silent=silent, wordy=wordy, good=good, Bare=Bare, Half=Half, number=3)
    assert undocumented(face, list(vars(face))) == [
        "silent: no docstring",
        "wordy: no example (>>>) in the docstring",
        "Bare: no docstring",
        "Half.method: no docstring",
    ]


@pytest.mark.parametrize("name", ["lockstep", *MODULES])
def test_examples_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples of {name} fail"
