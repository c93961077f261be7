from __future__ import annotations

import re
from typing import Any

import pytest

from lockstep.errors import UsageError
from lockstep.report.rules import required, rule, rules
from lockstep.types import LOCKING_CODES

NAMES = {
    "LS001": "locked-units",
    "LS002": "mirror-units",
    "LS003": "locked-modules",
    "LS004": "frozen-parameter",
    "LS005": "balanced-units",
    "LS006": "forward-twins",
    "LS007": "copied-modules",
    "LS008": "saved-by-noise",
    "LS009": "not-exercised",
}


def test_every_code_has_its_page() -> None:
    assert {code: found.name for code, found in rules().items()} == NAMES
    assert tuple(code for code, found in rules().items() if found.locking) == LOCKING_CODES


@pytest.mark.parametrize("code", NAMES)
def test_a_page_holds_mathematics_example_cure_and_sources(code: str) -> None:
    sections = re.findall(r"^## (.*)$", required(code).text, flags=re.MULTILINE)
    assert sections == ["Mathematics", "Example", "Cure", "Sources"]
    assert required(code).summary.endswith(".")


@pytest.mark.parametrize("code", NAMES)
def test_the_example_runs_and_gives_its_code(code: str) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", required(code).text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, f"{code}.md", "exec"), names)
    assert code in {finding.code for finding in names["result"].findings}


def test_unknown_codes_are_refused_with_the_known_ones() -> None:
    assert rule("LS999") is None
    assert required(" ls004 ").code == "LS004"
    with pytest.raises(UsageError, match="no rule 'LS04'; the codes are 'LS004'"):
        required("LS04")
