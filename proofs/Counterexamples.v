(** * What does not suffice, computed inside Coq

    Three small networks of rational numbers, one step each. *)

From Coq Require Import ZArith QArith Qcanon.
From mathcomp Require Import all_ssreflect ssralg.
From Lockstep Require Import Network Equitable Training Orbit TwoTwoOne Rationals Decide.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import GRing.Theory.
Local Open Scope ring_scope.

(** The loss [(a - y)^2 / 2] of a network with one output: its gradient is [a - y]. *)
Definition half_square (y : Qc) : vector Q -> vector Q := fun a _ => a 0%N - y.

(** ** (e) Equal incoming weights alone are not enough *)

Definition only_incoming : course Q :=
  Course (frac 1 1) (frac 2 1) (frac 1 1) (frac 2 1) (frac 1 1) (frac 3 1) 0 0 0.

Definition one_roast : nat -> seq (sample Q) :=
  fun _ => [:: Sample (vec [:: frac 1 1; frac 2 1]) 1 (half_square (frac 1 1))].

(** [w1 = w3] and [w2 = w4], and after one step of gradient descent [w1 <> w3]. *)
Theorem incoming_alone_is_not_enough :
  let before := only_incoming in
  let after := trained identity identity' tt (descent (frac 1 10)) one_roast before 1 in
  (w1 before = w3 before /\ w2 before = w4 before /\ b1 before = b2 before) /\ w1 after <> w3 after.
Proof.
split; first by [].
by apply/eqP; vm_compute.
Qed.

(** ** (f) One-sided classes, intersected, are not enough

    The forward classes of a network ask for equal row sums (and biases), the backward classes for equal
    column sums. Two units may be in one class both times, and yet separate, when the two partitions
    differ elsewhere. *)

