"""The proofs hold as they stand, and stop holding when a hypothesis is turned round."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofs import coq

pytestmark = pytest.mark.coq

# (file, theorem or definition, what stands there, what is put in its place)
HYPOTHESES = [
    ("Training.v", "Theorem same_function_forever", "nth id qs k i = nth id qs k i' ->", "nth id qs k i <> nth id qs k i' ->"),
    ("Training.v", "Theorem equitable_forever", "additive (on_weights (opt t k))", "~ additive (on_weights (opt t k))"),
    ("Training.v", "Theorem equitable_forever", "equitable n p net qs ->", "~ equitable n p net qs ->"),
    ("Training.v", "Definition additive ", "h =2 additive_rule s H M", "~ (h =2 additive_rule s H M)"),
    ("Equitable.v", "Definition equal_row_sums", "W l i j = \\sum", "W l i j <> \\sum"),
    ("Equitable.v", "Definition equal_column_sums", "W l i j = \\sum", "W l i j <> \\sum"),
    ("Equitable.v", "Definition constant", "p i = p i' -> x i = x i'", "p i = p i' -> x i <> x i'"),
    ("Equitable.v", "Definition block_constant", "q i = q i' -> p j = p j' -> X i j = X i' j'", "q i = q i' -> p j = p j' -> X i j <> X i' j'"),
    ("Orbit.v", "Definition fixes", "s i = i.", "s i <> i."),
    ("Orbit.v", "Definition invariant2", "X (s' i) (s j) = X i j", "X (s' i) (s j) <> X i j"),
    ("Momentum.v", "Definition linear ", "h =2 linear_rule a b c d H K", "~ (h =2 linear_rule a b c d H K)"),
    ("Mirror.v", "Record mirrored_layer", "act l (- z) = - act l z", "act l (- z) <> - act l z"),
    ("TwoTwoOne.v", "Theorem two_two_one_with_bias", "w5 start = w6 start ->", "w5 start <> w6 start ->"),
    ("TwoTwoOne.v", "Theorem two_two_one_without_bias", "b2 start = 0 ->", "b2 start <> 0 ->"),
    ("Counterexamples.v", "Theorem incoming_alone", "w1 after <> w3 after", "w1 after = w3 after"),
]  # fmt: skip


def edited(folder: Path, file: str, after: str, old: str, new: str) -> None:
    """Replaces the first ``old`` that follows ``after``."""
    path = folder / file
    text = path.read_text(encoding="utf-8")
    start = text.index(old, text.index(after))
    path.write_text(text[:start] + new + text[start + len(old) :], encoding="utf-8")


@pytest.mark.parametrize(("file", "theorem", "old", "new"), HYPOTHESES)
def test_a_hypothesis_turned_round_breaks_the_build(compiled, tmp_path, file, theorem, old, new):
    folder = coq.copy(compiled, tmp_path / "proofs")
    edited(folder, file, theorem, old, new)
    built = coq.make(folder)
    assert built.returncode != 0
    assert f'File "./{file}"' in built.stderr  # Coq refuses this very file, for nothing else
    assert "Syntax error" not in built.stderr


def test_a_harmless_edit_does_not(compiled, tmp_path):
    folder = coq.copy(compiled, tmp_path / "proofs")
    edited(folder, "Counterexamples.v", "(** * What", "Three small", "Three very small")
    built = coq.make(folder)
    assert built.returncode == 0, built.stderr


def test_nothing_is_assumed(compiled, tmp_path):
    folder = coq.copy(compiled, tmp_path / "proofs")
    checked = coq.make(folder, "check")
    assert checked.returncode == 0, checked.stderr
    lines = checked.stdout.splitlines()
    listed = (folder / "Assumptions.v").read_text(encoding="utf-8").count("Print Assumptions ")
    assert sum(line.endswith("Closed under the global context") for line in lines) == listed


LEAKS = [
    ("an unfinished proof", "Lemma leak : 0 = 1. Admitted.", "may leave something open"),
    ("an axiom behind a comment", "(* *) Axiom magic : forall P : Prop, P.\nLemma leak : 0 = 1. Proof. apply: magic. Qed.", "a theorem rests on something"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"), [row[1:] for row in LEAKS], ids=[row[0] for row in LEAKS]
)
def test_what_is_assumed_is_noticed(compiled, tmp_path, text, said):
    folder = coq.copy(compiled, tmp_path / "proofs")
    header = "From mathcomp Require Import all_ssreflect.\n"
    (folder / "Leak.v").write_text(header + text + "\n", encoding="utf-8")
    with (folder / "Assumptions.v").open("a", encoding="utf-8") as assumptions:
        assumptions.write("\nFrom Lockstep Require Import Leak.\nPrint Assumptions leak.\n")
    (folder / "_CoqProject").write_text(
        (folder / "_CoqProject").read_text(encoding="utf-8") + "Leak.v\n", encoding="utf-8"
    )
    checked = coq.make(folder, "check")
    assert checked.returncode != 0
    assert said in checked.stderr
