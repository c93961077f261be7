(** * Equitable partitions: one pass of backpropagation

    Units are sorted into classes by a labelling of each layer. A family of labellings is _equitable
    in both directions_ when between any class D of a layer and any class C of the layer below, the
    sums of the block [W[D, C]] along its rows are equal, and along its columns too.

    Result: members of a class then have equal activations and equal cotangents, and the gradient of
    every weight matrix is constant on every block. *)

From mathcomp Require Import all_ssreflect ssralg.
From Lockstep Require Import Network.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import GRing.Theory.
Local Open Scope ring_scope.

(** A partition of the units of a layer: two units are in one class if they bear one label. *)
Definition labels := nat -> nat.

(** [x] is equal on the members of each class of [p]. *)
Definition constant (n : nat) (p : labels) (T : Type) (x : nat -> T) : Prop :=
  forall i i', (i < n)%N -> (i' < n)%N -> p i = p i' -> x i = x i'.

(** [X] is constant on every block (class of [q], class of [p]). *)
Definition block_constant (m n : nat) (q p : labels) (T : Type) (X : nat -> nat -> T) : Prop :=
  forall i i' j j', (i < m)%N -> (i' < m)%N -> (j < n)%N -> (j' < n)%N ->
    q i = q i' -> p j = p j' -> X i j = X i' j'.

(** Every unit is a class of its own. *)
Definition alone (n : nat) (p : labels) : Prop :=
  forall i i', (i < n)%N -> (i' < n)%N -> p i = p i' -> i = i'.

Section Equitable.

Variable R : comRingType.
Variable S : Type.
Implicit Types (l : layer R S) (net : network R S) (x : vector R).

(** Below, [p] labels the inputs of the layer [l], [q] its units. *)

(** Two units of a class have equal sums of incoming weights from every class [C] of inputs. *)
Definition equal_row_sums (n : nat) (p : labels) l (q : labels) : Prop :=
  forall i i' C, (i < width l)%N -> (i' < width l)%N -> q i = q i' ->
    \sum_(0 <= j < n | p j == C) W l i j = \sum_(0 <= j < n | p j == C) W l i' j.

(** Two inputs of a class have equal sums of outgoing weights to every class [D] of units. *)
Definition equal_column_sums (n : nat) (p : labels) l (q : labels) : Prop :=
  forall j j' D, (j < n)%N -> (j' < n)%N -> p j = p j' ->
    \sum_(0 <= i < width l | q i == D) W l i j = \sum_(0 <= i < width l | q i == D) W l i j'.

(** The condition on one layer. *)
Record equitable_layer (n : nat) (p : labels) l (q : labels) : Prop := {
  rows : equal_row_sums n p l q;
  columns : equal_column_sums n p l q;
  biases : constant (width l) q (bias (params l));
  (* what the optimizer remembers is the same for all weights of a block *)
  memories : block_constant (width l) n q p (fun i j => memory (weight (params l) i j))
}.

(** The condition on a network: [p] labels its inputs, [qs] its layers, and every output is alone. *)
Fixpoint equitable (n : nat) (p : labels) net (qs : seq labels) : Prop :=
  match net, qs with
  | l :: above, q :: qs' => equitable_layer n p l q /\ equitable (width l) q above qs'
  | [::], [::] => alone n p
  | _, _ => False
  end.

(** ** The one lemma: a sum of products sees only the class sums *)

Lemma sum_by_class n (p : labels) (f : vector R) :
  \sum_(0 <= j < n) f j =
  \sum_(C <- undup (map p (iota 0 n))) \sum_(0 <= j < n | p j == C) f j.
Proof.
under [RHS]eq_bigr do rewrite big_mkcond /=.
rewrite exchange_big /= big_nat [RHS]big_nat; apply: eq_bigr => j /andP[_ lt_jn].
rewrite (bigD1_seq (p j)) ?undup_uniq //= ?eqxx.
  by rewrite big1 ?addr0 // => C /negPf; rewrite eq_sym => ->.
by rewrite mem_undup; apply: map_f; rewrite mem_iota.
Qed.

Lemma equal_products n (p : labels) (u v x y : vector R) :
    constant n p x -> (forall j, (j < n)%N -> y j = x j) ->
    (forall C, \sum_(0 <= j < n | p j == C) u j = \sum_(0 <= j < n | p j == C) v j) ->
  total n (fun j => u j * x j) = total n (fun j => v j * y j).
Proof.
move=> const_x eq_xy eq_sums; rewrite !totalE [LHS](sum_by_class n p) [RHS](sum_by_class n p).
apply: eq_big_seq => C; rewrite mem_undup => /mapP[k]; rewrite mem_iota => /andP[_ lt_kn] defC.
have pull w z : (forall j, (j < n)%N -> z j = x j) ->
    \sum_(0 <= j < n | p j == C) w j * z j = (\sum_(0 <= j < n | p j == C) w j) * x k.
  move=> eq_z; rewrite mulr_suml big_nat_cond [RHS]big_nat_cond.
  apply: eq_bigr => j /andP[/andP[_ lt_jn] /eqP pj].
  by rewrite eq_z // (const_x j k) // pj.
