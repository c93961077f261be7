"""Twenty tabs of the lab training at once: frames a second in each, and memory.

    python -m benchmarks.lab [TABS]

Needs Chromium and the extras ``lab`` and ``browser``. Each tab is a window of its own, so that none is
hidden and all draw. Figures depend on the machine; the browser's own rendering is most of the work.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from lab.browser import ALL_SEEN, Lab, chromium
from lab.serving import serving

SECONDS = 15


def memory_of(pid: int) -> float:
    """Megabytes of a process and its children."""
    own = Path(f"/proc/{pid}/status").read_text("utf-8")
    size = int(own.split("VmRSS:")[1].split()[0]) / 1024
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()
    return size + sum(memory_of(int(child)) for child in children)


def main(tabs: int) -> None:
    """Opens the tabs, lets them train, prints a line each and the totals."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as served:
        driver = chromium(Path(folder) / "profile", *ALL_SEEN.split())
        lab = Lab(driver, served.url)
        try:
            print(
                f"1 tab: {rates(lab, open_tabs(lab, 1))} frames/s, {memory_of(served.process.pid):.0f} MB"
            )
            handles = open_tabs(lab, tabs)
            seen = rates(lab, handles)
            held = memory_of(served.process.pid)
            started = time.monotonic()
            lab.do("play")
            lab.until(lambda: lab.one("[data-do=play]").text == "Play")
            answered = time.monotonic() - started
            mean = sum(seen) / len(seen)
            print(
                f"{tabs} tabs: frames/s least {min(seen):.1f}, mean {mean:.1f}, most {max(seen):.1f}"
            )
            print(f"server and workers: {held:.0f} MB; a click is answered in {answered:.2f} s")
        finally:
            driver.quit()


def open_tabs(lab: Lab, count: int) -> list[str]:
    """Windows that train."""
    handles = []
    for n in range(count):
        lab.driver.switch_to.new_window("window")
        lab.open(f"?lesson={'random' if n % 2 else 'near-twins'}")
        lab.do("play")
        lab.until(lambda: lab.step > 0)
        handles.append(lab.driver.current_window_handle)
    return handles


def rates(lab: Lab, handles: list[str]) -> list[float]:
    """Frames a second in each window, over the same seconds."""
    count = "return getElement(document.querySelector('.graph').id.slice(1)).frames"
    first, last = [], []
    for seen in (first, last):
        for handle in handles:
            lab.driver.switch_to.window(handle)
            seen.append((lab.driver.execute_script(count), time.monotonic()))
        if seen is first:
            time.sleep(SECONDS)
    return [round((b - a) / (t - s), 1) for (a, s), (b, t) in zip(first, last, strict=True)]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
