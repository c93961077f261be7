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

Definition vec (xs : seq Qc) : vector Qc_comRingType := nth (Q2Qc 0) xs.
Definition mat (T : Type) (x0 : T) (xss : seq (seq T)) (i j : nat) : T := nth x0 (nth [::] xss i) j.
