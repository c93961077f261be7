"""The user's own exception, shown with the line of their code that raised it."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

PACKAGE = str(Path(__file__).parent.parent)
LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib") if name)
LONGEST = 1500


def describe(error: BaseException) -> str:
    """``ValueError: the message`` and, on a second line, ``at file.py:12: the code``."""
    message = "".join(traceback.format_exception_only(type(error), error)).strip()
    if len(message) > LONGEST:  # Keras prints whole configurations, with the cause at the end
        message = f"{message[: LONGEST // 3]} ... {message[-2 * LONGEST // 3 :]}"
    if isinstance(error, SyntaxError):  # its own text already shows file, line and caret
        return message
    place = where(error)
    return f"{message}\n  at {place}" if place else message


def where(error: BaseException) -> str:
    """The innermost frame that is neither Lockstep's nor a library's; else the innermost of all."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<frozen", PACKAGE))
    ]
    own = [frame for frame in frames if not frame.filename.startswith(LIBRARIES)]
    if not frames:
        return ""
    last = (own or frames)[-1]
    code = f": {last.line}" if last.line else ""
    return f"{last.filename}:{last.lineno} in {last.name}{code}"
