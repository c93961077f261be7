"""Who may come in: requests for this machine's own name, from pages of this server, of a sensible form and size."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HERE = {"127.0.0.1", "localhost", "[::1]"}
LONGEST = 32_000  # bytes of a query


class Gate:
    """ASGI middleware. A name other than this machine's is refused (DNS rebinding), and so is another origin.

    Without an ``Origin`` comes who is no browser, and a browser's own navigation; both may read pages, but a
    WebSocket needs one.
    """

    def __init__(self, app: App, port: int) -> None:
        self.app = app
        self.hosts = {f"{name}:{port}" for name in HERE} | (HERE if port == 80 else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets through or refuses."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
        elif refusal := self.objection(scope):
            await refuse(scope, receive, send, refusal)
        else:
            await self.app(scope, receive, send)

    def objection(self, scope: Scope) -> str:
        """Why not; empty if it may."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get(b"host", "") not in self.hosts:
            return "this server answers to 127.0.0.1 and localhost only"
        if len(scope.get("query_string", b"")) > LONGEST:
            return f"the address is longer than {LONGEST} bytes"
        origin = headers.get(b"origin")
        socket = scope["type"] == "websocket" or scope["path"].startswith("/_nicegui_ws")
        if origin is None:
            return "a WebSocket needs an Origin" if scope["type"] == "websocket" else ""
        parts = urlsplit(origin)
        if parts.scheme != "http" or parts.netloc not in self.hosts:
            return "pages of other origins may not connect" if socket or origin else ""
        return ""


async def refuse(scope: Scope, receive: Receive, send: Send, why: str) -> None:
    """403 with a sentence; a WebSocket is closed before it opens."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": why})
        return
    body = f"Refused: {why}.\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
