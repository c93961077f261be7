"""Who may come in, and a thousand who may not: the server stays up, stays small, and shows nobody a stack trace."""

from __future__ import annotations

import asyncio
import json
import random
import re
import string
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from lab.serving import Served

from lockstep.lab.gate import Gate
from lockstep.lab.messages import objection

PATIENCE = 120  # seconds: the machine may be busy with other things
UNSEEN = 20  # seconds after which the lab drops a page that nobody looks at

EVENT = {"client_id": "c", "id": 3, "listener_id": "l", "args": ['"w1"']}
OPEN = "_nicegui_ws/socket.io/?EIO=4&transport=websocket"


def event(**changes: Any) -> str:
    return "42" + json.dumps(["event", {**EVENT, **changes}])


@pytest.mark.parametrize(
    "message, why",
    [
        ("3", ""),
        ("40", ""),
        ("41", ""),
        (event(), ""),
        (event(args=[None]), ""),
        (event(args=["{"]), "no message of the page"),
        (event(args=["1e999"]), "no message of the page"),  # what the page's own parser refuses
        (event(args=["NaN"]), "no message of the page"),
        (event(args=[""]), "no message of the page"),
        (event(args="w1"), "another form"),
        (event(args=[1]), "another form"),
        (event(id=-1), "another form"),
        (event(id="3"), "another form"),
        (event(client_id=["c"]), "another form"),
        ('42["event",{}]', "another form"),
        ('42["event"]', "no message of the page"),
        ('42["evil",{}]', "no such event"),
        ('42[["event"],{}]', "no message of the page"),
        ("42{}", "no message of the page"),
        ("451-[]", "no message of the page"),
        ("[" * 100_000, "no message of the page"),
        ("42" + "[" * 100_000, "no message of the page"),
        ("x" * 300_000, "longer than 200000"),
        ("", "no message of the page"),
    ],
)
def test_messages_of_another_form_are_objected_to(message: str, why: str) -> None:
    found = objection(message)
    assert why in found and bool(why) == bool(found)


