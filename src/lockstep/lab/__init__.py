"""Stage 7: the page. In: a state from an address, clicks. Out: a live view of explain, train and audit.

Nothing is computed here that another stage knows: chains come from ``explain`` and ``compare``, verdicts
from ``audit``, ties from ``tie``, updates from ``train``'s own loop. Read ``state.py`` first, then ``page.py``.
"""

from __future__ import annotations

__all__ = ["lab"]


def lab(*, port: int = 8377, open_browser: bool = True) -> None:
    """Serves the lab on ``http://127.0.0.1:port`` until it is interrupted, and opens a browser on it.

    Only this machine can reach it. Needs the extra ``lab`` (NiceGUI).

    ``open_browser=False`` only serves. ``lockstep lab`` is the same as a command.

    Raises :class:`~lockstep.errors.UsageError` without the extra, or if the port is taken or is none.

    Source: none, because it is a server; what it shows is in ``docs/lab.md``.

    >>> lab(port=0)
    Traceback (most recent call last):
    ...
    lockstep.errors.UsageError: a port is a number from 1 to 65535, got 0
    """
    from lockstep.lab.server import serve

    serve(port=port, open_browser=open_browser)
