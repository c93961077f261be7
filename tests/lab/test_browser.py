"""The page in a real browser: lessons, edits, comparisons, addresses, tabs, small screens, keyboard, axe."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from lab.browser import Lab, chromium
from lab.serving import Served
from selenium.webdriver.common.keys import Keys

from lockstep import compare, train
from lockstep.explain.derivation import number
from lockstep.lab import network as nets
from lockstep.lab.address import as_json, encoded
from lockstep.lab.datasets import points
from lockstep.lab.lessons import lessons
from lockstep.lab.state import Selection, State

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).resolve().parents[2] / "build" / "lab"
TEXTS = {
    "locked": "locked for ever",
    "mirror": "mirror: each other's negative for ever",
    "separates": "will separate, because ",
    "apart": "separate from the start, because w1 ≠ w3",
    "noise": "will separate, because dropout draws other noise for each unit",
}


@pytest.fixture(scope="module")
def window(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    driver = chromium(tmp_path_factory.mktemp("profile"))
    yield Lab(driver, served.url)
    driver.quit()


@pytest.fixture
def lab(window: Lab) -> Iterator[Lab]:
    """The page in a tab of its own; nothing may complain on the console."""
    first = window.driver.current_window_handle
    window.driver.switch_to.new_window("tab")
    yield window
    complaints = window.complaints()
    window.driver.close()
    window.driver.switch_to.window(first)
    assert complaints == []


@pytest.mark.parametrize("name", lessons())
def test_each_lesson_loads_trains_and_reaches_its_verdict(lab: Lab, name: str) -> None:
    lesson = lessons()[name]
    lab.open(f"?lesson={name}")
    assert lab.badge.startswith(TEXTS[lesson.verdict])
    assert (
        lesson.commentary in lab.one(".lesson").text and lesson.question in lab.one(".lesson").text
    )
    lab.pick("Updates/s", "no limit")
    lab.do("show-me")
    lab.reaches(lesson.steps)
    assert lab.one(".answer").text == lesson.answer
    assert lab.badge.startswith(TEXTS[lesson.verdict])
    points = (
        "const c = getElement(document.querySelector('.curves').id.slice(1));"
        "return Math.min(...c.lines.map((lines) => lines[0].points.length))"
    )
    lab.until(lambda: lab.driver.execute_script(points) > 3, "curves")
    if lesson.verdict == "locked":
        assert re.fullmatch(
            r"0, exactly|\d(\.\d+)?e-1[5-9], by rounding only", lab.one("[data-curve='2']").text
        )
    lab.shoot(SHOTS / f"lesson-{name}.png")


def test_editing_a_weight_changes_the_certificate(lab: Lab) -> None:
    lab.open("?lesson=outgoing-equal")
    lab.click("[data-weight=w1]")  # chosen by the lesson: no longer
    lab.click("[data-weight=w3]")
    lab.until(lambda: not lab.all("[data-edit]"))
    lab.click("[data-weight=w6]")
    lab.until(lambda: lab.all("[data-edit=w6]"))
    field = lab.one("[data-edit=w6]")
    assert field.get_attribute("value") == "0.5"
    field.send_keys(Keys.CONTROL + "a")
    field.send_keys("0.75", Keys.ENTER)
    lab.until(lambda: lab.badge == "will separate, because w5 ≠ w6")
    assert lab.state.weights == (0.4, -0.3, 0.4, -0.3, 0.1, 0.1, 0.5, 0.75, 0.0)


def test_weights_are_dragged_and_changed_by_keys(lab: Lab) -> None:
    lab.open("?lesson=outgoing-equal")
    lab.drag("[data-label=w6] text", -30)
    lab.until(lambda: lab.badge == "will separate, because w5 ≠ w6")
    assert lab.state.weights == (0.4, -0.3, 0.4, -0.3, 0.1, 0.1, 0.5, 1.1, 0.0)
    assert lab.shown[1].weights == ("w1", "w3")  # a drag chooses nothing
    lab.drag("[data-weight=b1] text", 20)
    lab.until(lambda: lab.badge == "separate from the start, because b1 ≠ b2")
    assert lab.state.weights is not None and lab.state.weights[4] == -0.3
    lab.one("[data-weight=b1]").send_keys("+")
    lab.until(lambda: lab.state.weights is not None and lab.state.weights[4] == -0.2)
    lab.driver.back()
    lab.until(lambda: lab.state.weights is not None and lab.state.weights[4] == -0.3)


def test_what_is_selected_is_in_the_address(lab: Lab) -> None:
    lab.open("?s=" + encoded(State(hidden=(3, 2))))
    lab.click("[data-weight=w2]")
    lab.until(lambda: lab.shown[1].weights == ("w2",))
    lab.click("[data-weight=b4]")
    lab.click("[data-unit='2,1']")
    lab.type(".why input", "7")
    lab.pick("Updates/s", "30")
    wanted = Selection(("w2", "b4"), 2, (1,), 6, 30)
    lab.until(lambda: lab.shown[1] == wanted)
    link = lab.driver.current_url
    lab.open()
    lab.driver.get(link)
    lab.ready()
    assert lab.shown[1] == wanted
    pressed = lab.all("[data-weight][aria-pressed=true]")
    assert {e.get_attribute("data-weight") for e in pressed} == {"w2", "b4"}
    assert lab.one(".transport select").get_property("value") == "30"
    assert lab.one("[data-unit='2,1']").get_attribute("aria-pressed") == "true"
    lab.open("?s=" + encoded(State(), Selection(weights=("w77",), units=(0, 1))))
    lab.until(lambda: lab.said == "There is no weight w77 in this network.")


def test_a_saved_run_is_loaded_and_a_wrong_one_refused(lab: Lab, tmp_path: Path) -> None:
    state, selection = State(hidden=(3,), seed=9, steps=50), Selection(("w4",), 1, (0, 2), 3)
    saved, wrong = tmp_path / "run.json", tmp_path / "wrong.json"
    saved.write_text(as_json(state, selection), "utf-8")
    lab.open("?lesson=all-equal")
    for text, phrase in [
        ("PK", "wrong.json is not loaded: the file is no JSON"),
        ('{"hidden": [99], "lr": "x"}', "lr: 'x' is not of type 'number'"),
        (" " * 90_000, "more than 20000 characters"),
    ]:
        wrong.write_text(text, "utf-8")
        lab.one("[data-do=file]").send_keys(str(wrong))
        lab.until(lambda phrase=phrase: phrase in lab.said, phrase)
        assert lab.badge == "locked for ever" and lab.state.lesson == "all-equal"
    lab.one("[data-do=file]").send_keys(str(saved))
    lab.reaches(50)
    assert lab.shown == (state, selection) and lab.said == ""
    lab.driver.back()
    lab.until(lambda: lab.badge == "locked for ever")


@pytest.mark.slow
def test_near_twins_are_told_when_they_will_be_apart(lab: Lab) -> None:
    lab.open("?lesson=near-twins")
    lab.until(lambda: "reaches 1 % of them at about step" in lab.one(".ahead").text)
    lab.click("[data-unit='1,1']")
    lab.until(lambda: lab.one(".ahead").text == "")
    lab.open("?lesson=dropout")
    lab.do("ahead")
    lab.until(lambda: lab.one(".ahead").text.startswith("No forecast"))
    assert "dropout gives each unit noise of its own" in lab.one(".ahead").text


def test_a_tab_that_nobody_looks_at_draws_nothing_and_catches_up(lab: Lab) -> None:
    lab.open()
    count = "return getElement(document.querySelector('.graph').id.slice(1)).frames"
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    hide += "document.dispatchEvent(new Event('visibilitychange'))"
    lab.driver.execute_script(hide % "true")
    before, at = lab.driver.execute_script(count), lab.one("[data-do=step-count]").text
    lab.do("play")
    lab.until(lambda: lab.step > 5)
    assert (lab.driver.execute_script(count), lab.one("[data-do=step-count]").text) == (before, at)
    lab.driver.execute_script(hide % "false")
    lab.until(lambda: lab.driver.execute_script(count) > before)
    assert lab.one("[data-do=step-count]").text != at


def test_comparing_two_weights_names_w5_and_w6(lab: Lab) -> None:
    lab.open("?lesson=incoming-equal")
    lab.until(
        lambda: lab.verdict == "dJ/dw1 and dJ/dw3 differ because w5 = 0.5 and w6 = -0.3 differ."
    )
    lit = [row.text for row in lab.all(".chains tr.differ")]
    assert len(lit) == 1 and "dz3/da1 = w5" in lit[0] and "dz3/da2 = w6" in lit[0]
    chains = [{e.get_attribute("data-weight") for e in lab.all(f".edge.chain{n}")} for n in (0, 1)]
    assert chains == [{"w1", "w5"}, {"w3", "w6"}]
    lab.click("[data-weight=w3]")
    lab.until(
        lambda: "dJ/dw1 = dJ/da3 · da3/dz3 · dz3/da1 · da1/dz1 · dz1/dw1" in lab.one(".chains").text
    )


def test_numbers_on_the_page_are_the_librarys(lab: Lab) -> None:
    state = State(hidden=(3,), seed=7, data="xor")
    lab.open("?s=" + encoded(state))
    lab.click("[data-weight=w1]")
    lab.click("[data-weight=w3]")
    lab.do("hundred")
    lab.reaches(100)
    model, (x, y) = nets.network(state), points("xor", 200, 0.0, 0)
    history = train(
        model, x, y, loss=nets.LOSSES["bce"], optimizer=nets.optimizer(state), steps=100, seed=7
    )
    texts = dict(
        re.findall(
            r"(\w+) = (\S+)",
            " ".join(e.get_attribute("aria-label").split(",")[0] for e in lab.all("[data-weight]")),
        )
    )
    assert texts == {name: number(history.after(name)) for name in history.course}
    assert float(lab.one("[data-curve='0']").text) == float(f"{float(history.losses[-1]):.4g}")
    assert float(lab.one("[data-curve='2']").text) == float(
        f"{float(history.distance('0', 0, 1)[-1]):.4g}"
    )
    found = compare(model, x, y, nets.LOSSES["bce"], "w1", "w3")
    lab.until(lambda: lab.verdict == found.verdict)
    gradients = [e.text for e in lab.all("[data-gradient]")]
    assert gradients == [number(found.a.gradient), number(found.b.gradient)]


def test_a_link_reproduces_the_weights_in_a_fresh_browser(lab: Lab, tmp_path: Path) -> None:
    lab.open(
        "?s=" + encoded(State(hidden=(3, 2), activation="tanh", batch=16, dropout=0.1, seed=3))
    )
    link = lab.driver.current_url
    seen = [after_a_hundred(lab)]
    driver = chromium(tmp_path)
    try:
        seen.append(after_a_hundred(Lab(driver, link).open()))
    finally:
        driver.quit()
    assert seen[0] == seen[1] and len(set(seen[0])) == 20


def after_a_hundred(lab: Lab) -> tuple[float, ...]:
    """All weights but the first after 100 updates, to the last bit: an edit writes them into the address."""
    lab.do("hundred")
    lab.reaches(100)
    lab.click("[data-weight=w1]")
    lab.until(lambda: lab.all("[data-edit=w1]"))
    lab.type("[data-edit=w1]", "0.5")
    lab.until(lambda: lab.state.weights is not None)
    assert lab.state.weights is not None and lab.state.weights[0] == 0.5
    return lab.state.weights


def test_back_forward_and_reload(lab: Lab) -> None:
    lab.open("?lesson=all-equal")
    lab.do("tie-both")
    lab.pick("Lesson", "7. Mirror units")
    lab.until(lambda: lab.badge.startswith("mirror"))
    lab.pick("Activation", "sigmoid")
    lab.until(lambda: not lab.badge.startswith("mirror") and lab.state.activation == "sigmoid")
    lab.driver.back()
    lab.until(lambda: lab.badge.startswith("mirror") and lab.state.activation == "tanh")
    lab.driver.back()
    lab.until(lambda: lab.badge == "locked for ever")
    lab.driver.forward()
    lab.until(lambda: lab.badge.startswith("mirror"))
    lab.do("hundred")
    lab.reaches(100)
    weight = lab.one("[data-weight=w1]").get_attribute("aria-label")
    lab.driver.refresh()
    lab.ready().reaches(100)
    assert lab.one("[data-weight=w1]").get_attribute("aria-label") == weight
    assert lab.badge.startswith("mirror")


def test_two_tabs_have_states_of_their_own(lab: Lab) -> None:
    lab.open("?lesson=all-equal")
    one = lab.driver.current_window_handle
    lab.driver.switch_to.new_window("tab")
    lab.open("?lesson=incoming-equal")
    lab.do("hundred")
    lab.reaches(100)
    two = lab.driver.current_window_handle
    lab.driver.switch_to.window(one)
    assert (lab.step, lab.badge) == (0, "locked for ever")
    lab.driver.switch_to.window(two)
    lab.driver.close()
    lab.driver.switch_to.window(one)


@pytest.mark.slow
def test_a_closed_tab_trains_no_longer(lab: Lab, served: Served) -> None:
    here = lab.driver.current_window_handle
    lab.driver.switch_to.new_window("tab")
    lab.open()
    lab.do("play")
    lab.until(lambda: lab.step > 20)
    assert worked(served, 2) > 0.1
    lab.driver.close()
    lab.driver.switch_to.window(here)
    lab.until(lambda: worked(served, 5) == 0, "the worker rests")


def worked(served: Served, seconds: float) -> float:
    """Seconds of CPU that the server's worker processes use within so many."""

    def used() -> float:
        own = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
        stats = [Path(f"/proc/{p}/stat").read_text("utf-8") for p in own.read_text("utf-8").split()]
        ticks = [stat.rsplit(")", 1)[1].split()[11:13] for stat in stats]
        return sum(int(t) for pair in ticks for t in pair) / os.sysconf("SC_CLK_TCK")

    before = used()
    time.sleep(seconds)
    return used() - before


