"""A headless Chromium and the lab's page in it, as tests use them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from lockstep.lab.address import decoded
from lockstep.lab.state import Selection, State

PATIENCE = 180.0  # seconds: the machine may be busy with other things
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)
# Windows that lie behind others draw at full pace, as if each were looked at.
ALL_SEEN = "--disable-backgrounding-occluded-windows --disable-renderer-backgrounding --disable-background-timer-throttling"


def chromium(profile: Path, *flags: str) -> webdriver.Chrome:
    """A browser with a profile of its own; says what to install where there is none."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert browser and driver, (
        "install Debian's chromium and chromium-driver (make browser-test does)"
    )
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS.split(), f"--user-data-dir={profile}", "--window-size=1280,900", *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(profile / "saved")})
    return webdriver.Chrome(options=options, service=Service(driver))


class Lab:
    """The page in the current tab of a browser."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver, self.url = driver, url

    def open(self, search: str = "") -> Lab:
        """Loads an address and waits for the first frame and badge."""
        self.driver.get(self.url + search)
        return self.ready()

    def ready(self) -> Lab:
        """Waits for the first frame and badge."""
        self.until(lambda: self.one(".graph svg text").text != "" and self.badge != "")
        return self

    def one(self, selector: str) -> WebElement:
        """The first element of a selector."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """All of them."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def until(self, holds: Callable[[], Any], what: str = "") -> None:
        """Waits until it holds."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if holds():
                    return
            except Exception as error:
                if "NoSuchElement" not in type(error).__name__ and not isinstance(
                    error, StaleElementReferenceException
                ):
                    raise
            assert time.monotonic() < end, f"not within {PATIENCE} s: {what or holds}: {self.said}"
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """A click, wherever on the page it is."""
        self.driver.execute_script(
            "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'center'});"
            "e.dispatchEvent(new MouseEvent('click', {bubbles: true}))",
            selector,
        )

    def do(self, name: str) -> None:
        """A button by its name."""
        self.click(f"[data-do={name}]")

    def type(self, selector: str, text: str) -> None:
        """Another value in a field."""
        self.driver.execute_script(
            "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
            "e.dispatchEvent(new Event('change', {bubbles: true}))",
            selector,
            text,
        )

    def pick(self, label: str, text: str) -> None:
        """Another entry of a drop-down list."""
        self.driver.execute_script(
            "const s = [...document.querySelectorAll('label')].find(l => l.textContent.startsWith(arguments[0])).querySelector('select');"
            "s.value = [...s.options].find(o => o.text === arguments[1]).value; s.dispatchEvent(new Event('change', {bubbles: true}))",
            label,
            text,
        )

    def drag(self, selector: str, down: int) -> None:
        """The mouse pressed on an element, moved down by so many pixels, and let go."""
        made = self.one(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", made)
        hand = ActionChains(self.driver).move_to_element(made).click_and_hold()
        hand.move_by_offset(0, down // 2).move_by_offset(0, down - down // 2).release().perform()

    @property
    def step(self) -> int:
        """Updates done."""
        return int(self.one(".graph").get_attribute("data-step") or 0)

    @property
    def badge(self) -> str:
        """What the certificate says."""
        return self.one(".badge").text

    @property
    def verdict(self) -> str:
        """What the comparison says."""
        return self.one(".verdict").text

    @property
    def said(self) -> str:
        """What went wrong."""
        return " ".join(element.text for element in self.all(".message"))

    @property
    def state(self) -> State:
        """The state in the address."""
        return self.shown[0]

    @property
    def shown(self) -> tuple[State, Selection]:
        """The state and the selection in the address."""
        return decoded(parse_qs(urlsplit(self.driver.current_url).query).get("s", [""])[0])

    def reaches(self, step: int) -> None:
        """Waits for a step, in the page and in the address."""
        self.until(lambda: self.step == step and self.state.steps == step, f"step {step}")

    def complaints(self) -> list[str]:
        """Errors on the browser's console since the last look."""
        return [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]

    def shoot(self, path: Path) -> None:
        """A picture of the whole page."""
        width = self.driver.get_window_size()["width"]
        height = self.driver.get_window_size()["height"]
        tall = self.driver.execute_script("return document.documentElement.scrollHeight")
        self.driver.set_window_size(width, max(height, tall + 140))
        time.sleep(0.5)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))
        self.driver.set_window_size(width, height)
