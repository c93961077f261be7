"""Twenty tabs of the lab training at once: frames a second, how long a click waits, memory, and who is busy.

    python -m benchmarks.lab [TABS]

First without a browser: as many clients as tabs, which answer every frame at once, show what the server can do. Then in
Chromium (the extras ``lab`` and ``browser``), each tab a window of its own, so that none is hidden and all draw:
there the browser's rendering, in software on the same cores, is most of the work. Then as if they were tabs of one
window, of which one is seen: the others train, and draw nothing. "Most" is then the frame rate of the one that is seen.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import websockets

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from lab.browser import ALL_SEEN, Lab, chromium
from lab.serving import Served, serving

SECONDS = 15
CLICKS = 60
LESSONS = ("incoming-equal", "random")
SOCKET = "_nicegui_ws/socket.io/?EIO=4&transport=websocket"
TAB = "&tab_id=t&document_id=d&next_message_id=0&implicit_handshake=true&client_id="


def main(tabs: int) -> None:
    """A line for each number of tabs, without a browser and with one."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as served:
        for count in (1, tabs):
            asyncio.run(clients(served, count))
        driver = chromium(Path(folder) / "profile", *ALL_SEEN.split())
        try:
            lab = Lab(driver, served.url)
            windows = open_windows(lab, 1)
            browsing(served, lab, windows, 1)
            windows += open_windows(lab, tabs - 1)
            browsing(served, lab, windows, tabs)
            for handle in windows[1:]:
                driver.switch_to.window(handle)
                driver.execute_script(HIDE)
            browsing(served, lab, windows, 1)
        finally:
            driver.quit()


# ---- what the operating system says ----


def tree(pid: int) -> dict[int, str]:
    """A process and its descendants, with what each is called here."""
    line = Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    kind = re.search(r"--type=([\w-]+)", line)
    name = "worker" if "lockstep.lab.desk" in line else kind[1] if kind else "server"
    found = {pid: name if "chrom" not in line or kind else "browser"}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text("utf-8").split():
            found |= tree(int(child))
    return found