def test_play_pause_same_start_and_new_start(lab: Lab) -> None:
    lab.open()
    before = lab.one("[data-weight=w1]").get_attribute("aria-label")
    lab.do("play")
    lab.until(lambda: lab.step > 20)
    assert lab.one("[data-do=play]").text == "Pause"
    lab.do("play")
    lab.until(lambda: lab.state.steps == lab.step > 20)
    lab.do("restart")
    lab.until(lambda: lab.step == 0)
    lab.until(lambda: lab.one("[data-weight=w1]").get_attribute("aria-label") == before)
    lab.do("new-start")
    lab.until(lambda: lab.one("[data-weight=w1]").get_attribute("aria-label") != before)
    lab.do("step")
    lab.reaches(1)


def test_tying_and_untying_change_the_badge(lab: Lab) -> None:
    lab.open()
    for button, text in [
        ("tie-incoming", "will separate, because w5 ≠ w6"),
        ("tie-both", "locked for ever"),
        ("untie", "separate from the start, because w1 ≠ w3"),
        ("tie-outgoing", "separate from the start, because w1 ≠ w3"),
        ("tie-incoming", "locked for ever"),
    ]:
        lab.do(button)
        lab.until(lambda text=text: lab.badge == text, text)
    lab.click(".ties .switch input")
    lab.until(lambda: lab.badge == TEXTS["noise"])
    lab.click(".ties .switch input")
    lab.until(lambda: lab.badge == "locked for ever")
    lab.do("add-layer")
    lab.until(lambda: lab.state.hidden == (2, 2) and lab.badge == "will separate, because w5 ≠ w6")
    assert lab.said == ""


