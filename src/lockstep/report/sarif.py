"""SARIF 2.1.0, the format of code scanning: one run, nine rules, one result a finding.

The physical location is the file and line of TARGET where there is one, the logical location the
layer or parameter. ``partialFingerprints`` let a viewer follow a finding from run to run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lockstep.errors import LockstepError
from lockstep.report.fingerprint import fingerprints
from lockstep.report.rules import Rule, rules
from lockstep.report.text import assumptions_line, evidence_line
from lockstep.types import Audit, Finding

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def log(audit: Audit, file: Path | None = None, line: int | None = None) -> str:
    """The audit as the text of a SARIF file; ``file`` and ``line`` say where the model is made."""
    codes = list(rules())
    results = [
        _result(finding, identity, codes, file, line)
        for finding, identity in zip(audit.findings, fingerprints(audit), strict=True)
    ]
    invocation = {
        "executionSuccessful": True,
        "properties": {
            "assumptions": assumptions_line(audit.assumptions),
            "evidence": evidence_line(audit.evidence),
            "digest": audit.digest,
        },
    }
    return _written(invocation, results)


def refusal(error: LockstepError, target: str) -> str:
    """A run without results that says why there are none."""
    notification = {
        "level": "error",
        "message": {"text": f"{target}: {error}"},
        "descriptor": {"id": type(error).__name__},
    }
    return _written(
        {
            "executionSuccessful": False,
            "exitCode": error.exit_code,
            "toolExecutionNotifications": [notification],
        },
        [],
    )


def _written(invocation: dict[str, Any], results: list[dict[str, Any]]) -> str:
    from lockstep import __version__  # the root gathers everything; it is imported on use

    driver = {
        "name": "Lockstep",
        "semanticVersion": __version__,
        "rules": [_rule(found) for found in rules().values()],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "results": results,
        "columnKind": "unicodeCodePoints",
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(found: Rule) -> dict[str, Any]:
    return {
        "id": found.code,
        "name": "".join(word.capitalize() for word in found.name.split("-")),
        "shortDescription": {"text": found.name.replace("-", " ")},
        "fullDescription": {"text": found.summary},
        "help": {"text": found.text, "markdown": found.text},
        "defaultConfiguration": {"level": "warning" if found.locking else "note"},
    }


def _result(
    finding: Finding, identity: str, codes: list[str], file: Path | None, line: int | None
) -> dict[str, Any]:
    cure = f". Cure: {finding.cure}" if finding.cure else ""
    known = finding.code in codes
    return {
        "ruleId": finding.code,
        **({"ruleIndex": codes.index(finding.code)} if known else {}),
        "level": "warning" if known and rules()[finding.code].locking else "note",
        "message": {"text": f"{finding.where}: {finding.message}{cure}"},
        "locations": [_location(finding, file, line)],
        "partialFingerprints": {"lockstepFinding/v1": identity},
    }


def _location(finding: Finding, file: Path | None, line: int | None) -> dict[str, Any]:
    kind = "member" if finding.code in ("LS004", "LS009") else "module"
    logical = {"fullyQualifiedName": finding.where, "kind": kind}
    location: dict[str, Any] = {"logicalLocations": [logical]}
    if file is not None:
        artifact = _artifact(file)
        location["physicalLocation"] = {"artifactLocation": artifact}
        if line is not None:
            location["physicalLocation"]["region"] = {"startLine": line}
    return location


def _artifact(file: Path) -> dict[str, str]:
    """Relative to the working folder where possible: viewers match it with the repository."""
    whole = file.resolve()
    try:
        relative = whole.relative_to(Path.cwd().resolve())
    except ValueError:
        return {"uri": whole.as_uri()}
    # A path is not a URI: spaces, '#' and '%' must be quoted, which as_uri does.
    uri = (Path("/") / relative).as_uri().removeprefix("file:///")
    return {"uri": uri, "uriBaseId": "%SRCROOT%"}
