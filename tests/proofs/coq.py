"""Runs Coq on copies of ``proofs/``, and writes networks in the words of ``proofs/Network.v``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

PROOFS = Path(__file__).resolve().parents[2] / "proofs"

Vector = list[Fraction]
Matrix = list[Vector]


def needed() -> None:
    """Coq is an optional tool on a developer's machine; CI has to have it."""
    if shutil.which("coqc") is None:
        message = "Coq is missing; `make proofs` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


def make(folder: Path, target: str = "all") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-C", str(folder), target], capture_output=True, text=True, check=False
    )


def copy(source: Path, target: Path) -> Path:
    """With times, so that what is compiled stays compiled."""
    return Path(shutil.copytree(source, target, copy_function=shutil.copy2))


def integers(folder: Path, text: str) -> list[list[int]]:
    """The lists of integers that the ``Eval``s of ``text`` print, run beside the theorems."""
    (folder / "Exported.v").write_text(text, encoding="utf-8")
    ran = subprocess.run(
        ["coqc", "-q", "-Q", ".", "Lockstep", "-w", "none", "Exported.v"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    printed = re.findall(r"=\s*\[::(.*?)\]\s*:\s*seq Z", ran.stdout, re.DOTALL)
    return [[int(number) for number in re.findall(r"-?\d+", line)] for line in printed]


# -- networks in Coq ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """One input, its coefficient in the sum, and the targets of the loss ``sum (a - y)^2 / 2``."""

    x: Vector
    coefficient: Fraction
    y: Vector


@dataclass(frozen=True)
class Network:
    """``weights[k][i][j]`` feeds unit i of layer k from its input j; one activation a layer."""

    activations: list[str]  # names of functions in Rationals.v
    weights: list[Matrix]
    biases: list[Vector]

    def widths(self) -> list[int]:
        return [len(rows) for rows in self.weights]

    def inputs(self) -> int:
        return len(self.weights[0][0])


def number(x: Fraction) -> str:
    return f"frac ({x.numerator}) {x.denominator}"


def listed(items: list[str]) -> str:
    return "[:: " + "; ".join(items) + "]"


def vector(xs: Vector) -> str:
    return listed([number(x) for x in xs])


def network(net: Network) -> str:
    return listed(
        [
            f"dense {g} {g}' {listed([vector(row) for row in rows])} {vector(biases)}"
            for g, rows, biases in zip(net.activations, net.weights, net.biases, strict=True)
        ]
    )


def batch(samples: list[Sample]) -> str:
    return listed(
        [
            f"Sample (vec {vector(s.x)}) ({number(s.coefficient)}) (to_targets {vector(s.y)})"
            for s in samples
        ]
    )


def labellings(classes: list[tuple[tuple[int, ...], ...]]) -> str:
    """One labelling of units by class a layer."""
    rows = []
    for layer in classes:
        label = {unit: c for c, members in enumerate(layer) for unit in members}
        rows.append(f"nth 0%N {listed([str(label[unit]) for unit in sorted(label)])}%N")
    return listed(rows)


# Everything here only prints; what is printed is computed by the definitions of Network.v.
PRELUDE = """
From Coq Require Import ZArith QArith Qcanon.
From mathcomp Require Import all_ssreflect ssralg.
From Lockstep Require Import Network Equitable Training Rationals Decide.
Import GRing.Theory.
Local Open Scope ring_scope.
Set Printing Depth 1000000.
Set Printing Width 1000000.

Definition to_targets (y : seq Qc) : vector Q -> vector Q := fun a i => a i - vec y i.

Definition show (xs : seq Qc) : seq Z := flatten [seq [:: Qnum (this x); Zpos (Qden (this x))] | x <- xs].

Fixpoint of_trace (net : network Q unit) (ts : seq (trace Q)) : seq Qc :=
  match net, ts with
  | l :: net', t :: ts' =>
      mkseq (activation t) (width l) ++ mkseq (cotangent t) (width l) ++ of_trace net' ts'
  | _, _ => [::]
  end.

Fixpoint of_gradients n (net : network Q unit) (gs : seq (entries Q)) : seq Qc :=
  match net, gs with
  | l :: net', g :: gs' =>
      flatten (mkseq (fun i => mkseq (weight g i) n) (width l)) ++ mkseq (bias g) (width l)
      ++ of_gradients (width l) net' gs'
  | _, _ => [::]
  end.

Definition of_activations n (net : network Q unit) x : seq Qc :=
  flatten [seq mkseq la.2 (width la.1) | la <- zip net (activations n net x)].
Open Scope Z_scope.
"""


def fractions(numbers: list[int]) -> Vector:
    return [Fraction(a, b) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
