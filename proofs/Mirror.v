(** * Mirror units: permutations with signs

    As in [Orbit.v], but a unit may be carried into another with the opposite sign: all its weights,
    incoming and outgoing, and its bias are negated. This needs an odd activation (with an even
    derivative) in its layer and an odd update; then mirror units stay each other's negative for ever. *)

From mathcomp Require Import all_ssreflect ssralg.
From Lockstep Require Import Network Equitable Training Orbit.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import GRing.Theory.
Local Open Scope ring_scope.

Section Mirror.

Variable R : comRingType.
Variable S : Type.
Variable opposite : S -> S.  (* what the optimizer remembers of an entry of opposite sign *)
Implicit Types (l : layer R S) (net : network R S) (x : vector R) (s : nat -> nat) (e : nat -> bool).

(** [x], negated if [neg] is true; the same for a parameter. *)
Definition signed (neg : bool) (r : R) : R := if neg then - r else r.
Definition signed_param (neg : bool) (theta : param R S) : param R S :=
  if neg then Param (- value theta) (opposite (memory theta)) else theta.

(** The permutation [s] turns [x] into itself, with the signs [e]. *)
Definition mirrored (n : nat) s e x : Prop :=
  forall i, (i < n)%N -> x (s i) = signed (e i) (x i).
Definition mirrored2 (m n : nat) s' e' s e (X : nat -> nat -> R) : Prop :=
  forall i j, (i < m)%N -> (j < n)%N -> X (s' i) (s j) = signed (e' i (+) e j) (X i j).

(** The condition on one layer. *)
Record mirrored_layer (n : nat) s e l s' e' : Prop := {
  mirror_permutation : permutes (width l) s';
  mirror_parity : forall i, (i < width l)%N -> e' i ->
    (forall z, act l (- z) = - act l z) /\ (forall z, act' l (- z) = act' l z);
  mirror_weights : forall i j, (i < width l)%N -> (j < n)%N ->
    weight (params l) (s' i) (s j) = signed_param (e' i (+) e j) (weight (params l) i j);
  mirror_biases : forall i, (i < width l)%N ->
    bias (params l) (s' i) = signed_param (e' i) (bias (params l) i)
}.

(** No unit is moved or negated. *)
Definition unmoved (n : nat) s e : Prop := forall i, (i < n)%N -> s i = i /\ e i = false.

(** The condition on a network; every output stays. *)
Fixpoint mirrored_network (n : nat) s e net (ss : seq (nat -> nat)) (es : seq (nat -> bool)) : Prop :=
  match net, ss, es with
  | l :: above, s' :: ss', e' :: es' =>
      mirrored_layer n s e l s' e' /\ mirrored_network (width l) s' e' above ss' es'
  | [::], [::], [::] => unmoved n s e
  | _, _, _ => False
  end.

(** An odd update: opposite gradient and opposite parameter give the opposite parameter. *)
Definition odd_rule (h : rule R S) : Prop :=
  forall G theta, h (- G) (signed_param true theta) = signed_param true (h G theta).

(** ** Signs *)

Lemma signedM a b (r t : R) : signed a r * signed b t = signed (a (+) b) (r * t).
Proof. by case: a; case: b; rewrite /= ?mulrNN ?mulrN ?mulNr. Qed.

Lemma signedD a (r t : R) : signed a r + signed a t = signed a (r + t).
Proof. by case: a; rewrite //= opprD. Qed.

Lemma signed_total a n (f : vector R) : total n (fun i => signed a (f i)) = signed a (total n f).
Proof. by case: a => //=; rewrite !totalE sumrN. Qed.

Lemma value_signed a theta : value (signed_param a theta) = signed a (value theta).
Proof. by case: a. Qed.

Lemma odd_rule_signed h a G theta :
  odd_rule h -> h (signed a G) (signed_param a theta) = signed_param a (h G theta).
Proof. by case: a => //= odd_h; apply: odd_h. Qed.

Lemma mirrored_table n s e (f : vector R) :
  permutes n s -> mirrored n s e f -> mirrored n s e (table n f).
Proof. by move=> perm_s mir_f i lt_i; rewrite !tableE ?permutes_lt ?mir_f. Qed.

(** ** One pass *)

Lemma mirrored_preactivation n s e l s' e' x :
    permutes n s -> mirrored_layer n s e l s' e' -> mirrored n s e x ->
  mirrored (width l) s' e' (preactivation n l x).
Proof.
move=> perm_s [_ _ mir_W mir_b] mir_x i lt_i; rewrite /preactivation /b mir_b // value_signed -signedD.
congr (_ + _); rewrite -(total_permuted (fun j => W l (s' i) j * x j) perm_s) -signed_total.
apply: eq_total => j lt_j.
by rewrite /W mir_W // value_signed mir_x // signedM -addbA addbb addbF.
Qed.

Lemma mirrored_act n s e l s' e' z :
  mirrored_layer n s e l s' e' -> mirrored (width l) s' e' z ->
  mirrored (width l) s' e' (fun i => act l (z i)).
Proof.
move=> mir_l mir_z i lt_i; rewrite mir_z //.
by case: (e' i) (mirror_parity mir_l lt_i) => //= /(_ isT)[odd_act _]; rewrite odd_act.
Qed.

Lemma mirrored_act' n s e l s' e' z i :
  mirrored_layer n s e l s' e' -> mirrored (width l) s' e' z -> (i < width l)%N ->
  act' l (z (s' i)) = act' l (z i).
Proof.
move=> mir_l mir_z lt_i; rewrite mir_z //.
by case: (e' i) (mirror_parity mir_l lt_i) => //= /(_ isT)[_ even_act']; rewrite even_act'.
Qed.

Fixpoint gradients_mirrored (n : nat) s e net ss es (gs : seq (entries R)) : Prop :=
  match net, ss, es, gs with
  | l :: above, s' :: ss', e' :: es', g :: gs' =>
      [/\ mirrored2 (width l) n s' e' s e (weight g), mirrored (width l) s' e' (bias g)
        & gradients_mirrored (width l) s' e' above ss' es' gs']
  | [::], [::], [::], [::] => True
  | _, _, _, _ => False
  end.

Lemma one_pass_mirrored n s e net ss es x dloss :
    permutes n s -> mirrored_network n s e net ss es -> mirrored n s e x ->
  mirrored n s e (backprop n net x dloss).1 /\
  gradients_mirrored n s e net ss es [seq gradients t | t <- (backprop n net x dloss).2].
Proof.
elim: net ss es n s e x => [|l above IH] [|s' ss] [|e' es] n s e x //= perm_s.
  by move=> still _; split=> // i /still[-> ->].
case=> mir_l mir_above mir_x; have perm_s' := mirror_permutation mir_l.
set z := table (width l) (preactivation n l x).
set a := table (width l) (fun i => act l (z i)).
have mir_z : mirrored (width l) s' e' z.
  by apply: (mirrored_table perm_s'); apply: mirrored_preactivation mir_x.
have mir_a : mirrored (width l) s' e' a.
  by apply: (mirrored_table perm_s'); apply: mirrored_act mir_l mir_z.
have [] := IH ss es (width l) s' e' a perm_s' mir_above mir_a.
case: (backprop _ _ _ _) => da ts /= mir_da mir_ts.
set dz := table (width l) (fun i => da i * _).
have mir_dz : mirrored (width l) s' e' dz.
  apply: (mirrored_table perm_s') => i lt_i; rewrite (mirrored_act' mir_l mir_z) // mir_da //.
  by rewrite -[act' l (z i)]/(signed false (act' l (z i))) signedM addbF.
split; last split=> //=.
  apply: (mirrored_table perm_s) => j lt_j.
  rewrite -(total_permuted (fun i => W l i (s j) * dz i) perm_s') -signed_total.
  apply: eq_total => i lt_i.
  by rewrite /W (mirror_weights mir_l) // value_signed mir_dz // signedM addbC addKb.
by move=> i j lt_i lt_j; rewrite mir_dz // mir_x // signedM.
Qed.

(** ** Batches and steps *)

Lemma gradients_mirrored_zero n s e net ss es :
  mirrored_network n s e net ss es -> gradients_mirrored n s e net ss es (nseq (size net) no_gradient).
Proof.
elim: net ss es n s e => [|l above IH] [|s' ss] [|e' es] n s e //= [_ mir]; split; last exact: IH.
  by move=> i j _ _ /=; rewrite /signed oppr0 if_same.
by move=> i _ /=; rewrite /signed oppr0 if_same.
Qed.

Lemma signed_combine a (c r t : R) : c * signed a r + signed a t = signed a (c * r + t).
Proof. by rewrite -[c in LHS]/(signed false c) signedM signedD. Qed.

Lemma gradients_mirrored_combine n s e net ss es c gs hs :
    gradients_mirrored n s e net ss es gs -> gradients_mirrored n s e net ss es hs ->
  gradients_mirrored n s e net ss es [seq combine c gh.1 gh.2 | gh <- zip gs hs].
Proof.
elim: net ss es gs hs n s e => [|l above IH] [|s' ss] [|e' es] [|g gs] [|h hs] n s e //=.
move=> [gW gb g_above] [hW hb h_above]; split; last exact: IH.
  by move=> i j lt_i lt_j /=; rewrite gW // hW // signed_combine.
by move=> i lt_i /=; rewrite gb // hb // signed_combine.
Qed.

Lemma unmoved_permutes n s e : unmoved n s e -> permutes n s.
Proof. by move=> still; apply: fixes_permutes => i /still[]. Qed.

Lemma unmoved_mirrored n s e x : unmoved n s e -> mirrored n s e x.
Proof. by move=> still i /still[-> ->]. Qed.

Lemma gradients_mirrored_batch n s e net ss es batch :
    unmoved n s e -> mirrored_network n s e net ss es ->
  gradients_mirrored n s e net ss es (batch_gradient n net batch).
Proof.
move=> still mir; elim: batch => [|smp batch IH] /=; first exact: gradients_mirrored_zero.
apply: gradients_mirrored_combine IH.
have perm_s := unmoved_permutes still; have mir_x := unmoved_mirrored (input smp) still.
by have [_] := one_pass_mirrored (dloss smp) perm_s mir mir_x.
Qed.

Lemma mirrored_update n s e net ss es gs (r : nat -> rules R S) :
    (forall k, odd_rule (on_weights (r k)) /\ odd_rule (on_biases (r k))) ->
    mirrored_network n s e net ss es -> gradients_mirrored n s e net ss es gs ->
  mirrored_network n s e (update r gs net) ss es.
Proof.
elim: net ss es gs n s e r => [|l above IH] [|s' ss] [|e' es] [|g gs] n s e r //= odd_r.
case=> [[perm_s' parity mir_W mir_b] mir_above] [gW gb g_above].
have [odd_W odd_b] := odd_r 0%N.
split; last exact: IH; split=> //= [i j lt_i lt_j|i lt_i] /=.
  by rewrite gW // mir_W // odd_rule_signed.
by rewrite gb // mir_b // odd_rule_signed.
Qed.

(** Permutations with signs that fix the network fix it for ever, under every odd elementwise update, ... *)
Theorem mirrored_forever n s e net ss es (opt : optimizer R S) batch :
    unmoved n s e ->
    (forall t k, odd_rule (on_weights (opt t k)) /\ odd_rule (on_biases (opt t k))) ->
    mirrored_network n s e net ss es ->
  forall t, mirrored_network n s e (train n opt batch net t) ss es.
Proof.
move=> still odd_opt mir; elim=> [|t IH] //=.
by apply: mirrored_update => //; apply: gradients_mirrored_batch.
Qed.

Lemma mirrored_output n s e net ss es x k i :
    permutes n s -> mirrored_network n s e net ss es -> mirrored n s e x -> (i < width_of net k)%N ->
  unit_output n net k (nth id ss k i) x = signed (nth xpred0 es k i) (unit_output n net k i x).
Proof.
rewrite /unit_output /width_of.
elim: net ss es n s e x k => [|l above IH] [|s' ss] [|e' es] n s e x k //=; first by rewrite nth_nil.
move=> perm_s [mir_l mir_above] mir_x; have perm_s' := mirror_permutation mir_l.
have mir_a : mirrored (width l) s' e' (table (width l) (fun i => act l (preactivation n l x i))).
  apply: (mirrored_table perm_s'); apply: (mirrored_act mir_l).
  exact: mirrored_preactivation mir_x.
by case: k => [|k] /=; [apply: mir_a | apply: IH mir_above mir_a].
Qed.

(** ... hence a unit and its mirror unit answer with opposite signs to every input, at every step. *)
Theorem mirror_units_forever n s e net ss es (opt : optimizer R S) batch k i :
    unmoved n s e ->
    (forall t k, odd_rule (on_weights (opt t k)) /\ odd_rule (on_biases (opt t k))) ->
    mirrored_network n s e net ss es ->
    (i < width_of net k)%N ->
  forall t x, unit_output n (train n opt batch net t) k (nth id ss k i) x =
              signed (nth xpred0 es k i) (unit_output n (train n opt batch net t) k i x).
Proof.
move=> still odd_opt mir lt_i t x; have mir_t := mirrored_forever batch still odd_opt mir t.
apply: mirrored_output mir_t (unmoved_mirrored _ still) _; first exact: unmoved_permutes still.
by rewrite width_of_train.
Qed.

End Mirror.
