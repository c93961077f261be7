"""The command from outside: what is on stdout, what on stderr, and the exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

import lockstep.pipeline
from lockstep import Audit
from lockstep.certificate.form import schema
from lockstep.cli import app
from lockstep.errors import CertificateError
from lockstep.targets import memory

NETS = """
import torch
from torch import nn

def random():
    return nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1))

def tied():
    net = random()
    with torch.no_grad():
        net[0].weight[1] = net[0].weight[0]
        net[0].bias[1] = net[0].bias[0]
        net[2].weight[0, 1] = net[2].weight[0, 0]
    print("the user prints this")
    return net

def forward_twins():
    net = tied()
    net[2].weight.data[0, 1] += 1
    return net

def nan():
    net = random()
    net[0].weight.data[0, 0] = float("nan")
    return net

class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
    def forward(self, x):
        y = self.fc(x)
        if y.sum() > 0:
            return y
        return -y

class Skip(BaseException): ...
def skipped(): raise Skip("not today")
def parallel(): return nn.DataParallel(random())
def empty(): return random(), torch.zeros(0, 2)
def broken():
    raise ValueError("my own mistake")

def tokens():
    return nn.Sequential(nn.Embedding(10, 3), nn.Linear(3, 2))

def lazy():
    return nn.Sequential(nn.LazyLinear(2))

def meta():
    return nn.Linear(2, 2, device="meta")