Fixpoint forward_equitable (n : nat) (p : labels) (net : network Q unit) (qs : seq labels) : Prop :=
  match net, qs with
  | l :: above, q :: qs' =>
      [/\ equal_row_sums n p l q, constant (width l) q (bias (params l))
        & forward_equitable (width l) q above qs']
  | [::], [::] => True
  | _, _ => False
  end.

Fixpoint backward_equitable (n : nat) (p : labels) (net : network Q unit) (qs : seq labels) : Prop :=
  match net, qs with
  | l :: above, q :: qs' => equal_column_sums n p l q /\ backward_equitable (width l) q above qs'
  | [::], [::] => alone n p
  | _, _ => False
  end.

(** With one and the same partition on both sides there is no gap: that is [equitable]. *)
Lemma both_sides_at_once n p net qs :
  forward_equitable n p net qs -> backward_equitable n p net qs -> equitable n p net qs.
Proof.
elim: net qs n p => [|l above IH] [|q qs] n p //= [r bs f_above] [c b_above].
by split; last exact: IH; split=> // i i' j j' *; case: (memory _); case: (memory _).
Qed.

Definition quarters (rows : seq (seq Z)) : seq (seq Qc) :=
  [seq [seq frac a 4 | a <- row] | row <- rows].

(** 3-3-2-1; units 0 and 1 of the first layer have equal incoming weights. *)
Definition one_sided : network Q unit := (
  [:: dense square square' (quarters [:: [:: 1; -2; 1]; [:: 1; -2; 1]; [:: 2; 1; -1]])
        [:: frac 1 4; frac 1 4; frac 0 4];
      dense square square' (quarters [:: [:: 4; 0; 3]; [:: 0; 4; -1]]) [:: frac 1 4; frac (-2) 4];
      dense identity identity' (quarters [:: [:: 3; 3]]) [:: frac 0 4]])%Z.

(** Lists of labels: of the three, the two and the one unit. *)
Definition forward_classes : seq labels :=
  [:: nth 0%N [:: 0; 0; 1]%N; nth 0%N [:: 0; 1]%N; nth 0%N [:: 0]%N].
Definition backward_classes : seq labels :=
  [:: nth 0%N [:: 0; 0; 1]%N; nth 0%N [:: 0; 0]%N; nth 0%N [:: 0]%N].

Definition three_features : nat -> seq (sample Q) :=
  fun _ => [:: Sample (vec [:: frac 1 1; frac 2 1; frac 1 1]) 1 (half_square (frac 1 1))].

Theorem one_sided_classes_are_not_enough :
  let after := train 3 (descent (frac 1 10)) three_features one_sided 1 in
  let l := nth (dense identity identity' [::] [::]) after 0 in
  [/\ forward_equitable 3 id one_sided forward_classes,
      backward_equitable 3 id one_sided backward_classes,
      nth id forward_classes 0 0%N = nth id forward_classes 0 1%N,
      nth id backward_classes 0 0%N = nth id backward_classes 0 1%N
    & W l 0 0 <> W l 1 0].
Proof.
split; [ | | by [] | by [] | by apply/eqP; vm_compute].
  do 3![split; [by apply/equal_row_sumsP; vm_compute | by apply/equal_biasesP; vm_compute | ]].
  by [].
by do 3![split; first by apply/equal_column_sumsP; vm_compute]; apply/constantP; vm_compute.
Qed.

(** ** (g) Decay inside a nonlinear update breaks a balanced lock

    1-3-3-1. The block between the two layers of three units has equal row sums and equal column sums,
    but no two of its rows hold the same numbers: it is 1 everywhere plus a doubly centred block. *)

Definition balanced : network Q unit := (
  [:: dense identity identity' [:: [:: frac 1 1]; [:: frac 1 1]; [:: frac 1 1]] [:: frac 0 1; frac 0 1; frac 0 1];
      dense identity identity'
        [:: [:: frac 2 1; frac 3 1; frac (-2) 1];
            [:: frac 2 1; frac (-1) 1; frac 2 1];
            [:: frac (-1) 1; frac 1 1; frac 3 1]] [:: frac 0 1; frac 0 1; frac 0 1];
      dense identity identity' [:: [:: frac 1 1; frac 1 1; frac 1 1]] [:: frac 0 1]])%Z.

Definition balanced_classes : seq labels := [:: (fun=> 0%N); (fun=> 0%N); (fun=> 0%N)].

Definition one_feature : nat -> seq (sample Q) :=
  fun _ => [:: Sample (vec [:: frac 1 1]) 1 (half_square (frac 1 1))].

(** [w := w - alpha H(G + lambda w)] with [H u = u^3]. *)
Definition cubed_with_decay (alpha lambda : Qc) : optimizer Q unit :=
  let rule := fun G theta =>
    let u : Q := G + lambda * value theta in Param (value theta - alpha * (u * u * u)) tt in
  fun _ _ => Rules rule rule.

(** The partition is equitable, and after one step two units of a class answer differently. With
    [lambda = 0] the same update is additive and [equitable_forever] applies. *)
Theorem decay_in_a_nonlinear_update_breaks_the_lock :
  let after := train 1 (cubed_with_decay (frac 1 10) (frac 1 10)) one_feature balanced 1 in
  [/\ equitable 1 id balanced balanced_classes,
      nth id balanced_classes 1 0%N = nth id balanced_classes 1 1%N
    & unit_output 1 after 1 0 (vec [:: frac 1 1]) <> unit_output 1 after 1 1 (vec [:: frac 1 1])].
Proof. by split; [apply/equitableP; vm_compute | by [] | apply/eqP; vm_compute]. Qed.

Lemma cubed_without_decay_is_additive alpha t k :
  additive (on_weights (cubed_with_decay alpha 0 t k)).
Proof.
exists 1, (fun _ G => - (alpha * (G * G * G))), (fun _ _ => tt) => G theta.
by rewrite /additive_rule /= mul0r addr0 mul1r.
Qed.
