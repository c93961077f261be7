(** * Equitable partitions: training

    Under an additive elementwise update, [W := s W + H(G)], an equitable partition stays equitable.
    By induction on the steps, members of a class compute the same function at every step. *)

From mathcomp Require Import all_ssreflect ssralg.
From Lockstep Require Import Network Equitable.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import GRing.Theory.
Local Open Scope ring_scope.

Section Training.

Variable R : comRingType.
Variable S : Type.
Implicit Types (l : layer R S) (net : network R S) (x : vector R).

(** ** Additive updates *)

(** [new W = s W + H(memory, G)], where the memory is renewed from itself and from [G]. [H] and
    [M] are arbitrary: SGD, momentum, RMSprop, Adam, AdamW, Lion, sign updates are of this form, each
    with its own [s] (1 minus rate times decoupled decay), [H] and [M]. *)
Definition additive_rule (s : R) (H : S -> R -> R) (M : S -> R -> S) : rule R S :=
  fun G theta => Param (s * value theta + H (memory theta) G) (M (memory theta) G).

Definition additive (h : rule R S) : Prop :=
  exists (s : R) (H : S -> R -> R) (M : S -> R -> S), h =2 additive_rule s H M.

(** ** Gradients of a batch are constant on blocks *)

Fixpoint blockwise (n : nat) (p : labels) net (qs : seq labels) (gs : seq (entries R)) : Prop :=
  match net, qs, gs with
  | l :: above, q :: qs', g :: gs' =>
      [/\ block_constant (width l) n q p (weight g), constant (width l) q (bias g)
        & blockwise (width l) q above qs' gs']
  | [::], [::], [::] => True
  | _, _, _ => False
  end.

(** Every sample of every batch gives equal values to input features of one class. *)
Definition respects (n : nat) (p : labels) (batch : seq (sample R)) : Prop :=
  foldr (fun s rest => constant n p (input s) /\ rest) True batch.

Lemma alone_respects n p batch : alone n p -> respects n p batch.
Proof. by move=> p_alone; elim: batch => //= s batch IH; split=> //; apply: alone_constant. Qed.

Lemma blockwise_zero n p net qs :
  equitable n p net qs -> blockwise n p net qs (nseq (size net) no_gradient).
Proof. by elim: net qs n p => [|l above IH] [|q qs] n p //= [_ eq_above]; split=> //; apply: IH. Qed.

Lemma blockwise_trace n p net qs ts :
  all_in_step n p net qs ts -> blockwise n p net qs [seq gradients t | t <- ts].
Proof.
elim: net qs ts n p => [|l above IH] [|q qs] [|t ts] n p //= [[_ _ block_W const_b] above_in_step].
by split=> //; apply: IH.
Qed.

Lemma blockwise_combine n p net qs c gs hs :
    blockwise n p net qs gs -> blockwise n p net qs hs ->
  blockwise n p net qs [seq combine c gh.1 gh.2 | gh <- zip gs hs].
Proof.
elim: net qs gs hs n p => [|l above IH] [|q qs] [|g gs] [|h hs] n p //=.
move=> [gW gb g_above] [hW hb h_above]; split; last exact: IH.
  by move=> i i' j j' lt_i lt_i' lt_j lt_j' eq_q eq_p /=; rewrite (gW i i' j j') // (hW i i' j j').
by move=> i i' lt_i lt_i' eq_q /=; rewrite (gb i i') // (hb i i').
Qed.

Lemma blockwise_batch n p net qs batch :
  equitable n p net qs -> respects n p batch -> blockwise n p net qs (batch_gradient n net batch).
Proof.
move=> eq_net; elim: batch => [_|s batch IH] /=; first exact: blockwise_zero.
case=> const_s resp; apply: blockwise_combine (IH resp).
by apply: blockwise_trace; have [_] := one_pass (dloss s) eq_net const_s.
Qed.

(** ** (b) One step keeps the partition equitable *)

Lemma equitable_update_layer n p l q (r : rules R S) g :
    additive (on_weights r) -> equitable_layer n p l q ->
    block_constant (width l) n q p (weight g) -> constant (width l) q (bias g) ->
  equitable_layer n p (update_layer r g l) q.
Proof.
case=> s [H [M def_r]] [eq_rows eq_cols eq_b eq_mem] block_g const_g.
have block_H : block_constant (width l) n q p
    (fun i j => H (memory (weight (params l) i j)) (weight g i j)).
  move=> i i' j j' lt_i lt_i' lt_j lt_j' eq_q eq_p.
  by rewrite (eq_mem i i' j j') // (block_g i i' j j').
have new_W i j : W (update_layer r g l) i j =
    s * W l i j + H (memory (weight (params l) i j)) (weight g i j) by rewrite /W /= def_r.
