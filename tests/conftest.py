"""Set-up shared by all tests: threads, seeds, hypothesis profiles, no network, the right lockstep.

Tests import their helpers from this folder (``from zoo import ...``); see ``pythonpath`` in pyproject.toml.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

# Before any of them is imported.
os.environ["KERAS_BACKEND"] = "torch"
os.environ["MPLBACKEND"] = "Agg"
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch
from hypothesis import settings

import lockstep

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True, database=None)
settings.register_profile("here", deadline=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")

# Workers of pytest-xdist share the cores; two threads each would spin waiting for one another.
torch.set_num_threads(1 if os.environ.get("PYTEST_XDIST_WORKER") else 2)

LOOPBACK = ("127.", "::1", "localhost")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--most N``: of each test function's rows run N, evenly spread; ``make test-all`` runs them all."""
    parser.addoption(
        "--most", type=int, default=0, metavar="N", help="run at most N rows of each test"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Bound the long tables; which rows run depends on their number alone."""
    most = config.getoption("--most")
    if not most:
        return
    rows: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("whole"):
            continue
        rows.setdefault(item.nodeid.split("[")[0], []).append(item)
    kept = {
        id(table[n * len(table) // min(most, len(table))])
        for table in rows.values()
        for n in range(min(most, len(table)))
    }
    kept |= {id(item) for item in items if item.get_closest_marker("whole")}
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = [item for item in items if id(item) in kept]


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test a lockstep other than the one that was asked for (``make wheel-test``)."""
    wanted = os.environ.get("LOCKSTEP_MUST_COME_FROM")
    found = Path(lockstep.__file__).resolve()
    if wanted and not found.is_relative_to(Path(wanted).resolve()):
        raise pytest.UsageError(f"lockstep was imported from {found}, not from {wanted}")


def pytest_report_header() -> list[str]:
    return [f"lockstep {Path(lockstep.__file__).parent}", f"torch {torch.__version__}"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  the global state is what user code draws from
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def offline() -> Iterator[None]:
    """No test may leave this machine; the lab's tests talk to themselves."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else address
        if self.family != socket.AF_UNIX and not str(host).startswith(LOOPBACK):
            raise RuntimeError(f"a test tried to reach the network: {address!r}")
        connect(self, address)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield
