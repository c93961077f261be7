from __future__ import annotations

import io
from dataclasses import replace

import pytest
from report import made
from rich.console import Console

from lockstep.report.text import assumptions_line, evidence_line, plain, verdict_line
from lockstep.types import Evidence, Finding


def test_a_row_a_layer_with_its_effective_width() -> None:
    text = str(made.everything())
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "0 4 3 of 4 {0, 1}" in rows
    assert "lstm[l0] 5 2 of 5 {0, 1} {2-4}" in rows
    assert "2 1 1 of 1" in rows


def test_findings_show_code_name_place_reason_and_cure() -> None:
    text = str(made.everything())
    for phrase in (
        "LS001",
        "locked-units",
        "units {0, 1} can never differentiate",
        "cure: initialise at random",
        "h.{0-2}.key.bias",
        "all 4 entries of each never learn",
    ):
        assert phrase in text


def test_assumptions_and_evidence_are_printed_with_every_verdict() -> None:
    words = " ".join(str(made.clean()).split())
    for phrase in (
        "any elementwise optimizer",
        "any loss of the outputs",
        "any data",
        "train mode",
        "noise in drop",
        "note",
        "3 symbolic steps",
        "1048573, 1048571",
        "at most 1.3e-09",
    ):
        assert phrase in words


@pytest.mark.parametrize(
    ("codes", "line"),
    [
        ([], "clean: nothing reported is locked or frozen"),
        (["LS006"], "clean: nothing reported is locked or frozen; 1 that informs"),
        (["LS001"], "not clean: 1 finding locks or freezes something (LS001)"),
        (
            ["LS004", "LS001", "LS009", "LS008"],
            "not clean: 2 findings lock or freeze something (LS001, LS004); 2 that inform",
        ),
    ],
)
def test_the_verdict_in_one_line(codes: list[str], line: str) -> None:
    findings = tuple(Finding(code, "0", "m") for code in codes)
    assert verdict_line(replace(made.clean(), findings=findings)) == line


def test_differences_are_certain_when_nothing_is_claimed() -> None:
    nothing = Evidence(((1048573, 0),), 1, 4, 0, 0.0)
    assert evidence_line(nothing) == (
        "Pattern fixed after 1 symbolic step; 1 run modulo 1048573; "
        "no equality claimed, and differences are certain."
    )
    claimed = evidence_line(replace(nothing, claims=1))
    assert "1 equality or zero claimed" in claimed
    assert "taken as independent" in claimed


def test_given_data_are_named() -> None:
    assert "the given data" in assumptions_line(replace(made.ASSUMPTIONS, data="given"))


def test_very_deep_networks_show_what_needs_attention() -> None:
    text = str(made.deep(60))
    assert "block.7 " in text
    assert "block.8 " not in text
    assert "59 more layers" in text
    assert "block.8 " in str(made.deep(40))


def test_names_from_the_model_are_not_markup() -> None:
    odd = made.audit(made.layer("[bold]x[/bold]", 2, (0, 1)), model="[red]m[/red]")
    assert "[bold]x[/bold]" in str(odd)
    assert "[red]m[/red]" in str(odd)


def test_colours_on_a_terminal_only() -> None:
    assert "\x1b" not in plain(made.everything())
    shown = io.StringIO()
    Console(file=shown, force_terminal=True, width=100).print(made.everything())
    assert "\x1b[" in shown.getvalue()


def test_small_values_print_themselves() -> None:
    audit = made.everything()
    assert str(audit.layers["lstm[l0]"]) == "lstm[l0]: 2 of 5 {0, 1} {2-4}"
    assert [str(group) for group in audit.locked] == [
        "twin in 0: {0, 1}",
        "mirror in mirror: {+0, -2}",
        "twin in lstm[l0]: {0, 1}",
        "balanced in lstm[l0]: {2, 3, 4}",
        "module: a = b",
    ]
    assert str(audit.frozen[0]) == "conv.bias: 2 of 3 entries frozen"
    assert str(audit.findings[0]).startswith("LS001 0: units {0, 1}")
    assert str(audit.assumptions) == assumptions_line(audit.assumptions)
    assert str(audit.evidence) == evidence_line(audit.evidence)
