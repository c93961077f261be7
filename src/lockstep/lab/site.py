"""The ASGI application: the page behind the gate, with its workers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from importlib.resources import files

from fastapi import FastAPI, Request
from nicegui import Client, ui

from lockstep.lab.gate import Gate
from lockstep.lab.page import Page
from lockstep.lab.worker import Workers


def application(port: int, ready: Callable[[], None]) -> FastAPI:
    """The lab for a server on ``port``; ``ready`` is called once it answers."""
    workers = Workers()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await workers.start()
        ready()
        yield
        await workers.stop()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    style = files("lockstep.lab").joinpath("web/lab.css").read_text("utf-8")

    @ui.page("/", title="Lockstep lab")
    def tab(client: Client, request: Request) -> None:
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
