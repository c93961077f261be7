"""The ASGI application: the page behind the gate, with its workers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from nicegui import Client, ui

from lockstep.lab.gate import Gate
from lockstep.lab.page import Page
from lockstep.lab.worker import Workers

UNSEEN = 20.0  # seconds after which a page that no browser has connected to is dropped


def application(port: int, ready: Callable[[], None]) -> FastAPI:
    """The lab for a server on ``port``; ``ready`` is called once it answers."""
    workers = Workers()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(unheard)
        await workers.start()
        ready()
        yield
        await workers.stop()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    style = files("lockstep.lab").joinpath("web/lab.css").read_text("utf-8")

    @ui.page("/", title="Lockstep lab")
    def tab(client: Client, request: Request) -> None:
        Client.prune_instances(client_age_threshold=UNSEEN)
        ui.add_head_html(f"<style>{style}</style>")
        page = Page(client.id, workers, request.url.query)
        client.on_connect(page.connected)
        client.on_delete(page.closed)

    ui.run_with(
        app,
        title="Lockstep lab",
        dark=None,
        language="en-US",
        tailwind=False,
        reconnect_timeout=8.0,  # seconds until a tab that has gone is freed
        message_history_length=100,
        binding_refresh_interval=None,
        show_welcome_message=False,
    )
    app.add_middleware(Gate, port=port)
    return app


def unheard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A message that names what its page does not have is one line in the log; all else as ever."""
    lost = isinstance(context.get("exception"), KeyError)
    if lost and "_handle_event_internal" in repr(context.get("future")):
        logging.getLogger("lockstep.lab").warning("a message named what its page does not have")
    else:
        loop.default_exception_handler(context)
