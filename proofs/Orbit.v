(** * Permutations of units that fix the network

    If some permutation of the units of each layer leaves every parameter (and what the optimizer
    remembers of it) as it is, then it does so for ever, under _every_ elementwise update. Units that the
    permutation carries into each other compute the same function at every step. *)

From mathcomp Require Import all_ssreflect ssralg.
From Lockstep Require Import Network Equitable Training.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import GRing.Theory.
Local Open Scope ring_scope.

(** [s] permutes 0, ..., n-1. *)
Definition permutes (n : nat) (s : nat -> nat) : Prop := perm_eq (mkseq s n) (iota 0 n).

(** [s] moves none of 0, ..., n-1. *)
Definition fixes (n : nat) (s : nat -> nat) : Prop := forall i, (i < n)%N -> s i = i.

(** [x] is unchanged by [s]. *)
Definition invariant (n : nat) (s : nat -> nat) (T : Type) (x : nat -> T) : Prop :=
  forall i, (i < n)%N -> x (s i) = x i.

(** [X] is unchanged when [s'] acts on its rows and [s] on its columns. *)
Definition invariant2 (m n : nat) (s' s : nat -> nat) (T : Type) (X : nat -> nat -> T) : Prop :=
  forall i j, (i < m)%N -> (j < n)%N -> X (s' i) (s j) = X i j.

Lemma permutes_lt n s i : permutes n s -> (i < n)%N -> (s i < n)%N.
Proof.
move=> /perm_mem/(_ (s i)); rewrite mem_iota /= add0n => <- lt_in.
by apply: map_f; rewrite mem_iota.
Qed.

Section Orbit.

Variable R : comRingType.
Variable S : Type.
Implicit Types (l : layer R S) (net : network R S) (x : vector R) (s : nat -> nat).

(** The condition on one layer: [s] permutes its inputs, [s'] its units. *)
Record symmetric_layer (n : nat) s l s' : Prop := {
  a_permutation : permutes (width l) s';
  same_weights : invariant2 (width l) n s' s (weight (params l));
  same_biases : invariant (width l) s' (bias (params l))
}.

(** The condition on a network: [s] permutes its inputs, [ss] its layers, and every output stays. *)
Fixpoint symmetric (n : nat) s net (ss : seq (nat -> nat)) : Prop :=
  match net, ss with
  | l :: above, s' :: ss' => symmetric_layer n s l s' /\ symmetric (width l) s' above ss'
  | [::], [::] => fixes n s
  | _, _ => False
  end.

Lemma total_permuted n s (f : vector R) : permutes n s -> total n (fun i => f (s i)) = total n f.
Proof.
move=> perm_s; rewrite !totalE /index_iota subn0 -(big_map s xpredT f).
by rewrite (perm_big _ perm_s).
Qed.

Lemma eq_total n (f g : vector R) : (forall i, (i < n)%N -> f i = g i) -> total n f = total n g.
Proof. by move=> eq_fg; rewrite !totalE; apply: eq_big_nat. Qed.

Lemma invariant_table n s (f : vector R) :
  permutes n s -> invariant n s f -> invariant n s (table n f).
Proof. by move=> perm_s inv_f i lt_i; rewrite !tableE ?permutes_lt ?inv_f. Qed.

Lemma invariant_preactivation n s l s' x :
    permutes n s -> symmetric_layer n s l s' -> invariant n s x ->
  invariant (width l) s' (preactivation n l x).
Proof.
move=> perm_s [_ same_W same_b] inv_x i lt_i; rewrite /preactivation /b same_b //; congr (_ + _).
rewrite -(total_permuted (fun j => W l (s' i) j * x j) perm_s).
by apply: eq_total => j lt_j; rewrite /W same_W // inv_x.
Qed.

(** ** One pass of backpropagation *)

Fixpoint gradients_invariant (n : nat) s net (ss : seq (nat -> nat)) (gs : seq (entries R)) : Prop :=
  match net, ss, gs with
  | l :: above, s' :: ss', g :: gs' =>
      [/\ invariant2 (width l) n s' s (weight g), invariant (width l) s' (bias g)
        & gradients_invariant (width l) s' above ss' gs']
  | [::], [::], [::] => True
  | _, _, _ => False
  end.

Theorem one_pass_symmetric n s net ss x dloss :
    permutes n s -> symmetric n s net ss -> invariant n s x ->
  invariant n s (backprop n net x dloss).1 /\
  gradients_invariant n s net ss [seq gradients t | t <- (backprop n net x dloss).2].
Proof.
elim: net ss n s x => [|l above IH] [|s' ss] n s x //= perm_s.
  by move=> fix_s _; split=> // i lt_i; rewrite fix_s.
case=> sym_l sym_above inv_x; have [perm_s' same_W same_b] := sym_l.
set z := table (width l) (preactivation n l x).
set a := table (width l) (fun i => act l (z i)).
have inv_z : invariant (width l) s' z.
  by apply: (invariant_table perm_s'); apply: invariant_preactivation inv_x.
have inv_a : invariant (width l) s' a.
  by apply: (invariant_table perm_s') => i lt_i; rewrite inv_z.
have [] := IH ss (width l) s' a perm_s' sym_above inv_a.
case: (backprop _ _ _ _) => da ts /= inv_da inv_ts.
set dz := table (width l) (fun i => da i * _).
have inv_dz : invariant (width l) s' dz.
  by apply: (invariant_table perm_s') => i lt_i; rewrite inv_z ?inv_da.
split; last split=> //=.
  apply: (invariant_table perm_s) => j lt_j.
  rewrite -(total_permuted (fun i => W l i (s j) * dz i) perm_s').
  by apply: eq_total => i lt_i; rewrite /W same_W // inv_dz.
by move=> i j lt_i lt_j; rewrite inv_dz // inv_x.
Qed.

(** ** Batches *)

Lemma gradients_invariant_zero n s net ss :
  symmetric n s net ss -> gradients_invariant n s net ss (nseq (size net) no_gradient).
Proof. by elim: net ss n s => [|l above IH] [|s' ss] n s //= [_ sym]; split=> //; apply: IH. Qed.

Lemma gradients_invariant_combine n s net ss c gs hs :
    gradients_invariant n s net ss gs -> gradients_invariant n s net ss hs ->
  gradients_invariant n s net ss [seq combine c gh.1 gh.2 | gh <- zip gs hs].
Proof.
elim: net ss gs hs n s => [|l above IH] [|s' ss] [|g gs] [|h hs] n s //=.
move=> [gW gb g_above] [hW hb h_above]; split; last exact: IH.
  by move=> i j lt_i lt_j /=; rewrite gW // hW.
by move=> i lt_i /=; rewrite gb // hb.
Qed.

Lemma fixes_permutes n s : fixes n s -> permutes n s.
Proof.
move=> fix_s; rewrite /permutes /mkseq (_ : map s _ = iota 0 n) //.
by rewrite -[RHS]map_id; apply/eq_in_map => i; rewrite mem_iota => /andP[_ /fix_s].
Qed.

Lemma fixes_invariant n s (T : Type) (x : nat -> T) : fixes n s -> invariant n s x.
Proof. by move=> fix_s i lt_i; rewrite fix_s. Qed.

Lemma gradients_invariant_batch n s net ss batch :
    fixes n s -> symmetric n s net ss ->
  gradients_invariant n s net ss (batch_gradient n net batch).
Proof.
move=> fix_s sym; elim: batch => [|smp batch IH] /=; first exact: gradients_invariant_zero.
apply: gradients_invariant_combine IH.
have perm_s := fixes_permutes fix_s; have inv_x := fixes_invariant (input smp) fix_s.
by have [_] := one_pass_symmetric (dloss smp) perm_s sym inv_x.
Qed.

(** ** (c) Every elementwise update keeps the symmetry *)

Lemma symmetric_update n s net ss gs (r : nat -> rules R S) :
    symmetric n s net ss -> gradients_invariant n s net ss gs ->
  symmetric n s (update r gs net) ss.
Proof.
elim: net ss gs n s r => [|l above IH] [|s' ss] [|g gs] n s r //=.
case=> [[perm_s' same_W same_b] sym_above] [gW gb g_above].
split; last exact: IH; split=> //= [i j lt_i lt_j|i lt_i] /=.
  by rewrite gW // same_W.
by rewrite gb // same_b.
Qed.

(** (c) If the permutations fix the network (and leave inputs and outputs in place) at the start, they
    fix it after any number [t] of steps, whatever the elementwise updates [H(G, W)], ... *)
Theorem symmetric_forever n s net ss (opt : optimizer R S) batch :
    fixes n s -> symmetric n s net ss ->
  forall t, symmetric n s (train n opt batch net t) ss.
Proof.
move=> fix_s sym; elim=> [|t IH] //=.
by apply: symmetric_update => //; apply: gradients_invariant_batch.
Qed.

Lemma symmetric_output n s net ss x k i :
    permutes n s -> symmetric n s net ss -> invariant n s x -> (i < width_of net k)%N ->
  unit_output n net k (nth id ss k i) x = unit_output n net k i x.
Proof.
rewrite /unit_output /width_of.
elim: net ss n s x k => [|l above IH] [|s' ss] n s x k //=; first by rewrite nth_nil.
move=> perm_s [sym_l sym_above] inv_x; have perm_s' := a_permutation sym_l.
have inv_a : invariant (width l) s' (table (width l) (fun i => act l (preactivation n l x i))).
  apply: (invariant_table perm_s') => j lt_j.
  by rewrite (invariant_preactivation perm_s sym_l inv_x lt_j).
by case: k => [|k] /=; [apply: inv_a | apply: IH sym_above inv_a].
Qed.

(** ... hence a unit [i] and the unit to which the permutation of its layer [k] carries it compute the
    same function after any number [t] of steps. *)
Theorem same_orbit_same_function n s net ss (opt : optimizer R S) batch k i :
    fixes n s -> symmetric n s net ss -> (i < width_of net k)%N ->
  forall t x, unit_output n (train n opt batch net t) k (nth id ss k i) x =
              unit_output n (train n opt batch net t) k i x.
Proof.
move=> fix_s sym lt_i t x; have sym_t := symmetric_forever opt batch fix_s sym t.
apply: symmetric_output sym_t (fixes_invariant _ fix_s) _; first exact: fixes_permutes.
by rewrite width_of_train.
Qed.

(** ** Twins: two units with equal incoming and equal outgoing weights *)

(** Units [u] and [v] of layer [k] have equal incoming weights, equal biases and equal outgoing weights.
    (The last layer has no outgoing weights: an output is no twin.) *)
Fixpoint twins (n : nat) net (k u v : nat) : Prop :=
  match k, net with
  | k'.+1, l :: above => twins (width l) above k' u v
  | 0%N, l :: (l' :: _) =>
      [/\ (u < width l)%N, (v < width l)%N,
          forall j, (j < n)%N -> weight (params l) u j = weight (params l) v j,
          bias (params l) u = bias (params l) v
        & forall i, (i < width l')%N -> weight (params l') i u = weight (params l') i v]
  | _, _ => False
  end.

Definition swap (u v i : nat) : nat := if i == u then v else if i == v then u else i.

Fixpoint swap_in net (k u v : nat) : seq (nat -> nat) :=
  match net, k with
  | _ :: above, k'.+1 => id :: swap_in above k' u v
  | _ :: above, 0%N => swap u v :: nseq (size above) id
  | [::], _ => [::]
  end.

Lemma swapK u v : involutive (swap u v).
Proof.
move=> i; rewrite /swap; have [->|iu] := eqVneq i u; first by have [->|vu] := eqVneq v u; rewrite ?eqxx.
by have [->|iv] := eqVneq i v; rewrite ?eqxx // (negPf iu) (negPf iv).
Qed.

Lemma swap_lt n u v i : (u < n)%N -> (v < n)%N -> (i < n)%N -> (swap u v i < n)%N.
Proof. by rewrite /swap; do 2?case: ifP. Qed.

Lemma permutes_swap n u v : (u < n)%N -> (v < n)%N -> permutes n (swap u v).
Proof.
move=> lt_u lt_v; apply: uniq_perm; rewrite ?iota_uniq //.
  by rewrite map_inj_uniq ?iota_uniq //; apply: can_inj (swapK u v).
move=> i; rewrite mem_iota /= add0n; apply/mapP/idP => [[j]|lt_i].
  by rewrite mem_iota => /andP[_ lt_j] ->; apply: swap_lt.
by exists (swap u v i); rewrite ?swapK // mem_iota; apply: swap_lt.
Qed.

Lemma symmetric_id n net : symmetric n id net (nseq (size net) id).
Proof. by elim: net n => [|l above IH] n //=; split=> //; split=> //; apply: fixes_permutes. Qed.

Lemma twins_symmetric n net k u v : twins n net k u v -> symmetric n id net (swap_in net k u v).
Proof.
elim: net n k => [|l above IH] n [|k] //; last first.
  move=> /= tw; split; last exact: IH.
  by split=> //; apply: fixes_permutes.
case: above {IH} => [|l' above] //= [lt_u lt_v eq_in eq_b eq_out]; split; last split.
- split; first exact: permutes_swap.
    move=> i j lt_i lt_j; rewrite /swap.
    by case: eqP => [->|_]; [|case: eqP => [->|_]]; rewrite ?eq_in.
  by move=> i lt_i; rewrite /swap; case: eqP => [->|_] //; case: eqP => [->|_].
- split=> [|i j lt_i lt_j|//]; first exact: fixes_permutes.
  by rewrite /swap; case: eqP => [->|_]; [|case: eqP => [->|_]]; rewrite ?eq_out.
exact: symmetric_id.
Qed.

Lemma symmetric_twins n net m k u v :
    (k.+1 < size net)%N -> (u < width_of net k)%N -> (v < width_of net k)%N ->
    map (@width R S) m = map (@width R S) net ->
  symmetric n id m (swap_in net k u v) -> twins n m k u v.
Proof.
rewrite /width_of.
elim: net n m k => [|l above IH] n [|l1 m] [|k] //= lt_k lt_u lt_v [eq_w eq_ws].
  case: above m {IH} lt_k eq_ws => [|l' above] [|l1' m] //= _ [eq_w' _].
  case=> [[_ same_W same_b] [[_ same_W' _] _]].
  have swap_u : swap u v u = v by rewrite /swap eqxx.
  split; rewrite ?eq_w //.
  - by move=> j lt_j; rewrite -[LHS]same_W ?eq_w // swap_u.
  - by rewrite -[LHS]same_b ?eq_w // swap_u.
  by move=> i lt_i; rewrite -[LHS]same_W' ?eq_w // swap_u.
by case=> _ sym; apply: (IH (width l1) m k).
Qed.

Lemma twins_bounds n net k u v :
  twins n net k u v ->
  [/\ (k.+1 < size net)%N, (u < width_of net k)%N & (v < width_of net k)%N].
Proof.
rewrite /width_of; elim: net n k => [|l above IH] n [|k] //=; last by case/IH.
by case: above {IH} => [|l' above] //= [].
Qed.

Lemma widths_update r gs net : map (@width R S) (update r gs net) = map (@width R S) net.
Proof. by elim: net gs r => [|l net IH] [|g gs] r //=; rewrite IH. Qed.

Lemma widths_train n (opt : optimizer R S) batch net t :
  map (@width R S) (train n opt batch net t) = map (@width R S) net.
Proof. by elim: t => //= t <-; rewrite widths_update. Qed.

(** (c) for twins: equal incoming weights, bias and outgoing weights stay equal for ever. *)
Theorem twins_forever n net (opt : optimizer R S) batch k u v :
  twins n net k u v -> forall t, twins n (train n opt batch net t) k u v.
Proof.
move=> tw t; have [lt_k lt_u lt_v] := twins_bounds tw.
apply: (symmetric_twins lt_k lt_u lt_v); first exact: widths_train.
by apply: symmetric_forever; last exact: twins_symmetric.
Qed.

End Orbit.