by rewrite !pull // eq_sums.
Qed.

(** ** (a) Equal activations, equal cotangents, block-constant gradients *)

(** What is claimed of the trace of one layer. *)
Record in_step (n : nat) (p : labels) (m : nat) (q : labels) (t : trace R) : Prop := {
  equal_activations : constant m q (activation t);
  equal_cotangents : constant m q (cotangent t);
  equal_weight_gradients : block_constant m n q p (weight (gradients t));
  equal_bias_gradients : constant m q (bias (gradients t))
}.

(** ... and of the traces of all layers. *)
Fixpoint all_in_step (n : nat) (p : labels) net (qs : seq labels) (ts : seq (trace R)) : Prop :=
  match net, qs, ts with
  | l :: above, q :: qs', t :: ts' =>
      in_step n p (width l) q t /\ all_in_step (width l) q above qs' ts'
  | [::], [::], [::] => True
  | _, _, _ => False
  end.

Lemma constant_table n (p : labels) (f : vector R) : constant n p f -> constant n p (table n f).
Proof. by move=> const_f i i' lt_i lt_i' eq_p; rewrite !tableE //; apply: const_f. Qed.

Lemma constant_preactivation n p l q x :
  equitable_layer n p l q -> constant n p x -> constant (width l) q (preactivation n l x).
Proof.
move=> eq_l const_x i i' lt_i lt_i' eq_q; rewrite /preactivation /b (biases eq_l lt_i lt_i' eq_q).
congr (_ + _); apply: (equal_products const_x) => // C.
exact: (rows eq_l).
Qed.

Theorem one_pass n p net qs x dloss :
    equitable n p net qs -> constant n p x ->
  constant n p (backprop n net x dloss).1 /\
  all_in_step n p net qs (backprop n net x dloss).2.
Proof.
elim: net qs n p x => [|l above IH] [|q qs] n p x //=.
  by move=> out_alone _; split=> // i i' lt_i lt_i' /out_alone->.
case=> eq_l eq_above const_x.
set z := table (width l) (preactivation n l x).
set a := table (width l) (fun i => act l (z i)).
have const_z : constant (width l) q z by apply: constant_table; apply: constant_preactivation eq_l const_x.
have const_a : constant (width l) q a.
  by apply: constant_table => i i' lt_i lt_i' eq_q; rewrite (const_z i i').
have [] := IH qs (width l) q a eq_above const_a.
case: (backprop _ _ _ _) => da ts /= const_da in_step_ts.
set dz := table (width l) (fun i => da i * _).
have const_dz : constant (width l) q dz.
  by apply: constant_table => i i' lt_i lt_i' eq_q; rewrite (const_z i i') // (const_da i i').
split; last split=> //; last split=> //=.
  apply: constant_table => j j' lt_j lt_j' eq_p.
  apply: (@equal_products _ q (fun i => W l i j) (fun i => W l i j')) => // D.
  exact: (columns eq_l).
by move=> i i' j j' lt_i lt_i' lt_j lt_j' eq_q eq_p; rewrite (const_dz i i') // (const_x j j').
Qed.

(** *** (a) in one piece, layers counted from 0 *)

(** The number of units of layer [k], and of the inputs of layer [k]. *)
Definition width_of net (k : nat) : nat := nth 0%N (map (@width R S) net) k.
Definition inputs_of (n : nat) net (k : nat) : nat := nth 0%N (n :: map (@width R S) net) k.

Lemma all_in_step_nth n p net qs ts t0 k :
    all_in_step n p net qs ts -> (k < size net)%N ->
  in_step (inputs_of n net k) (nth id (p :: qs) k) (width_of net k) (nth id qs k) (nth t0 ts k).
Proof.
rewrite /inputs_of /width_of.
elim: net qs ts n p k => [|l above IH] [|q qs] [|t ts] n p k //= [in_step_t above_in_step].
by case: k => [|k] //= lt_k; have := IH qs ts (width l) q k above_in_step lt_k.
Qed.

Lemma alone_constant n p (T : Type) (x : nat -> T) : alone n p -> constant n p x.
Proof. by move=> p_alone i i' lt_i lt_i' eq_p; rewrite (p_alone i i'). Qed.

(** (a) If the partition is equitable in both directions, inputs and outputs alone, then for every input
    [x] and every loss, in every layer [k]: equal activations and equal cotangents inside classes,
    gradients constant on blocks. *)
Theorem equitable_in_step n p net qs x dloss t0 k :
    alone n p -> equitable n p net qs -> (k < size net)%N ->
  in_step (inputs_of n net k) (nth id (p :: qs) k) (width_of net k) (nth id qs k)
    (nth t0 (backprop n net x dloss).2 k).
Proof.
move=> p_alone eq_net; apply: all_in_step_nth.
by have [] := one_pass dloss eq_net (alone_constant x p_alone).
Qed.

End Equitable.
