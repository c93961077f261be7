(** * Rational numbers that can be computed with

    The rationals of Coq's standard library (fractions in lowest terms, so that equal means identical)
    are a commutative ring in the sense of mathcomp. With them every definition of [Network.v] runs:
    [Counterexamples.v] computes inside Coq, and the tests compare the results with PyTorch. *)

From Coq Require Import ZArith QArith Qcanon.
From mathcomp Require Import all_ssreflect ssralg.
From Lockstep Require Import Network.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import GRing.Theory.
Local Open Scope ring_scope.

(** ** A commutative ring *)

Definition Qc_eqb (x y : Qc) : bool := if Qc_eq_dec x y then true else false.

Lemma Qc_eqP : Equality.axiom Qc_eqb.
Proof. by move=> x y; rewrite /Qc_eqb; case: Qc_eq_dec => h; constructor. Qed.

Canonical Qc_eqType := EqType Qc (EqMixin Qc_eqP).

(* mathcomp asks that a ring can choose among its elements; counting them is one way. *)
Definition Z_code (z : Z) : bool * nat := (Z.ltb z 0, Z.abs_nat z).
Definition Z_decode (c : bool * nat) : Z := if c.1 then Z.opp (Z.of_nat c.2) else Z.of_nat c.2.

Lemma Z_codeK : cancel Z_code Z_decode.
Proof. by rewrite /Z_code /Z_decode; case=> //= p; rewrite positive_nat_Z. Qed.

Definition Qc_code (x : Qc) : (bool * nat) * nat := (Z_code (Qnum x), Pos.to_nat (Qden x)).
Definition Qc_decode (c : (bool * nat) * nat) : Qc := Q2Qc (Qmake (Z_decode c.1) (Pos.of_nat c.2)).

Lemma Qc_codeK : cancel Qc_code Qc_decode.
Proof.
case=> [[num den] canon_x]; apply: Qc_is_canon.
by rewrite /Qc_decode Z_codeK Pos2Nat.id; apply: Qred_correct.
Qed.

Canonical Qc_choiceType := ChoiceType Qc (CanChoiceMixin Qc_codeK).

Definition Qc_zmodMixin := ZmodMixin Qcplus_assoc Qcplus_comm Qcplus_0_l
  (fun x => etrans (Qcplus_comm _ _) (Qcplus_opp_r x)).
Canonical Qc_zmodType := ZmodType Qc Qc_zmodMixin.

Lemma one_not_zero : Q2Qc 1 != Q2Qc 0. Proof. by []. Qed.

Definition Qc_ringMixin := ComRingMixin Qcmult_assoc Qcmult_comm Qcmult_1_l Qcmult_plus_distr_l
  one_not_zero.
Canonical Qc_ringType := RingType Qc Qc_ringMixin.
Canonical Qc_comRingType := ComRingType Qc Qcmult_comm.

(** ** Writing numbers, vectors and matrices *)

(** [frac a b] is the number a/b. *)
Definition frac (a : Z) (b : positive) : Qc := Q2Qc (Qmake a b).

Notation Q := Qc_comRingType.

Definition vec (xs : seq Qc) : vector Q := nth 0 xs.
Definition mat (rows : seq (seq Qc)) (i j : nat) : Qc := nth 0 (nth [::] rows i) j.

(** ** Layers and updates written out *)

(** Activations that are rational functions, with their derivatives. *)
Definition identity (z : Q) : Q := z.
Definition identity' (z : Q) : Q := 1.
Definition square (z : Q) : Q := z * z.
Definition square' (z : Q) : Q := z + z.
Definition cube (z : Q) : Q := z * z * z.
Definition cube' (z : Q) : Q := frac 3 1 * (z * z).

(** A layer from its weights, row by row, and its biases. *)
Definition dense (g g' : Q -> Q) (weights : seq (seq Qc)) (biases : seq Qc) : layer Q unit :=
  Layer (size weights) g g'
    (Entries (fun i j => Param (mat weights i j : Q) tt) (fun i => Param (vec biases i) tt)).

(** Gradient descent, [w := w - alpha dJ/dw], for weights and biases. *)
Definition descent (alpha : Qc) : optimizer Q unit :=
  let rule := fun G theta => Param (value theta - alpha * G : Q) tt in fun _ _ => Rules rule rule.
