"""Forged and edited certificates. Each row says which defences refuse it, and with what words.

Run alone, a defence must refuse exactly the rows that name it: so a row that names one defence is lost
when that defence is, and every defence has such a row.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from attacks.forging import (
    Biased,
    Branches,
    balanced,
    certify,
    colliding,
    dense,
    example,
    freeze,
    healthy,
    mirrored,
    noisy,
    readdress,
    seal,
    summed,
    tie,
    tied,
    untie,
)
from torch import nn

import lockstep
from lockstep.certificate import check as checker
from lockstep.certificate import claim as paper
from lockstep.certificate import consistent, float64, identity, symbols
from lockstep.errors import CertificateError
from lockstep.field.rules import derivatives, functions

DEFENCES = ("form", "identity", "symbols", "float64")
TRUTH = ("symbols", "float64")

Forged = tuple[
    dict[str, Any], Any, Any, dict[str, Any]
]  # document, model, inputs, arguments of check


@dataclasses.dataclass(frozen=True)
class Attack:
    name: str
    forge: Callable[[], Forged]
    by: tuple[str, ...]
    phrases: tuple[str, ...]


ATTACKS: list[Attack] = []


def attack(name: str, *by: str, says: str | tuple[str, ...]) -> Callable[[Callable[[], Any]], None]:
    def register(forge: Callable[[], Any]) -> None:
        @functools.cache  # a check leaves the model as it was, so it may be checked again
        def forged() -> Forged:
            torch.manual_seed(0)
            document, model, inputs, *settings = forge()
            return document, model, inputs, settings[0] if settings else {}

        phrases = (says,) if isinstance(says, str) else says
        ATTACKS.append(Attack(name, forged, by, phrases))

    return register


def refused(by_only: tuple[str, ...], forged: Forged, monkeypatch: pytest.MonkeyPatch) -> str:
    """What ``check`` says with the defences ``by_only``; empty when it accepts."""
    document, model, inputs, settings = forged
    with monkeypatch.context() as patch:
        if "form" not in by_only:
            patch.setattr(checker, "_read", lambda text: (paper.audit_of(json.loads(text)), []))
            patch.setattr(consistent, "inconsistencies", lambda claim: [])
        if "identity" not in by_only:
            patch.setattr(identity, "strangers", lambda *_: [])
            patch.setattr(identity, "differences", lambda *_: [])
        if "symbols" not in by_only:
            patch.setattr(symbols, "refutations", lambda *_: [])
        if "float64" not in by_only:
            patch.setattr(float64, "train", lambda *_: float64.Training())
        try:
            lockstep.check(json.dumps(document), model, inputs, **settings)
        except CertificateError as error:
            return str(error)
    return ""


# -- classes ----------------------------------------------------------------------------------------


@attack(
    "merged classes",
    *TRUTH,
    says=("units 0, 1 are claimed to stay equal", "units 0, 1 are claimed equal: in float64"),
)
def merged():
    net = healthy()
    document = certify(net, example())
    tie(document, "0", [0, 1])
    return seal(document), net, example()


@attack(
    "merged classes, not sealed",
    "form",
    *TRUTH,
    says=("effective_width: 3, but there are 2", "LS001 of 0 is missing"),
)
def merged_clumsily():
    net = healthy()
    document = certify(net, example())
    tie(document, "0", [0, 1])
    return document, net, example()


@attack(
    "split classes: a hidden lock",
    "symbols",
    says="hides a lock: units 0, 1 can never differentiate",
)
def split():
    document = certify(tied(), example())
    untie(document, "0")
    return seal(document), tied(), example()


@attack("a layer left out", "identity", "symbols", says="its layer 0 is not in the certificate")
def layer_left_out():
    document = certify(tied(), example())
    untie(document, "0")
    del document["layers"]["0"]
    return seal(document), tied(), example()


@attack(
    "twins called mirror",
    "form",
    *TRUTH,
    says=("its two sides (0,) and (1,) must be classes", "not each other's negative"),
)
def kind_edited():
    document = certify(tied(), example())
    document["locked"][0] |= {"kind": "mirror", "signs": [1, -1]}
    return seal(document), tied(), example()


@attack(
    "twins called mirror, sealed",
    *TRUTH,
    says=("not each other's negative", "claimed opposite: in float64"),
)
def kind_edited_well():
    document = certify(tied(), example())
    untie(document, "0")
    document["locked"] = [{"kind": "mirror", "where": "0", "units": [0, 1], "signs": [1, -1]}]
    return seal(document), tied(), example()


@attack(
    "a mirror pair left out", "symbols", says="hides a mirror lock: units 0 and 1 stay opposite"
)
def mirror_left_out():
    document = certify(mirrored(), example())
    document["locked"] = []
    return seal(document), mirrored(), example()


@attack(
    "history rewritten",
    "symbols",
    says="history: it tells of steps 0 forward; units part at 0 forward, 1",
)
def history():
    net = dense([[0.5, -0.25]] * 2, [[0.5, -0.25]])
    document = certify(net, example())
    untie(document, "0")
    return seal(document), net, example()


@attack(
    "history rewritten, no step moved",
    "symbols",
    says="history: at 0 forward it ties (1, 2); equal there are (0, 1)",
)
def history_of_others():
    net = dense([[0.5, -0.25]] * 2 + [[0.75, 0.125]], [[0.5, 0.5, 0.7]])
    document = certify(net, example())
    for entry in document["layers"]["0"]["history"]:
        entry["tied"] = [[1, 2]]
    document["findings"].append({"code": "LS006", "where": "0", "message": "forged", "cure": ""})
    document["because"] = {"0": "forged"}
    return document, net, example()


@attack(
    "units that were reached, without a verdict",
    "symbols",
    says="layers/0/unread: says that the example never reaches units 1; it never reaches none",
)
def unread_units():
    document = certify(healthy(), example())
    document["layers"]["0"]["unread"] = [1]
    return document, healthy(), example()


# -- frozen entries, modules, findings --------------------------------------------------------------


def conv_inputs() -> torch.Tensor:
    return torch.zeros(4, 2, 4)


@attack(
    "frozen entries left out",
    "symbols",
    says="frozen/conv.bias: hides frozen entries: (0,), (1,), (2,)",
)
def frozen_left_out():
    net = Biased()
    document = certify(net, conv_inputs())
    document["frozen"] = []
    return seal(document), net, conv_inputs()


@attack(
    "a frozen entry invented",
    *TRUTH,
    says=("(0, 1) do move", "is claimed frozen, has in float64 a gradient"),
)
def frozen_invented():
    net = healthy()
    document = certify(net, example())
    freeze(document, "0.weight", (3, 2), (0, 1))
    return seal(document), net, example()


@attack("an index beyond the parameter", "identity", "symbols", says="names (7, 1)")
def frozen_outside():
    net = healthy()
    document = certify(net, example())
    freeze(document, "0.weight", (3, 2), (7, 1))
    return seal(document), net, example()


@attack(
    "locked modules invented",
    *TRUTH,
    says=("left and right are claimed to stay equal, but differ", "are claimed equal: in float64"),
)
def modules_invented():
    net = Branches(added=False)
    document = certify(net, torch.zeros(6, 3))
    document["locked"] = [
        {"kind": "module", "where": ["left", "right"], "units": [0, 1], "signs": []}
    ]
    document["findings"] = [f for f in document["findings"] if f["code"] != "LS007"]
    return seal(document), net, torch.zeros(6, 3)


@attack(
    "locked modules left out", "symbols", says="hides twin modules: left, right stay equal for ever"
)
def modules_left_out():
    net = Branches(added=True)
    document = certify(net, torch.zeros(6, 3))
    document["locked"] = []
    return seal(document), net, torch.zeros(6, 3)


@attack("a finding left out", "form", says=("LS001 of 0 is missing", "--ignore"))
def finding_left_out():
    document = certify(tied(), example())
    document["findings"], document["ok"] = [], True
    return document, tied(), example()


@attack(
    "forward twins left out",
    "symbols",
    says="LS006 names nothing; units that are equal now and will",
)
def parting_left_out():
    net = dense([[0.5, -0.25]] * 2, [[0.5, -0.25]])
    document = certify(net, example())
    document["findings"], document["because"] = [], {}
    return document, net, example()


@attack("ok edited", "form", says="ok: says True, the findings say False")
def ok_edited():
    document = certify(tied(), example())
    document["ok"] = True
    return document, tied(), example()


@attack(
    "unread rows left out",
    "symbols",
    says="LS009 names nothing; the example leaves 0.weight unread",
)
def unread_left_out():
    net, ids = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2)), torch.tensor([[0, 1]] * 4)
    document = certify(net, ids)
    document["findings"] = []
    return document, net, ids


# -- whose certificate ------------------------------------------------------------------------------


@attack(
    "another model's certificate",
    "identity",
    "symbols",
    says=("another model: layer 0 has 3 units, the certificate says 2", "parameter entries"),
)
def other_model():
    return (
        certify(dense([[0.5, -0.25], [0.75, 0.125]], [[0.5, 0.25]]), example()),
        healthy(),
        example(),
    )


@attack("weights changed, locks kept", "identity", says="the weights changed since the audit")
def weights_scaled():
    return certify(tied(), example()), tied(0.75, 0.75), example()


@attack("digest edited", "identity", says="the certificate says 000000000000")
def digest_edited():
    document = certify(tied(), example())
    document["digest"] = "0" * 64
    return document, tied(), example()


@attack(
    "another example", "identity", says=("input float64[5, 2]", "speaks of input float64[6, 2]")
)
def other_example():
    return certify(tied(), example()), tied(), example(batch=5)


@attack(
    "a look-alike: only outgoing weights differ",
    *TRUTH,
    says="units 0, 1 are claimed to stay equal, but differ (symbolic step 1)",
)
def look_alike():
    net = dense([[0.5, -0.25]] * 2, [[0.5, -0.25]])
    return readdress(certify(tied(), example()), net, example()), net, example()


@attack("the same weights behind another activation", *TRUTH, says="not each other's negative")
def other_activation():
    # The digest sees weights, not code: identity cannot help.
    return certify(mirrored(), example()), mirrored(nn.Sigmoid), example()


@attack("weights 1e-7 apart", *TRUTH, says="claimed to stay equal, but differ (symbolic step 0)")
def nearly_equal():
    net = tied(0.5, 0.5 * (1 + 1e-7))
    return readdress(certify(tied(), example()), net, example()), net, example()


@attack(
    "weights one unit in the last place apart",
    "symbols",
    says="claimed to stay equal, but differ (symbolic step 0)",
)
def one_ulp():
    net = tied(0.5, 0.5 + 2.0**-53)
    return readdress(certify(tied(), example()), net, example()), net, example()


@attack(
    "weights that collide modulo the claim's primes",
    *TRUTH,
    says="claimed to stay equal, but differ (symbolic step 0)",
)
def collision():
    document = certify(tied(), example())
    net = tied(*colliding([lane["prime"] for lane in document["evidence"]["lanes"]]))
    return readdress(document, net, example()), net, example()


# -- assumptions ------------------------------------------------------------------------------------


@attack(
    "additive called any",
    "form",
    *TRUTH,
    says=("balanced units separate under update 'any'", "steps of Adam with coupled decay"),
)
def additive_as_any():
    document = certify(balanced(), example(3), update="additive")
    document["assumptions"]["update"] = "any"
    return document, balanced(), example(3)


@attack(
    "additive called any, balanced called twin",
    *TRUTH,
    says=("are claimed to stay equal, but differ", "in float64"),
)
def additive_as_any_sealed():
    document = certify(balanced(), example(3), update="additive")
    document["assumptions"]["update"] = "any"
    document["locked"] = [group | {"kind": "twin"} for group in document["locked"]]
    return seal(document), balanced(), example(3)


@attack(
    "any called additive",
    "form",
    "symbols",
    says="hides a lock: units 0, 1, 2 can never differentiate",
)
def any_as_additive():
    document = certify(balanced(), example(3), update="any")
    for layer in ("0", "2"):
        untie(document, layer)
    document["assumptions"]["update"] = "additive"
    return seal(document), balanced(), example(3)


@attack(
    "balanced called twin",
    "symbols",
    says="the kind is wrong: under any update these units are balanced at most",
)
def balanced_as_twin():
    document = certify(balanced(), example(3), update="additive")
    document["locked"] = [group | {"kind": "twin"} for group in document["locked"]]
    return seal(document), balanced(), example(3)


@attack(
    "eval called train, dropout",
    *TRUTH,
    says=(
        "units 0, 1, 2 are claimed to stay equal",
        "draws noise in 2, the certificate lists none",
    ),
)
def eval_as_train():
    document = certify(noisy(train=False), example().float())
    document["assumptions"]["mode"] = "train"
    return document, noisy(train=True), example().float()


@attack(
    "mode edited, nothing else depends on it",
    "identity",
    says="the model is in train mode, the certificate speaks of eval mode",
)
def mode_edited():
    document = certify(tied(), example())
    document["assumptions"]["mode"] = "eval"
    return document, tied(), example()


@attack("noise denied", "form", "symbols", says="draws noise in 2, the certificate lists none")
def noise_denied():
    document = certify(noisy(train=True), example().float())
    document["assumptions"]["noise"] = []
    return document, noisy(train=True), example().float()


@attack(
    "saved by noise, left out",
    "symbols",
    says="LS008 names nothing; noise alone separates units of 0",
)
def saved_left_out():
    document = certify(noisy(train=True), example().float())
    document["findings"] = [f for f in document["findings"] if f["code"] != "LS008"]
    return document, noisy(train=True), example().float()


def equal_rows() -> nn.Sequential:
    return dense([[0.5, -0.25], [0.75, 0.125]], [[0.5, 0.25]] * 2)


@attack("one loss called any loss", *TRUTH, says="layers/2: units 0, 1 are claimed to stay equal")
def loss_widened():
    document = certify(equal_rows(), example(), loss=summed)
    document["assumptions"]["loss"] = "any loss of the outputs"
    return document, equal_rows(), example()


@attack(
    "a loss that was not given",
    "identity",
    *TRUTH,
    says=("assumes 'summed'", "pass it: check(..., loss=, targets=)"),
)
def loss_missing():
    return certify(equal_rows(), example(), loss=summed), equal_rows(), example()


@attack("some parameters called all", *TRUTH, says="layers/0: units 0, 1 are claimed to stay equal")
def optimizer_widened():
    net = dense([[0.5, -0.25]] * 2, [[0.5, -0.25]])
    document = certify(
        net, example(), optimizer=torch.optim.SGD(net[2].parameters(), lr=0.1), update="any"
    )
    document["assumptions"]["optimizer"] = "any elementwise optimizer"
    return document, net, example()


@attack("coupled decay called additive", "identity", says="Adam as given is not additive")
def not_additive():
    document = certify(balanced(), example(3), update="additive")
    document["assumptions"]["optimizer"] = "Adam"
    make = functools.partial(torch.optim.Adam, lr=0.01, weight_decay=1e-12)
    return document, balanced(), example(3), {"optimizer": make}


@attack(
    "given data called any data",
    *TRUTH,
    says=("do move: their gradient is not zero", "is claimed frozen"),
)
def data_widened():
    document = certify(tied(0.5, 0.25), example(), data="given")
    document["assumptions"]["data"] = "any"
    return document, tied(0.5, 0.25), example()


@attack("additive optimizers called all", "form", says="goes beyond update 'additive'")
def optimizer_of_another_update():
    document = certify(balanced(), example(3), update="additive")
    document["assumptions"]["optimizer"] = "any elementwise optimizer"
    return document, balanced(), example(3)


@attack("copies invented", "symbols", says="LS007 of 0: no module of this model starts equal")
def copies_invented():
    document = certify(tied(), example())
    document["findings"].append({"code": "LS007", "where": "0", "message": "", "cure": ""})
    return document, tied(), example()


# -- evidence ---------------------------------------------------------------------------------------


def with_primes(*primes: int) -> Forged:
    document = certify(tied(), example())
    document["evidence"]["lanes"] = [{"prime": p, "seed": n} for n, p in enumerate(primes)]
    return seal(document), tied(), example(), {}


@attack("a composite", "form", says="1048575 is not a prime (divisible by 3)")
def composite():
    return with_primes(1048573, 1048571, 1048575)


@attack(
    "a Mersenne prime", "form", says="131071 takes floats for one another: 2 has order 17 modulo it"
)
def mersenne():
    return with_primes(1048573, 131071)


@attack(
    "a prime without 2 as a primitive root", "form", says="1048559 takes floats for one another"
)
def no_root():
    return with_primes(1048573, 1048559)


@attack("a prime too large", "form", says="1048583 is not below 2^20")
def too_large():
    return with_primes(1048583, 1048573)


@attack("one run listed twice", "form", says="prime: 1048573 is listed 2 times")
def lanes_twice():
    return with_primes(1048573, 1048573, 1048571)


@attack("no run at all", "form", says="no prime is named")
def no_lanes():
    document = certify(tied(), example())
    document["evidence"]["lanes"] = []
    return document, tied(), example()


@attack("bound edited", "form", says="evidence/bound: says 1e-30, its own factors give")
def bound_edited():
    document = certify(tied(), example())
    document["evidence"]["bound"] = 1e-30
    return document, tied(), example()


@attack("claims edited", "form", says="evidence/claims: says 0, the tables hold 1")
def claims_edited():
    document = certify(tied(), example())
    document["evidence"] |= {"claims": 0, "bound": 0.0}
    return document, tied(), example()


@attack("degree edited, bound with it", "symbols", says="evidence/degree: says 0, a pass has")
def degree_edited():
    document = certify(tied(), example())
    document["evidence"]["degree"] = 0
    return seal(document), tied(), example()


# -- the columns ------------------------------------------------------------------------------------

ROWS = [pytest.param(row, id=row.name) for row in ATTACKS]


@pytest.mark.parametrize("row", ROWS)
def test_refused_by_the_defences_named_in_the_words_given(row, monkeypatch):
    forged = row.forge()
    said = {defence: refused((defence,), forged, monkeypatch) for defence in DEFENCES}
    assert tuple(defence for defence in DEFENCES if said[defence]) == row.by, said
    text = "\n".join(said.values())
    assert [phrase for phrase in row.phrases if phrase not in text] == [], text


@pytest.mark.parametrize("row", ROWS[::8])
def test_all_defences_together_say_all_of_it(row, monkeypatch):
    said = refused(DEFENCES, row.forge(), monkeypatch)
    assert [phrase for phrase in row.phrases if phrase not in said] == [], said


@pytest.mark.parametrize("defence", ["form", "identity", "symbols"])
def test_each_defence_is_the_only_one_somewhere(defence):
    assert [row.name for row in ATTACKS if row.by == (defence,)]


def test_float64_alone_catches_a_rule_that_engine_and_checker_share(monkeypatch):
    """GELU taken for an odd function: the fields agree with one another, and are wrong."""
    monkeypatch.setitem(functions.UNARY, "gelu", (1, True))
    monkeypatch.setitem(derivatives.DERIVATIVES, "gelu_backward", -1)
    net = mirrored(nn.GELU)
    document = certify(net, example())
    assert [group["kind"] for group in document["locked"]] == ["mirror"]
    assert (
        refused(("form", "identity", "symbols"), (document, net, example(), {}), monkeypatch) == ""
    )
    said = refused(DEFENCES, (document, net, example(), {}), monkeypatch)
    assert "refused for 1 reason(s)" in said
    assert "claimed opposite: in float64 they are" in said


def test_all_reasons_at_once():
    document = certify(tied(), example())
    untie(document, "0")
    freeze(document, "2.weight", (1, 2), (0, 0))
    seal(document)
    document["digest"], document["evidence"]["bound"] = "0" * 64, 0.5
    document["evidence"]["lanes"][1]["prime"] = 1048575
    document["assumptions"]["mode"] = "eval"
    document["ok"] = True
    with pytest.raises(CertificateError, match="refused for") as caught:
        lockstep.check(json.dumps(document), tied(), example())
    wanted = (
        "ok: says True",
        "1048575 is not a prime",
        "evidence/bound: says 0.5",
        "the weights changed",
        "mode: the model is in train mode",
        "hides a lock: units 0, 1",
        "frozen/2.weight: (0, 0) do move",
        "frozen/2.weight: is claimed frozen, has in float64",
    )
    reasons = caught.value.reasons
    assert [phrase for phrase in wanted if not any(phrase in reason for reason in reasons)] == []
    assert len(reasons) == len(set(reasons))


def test_names_are_unique():
    assert len({row.name for row in ATTACKS}) == len(ATTACKS)
