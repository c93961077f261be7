"""Starts the server on 127.0.0.1, if the port is free and NiceGUI is there."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import warnings
import webbrowser

from lockstep.errors import UsageError

HOST = "127.0.0.1"


def serve(*, port: int, open_browser: bool) -> None:
    """Serves until interrupted."""
    require_free(port)
    # NiceGUI keeps user data in a folder of the working directory; the lab has none to keep.
    os.environ.setdefault("NICEGUI_STORAGE_PATH", os.devnull)
    try:
        import uvicorn

        from lockstep.lab.messages import LARGEST
        from lockstep.lab.site import application
    except ImportError as error:
        raise UsageError(f"the lab needs NiceGUI ({error}): pip install 'lockstep[lab]'") from error

    app = application(port, lambda: announce(f"http://{HOST}:{port}/", open_browser))
    with warnings.catch_warnings():
        # NiceGUI looks at every object in memory for its server, and meets a deprecated one of torch.
        warnings.filterwarnings("ignore", "`torch.distributed.reduce_op`", FutureWarning)
        uvicorn.run(
            app, host=HOST, port=port, log_level="warning", access_log=False, ws_max_size=LARGEST
        )


def announce(url: str, open_browser: bool) -> None:
    """Where it is."""
    sys.stderr.write(f"lockstep: the lab is at {url} (Ctrl+C ends it)\n")
    if open_browser:
        webbrowser.open(url)


def require_free(port: int) -> None:
    """Refuses a port that is taken or is none."""
    if not 1 <= port <= 65535:
        raise UsageError(f"a port is a number from 1 to 65535, got {port}")
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be used: {error.strerror or error}. Choose another with --port."
            ) from error
