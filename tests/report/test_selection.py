from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report import made

from lockstep.errors import UsageError
from lockstep.report.selection import chosen, patterns, read_baseline, write_baseline
from lockstep.types import Finding, Group


def codes(select: list[str], ignore: list[str]) -> list[str]:
    selected, ignored = patterns(select, ignore)
    kept = chosen(made.everything(), selected, ignored).findings
    return sorted({finding.code for finding in kept})


ALL = ["LS001", "LS002", "LS003", "LS004", "LS005", "LS006"]


@pytest.mark.parametrize(
    ("select", "ignore", "left"),
    [
        ([], [], ALL),
        (["LS"], [], ALL),
        (["LS00"], [], ALL),
        (["LS001,LS004"], [], ["LS001", "LS004"]),
        (["LS001", "ls004"], ["LS004"], ["LS001"]),
        ([], ["LS00"], []),
        ([], ["LS001:0"], ALL),  # the LSTM's stay
        ([], ["LS001:0", "LS001:lstm[l0]"], ALL[1:]),
        ([], ["LS001:*"], ALL[1:]),
        ([], ["LS004:h.?.key.bias"], [code for code in ALL if code != "LS004"]),
        ([], ["LS004:h.1.*"], ALL),
    ],
)
def test_select_and_ignore(select: list[str], ignore: list[str], left: list[str]) -> None:
    assert codes(select, ignore) == left


def test_all_unknown_codes_are_reported_at_once() -> None:
    with pytest.raises(UsageError, match="no such code; known are 'LS001'") as caught:
        patterns(["LS10", "XY"], ["FOO:bar"])
    assert [text in str(caught.value) for text in ("'LS10'", "'XY'", "'FOO:bar'")] == [True] * 3


def test_places_belong_to_ignore() -> None:
    with pytest.raises(UsageError, match="places can be given to --ignore only"):
        patterns(["LS001:0"], [])


def test_a_baseline_hides_what_was_known(tmp_path: Path) -> None:
    file = tmp_path / "known.json"
    write_baseline(made.everything(), file)
    assert chosen(made.everything(), baseline=read_baseline(file)).findings == ()
    assert chosen(made.everything(), baseline=read_baseline(file)).ok


def test_a_baseline_does_not_hide_new_locks(tmp_path: Path) -> None:
    file = tmp_path / "known.json"
    write_baseline(made.everything(), file)
    audit = made.everything()
    more = replace(
        audit,
        locked=(*audit.locked, Group("twin", "0", (2, 3))),
        findings=(*audit.findings, Finding("LS004", "new.bias", "m")),
    )
    left = chosen(more, baseline=read_baseline(file)).findings
    assert [(item.code, item.where) for item in left] == [("LS001", "0"), ("LS004", "new.bias")]


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        (None, "there is no such file"),
        ("{", "cannot be read"),
        ("[]", "should be 'lockstep-baseline/1'"),
        ('{"schema": "lockstep-baseline/1", "findings": [{}]}', "a row has no fingerprint"),
    ],
)
def test_bad_baselines_say_how_to_write_one(tmp_path: Path, text: str | None, phrase: str) -> None:
    file = tmp_path / "known.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=phrase) as caught:
        read_baseline(file)
    assert "--write-baseline" in str(caught.value)