def busy(pid: int) -> Counter[str]:
    """Seconds of CPU that each kind of process has used."""
    used: Counter[str] = Counter()
    for each, name in tree(pid).items():
        fields = Path(f"/proc/{each}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
        used[name] += (int(fields[11]) + int(fields[12])) / 100
    return used


def memory(pid: int) -> float:
    """Megabytes of a process and its descendants."""
    sizes = [Path(f"/proc/{each}/status").read_text("utf-8") for each in tree(pid)]
    return sum(int(text.split("VmRSS:")[1].split()[0]) for text in sizes if "VmRSS" in text) / 1024


def told(label: str, rates: list[float], waits: list[float], used: Counter[str], mb: str) -> None:
    """One line of the result."""
    late = 1000 * sorted(waits)[int(0.95 * len(waits))]
    cores = ", ".join(f"{name} {share:.2f}" for name, share in used.most_common() if share > 0.01)
    print(
        f"{label}: frames/s least {min(rates):.1f}, mean {statistics.mean(rates):.1f}, most {max(rates):.1f}; "
        f"click answered in {1000 * statistics.median(waits):.0f} ms (p95 {late:.0f} ms)\n"
        f"    cores busy: {cores}; {mb}",
        flush=True,
    )


# ---- without a browser ----


class Client:
    """A tab that draws nothing: it asks for the next frame as soon as it has one, and clicks on a weight."""

    def __init__(self, served: Served, lesson: str) -> None:
        self.served, self.frames, self.waits = served, 0, [0.0][:0]
        with urllib.request.urlopen(f"{served.url}?lesson={lesson}") as reply:
            self.text = reply.read().decode()
        self.id = re.findall(r"client_id\W+([0-9a-f]{8}-[0-9a-f-]{27})", self.text)[0]

    def listener(self, wanted: Callable[[dict[str, Any]], bool], event: str) -> tuple[int, str]:
        """Where an event is heard: the element's number and the listener's name."""
        for number, element in self.elements.items():
            for one in element.get("events", ()) if wanted(element) else ():
                if one["type"] == event:
                    return int(number), one["listener_id"]
        raise LookupError(event)

    @property
    def elements(self) -> dict[str, Any]:
        """The page's elements, as it was served."""
        return json.loads(re.findall(r"parseElements\(String\.raw`(.*?)`", self.text, re.S)[0])

    async def say(self, where: tuple[int, str], *args: Any) -> None:
        """An event of an element."""
        data = {"client_id": self.id, "id": where[0], "listener_id": where[1]}
        data["args"] = [json.dumps(one) for one in args]
        await self.socket.send("42" + json.dumps(["event", data]))

    async def run(self) -> None:
        """Trains, draws, clicks, until cancelled."""
        origin = self.served.url.rstrip("/")
        address = origin.replace("http", "ws") + "/" + SOCKET + TAB + self.id
        is_graph = lambda e: "graph" in e["tag"]  # noqa: E731
        drawn, weight = self.listener(is_graph, "drawn"), self.listener(is_graph, "weight")
        play = self.listener(lambda e: e.get("props", {}).get("data-do") == "play", "click")
        async with websockets.connect(address, origin=origin, max_size=None) as self.socket:
            await self.socket.send("40")
            asked, playing = 0.0, False
            async for message in self.socket:
                text = str(message)
                if text == "2":
                    await self.socket.send("3")
                if f'runMethod({drawn[0]}, \\"frame\\"' in text:
                    self.frames += 1
                    await self.say(drawn)
                    if not playing:
                        playing = True
                        await self.say(play)
                    if not asked and self.frames % 20 == 0:
                        asked = time.monotonic()
                        await self.say(weight, "w2")
                # the graph is told what is chosen
                if asked and text.startswith('42["update"') and f'"{drawn[0]}":' in text:
                    self.waits.append(time.monotonic() - asked)
                    asked = 0.0


async def clients(served: Served, count: int) -> None:
    """So many tabs without a browser."""
    made = [Client(served, LESSONS[n % 2]) for n in range(count)]
    tasks = [asyncio.create_task(one.run()) for one in made]
    await asyncio.sleep(5)
    before, at, used = [one.frames for one in made], time.monotonic(), busy(served.process.pid)
    for one in made:
        one.waits.clear()
    await asyncio.sleep(SECONDS)
    passed = time.monotonic() - at
    spent = busy(served.process.pid)
    shares = Counter({name: (spent[name] - used[name]) / passed for name in spent})
    rates = [(one.frames - b) / passed for one, b in zip(made, before, strict=True)]
    waits = [wait for one in made for wait in one.waits]
    mb = f"server and worker {memory(served.process.pid):.0f} MB"
    told(f"{count} without a browser", rates, waits, shares, mb)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(12)  # the server frees them


# ---- in Chromium ----

CLICK = """
const done = arguments[0], edge = document.querySelector("[data-weight=w2]"), from = performance.now();
const seen = new MutationObserver(() => {
  seen.disconnect();
  requestAnimationFrame(() => done(performance.now() - from));
});
seen.observe(edge, {attributes: true, attributeFilter: ["aria-pressed"]});
edge.dispatchEvent(new MouseEvent("click", {bubbles: true}));
"""
# What a page is told when another tab of its window comes to the front; headless, all are seen.
HIDE = """
Object.defineProperty(document, "hidden", {value: true, configurable: true});
document.dispatchEvent(new Event("visibilitychange"));
"""
FRAMES = "return getElement(document.querySelector('.graph').id.slice(1)).frames"


def open_windows(lab: Lab, count: int) -> list[str]:
    """Windows that train."""
    handles = []
    for n in range(count):
        lab.driver.switch_to.new_window("window")
        lab.open(f"?lesson={LESSONS[n % 2]}")
        lab.do("play")
        lab.until(lambda: lab.step > 0)
        handles.append(lab.driver.current_window_handle)
    return handles


def browsing(served: Served, lab: Lab, handles: list[str], visible: int) -> None:
    """The windows of a browser, over the same seconds; clicks come after, in those that are seen."""
    here = lab.driver.service.process.pid
    first, last = [], []
    for seen in (first, last):
        for handle in handles:
            lab.driver.switch_to.window(handle)
            seen.append((lab.driver.execute_script(FRAMES), time.monotonic()))
        if seen is first:
            at, used = time.monotonic(), busy(served.process.pid) + busy(here)
            time.sleep(SECONDS)
            passed = time.monotonic() - at
            spent = busy(served.process.pid) + busy(here)
    shares = Counter({name: (spent[name] - used[name]) / passed for name in spent})
    rates = [(b - a) / (t - s) for (a, s), (b, t) in zip(first, last, strict=True)]
    waits = []
    for n in range(CLICKS):
        lab.driver.switch_to.window(handles[n % visible])
        waits.append(lab.driver.execute_async_script(CLICK) / 1000)
    mb = f"server and worker {memory(served.process.pid):.0f} MB, browser {memory(here):.0f} MB"
    told(f"{len(handles)} in Chromium, {visible} seen", rates, waits, shares, mb)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
