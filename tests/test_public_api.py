"""The public names are a checked-in list, each is documented in full, and every example in src runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import lockstep
from scripts.complete import gaps

LISTED = (Path(__file__).parent / "public_api.txt").read_text(encoding="utf-8").split()
MODULES = [
    module.name
    for module in pkgutil.walk_packages(lockstep.__path__, "lockstep.")
    if not module.name.endswith("__main__")
]


def test_public_names_are_the_listed_ones() -> None:
    assert sorted(lockstep.__all__) == LISTED


def test_the_list_is_sorted_and_has_no_doubles() -> None:
    assert sorted(set(LISTED)) == LISTED


def test_public_names_have_text_shapes_example_and_source() -> None:
    assert gaps(lockstep, LISTED) == []


def test_the_package_says_what_it_is() -> None:
    assert lockstep.__doc__


def silent() -> None: ...


def wordy(x: int) -> None:
    """Words, no example."""


def good() -> int:
    """One.

    Source: none, because it is a number.

    >>> good()
    1
    """
    return 1


def unfounded() -> int:
    """One.

    Source: arXiv 9901.00001, and ``docs/nowhere.md``.

    >>> unfounded()
    1
    """
    return 1


def vague(inputs: object) -> object:
    """The same.

    Shapes: (N, I), and back.

    Source: common knowledge.

    >>> vague(1)
    1
    """
    return inputs


@dataclass
class Bare:
    x: int = 0


class Half:
    """Has a text itself.

    Source: none, because it does nothing.

    >>> Half()
    """

    def method(self) -> torch.Tensor: ...


class Wrong(Exception):
    """An error needs no source.

    >>> Wrong()
    """


NO_SOURCE = "no source (Source: ...)"
NO_SHAPES = "no shapes (Shapes: ...), though tensors go in or out"
GAPS = [
    (silent, ["no docstring"]),
    (wordy, ["no example (>>>)", NO_SHAPES, NO_SOURCE]),
    (good, []),
    (
        unfounded,
        ["docs/papers.bib does not hold arXiv 9901.00001", "there is no file docs/nowhere.md"],
    ),
    (vague, ["the source names no work (arXiv, doi) and no page; or say: none, because ..."]),
    (Bare, ["no docstring"]),
    (Half, [NO_SHAPES, "no docstring of .method"]),
    (Wrong, []),
    (3, []),
]


@pytest.mark.parametrize("value, wanted", GAPS)
def test_what_is_missing_is_found(value: object, wanted: list[str]) -> None:
    assert gaps(SimpleNamespace(name=value), ["name"]) == [f"name: {gap}" for gap in wanted]


PUBLIC = sorted({getattr(lockstep, name).__module__ for name in LISTED if name != "__version__"})


@pytest.mark.whole
@pytest.mark.parametrize("name", PUBLIC)
def test_public_examples_run(name: str) -> None:
    run_examples(name)


@pytest.mark.parametrize("name", sorted({"lockstep", *MODULES} - set(PUBLIC)))
def test_other_examples_run(name: str) -> None:
    run_examples(name)


def run_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples of {name} fail"
