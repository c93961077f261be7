from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from report import made

from lockstep.errors import UndecidedError
from lockstep.report import sarif
from lockstep.report.fingerprint import fingerprints
from lockstep.types import Finding, Group

SCHEMA = json.loads(Path(__file__).with_name("sarif-2.1.0-rtm.5.json").read_text("utf-8"))


def valid(text: str) -> dict[str, Any]:
    log: dict[str, Any] = json.loads(text)
    jsonschema.Draft4Validator(SCHEMA).validate(log)
    return log


def test_logs_follow_the_standard(tmp_path: Path) -> None:
    for audit in (made.clean(), made.everything()):
        assert valid(sarif.log(audit))["version"] == "2.1.0"
        assert valid(sarif.log(audit, tmp_path / "a b#.py", 3))["runs"]


def test_the_schema_can_fail() -> None:
    log = json.loads(sarif.log(made.everything()))
    del log["runs"][0]["results"][0]["message"]
    with pytest.raises(jsonschema.ValidationError, match="'message' is a required property"):
        valid(json.dumps(log))


def test_rules_carry_their_help() -> None:
    rules = valid(sarif.log(made.clean()))["runs"][0]["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [f"LS00{n}" for n in range(1, 10)]
    assert rules[0]["name"] == "LockedUnits"
    assert "dJ/dw1" in rules[0]["help"]["markdown"]
    levels = [rule["defaultConfiguration"]["level"] for rule in rules]
    assert levels == ["warning"] * 5 + ["note"] * 4


def test_results_point_to_the_file_and_the_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "my nets" / "net.py"
    results = valid(sarif.log(made.everything(), file, 12))["runs"][0]["results"]
    assert len(results) == len(made.everything().findings)
    place = results[0]["locations"][0]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "my%20nets/net.py", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 12},
    }
    assert place["logicalLocations"] == [{"fullyQualifiedName": "0", "kind": "module"}]
    assert results[0]["ruleIndex"] == 0
    assert "Cure: initialise at random" in results[0]["message"]["text"]


def test_a_refusal_is_an_unsuccessful_run() -> None:
    run = valid(sarif.refusal(UndecidedError("no rule"), "t.py:net"))["runs"][0]
    assert run["results"] == []
    assert run["invocations"][0]["executionSuccessful"] is False
    notes = run["invocations"][0]["toolExecutionNotifications"]
    assert notes[0]["message"]["text"] == "t.py:net: no rule"


def test_fingerprints_survive_wording_seed_and_order() -> None:
    audit = made.everything()
    reworded = replace(
        audit,
        findings=tuple(
            replace(item, message="new words", cure="x") for item in audit.findings[::-1]
        ),
        evidence=replace(audit.evidence, lanes=((1048573, 99),)),
    )
    assert fingerprints(audit) == fingerprints(reworded)[::-1]
    assert len(set(fingerprints(audit))) == len(audit.findings)


def test_a_new_lock_in_a_known_layer_is_new() -> None:
    before = made.audit(
        made.layer("0", 4, (0, 1)),
        locked=(Group("twin", "0", (0, 1)),),
        findings=(Finding("LS001", "0", "m"),),
    )
    after = replace(before, locked=(*before.locked, Group("twin", "0", (2, 3))))
    assert fingerprints(before) != fingerprints(after)