class Leaving(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
    def forward(self, x):
        raise SystemExit(7)
"""


@pytest.fixture(autouse=True)
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


# -- verdicts --------------------------------------------------------------------------------------


def test_a_tied_network_has_findings() -> None:
    code, out, err = run("audit", "nets.py:tied", "--input", "4,2")
    assert code == 1
    assert "1 of 2" in out
    assert "LS001" in out
    assert "the user prints this" not in out
    assert "the user prints this" in err
    assert "\x1b" not in out + err


def test_a_random_network_is_clean() -> None:
    code, out, err = run("audit", "nets.py:random")
    assert code == 0
    assert "clean" in out
    assert "no --input given: using float32 [4, 2], inferred from 0 (Linear)" in err


def test_findings_that_inform_do_not_fail() -> None:
    code, out, _ = run("audit", "nets.py:forward_twins", "--input", "4,2")
    assert code == 0
    assert "LS006" in out


def test_json_is_the_certificate() -> None:
    code, out, _ = run("audit", "nets.py:tied", "--format", "json")
    assert code == 1
    loaded = json.loads(out)
    jsonschema.Draft202012Validator(schema()).validate(loaded)
    assert loaded["layers"]["0"]["classes"] == [[0, 1]]
    assert Audit.from_json(out).model == "nets.py:tied"


def test_two_runs_see_the_same_network() -> None:
    digests = [
        json.loads(run("audit", "nets.py:random", "--format", "json")[1])["digest"] for _ in "ab"
    ]
    other = run("audit", "nets.py:random", "--format", "json", "--seed", "1")[1]
    assert digests[0] == digests[1] != json.loads(other)["digest"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--optimizer", "sgd", "--momentum", "0.9"], {"update": "additive", "optimizer": "SGD"}),
        (["--update", "additive"], {"update": "additive"}),
        (["--loss", "mse"], {"loss": "mse_loss"}),
        (["--eval"], {"mode": "eval"}),
        (["--data", "given"], {"data": "given"}),
    ],
)
def test_options_reach_the_assumptions(options: list[str], expected: dict[str, str]) -> None:
    _, out, _ = run("audit", "nets.py:tied", "--format", "json", *options)
    assumptions = json.loads(out)["assumptions"]
    found = {name: assumptions[name] for name in expected}
    assert {name: value.split("(")[0].strip() for name, value in found.items()} == expected


# -- formats and files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.html", "<!doctype html>"), ("a.json", "{"), ("a.sarif", "{"), ("a.txt", "nets.py:tied")],
)
def test_output_goes_to_a_file_in_the_format_of_its_ending(name: str, start: str) -> None:
    code, out, err = run("audit", "nets.py:tied", "-o", name)
    assert code == 1
    assert out == ""
    assert f"wrote {name}" in err
    assert Path(name).read_text("utf-8").startswith(start)


def test_sarif_points_to_the_function() -> None:
    _, out, _ = run("audit", "nets.py:tied", "--format", "sarif")
    result = json.loads(out)["runs"][0]["results"][0]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "nets.py"
    line = place["region"]["startLine"]
    assert NETS.splitlines()[line - 1] == "def tied():"


def test_a_file_that_cannot_be_written_is_said_before_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lockstep.pipeline, "audit", lambda *_, **__: pytest.fail("worked"))
    code, _, err = run("audit", "nets.py:tied", "-o", "no/such/report.json")
    assert code == 2
    assert "the folder 'no/such' does not exist" in err.replace("\\", "/")


# -- choosing findings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--select", "LS"], 1),
        (["--select", "LS002,LS004"], 0),
        (["--ignore", "LS001"], 0),
        (["--ignore", "LS001:0"], 0),
        (["--ignore", "LS001:2"], 1),
    ],
)
def test_select_and_ignore_decide_the_exit_code(options: list[str], code: int) -> None:
    assert run("audit", "nets.py:tied", *options)[0] == code


def test_a_baseline_accepts_what_was_known() -> None:
    code, out, err = run("audit", "nets.py:tied", "--write-baseline", "known.json")
    assert code == 0
    assert "LS001" in out
    assert "wrote 1 known finding(s) to known.json" in err
    code, out, _ = run("audit", "nets.py:tied", "--baseline", "known.json")
    assert code == 0
    assert "LS001" not in out


def test_check_takes_the_loss_and_the_optimizer_of_the_audit() -> None:
    options = ["--loss", "mse", "--optimizer", "sgd", "--lr", "0.1"]
    assert run("audit", "nets.py:tied", *options, "-o", "c.json")[0] == 1
    assumed = json.loads(Path("c.json").read_text("utf-8"))["assumptions"]
    assert (assumed["loss"], assumed["optimizer"]) == ("mse_loss", "SGD")
    code, out, err = run("check", "c.json", "nets.py:tied", *options)
    assert (code, "verified" in out) == (0, True), err
    code, _, err = run("check", "c.json", "nets.py:tied", "--loss", "mse", "--optimizer", "adam")
    assert code != 0
    assert "Adam" in err


# -- refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "phrases"),
    [
        (["nets.py:tid"], 2, ["no name 'tid'", "'tied'"]),
        (["net.py:tied"], 2, ["there is no file 'net.py'", "nets.py"]),
        (["nets.py"], 2, ["several candidates", "nets.py:tied"]),
        (["nets.py:broken"], 2, ["my own mistake", "nets.py:42 in broken"]),
        (["nets.py:tied", "--input", "4,3"], 2, ["tried: float32 [4, 3]", "cannot be multiplied"]),
        (["nets.py:tied", "--input", "4,b", "--input", "0"], 2, ["'4,b'", "a size of 0"]),
        (["nets.py:tokens", "--input", "4,8:int64:0-99"], 2, ["10 rows (0 to 9)", "int64:0-9"]),
        (["nets.py:tokens", "--input", "4,8"], 2, ["tried: float32 [4, 8]"]),
        (["nets.py:tied", "--select", "E5", "--ignore", "W"], 2, ["'E5'", "'W'", "'LS001'"]),
        (["nets.py:tied", "--optimizer", "adamm"], 2, ["no such optimizer", "'adam'"]),
        (["nets.py:tied", "--momentum", "1"], 2, ["--momentum given without --optimizer"]),
        (["nets.py:tied", "--loss", "ms"], 2, ["no such loss", "'mse'"]),
        (["nets.py:tied", "--baseline", "none.json"], 2, ["no such file", "--write-baseline"]),
        (["nets.py:tied", "--input", "1000000000,1000000"], 2, ["this input alone", "free"]),
        (["nets.py:tied", "--input", "99999999999999999999,2"], 2, ["this input alone"]),
        (["nets.py:tokens", "--input", "4,8:int8:0-999"], 2, ["does not fit into int8"]),
        (["nets.py:tied", "--seed", "-1"], 2, ["seed -1", "from 0"]),
        (["nets.py:tied", "--seed", "9" * 30], 2, ["a whole number from 0"]),
        (["nets.py:tied", "-o", "nets.py"], 2, ["cannot write 'nets.py'", "name another"]),
        (["nets.py:tied", "-o", "."], 2, ["it is a folder"]),
        (["nets.py:tied", "--write-baseline", "."], 2, ["it is a folder"]),
        (["nets.py:tied", "--write-baseline", "b.json", "-o", "b.json"], 2, ["name another"]),
        (["nets.py:skipped"], 2, ["Skip: not today", "nets.py"]),
        (["nets.py:parallel"], 2, ["nn.DataParallel", ".module"]),
        (["nets.py:empty"], 2, ["the example is empty (input [0, 2])"]),
        (["nets.py:lazy", "--input", "4,2"], 2, ["0.weight", "run the model once"]),
        (["nets.py:meta", "--input", "4,2"], 2, ["meta device", "to_empty"]),
        (["nets.py:Leaving", "--input", "4,2"], 2, ["SystemExit: 7", "Let forward() return"]),
        (["nets.py:nan"], 3, ["could not decide", "0.weight", "NaN"]),
        (["nets.py:Branching"], 3, ["could not decide", "nets.py:33", "if y.sum() > 0"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and "nets" in value[0] else None,
)
def test_refusals_say_what_helps(arguments: list[str], code: int, phrases: list[str]) -> None:
    found, out, err = run("audit", *arguments)
    assert [phrase for phrase in phrases if phrase not in err] == [], err
    assert found == code
    assert out == ""
    assert "Traceback" not in err


def test_a_slip_costs_no_earlier_report_and_no_file_nests_too_deep() -> None:
    run("audit", "nets.py:tied", "-o", "kept.json")
    before = Path("kept.json").read_text("utf-8")
    assert run("audit", "nets.py:tid", "-o", "kept.json")[0] == 2
    assert Path("kept.json").read_text("utf-8") == before
    Path("deep.json").write_text("[" * 100_000, "utf-8")
    for command in (
        ["audit", "nets.py:tied", "--baseline", "deep.json"],
        ["audit", "deep.json"],
        ["check", "deep.json", "nets.py:tied"],
    ):
        code, _, err = run(*command)
        assert code == 2
        assert "recursion" in err


def test_what_nobody_foresaw_is_a_defect_not_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockstep.targets.run.audit", lambda *_: 1 / 0)
    code, out, err = run("audit", "nets.py:tied")
    assert (code, out) == (3, "")
    for phrase in ("defect of Lockstep", "ZeroDivisionError", "LOCKSTEP_DEBUG=1"):
        assert phrase in err


@pytest.mark.parametrize(
    ("target", "code", "status"), [("nets.py:nan", 3, "undecided"), ("nets.py:no", 2, "error")]
)
def test_refusals_are_documents_in_every_format(target: str, code: int, status: str) -> None:
    found, out, err = run("audit", target, "--format", "json")
    assert found == code
    document = json.loads(out)
    jsonschema.Draft202012Validator(schema()).validate(document)
    assert document["status"] == status
    assert document["reason"] in err
    assert json.loads(run("audit", target, "--format", "sarif")[1])["runs"][0]["results"] == []
    run("audit", target, "-o", "a.html")
    assert "verdict bad" in Path("a.html").read_text("utf-8")


def test_a_failure_of_the_engine_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise KeyError("aten.mystery")

    monkeypatch.setattr(lockstep.pipeline, "audit", fails)
    code, out, err = run("audit", "nets.py:tied")
    assert code == 3
    assert out == ""
    for phrase in ("defect of Lockstep, not a verdict", "aten.mystery", "LOCKSTEP_DEBUG=1"):
        assert phrase in err
    monkeypatch.setenv("LOCKSTEP_DEBUG", "1")
    with pytest.raises(KeyError, match="mystery"):
        run("audit", "nets.py:tied")


def test_memory_is_estimated_before_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 100)
    code, _, err = run("audit", "nets.py:tied")
    assert code == 2
    assert "9 parameters take" in err


# -- check -------------------------------------------------------------------------------------------


def certificate(target: str = "nets.py:tied", *options: str) -> str:
    run("audit", target, "-o", "cert.json", *options)
    return "cert.json"


def checker(monkeypatch: pytest.MonkeyPatch, reasons: list[str]) -> list[Any]:
    """Replaces the checker by one that records what it is given, and refuses for ``reasons``."""
    calls: list[Any] = []

    def check(*given: Any) -> None:
        calls.append(given)
        if reasons:
            raise CertificateError(reasons)

    module = types.ModuleType("lockstep.certificate.check")
    module.check = check  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lockstep.certificate.check", module)
    return calls


def test_check_passes_the_claim_the_model_and_the_recorded_inputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = checker(monkeypatch, [])
    code, out, _ = run(
        "check", certificate("nets.py:tied", "--input", "6,2", "--eval"), "nets.py:tied"
    )
    assert code == 0
    assert "verified: every claim of cert.json holds for nets.py:tied" in out
    claim, model, example = calls[0]
    assert claim.layers["0"].classes == ((0, 1),)
    assert not model.training
    assert tuple(example.shape) == (6, 2)


def test_check_chooses_the_inputs_that_audit_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = checker(monkeypatch, [])
    assert run("check", certificate("nets.py:tokens"), "nets.py:tokens")[0] == 0
    assert (
        run("check", certificate("nets.py:tokens", "--input", "4,9:int64"), "nets.py:tokens")[0]
        == 0
    )
    assert [tuple(example.shape) for _, _, example in calls] == [(4, 8), (4, 9)]
    assert [int(example.max()) for _, _, example in calls] == [9, 9]


def test_a_real_certificate_is_verified_and_a_forged_one_refused() -> None:
    code, out, _ = run("check", certificate(), "nets.py:tied")
    assert code == 0
    assert "verified" in out
    code, _, err = run("check", "cert.json", "nets.py:random")
    assert code == 1
    assert "digest" in err
    assert "units 0, 1" in err


def test_a_refused_certificate_gives_all_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    checker(monkeypatch, ["the digest differs", "units 0 and 1 separate"])
    code, out, err = run("check", certificate(), "nets.py:tied")
    assert code == 1
    assert out == ""
    for phrase in ("refused", "1. the digest differs", "2. units 0 and 1 separate"):
        assert phrase in err


def test_an_edited_certificate_is_refused() -> None:
    file = Path(certificate())
    file.write_text(file.read_text("utf-8").replace('"width": 2', '"width": 3'), "utf-8")
    code, _, err = run("check", str(file), "nets.py:tied")
    assert code == 1
    assert "not a partition of the units 0 to 2" in err


@pytest.mark.parametrize(
    ("text", "target", "phrase"),
    [
        (None, "nets.py:tied", "cannot be read"),
        ("{}", "nets.py:tied", "not a Lockstep certificate"),
        ("", "nets.py:tid", "not a Lockstep certificate"),
    ],
)
def test_check_of_what_is_none_is_wrong_use(text: str | None, target: str, phrase: str) -> None:
    if text is not None:
        Path("cert.json").write_text(text)
    code, _, err = run("check", "cert.json", target)
    assert code == 2
    assert phrase in err


# -- rule and help -----------------------------------------------------------------------------------


def test_rules_are_listed_and_explained() -> None:
    code, out, _ = run("rule")
    assert code == 0
    assert re.findall(r"^LS\d{3}", out, flags=re.MULTILINE) == [f"LS00{n}" for n in range(1, 10)]
    code, out, _ = run("rule", "ls004")
    assert code == 0
    assert out.startswith("# LS004 frozen-parameter")
    code, out, err = run("rule", "LS044")
    assert (code, out) == (2, "")
    assert "no rule 'LS044'; the codes are 'LS004'" in err


def test_wrong_options_are_wrong_use() -> None:
    assert run("audit")[0] == 2
    assert run("audit", "nets.py:tied", "--format", "pdf")[0] == 2
    assert run("frobnicate")[0] == 2


def test_help_names_every_option() -> None:
    code, out, _ = run("audit", "--help")
    assert code == 0
    for option in ("--input", "--update", "--optimizer", "--loss", "--data", "--seed", "--train",
                   "--format", "--output", "--select", "--ignore", "--baseline", "--trust"):  # fmt: skip
        assert option in out
    assert run("--version")[1].startswith("lockstep 0")


def test_a_fresh_interpreter_runs_the_command(nets: Path) -> None:
    command = [sys.executable, "-m", "lockstep.cli", "audit", "nets.py:tied", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=nets)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["ok"] is False
    assert "Traceback" not in done.stderr
