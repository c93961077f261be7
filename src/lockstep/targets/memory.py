"""Is there room for the model? Said before it is built, with the estimate."""

from __future__ import annotations

import os
from pathlib import Path

from lockstep.errors import UsageError

# Per parameter: 4 bytes of float32 and up to four times that at the audit's peak.
BUILD_BYTES, AUDIT_BYTES = 4, 16


def available() -> int | None:
    """Bytes that can be had without swapping, or None where the system does not say."""
    limits = [_free_by_system(), _free_in_group()]
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None


def _free_by_system() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _free_in_group() -> int | None:
    folder = Path("/sys/fs/cgroup")
    try:
        limit = int((folder / "memory.max").read_text("ascii"))
        return limit - int((folder / "memory.current").read_text("ascii"))
    except (OSError, ValueError):  # no such file, or "max"
        return None


def require(parameters: int, place: str) -> None:
    """Refuse a model whose audit would not fit."""
    free, needed = available(), parameters * AUDIT_BYTES
    if free is None or needed <= free:
        return
    raise UsageError(
        f"{place}: {parameters:,} parameters take {size(parameters * BUILD_BYTES)} in float32 and "
        f"about {size(needed)} while they are audited; this machine has {size(free)} free. Use a "
        "larger machine, or audit the same architecture with fewer layers or a smaller width."
    )


def size(count: int) -> str:
    """Bytes in the unit one would say.

    >>> size(1_500_000_000)
    '1.5 GB'
    """
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"
