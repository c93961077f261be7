from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

from report import made

from lockstep.errors import UndecidedError
from lockstep.report import html, picture
from lockstep.types import Finding

VOID = {"meta", "br"}


class Nesting(HTMLParser):
    """Collects tags that are closed out of order, and the names of all."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def parsed(text: str) -> Nesting:
    reader = Nesting()
    reader.feed(text)
    assert reader.open == []
    assert reader.wrong == []
    return reader


def test_the_page_is_well_formed_and_needs_no_network() -> None:
    text = html.page(made.everything())
    reader = parsed(text)
    assert not {"script", "link", "img", "iframe"} & set(reader.tags)
    assert not re.search(r"https?://|@import|url\((?!#)", text)


def test_light_and_dark() -> None:
    assert "prefers-color-scheme: dark" in html.page(made.clean())


def test_everything_from_the_model_is_escaped() -> None:
    evil = "<script>alert('x')</script>"
    audit = made.audit(
        made.layer(evil, 2, (0, 1)),
        findings=(Finding("LS001", evil, evil, evil), Finding("LS<99", evil, evil)),
        model=evil,
        digest=evil,
        inputs=((evil, evil, (4,)),),
    )
    text = html.page(audit)
    assert "<script" not in text
    parsed(text)


def test_findings_are_rows_with_their_cure() -> None:
    text = html.page(made.everything())
    assert text.count("<tr>") == 1 + 7  # the heading, and three key biases in one row
    assert "Cure: initialise at random" in text
    assert "h.{0-2}.key.bias" in text


def test_a_notebook_gets_the_fragment() -> None:
    fragment = made.everything()._repr_html_()
    assert fragment.startswith('<div class="lockstep">')
    assert fragment in html.page(made.everything())


def test_units_of_one_class_share_a_shade() -> None:
    audit = made.everything()
    ranks = [shade.rank for shade in picture.shades(audit, audit.layers["lstm[l0]"])]
    assert ranks == [0, 0, 1, 1, 1]
    mirrored = picture.shades(audit, audit.layers["mirror"])
    assert [shade.rank for shade in mirrored] == [0, -1, 0]
    assert [shade.negative for shade in mirrored] == [False, False, True]


def test_a_cell_a_unit_and_a_bar_for_wide_layers() -> None:
    narrow, wide = made.layer("narrow", 6, (0, 5)), made.layer("wide", 3000, tuple(range(1000)))
    audit = made.audit(narrow, wide)
    cells = ElementTree.fromstring(picture.network(audit, [narrow]))
    assert len(cells.findall(".//rect[@class='alone']")) == 4
    assert len(cells.findall(".//rect[@class='k0']")) == 2
    bar = ElementTree.fromstring(picture.network(audit, [wide]))
    lengths = [float(box.attrib["width"]) for box in bar.findall("./g/g/rect")]
    assert len(lengths) == 2
    assert abs(lengths[1] / lengths[0] - 2) < 0.05
    assert "A × 1000" in "".join(bar.itertext())


def test_deep_networks_keep_quiet_layers_behind_a_click() -> None:
    text = html.page(made.deep(60))
    assert "59 more layers" in text
    assert "<details>" in text
    assert "<details>" not in html.page(made.deep(10))


def test_a_refusal_has_a_page_too() -> None:
    text = html.refusal(UndecidedError("no rule for <op>"), "nets.py:net")
    parsed(text)
    assert "could not decide" in text
    assert "no rule for &lt;op&gt;" in text
