(** * Balanced locks under momentum with decay inside

    When L2 decay enters the gradient before the momentum, the velocity depends on the weight, so that it is no
    longer constant on blocks. But both then follow a linear update, and it is enough that the velocities,
    too, have equal block sums. *)

From mathcomp Require Import all_ssreflect ssralg.
From Lockstep Require Import Network Equitable Training.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import GRing.Theory.
Local Open Scope ring_scope.

Section Momentum.

Variable R : comRingType.

(** Here the optimizer remembers one number of each parameter: its velocity. *)
Implicit Types (l : layer R R) (net : network R R) (x : vector R).

(** [new W = a W + b V + H(G)], [new V = c W + d V + K(G)]. *)
Definition linear_rule (a b c d : R) (H K : R -> R) : rule R R :=
  fun G theta => Param (a * value theta + b * memory theta + H G)
                       (c * value theta + d * memory theta + K G).

Definition linear (h : rule R R) : Prop := exists a b c d H K, h =2 linear_rule a b c d H K.

(** [V := mu V + (G + lambda W)], [W := W - alpha V]: PyTorch's SGD with momentum and weight decay. *)
Definition momentum_with_decay (alpha mu lambda : R) : rule R R :=
  fun G theta =>
    let v := mu * memory theta + (G + lambda * value theta) in Param (value theta - alpha * v) v.

Lemma momentum_with_decay_is_linear alpha mu lambda : linear (momentum_with_decay alpha mu lambda).
Proof.
exists (1 - alpha * lambda), (- (alpha * mu)), lambda, mu, (fun G => - (alpha * G)), id => G theta.
rewrite /momentum_with_decay /linear_rule; congr Param; last by rewrite [G + _]addrC addrA [mu * _ + _]addrC.
rewrite mulrBl mul1r mulNr -!addrA; congr (_ + _).
by rewrite !mulrDr !opprD !mulrA [- (alpha * G) + _]addrC !addrA [- _ + - (alpha * lambda * _)]addrC.
Qed.

(** The same network without velocities, and the network whose weights are the velocities. *)
Definition weights_of l : layer R unit :=
  Layer (width l) (act l) (act' l)
    (Entries (fun i j => Param (W l i j) tt) (fun i => Param (b l i) tt)).
Definition velocities_of l : layer R unit :=
  Layer (width l) (act l) (act' l)
    (Entries (fun i j => Param (memory (weight (params l) i j)) tt)
             (fun i => Param (memory (bias (params l) i)) tt)).

(** Weights and velocities have equal block sums, for one and the same partition. *)
Definition balanced (n : nat) (p : labels) net (qs : seq labels) : Prop :=
  equitable n p (map weights_of net) qs /\ equitable n p (map velocities_of net) qs.

(** Before the first step nothing moves: then equal block sums of the weights are enough. *)
Fixpoint at_rest net : Prop :=
  if net is l :: above then
    [/\ forall i j, memory (weight (params l) i j) = 0, forall i, memory (bias (params l) i) = 0
      & at_rest above]
  else True.

Lemma balanced_at_rest n p net qs :
  at_rest net -> equitable n p (map weights_of net) qs -> balanced n p net qs.
Proof.
move=> rest eq_net; split=> //.
elim: net qs n p rest eq_net => [|l above IH] [|q qs] n p //= [rest_W rest_b rest_above] [eq_l eq_above].
split; last exact: IH.
by split=> [i i' C _ _ _|j j' D _ _ _|i i' _ _ _|//]; rewrite /W /= ?rest_b // !big1.
Qed.

Lemma backprop_weights n net x dloss :
  backprop n (map weights_of net) x dloss = backprop n net x dloss.
Proof. by elim: net n x => [|l above IH] n x //=; rewrite IH. Qed.

Lemma batch_gradient_weights n net batch :
  batch_gradient n (map weights_of net) batch = batch_gradient n net batch.
Proof.
rewrite /batch_gradient size_map; elim: batch => //= s batch ->.
by rewrite /sample_gradient backprop_weights.
Qed.

Lemma activations_weights n net x : activations n (map weights_of net) x = activations n net x.
Proof. by elim: net n x => [|l above IH] n x //=; rewrite IH. Qed.

Lemma sum_linear n (C : pred nat) (a c : R) (f g h : nat -> R) :
  \sum_(0 <= j < n | C j) (a * f j + c * g j + h j) =
  a * (\sum_(0 <= j < n | C j) f j) + c * (\sum_(0 <= j < n | C j) g j)
  + \sum_(0 <= j < n | C j) h j.
Proof. by rewrite !big_split -!mulr_sumr. Qed.

(** What is to be shown of one layer, for weights and velocities alike. *)
Lemma equitable_linear n p (l lw lv : layer R unit) q (a c : R) (H : R -> R) G :
    width lw = width l -> width lv = width l ->
    equitable_layer n p lw q -> equitable_layer n p lv q ->
    block_constant (width l) n q p G ->
    (forall i j, W l i j = a * W lw i j + c * W lv i j + H (G i j)) ->
    constant (width l) q (bias (params l)) ->
  equitable_layer n p l q.
Proof.
move=> eq_w eq_v [rw cw _ _] [rv cv _ _] block_G new_W const_b; split=> //.
- move=> i i' C lt_i lt_i' eq_q.
  under eq_bigr do rewrite new_W; under [RHS]eq_bigr do rewrite new_W.
  rewrite !sum_linear (rw i i') ?eq_w // (rv i i') ?eq_v //; congr (_ + _).
  rewrite big_nat_cond [RHS]big_nat_cond; apply: eq_bigr => j /andP[/andP[_ lt_j] _].
  by rewrite (block_G i i' j j).
- move=> j j' D lt_j lt_j' eq_p.
  under eq_bigr do rewrite new_W; under [RHS]eq_bigr do rewrite new_W.
  move: (cw j j' D lt_j lt_j' eq_p) (cv j j' D lt_j lt_j' eq_p); rewrite eq_w eq_v => eq_cw eq_cv.
  rewrite !sum_linear eq_cw eq_cv; congr (_ + _).
  rewrite big_nat_cond [RHS]big_nat_cond; apply: eq_bigr => i /andP[/andP[_ lt_i] _].
  by rewrite (block_G i i j j').
by move=> i i' j j' *; case: (memory _); case: (memory _).
Qed.

Lemma balanced_update n p net qs gs (r : nat -> rules R R) :
    (forall k, linear (on_weights (r k))) ->
    balanced n p net qs -> blockwise n p (map weights_of net) qs gs ->
  balanced n p (update r gs net) qs.
Proof.
elim: net qs gs n p r => [|l above IH] [|q qs] [|g gs] n p r lin_r [] //=.
case=> eq_w w_above [eq_v v_above] [gW gb g_above].
have [a [c [c' [d [H [K def_r]]]]]] := lin_r 0%N.
have const_b : constant (width l) q (fun i => on_biases (r 0%N) (bias g i) (bias (params l) i)).
  move=> i i' lt_i lt_i' eq_q; rewrite (gb i i') //; congr (on_biases _ _ _).
  have := biases eq_w lt_i lt_i' eq_q; have := biases eq_v lt_i lt_i' eq_q.
  by rewrite /= /b; case: (bias _ i) => ? ?; case: (bias _ i') => ? ? /= [->] [->].
have [] := IH qs gs (width l) q (fun k => r k.+1) (fun k => lin_r k.+1) (conj w_above v_above) g_above.
move=> new_w new_v; split; split=> //.
  apply: (equitable_linear (a := a) (c := c) (H := H) (G := weight g) _ _ eq_w eq_v) => //.
    by move=> i j; rewrite /W /= /W /= def_r.
  by move=> i i' lt_i lt_i' eq_q; rewrite /= /b /= (const_b i i').
apply: (equitable_linear (a := c') (c := d) (H := K) (G := weight g) _ _ eq_w eq_v) => //.
  by move=> i j; rewrite /W /= def_r.
by move=> i i' lt_i lt_i' eq_q; rewrite /= (const_b i i').
Qed.

(** Under linear updates equal block sums of weights and velocities stay equal, ... *)
Theorem balanced_forever n p net qs (opt : optimizer R R) batch :
    alone n p ->
    (forall t k, linear (on_weights (opt t k))) ->
    balanced n p net qs ->
  forall t, balanced n p (train n opt batch net t) qs.
Proof.
move=> p_alone lin_opt bal; elim=> [|t IH] //=; apply: balanced_update => //.
by rewrite -batch_gradient_weights; apply: blockwise_batch; [case: IH | apply: alone_respects].
Qed.

(** ... hence members of a class compute the same function at every step. *)
Theorem balanced_same_function n p net qs (opt : optimizer R R) batch k i i' :
    alone n p ->
    (forall t k, linear (on_weights (opt t k))) ->
    balanced n p net qs ->
    (i < width_of net k)%N -> (i' < width_of net k)%N ->
    nth id qs k i = nth id qs k i' ->
  forall t x, unit_output n (train n opt batch net t) k i x =
              unit_output n (train n opt batch net t) k i' x.
Proof.
move=> p_alone lin_opt bal lt_i lt_i' eq_q t x.
have [eq_t _] := balanced_forever batch p_alone lin_opt bal t.
have width_t m : width_of (map weights_of (train n opt batch net t)) m = width_of net m.
  by rewrite -(width_of_train n opt batch net t) /width_of -map_comp.
rewrite /unit_output -activations_weights -/(unit_output _ _ _ _ _) -/(unit_output n _ k i' x).
by apply: (same_output eq_t); rewrite ?width_t //; apply: alone_constant.
Qed.

End Momentum.
