"""Who may come in: requests for this machine's own name, from pages of this server, of a sensible form and size."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from lockstep.lab.messages import objection

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

NAMES = ("127.0.0.1", "localhost", "[::1]")
LONGEST = 32_000  # bytes of an address
POLLING = "/_nicegui_ws"  # Socket.IO without a WebSocket: not needed on one's own machine
POLICY = 1008  # the WebSocket close code of RFC 6455 for "against the policy"


class Gate:
    """ASGI middleware around everything.

    A ``Host`` that is not this machine is refused (DNS rebinding), and so is any other ``Origin``. Programs
    that are no browser send none: they may read pages, but a WebSocket needs one.
    """

    def __init__(self, app: App, port: int) -> None:
        self.app = app
        self.hosts = {f"{name}:{port}" for name in NAMES} | {n for n in NAMES if port == 80}
        self.origins = {f"http://{host}" for host in self.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets through or refuses."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif why := self.refusal(scope):
            await refuse(scope, receive, send, why)
        elif scope["type"] == "websocket":
            await self.app(scope, checked(receive, send), send)
        else:
            await self.app(scope, receive, send)

    def refusal(self, scope: Scope) -> str:
        """Why not; empty if it may."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        origin, socket = headers.get(b"origin"), scope["type"] == "websocket"
        if headers.get(b"host", "") not in self.hosts:
            return "this server answers to 127.0.0.1 and localhost only"
        if origin is None and socket:
            return "a WebSocket needs an Origin"
        if origin is not None and origin not in self.origins:
            return "pages of another origin may not connect"
        if len(scope.get("query_string", b"")) > LONGEST:
            return f"the address is longer than {LONGEST} bytes"
        if not socket and scope["path"].startswith(POLLING):
            return "the page speaks through a WebSocket"
        return ""


def checked(receive: Receive, send: Send) -> Receive:
    """``receive`` of a WebSocket whose messages are looked at first; a wrong one ends the connection."""

    async def looked_at() -> Message:
        message = await receive()
        if message["type"] != "websocket.receive":
            return message
        text = message.get("text")
        why = "messages are text" if text is None else objection(text)
        if not why:
            return message
        await send({"type": "websocket.close", "code": POLICY, "reason": why})
        return {"type": "websocket.disconnect", "code": POLICY}

    return looked_at


async def refuse(scope: Scope, receive: Receive, send: Send, why: str) -> None:
    """403 with a sentence; a WebSocket is closed before it opens."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": POLICY, "reason": why})
        return
    body = f"Refused: {why}.\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