def test_the_largest_network_is_drawn_and_trained(lab: Lab) -> None:
    lab.open("?s=" + encoded(State(hidden=(8, 8, 8, 8), activation="tanh", data="spiral", lr=0.01)))
    assert len(lab.all("[data-unit]")) == 2 + 32 + 1 and len(lab.all(".edge")) == 216
    lab.do("hundred")
    lab.reaches(100)
    lab.click("[data-unit='3,4']")
    lab.until(
        lambda: (
            "unit 21" in lab.one(".curves").text
            or lab.one("[data-unit='3,4']").get_attribute("aria-pressed") == "true"
        )
    )
    lab.click("[data-weight='b[3][4]'] .knob")
    lab.until(lambda: lab.all("[data-edit='b[3][4]']"))
    lab.type("[data-edit='b[3][4]']", "0.5")
    named = lambda: lab.one("[data-weight='b[3][4]']").get_attribute("aria-label")  # noqa: E731
    lab.until(lambda: named() == "b[3][4] = 0.5, bias of unit 21")
    lab.shoot(SHOTS / "largest.png")


def test_a_wrong_address_shows_the_default_network_and_says_why(lab: Lab) -> None:
    for search, phrase in [
        ("?s=nonsense", "holds no state of the lab"),
        ("?s=" + encoded(State(seed=4)) + "xx", "holds no state of the lab"),
        ("?lesson=<script>alert(1)</script>", "there is no lesson of that name"),
    ]:
        lab.open(search)
        lab.until(lambda phrase=phrase: phrase in lab.said, phrase)
        assert "The default network is shown" in lab.said and lab.state == State()
    lab.type("[data-field=lr]", "-3")
    lab.until(lambda: "lr: -3 is less than the minimum" in lab.said)
    lab.until(lambda: lab.one("[data-field=lr]").get_property("value") == "0.05")


