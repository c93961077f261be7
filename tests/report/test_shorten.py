from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.made import layer

from lockstep.report.shorten import entries, families, ranges, tied
from lockstep.suggest import closest_first
from lockstep.types import Finding


@pytest.mark.parametrize(
    ("units", "text"),
    [
        ([], ""),
        ([3], "3"),
        ([3, 4], "3, 4"),
        ([3, 4, 5], "3-5"),
        ([0, 1, 2, 3, 7, 9, 10], "0-3, 7, 9, 10"),
        (range(0, 40, 2), "0, 2, 4, 6, 8, 10, 12, 14, +12"),
    ],
)
def test_ranges(units: list[int], text: str) -> None:
    assert ranges(units) == text


@given(st.sets(st.integers(0, 60)))
def test_ranges_lose_no_unit(units: set[int]) -> None:
    read: list[int] = []
    for part in filter(None, ranges(sorted(units), most=100).split(", ")):
        first, _, last = part.partition("-")
        read += range(int(first), int(last or first) + 1)
    assert read == sorted(units)


def test_tied_leaves_out_what_is_apart() -> None:
    assert tied(layer("0", 5, (0, 3))) == "{0, 3}"
    assert tied(layer("0", 5)) == ""
    assert tied(layer("0", 12, *((n, n + 1) for n in range(0, 12, 2)))).endswith("{6, 7} +2 more")


def test_findings_that_differ_in_the_place_only_are_one_entry() -> None:
    rows = entries(
        [
            Finding("LS006", "0", "other"),
            Finding("LS004", "h.0.bias", "all 2 entries of h.0.bias never learn"),
            Finding("LS004", "h.1.bias", "all 2 entries of h.1.bias never learn"),
            Finding("LS004", "h.2.bias", "all 3 entries of h.2.bias never learn"),
        ]
    )
    assert [row.code for row in rows] == ["LS004", "LS004", "LS006"]
    assert rows[0].places == ("h.0.bias", "h.1.bias")
    assert rows[0].message == "all 2 entries of each never learn"
    assert rows[1].message == "all 3 entries of h.2.bias never learn"


def test_a_place_named_0_does_not_eat_the_numbers_of_its_message() -> None:
    rows = entries(
        [Finding("LS001", "0", "units 0.5 of 0.weight[0,0]"), Finding("LS001", "1", "x")]
    )
    assert rows[0].message == "units 0.5 of 0.weight[0,0]"


def test_families_join_the_same_module_of_every_block() -> None:
    places = [f"h.{n}.attn.{m}.bias" for n in range(4) for m in ("k", "q")]
    assert families(places) == ["h.{0-3}.attn.k.bias", "h.{0-3}.attn.q.bias"]
    assert families(["a.0", "a.1"]) == ["a.0", "a.1"]
    assert families([]) == []


@given(st.lists(st.from_regex(r"[ab]\.[0-9]\.[0-9]", fullmatch=True), unique=True))
def test_families_name_every_place(places: list[str]) -> None:
    shown = " ".join(families(places))
    assert all(place in shown or "{" in shown for place in places)
    assert len(families(places)) <= len(places)


def test_the_closest_name_stands_first() -> None:
    assert closest_first("layer1.conv", ["fc", "layer1.conv2"]).startswith("'layer1.conv2'")
    assert closest_first("x", []) == "none"
    assert closest_first("x", [str(n) for n in range(20)]).endswith("and 12 more")
