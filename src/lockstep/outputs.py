"""Files that a command writes: looked at before the work, not after it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lockstep.errors import UsageError


def require_writable(*paths: Path | None, read: Iterable[Path] = ()) -> None:
    """Refuse folders, folders that are not there, one file for two, and what the command reads."""
    used = {path.resolve() for path in read if path.is_file()}
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise UsageError(f"cannot write {str(path)!r}: it is a folder; name a file in it")
        if not path.resolve().parent.is_dir():
            raise UsageError(
                f"cannot write {str(path)!r}: the folder {str(path.parent)!r} does not exist"
            )
        if path.resolve() in used:
            raise UsageError(
                f"cannot write {str(path)!r}: this command reads or writes that file already; name another"
            )
        used.add(path.resolve())


def write(text: str, path: Path) -> None:
    """The text as UTF-8; a failure is a ``UsageError``."""
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {str(path)!r}: {error}") from error