split=> /=.
- move=> i i' C lt_i lt_i' eq_q.
  under eq_bigr do rewrite new_W; under [RHS]eq_bigr do rewrite new_W.
  rewrite !big_split -!mulr_sumr (eq_rows i i' C) //; congr (_ + _).
  rewrite big_nat_cond [RHS]big_nat_cond; apply: eq_bigr => j /andP[/andP[_ lt_j] _].
  exact: block_H.
- move=> j j' D lt_j lt_j' eq_p.
  under eq_bigr do rewrite new_W; under [RHS]eq_bigr do rewrite new_W.
  rewrite !big_split -!mulr_sumr (eq_cols j j' D) //; congr (_ + _).
  rewrite big_nat_cond [RHS]big_nat_cond; apply: eq_bigr => i /andP[/andP[_ lt_i] _].
  exact: block_H.
- by move=> i i' lt_i lt_i' eq_q; rewrite (const_g i i') // (eq_b i i').
move=> i i' j j' lt_i lt_i' lt_j lt_j' eq_q eq_p.
by rewrite !def_r /= (block_g i i' j j') // (eq_mem i i' j j').
Qed.

Lemma equitable_update n p net qs gs (r : nat -> rules R S) :
    (forall k, additive (on_weights (r k))) ->
    equitable n p net qs -> blockwise n p net qs gs ->
  equitable n p (update r gs net) qs.
Proof.
elim: net qs gs n p r => [|l above IH] [|q qs] [|g gs] n p r //= add_r [eq_l eq_above] [gW gb g_above].
by split; [apply: equitable_update_layer | apply: IH].
Qed.

(** ** (b) ... and so does training *)

(** In general: input features of one class must have equal values in the data. *)
Lemma equitable_train n p net qs (opt : optimizer R S) batch :
    (forall t k, additive (on_weights (opt t k))) ->
    (forall t, respects n p (batch t)) ->
    equitable n p net qs ->
  forall t, equitable n p (train n opt batch net t) qs.
Proof.
move=> add_opt resp eq_net; elim=> [|t IH] //=.
by apply: equitable_update => //; apply: blockwise_batch.
Qed.

Lemma same_output n p net qs x k i i' :
    equitable n p net qs -> constant n p x ->
    (i < width_of net k)%N -> (i' < width_of net k)%N ->
    nth id qs k i = nth id qs k i' ->
  unit_output n net k i x = unit_output n net k i' x.
Proof.
rewrite /unit_output /width_of.
elim: net qs n p x k => [|l above IH] [|q qs] n p x k //=; first by rewrite nth_nil.
case=> eq_l eq_above const_x.
have const_a : constant (width l) q (table (width l) (fun i => act l (preactivation n l x i))).
  apply: constant_table => j j' lt_j lt_j' eq_q.
  by rewrite (constant_preactivation eq_l const_x lt_j lt_j' eq_q).
by case: k => [|k] /=; [apply: const_a | apply: IH eq_above const_a].
Qed.

Lemma width_of_update r gs net k : width_of (update r gs net) k = width_of net k.
Proof. by rewrite /width_of; elim: net gs k r => [|l net IH] [|g gs] [|k] r //=. Qed.

Lemma width_of_train n (opt : optimizer R S) batch net t k :
  width_of (train n opt batch net t) k = width_of net k.
Proof. by elim: t => //= t <-; rewrite width_of_update. Qed.

(** (b) If every input feature is a class of its own, and the partition is equitable at the start, then
    it is equitable after any number [t] of steps, ... *)
Theorem equitable_forever n p net qs (opt : optimizer R S) batch :
    alone n p ->
    (forall t k, additive (on_weights (opt t k))) ->
    equitable n p net qs ->
  forall t, equitable n p (train n opt batch net t) qs.
Proof. by move=> p_alone add_opt; apply: equitable_train => // t; apply: alone_respects. Qed.

(** ... hence two units [i], [i'] of layer [k] that are in one class compute the same function: they
    answer the same to every input [x], after any number [t] of steps. *)
Theorem same_function_forever n p net qs (opt : optimizer R S) batch k i i' :
    alone n p ->
    (forall t k, additive (on_weights (opt t k))) ->
    equitable n p net qs ->
    (i < width_of net k)%N -> (i' < width_of net k)%N ->
    nth id qs k i = nth id qs k i' ->
  forall t x, unit_output n (train n opt batch net t) k i x =
              unit_output n (train n opt batch net t) k i' x.
Proof.
move=> p_alone add_opt eq_net lt_i lt_i' eq_q t x.
apply: (same_output (equitable_forever batch p_alone add_opt eq_net t)) => //.
- exact: alone_constant.
- by rewrite width_of_train.
by rewrite width_of_train.
Qed.

End Training.