def answer(path: str = "/", kind: str = "http", query: bytes = b"", **headers: str) -> list[Any]:
    """What the gate sends for a request, with ``["let through"]`` if it is none of its business."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sent.append("let through")

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "path": path, "query_string": query, "headers": pairs}
    asyncio.run(Gate(app, 8377)(scope, receive, send))
    return sent


@pytest.mark.parametrize(
    "request_, allowed",
    [
        ({"host": "127.0.0.1:8377"}, True),
        ({"host": "localhost:8377"}, True),
        ({"host": "[::1]:8377", "origin": "http://[::1]:8377"}, True),
        ({"host": "127.0.0.1:80"}, False),
        ({"host": "evil.example:8377"}, False),
        ({}, False),
        ({"host": "127.0.0.1:8377", "origin": "http://evil.example"}, False),
        ({"host": "127.0.0.1:8377", "origin": "https://127.0.0.1:8377"}, False),
        ({"host": "127.0.0.1:8377", "origin": "null"}, False),
        ({"host": "127.0.0.1:8377", "query": b"s=" + b"x" * 40_000}, False),
        ({"host": "127.0.0.1:8377", "path": "/_nicegui_ws/socket.io/"}, False),
        ({"host": "127.0.0.1:8377", "kind": "websocket"}, False),
        ({"host": "127.0.0.1:8377", "kind": "websocket", "origin": "http://127.0.0.1:8378"}, False),
        ({"host": "127.0.0.1:8377", "kind": "websocket", "origin": "http://localhost:8377"}, True),
    ],
)
def test_other_names_and_origins_are_refused(request_: dict[str, Any], allowed: bool) -> None:
    sent = answer(**request_)
    assert (sent == ["let through"]) is allowed
    if not allowed and request_.get("kind") != "websocket":
        assert sent[0]["status"] == 403 and sent[1]["body"].startswith(b"Refused: ")
    if not allowed and request_.get("kind") == "websocket":
        assert sent[0]["type"] == "websocket.close" and sent[0]["code"] == 1008


def memory(served: Served) -> float:
    """Megabytes that the server holds."""
    status = Path(f"/proc/{served.process.pid}/status").read_text("utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def page(served: Served, search: str = "") -> str:
    """The page as served; a refusal is a page too."""
    try:
        with urllib.request.urlopen(served.url + search, timeout=60) as reply:
            return str(reply.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()


def garbage(chance: random.Random, length: int) -> str:
    return "".join(chance.choices(string.printable, k=chance.randrange(1, length)))


def mutated(chance: random.Random, client: str) -> str:
    """A message near a true one, or nothing like it."""
    values: list[Any] = [
        None,
        -1,
        1e308,
        "x" * 99,
        [],
        {},
        True,
        ['"w99"'],
        ["{}"],
        ['{"level":9,"unit":-4}'],
        ["1e999"],
    ]
    data = {**EVENT, "client_id": client, "id": chance.randrange(0, 400)}
    for _ in range(chance.randrange(0, 3)):
        data[chance.choice(list(data))] = chance.choice(values)
    name = chance.choice(["event", "ack", "log", "javascript_response", "handshake", "event"])
    text = "42" + json.dumps([name, data])
    if chance.random() < 0.3:
        at = chance.randrange(len(text))
        text = text[:at] + garbage(chance, 6) + text[at + chance.randrange(4) :]
    return chance.choice([text, text, text, garbage(chance, 300)])


async def talk(served: Served, chance: random.Random, count: int) -> int:
    """Sends so many messages as a page's own client, on a new connection whenever one is closed."""
    import websockets

    sent = closed = 0
    origin = served.url.rstrip("/")
    while sent < count:
        if closed % 25 == 0:
            text = await asyncio.to_thread(page, served)
            client = re.findall(r"client_id\W+([0-9a-f]{8}-[0-9a-f-]{27})", text)[0]
        query = (
            f"&client_id={client}&tab_id=t&document_id=d&next_message_id=0&implicit_handshake=true"
        )
        try:
            async with websockets.connect(
                origin.replace("http", "ws") + "/" + OPEN + query, origin=origin
            ) as socket:
                await socket.send("40")
                while sent < count:
                    sent, message = sent + 1, mutated(chance, client)
                    await socket.send(message)
                    # A wrong one ends the connection, however busy the server is.
                    if objection(message):
                        await asyncio.wait_for(socket.wait_closed(), PATIENCE)
                    await asyncio.sleep(0.002)
        except websockets.ConnectionClosed:
            closed += 1
    return closed


def wave(served: Served, chance: random.Random) -> tuple[list[str], int, float]:
    """150 addresses and 350 messages; the pages seen, the connections closed, the megabytes held after it."""
    searches = [
        *("?s=" + urllib.parse.quote(garbage(chance, 400)) for _ in range(90)),
        *("?lesson=" + urllib.parse.quote(garbage(chance, 60)) for _ in range(35)),
        *(urllib.parse.quote(garbage(chance, 40), safe="") for _ in range(20)),
        *("?s=" + "A" * 31_000 for _ in range(5)),
    ]
    texts = [page(served, search) for search in searches]
    closed = asyncio.run(talk(served, chance, 350))
    time.sleep(UNSEEN + 1)
    texts.append(page(served))
    return texts, closed, memory(served)


@pytest.mark.browser
@pytest.mark.slow
def test_a_thousand_wrong_messages_and_addresses_do_no_harm(served: Served) -> None:
    chance = random.Random(4)
    held = [memory(served)]
    while len(held) < 3 or held[-1] - held[-2] > 20:  # what leaks grows with every wave
        texts, closed, after = wave(served, chance)
        held.append(after)
        assert closed > 50 and not any("Traceback" in text for text in texts)
        assert served.process.poll() is None and "Lockstep lab" in texts[-1]
        assert served.log.read_text("utf-8").count("Traceback") == 0
        assert len(held) < 7, f"megabytes after each wave: {held}"
