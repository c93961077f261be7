"""A served lab, for the tests that look at it from outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.serving import Served, serving


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests."""
    with serving(tmp_path_factory.mktemp("lab")) as running:
        yield running