def test_keyboard_alone_reaches_weights_and_units(lab: Lab) -> None:
    lab.open("?lesson=outgoing-equal")
    lab.driver.execute_script("document.querySelector('.graph svg [tabindex=\"0\"]').focus()")
    press = lambda *keys: lab.driver.switch_to.active_element.send_keys(*keys)  # noqa: E731
    press(Keys.ARROW_RIGHT)
    press(Keys.ARROW_RIGHT)
    assert lab.driver.switch_to.active_element.get_attribute("data-weight") == "w3"
    press(Keys.ENTER)
    lab.until(lambda: lab.one("[data-weight=w3]").get_attribute("aria-pressed") == "false")
    for _ in range(4):
        press(Keys.ARROW_RIGHT)
    assert lab.driver.switch_to.active_element.get_attribute("data-unit") == "1,0"
    press(Keys.SPACE)
    lab.until(lambda: lab.badge == "choose two units of one layer")


def test_quick_clicks_all_count_and_the_focus_stays(lab: Lab) -> None:
    lab.open("?lesson=outgoing-equal")
    more = "[aria-label='one unit more in layer 1']"
    lab.driver.execute_script(
        "const more = document.querySelector(arguments[0]); more.click(); more.click()", more
    )
    lab.until(lambda: lab.state.hidden == (4,))
    lab.one(more).send_keys(Keys.ENTER, Keys.ENTER)
    lab.until(lambda: lab.state.hidden == (6,))
    focus = lambda: lab.driver.switch_to.active_element  # noqa: E731
    focus().send_keys(Keys.ENTER, Keys.ENTER, Keys.ENTER)
    lab.until(lambda: lab.state.hidden == (8,))  # and no more
    assert lab.one(more).get_attribute("aria-disabled") == "true" and focus() == lab.one(more)
    lab.all(".ties [aria-label=Units] button")[3].send_keys(Keys.SPACE)
    lab.until(lambda: lab.shown[1].units == (0, 1, 3))
    assert focus().text == "unit 4" and focus().get_attribute("aria-pressed") == "true"
    lab.one("[data-weight=w1]").send_keys("++")
    lab.until(lambda: lab.state.weights is not None and lab.state.weights[0] == 0.6)
    lab.do("step")
    lab.do("step")
    lab.reaches(2)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault_and_nothing_sticks_out(
    lab: Lab, width: int, scheme: str
) -> None:
    source = os.environ.get("AXE") or files("axe_core_python").joinpath("axe.min.js")
    lab.driver.set_window_size(width, 900)
    lab.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    lab.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    try:
        lab.open("?lesson=incoming-equal")
        lab.do("show-me")
        lab.reaches(200)
        lab.driver.execute_script(
            "document.querySelectorAll('details').forEach((d) => { d.open = true; })"
        )
        lab.driver.execute_script(Path(str(source)).read_text("utf-8"))
        found = lab.driver.execute_async_script("axe.run().then(arguments[0])")
        faults = [
            (fault["impact"], fault["id"], [node["html"][:200] for node in fault["nodes"]])
            for fault in found["violations"]
            if fault["impact"] in ("serious", "critical")
        ]
        assert faults == []
        wide = lab.driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
        lab.driver.execute_script(
            "document.querySelectorAll('details').forEach((d) => { d.open = false; })"
        )
        tall = lab.driver.execute_script("return document.documentElement.scrollHeight")
        lab.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": tall, "deviceScaleFactor": 1, "mobile": False},
        )
        time.sleep(0.5)
        SHOTS.mkdir(parents=True, exist_ok=True)
        lab.driver.save_screenshot(str(SHOTS / f"page-{width}-{scheme}.png"))
    finally:
        lab.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        lab.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        lab.driver.set_window_size(1280, 900)


def test_exports_arrive(lab: Lab, tmp_path: Path) -> None:
    lab.driver.execute_cdp_cmd(
        "Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    lab.open("?lesson=random")
    lab.do("hundred")
    lab.reaches(100)
    wanted = {
        "JSON": "lockstep-lab.json",
        "Python": "lockstep_lab.py",
        "Network SVG": "network.svg",
        "Network PNG": "network.png",
        "Curves SVG": "distances.svg",
        "Curves PNG": "distances.png",
    }
    for text, name in wanted.items():
        lab.driver.execute_script(
            "[...document.querySelectorAll('.exports button')].find((b) => b.textContent === arguments[0]).click()",
            text,
        )
        lab.until(lambda name=name: (tmp_path / name).is_file(), name)
    assert json.loads((tmp_path / "lockstep-lab.json").read_text("utf-8"))["steps"] == 100
    assert "train(" in (tmp_path / "lockstep_lab.py").read_text("utf-8")
    assert all(
        (tmp_path / f"{stem}.svg").read_text("utf-8").startswith("<svg")
        for stem in ("network", "loss", "weights")
    )
    assert all(
        (tmp_path / f"{stem}.png").read_bytes()[:4] == b"\x89PNG"
        for stem in ("network", "loss", "weights")
    )
