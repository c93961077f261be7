"""One compiled copy of the proofs for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofs import coq


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    coq.needed()
    folder = coq.copy(coq.PROOFS, tmp_path_factory.mktemp("coq") / "proofs")
    built = coq.make(folder)
    assert built.returncode == 0, built.stderr[-2000:]
    return folder
