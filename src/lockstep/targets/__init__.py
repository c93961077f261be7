"""TARGET -> model and example inputs. Every refusal says what was given, where, why, and what to do.

``python.py`` files and modules, ``pickles.py`` what is refused unless trusted, ``inputs.py`` the
``--input`` notation, ``examples.py`` and ``infer.py`` inputs when none are given, ``trial.py`` one forward before the
audit, ``memory.py`` the estimate, ``blame.py`` the user's own exception with their line. Hugging
Face configs and ``.keras`` files are read by ``lockstep.integrations``.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lockstep.errors import UsageError
from lockstep.targets import importing, pickles, python

FORMS = (
    "path/to/file.py:name, package.module:name, a .keras file, or a Hugging Face config.json "
    "(or the folder that holds it)"
)


@dataclass(frozen=True)
class Target:
    """What a TARGET stands for.

    ``inputs`` is None where the target does not bring its own; ``file`` and ``line`` are where the
    model is made, if that can be told.
    """

    text: str
    model: Any
    inputs: Any = None
    file: Path | None = None
    line: int | None = None


def load(text: str, *, trust: bool = False, seed: int = 0) -> Target:
    """Build the model that ``text`` names, with random numbers drawn from ``seed``.

    The seed makes two commands build the same model, so that a certificate written by one can be
    checked by the other. What the user's code prints goes to stderr.
    """
    with seeded(seed), contextlib.redirect_stdout(sys.stderr):
        return _load(text, trust)


def _load(text: str, trust: bool) -> Target:
    path = Path(text)  # of an empty text it is the working folder, which nobody named
    folder = bool(text) and path.is_dir()
    if folder and (path / "config.json").is_file():
        path = path / "config.json"
    if path.suffix == ".json":
        from lockstep.integrations import transformers

        return Target(text, transformers.load(_existing(path)), file=path)
    if path.suffix == ".keras":
        from lockstep.integrations import keras_files

        return Target(text, keras_files.load(_existing(path), trust=trust), file=path)
    if pickles.is_weights(path):
        return Target(text, pickles.load(_existing(path), trust=trust), file=path)
    if folder:
        raise UsageError(f"{text!r} is a folder without a config.json. A TARGET is {FORMS}.")
    found = python.load(text, FORMS)
    return Target(text, found.model, found.inputs, found.file, found.line)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(importing.missing_file(path))
    return path


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random state of torch, NumPy and Python set from ``seed`` inside, and as before outside."""
    if not 0 <= seed < 2**63:
        raise UsageError(f"seed {seed}: give a whole number from 0 to 9223372036854775807")
    numpy = sys.modules.get("numpy")  # no dependency of ours; torch has loaded it if it is there
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        if numpy:
            numpy.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python_state)
            if numpy:
                numpy.random.set_state(numpy_state)
