(** * Deciding by computation whether a partition is equitable

    Over numbers whose equality can be computed, the conditions of [Equitable.v] can be computed too.
    So a partition found elsewhere (by [lockstep.audit], say) can be checked on its network. *)

From mathcomp Require Import all_ssreflect ssralg.
From Lockstep Require Import Network Equitable.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import GRing.Theory.
Local Open Scope ring_scope.

Section Decide.

Variable R : comRingType.
Variable S : eqType.
Implicit Types (l : layer R S) (net : network R S).

(** [f] takes equal values at any two of 0, ..., n-1 that bear one label. *)
Definition constantb (n : nat) (p : labels) (T : eqType) (f : nat -> T) : bool :=
  all (fun i => all (fun i' => (p i == p i') ==> (f i == f i')) (iota 0 n)) (iota 0 n).

Lemma constantP n p (T : eqType) (f : nat -> T) : reflect (constant n p f) (constantb n p f).
Proof.
apply: (iffP allP) => [all_f i i' lt_i lt_i' eq_p|const_f i].
  have /allP/(_ i') := all_f i ltac:(by rewrite mem_iota).
  by rewrite mem_iota eq_p eqxx => /(_ lt_i')/eqP.
rewrite mem_iota => /andP[_ lt_i]; apply/allP => i'; rewrite mem_iota => /andP[_ lt_i'].
by apply/implyP => /eqP eq_p; apply/eqP; apply: const_f.
Qed.

(** The sums of [f] over the classes that occur, in a list. *)
Definition class_sums (n : nat) (p : labels) (f : vector R) : seq R :=
  [seq total n (fun j => if p j == C then f j else 0) | C <- map p (iota 0 n)].

Lemma class_sumsP n p (f g : vector R) :
  class_sums n p f = class_sums n p g <->
  (forall C, \sum_(0 <= j < n | p j == C) f j = \sum_(0 <= j < n | p j == C) g j).
Proof.
have sumE h C : total n (fun j => if p j == C then h j else 0) = \sum_(0 <= j < n | p j == C) h j.
  by rewrite totalE [RHS]big_mkcond.
split=> [/eq_in_map eq_fg C|eq_fg]; last by apply: eq_map => C; rewrite !sumE.
have [/eq_fg|no_C] := boolP (C \in map p (iota 0 n)); first by rewrite !sumE.
have none j : (0 <= j < n)%N && (p j == C) = false.
  apply: contraNF no_C => /andP[/andP[_ lt_j] /eqP <-].
  by apply: map_f; rewrite mem_iota.
by rewrite big_nat_cond [RHS]big_nat_cond !big_pred0.
Qed.

Definition equal_row_sumsb n p l q : bool :=
  constantb (width l) q (fun i => class_sums n p (W l i)).

Lemma equal_row_sumsP n p l q : reflect (equal_row_sums n p l q) (equal_row_sumsb n p l q).
Proof.
apply: (iffP (constantP _ _ _)) => [const_sums i i' C lt_i lt_i' eq_q|eq_rows i i' lt_i lt_i' eq_q].
  by have /class_sumsP := const_sums i i' lt_i lt_i' eq_q.
by apply/class_sumsP => C; apply: eq_rows.
Qed.

Definition equal_column_sumsb n p l q : bool :=
  constantb n p (fun j => class_sums (width l) q (fun i => W l i j)).

Lemma equal_column_sumsP n p l q :
  reflect (equal_column_sums n p l q) (equal_column_sumsb n p l q).
Proof.
apply: (iffP (constantP _ _ _)) => [const_sums j j' D lt_j lt_j' eq_p|eq_cols j j' lt_j lt_j' eq_p].
  by have /class_sumsP := const_sums j j' lt_j lt_j' eq_p.
by apply/class_sumsP => D; apply: eq_cols.
Qed.

(** Parameters are compared as pairs. *)
Definition pair_of (theta : param R S) : R * S := (value theta, memory theta).

Lemma pair_of_inj : injective pair_of.
Proof. by case=> [v m] [v' m'] [-> ->]. Qed.

Definition equal_biasesb l q : bool := constantb (width l) q (fun i => pair_of (bias (params l) i)).

Lemma equal_biasesP l q : reflect (constant (width l) q (bias (params l))) (equal_biasesb l q).
Proof.
apply: (iffP (constantP _ _ _)) => eq_b i i' lt_i lt_i' eq_q; last by rewrite (eq_b i i').
by apply: pair_of_inj; apply: eq_b.
Qed.

Definition block_constantb m n q p (T : eqType) (X : nat -> nat -> T) : bool :=
  constantb m q (fun i => mkseq (X i) n) && all (fun i => constantb n p (X i)) (iota 0 m).

Lemma block_constantP m n q p (T : eqType) (X : nat -> nat -> T) :
  reflect (block_constant m n q p X) (block_constantb m n q p X).
Proof.
apply: (iffP andP) => [[/constantP eq_rows /allP eq_cols] i i' j j' lt_i lt_i' lt_j lt_j' eq_q eq_p|].
  have /constantP const_i : constantb n p (X i) by apply: eq_cols; rewrite mem_iota.
  rewrite (const_i j j') //.
  by have /(congr1 (nth (X i j') ^~ j')) := eq_rows i i' lt_i lt_i' eq_q; rewrite !nth_mkseq.
move=> block_X; split.
  apply/constantP => i i' lt_i lt_i' eq_q; apply/eq_in_map => j.
  by rewrite mem_iota => /andP[_ lt_j]; apply: block_X.
apply/allP => i; rewrite mem_iota => /andP[_ lt_i].
by apply/constantP => j j' lt_j lt_j' eq_p; apply: block_X.
Qed.

Definition equitable_layerb n p l q : bool :=
  [&& equal_row_sumsb n p l q, equal_column_sumsb n p l q, equal_biasesb l q
    & block_constantb (width l) n q p (fun i j => memory (weight (params l) i j))].

Lemma equitable_layerP n p l q : reflect (equitable_layer n p l q) (equitable_layerb n p l q).
Proof.
apply: (iffP and4P) => [[r c eq_b m]|[r c eq_b m]]; split.
- exact/equal_row_sumsP.
- exact/equal_column_sumsP.
- exact/equal_biasesP.
- exact/block_constantP.
- exact/equal_row_sumsP.
- exact/equal_column_sumsP.
- exact/equal_biasesP.
exact/block_constantP.
Qed.

Fixpoint equitableb (n : nat) (p : labels) net (qs : seq labels) : bool :=
  match net, qs with
  | l :: above, q :: qs' => equitable_layerb n p l q && equitableb (width l) q above qs'
  | [::], [::] => constantb n p id
  | _, _ => false
  end.

Theorem equitableP n p net qs : reflect (equitable n p net qs) (equitableb n p net qs).
Proof.
elim: net qs n p => [|l above IH] [|q qs] n p /=; try by constructor.
  exact: constantP.
by apply: (iffP andP) => [[/equitable_layerP ? /IH ?]|[/equitable_layerP ? /IH ?]].
Qed.

End Decide.
