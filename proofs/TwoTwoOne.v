(** * The smallest case: two features, two hidden units, one output

<<
     z1 = w1 x1 + w2 x2 + b1    a1 = g(z1)
     z2 = w3 x1 + w4 x2 + b2    a2 = g(z2)
     z3 = w5 a1 + w6 a2 + b3    a3 = g(z3)     J = loss(a3, y)     w := w - alpha dJ/dw
>>
    Without biases: [b1 = b2 = b3 = 0], and no step touches them. *)

From mathcomp Require Import all_ssreflect ssralg.
From Lockstep Require Import Network Equitable Training Orbit.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import GRing.Theory.
Local Open Scope ring_scope.

(** The nine numbers, in the order of the course. *)
Record course (R : Type) := Course { w1 : R; w2 : R; w3 : R; w4 : R; w5 : R; w6 : R;
                                     b1 : R; b2 : R; b3 : R }.

Section TwoTwoOne.

Variable R : comRingType.
Variable S : Type.
Variables g g' : R -> R.  (* the activation and its derivative: any two functions *)
Variable blank : S.       (* what the optimizer remembers before the first step *)

Definition parameter (r : R) : param R S := Param r blank.

(** The network with these numbers; units and features are counted from 0. *)
Definition network_of (c : course R) : network R S :=
  [:: Layer 2 g g'
        (Entries (fun i j => parameter (if i is 0%N then (if j is 0%N then w1 c else w2 c)
                                        else (if j is 0%N then w3 c else w4 c)))
                 (fun i => parameter (if i is 0%N then b1 c else b2 c)));
      Layer 1 g g'
        (Entries (fun _ j => parameter (if j is 0%N then w5 c else w6 c))
                 (fun _ => parameter (b3 c)))].

(** The nine numbers of a network. *)
Definition read (net : network R S) : course R :=
  let first := nth (Layer 0 g g' (Entries (fun _ _ => parameter 0) (fun _ => parameter 0))) net 0 in
  let second := nth first net 1 in
  Course (W first 0 0) (W first 0 1) (W first 1 0) (W first 1 1) (W second 0 0) (W second 0 1)
         (b first 0) (b first 1) (b second 0).

(** The nine numbers after [t] steps. *)
Definition trained (opt : optimizer R S) batch (start : course R) (t : nat) : course R :=
  read (train 2 opt batch (network_of start) t).

(** ** (d) Equal at the start, equal after any number of steps *)

Definition tied (c : course R) : Prop :=
  [/\ w1 c = w3 c, w2 c = w4 c, w5 c = w6 c & b1 c = b2 c].

(** With biases, for any batches, any losses and any elementwise optimizer. *)
Theorem two_two_one_with_bias opt batch start :
    w1 start = w3 start -> w2 start = w4 start -> w5 start = w6 start -> b1 start = b2 start ->
  forall t, let now := trained opt batch start t in
    [/\ w1 now = w3 now, w2 now = w4 now, w5 now = w6 now & b1 now = b2 now].
Proof.
move=> eq13 eq24 eq56 eqb t; rewrite /trained.
have: twins 2 (train 2 opt batch (network_of start) t) 0 0 1.
  apply: twins_forever; split=> //= [[|[|//]] _||[|//] _] /=.
  - by rewrite eq13.
  - by rewrite eq24.
  - by rewrite eqb.
  by rewrite eq56.
have := widths_train 2 opt batch (network_of start) t.
case: (train _ _ _ _ _) => [|l [|l' [|//]]] //= [_ w'] [_ _ eq_in eq_b eq_out].
by rewrite /read /W /b /= !eq_in // eq_b eq_out ?w'.
Qed.

(** A rule that touches nothing. *)
Definition keep : rule R S := fun _ theta => theta.

Lemma biases_kept n (opt : optimizer R S) batch net t :
    (forall t k, on_biases (opt t k) = keep) ->
  [seq bias (params l) | l <- train n opt batch net t] = [seq bias (params l) | l <- net].
Proof.
move=> kept; elim: t => //= t <-; move: (opt t) (kept t) => r kept_r {kept}.
elim: (train _ _ _ _ _) (batch_gradient _ _ _) r kept_r => [|l above IH] [|gr grs] r kept_r //=.
by rewrite IH // kept_r.
Qed.

(** Without biases: they are 0 at the start and the optimizer does not touch them. *)
Theorem two_two_one_without_bias opt batch start :
    (forall t k, on_biases (opt t k) = keep) ->
    b1 start = 0 -> b2 start = 0 -> b3 start = 0 ->
    w1 start = w3 start -> w2 start = w4 start -> w5 start = w6 start ->
  forall t, let now := trained opt batch start t in
    [/\ w1 now = w3 now, w2 now = w4 now & w5 now = w6 now] /\
    [/\ b1 now = 0, b2 now = 0 & b3 now = 0].
Proof.
move=> kept b1_0 b2_0 b3_0 eq13 eq24 eq56 t.
have eqb : b1 start = b2 start by rewrite b1_0 b2_0.
have [now13 now24 now56 _] := two_two_one_with_bias opt batch eq13 eq24 eq56 eqb t; split=> //.
have := biases_kept 2 batch (network_of start) t kept; rewrite /trained /read /b.
by case: (train _ _ _ _ _) => [|l [|l' [|//]]] //= [-> ->]; rewrite /= b1_0 b2_0 b3_0.
Qed.

(** ** The same gradients as in the course

    One sample [(x1, x2)]; [dJ] gives [dJ/da3] for the output [a3]. *)

Section Chain.

Variables (c : course R) (x1 x2 : R) (dJ : R -> R).

Let z1 := w1 c * x1 + w2 c * x2 + b1 c.
Let z2 := w3 c * x1 + w4 c * x2 + b2 c.
Let a1 := g z1.
Let a2 := g z2.
Let z3 := w5 c * a1 + w6 c * a2 + b3 c.
Let a3 := g z3.

(** [dJ/dw1 = dJ/da3 . da3/dz3 . dz3/da1 . da1/dz1 . dz1/dw1], and so on. *)
Definition chain : course R :=
  Course (dJ a3 * g' z3 * w5 c * g' z1 * x1)
         (dJ a3 * g' z3 * w5 c * g' z1 * x2)
         (dJ a3 * g' z3 * w6 c * g' z2 * x1)
         (dJ a3 * g' z3 * w6 c * g' z2 * x2)
         (dJ a3 * g' z3 * a1)
         (dJ a3 * g' z3 * a2)
         (dJ a3 * g' z3 * w5 c * g' z1)
         (dJ a3 * g' z3 * w6 c * g' z2)
         (dJ a3 * g' z3).

Definition one_sample : sample R :=
  Sample (fun j => if j is 0%N then x1 else x2) 1 (fun a _ => dJ (a 0%N)).

Definition read_gradient (gs : seq (entries R)) : course R :=
  let first := nth no_gradient gs 0 in let second := nth no_gradient gs 1 in
  Course (weight first 0 0) (weight first 0 1) (weight first 1 0) (weight first 1 1)
         (weight second 0 0) (weight second 0 1) (bias first 0) (bias first 1) (bias second 0).

Theorem backprop_is_the_chain :
  read_gradient (batch_gradient 2 (network_of c) [:: one_sample]) = chain.
Proof.
rewrite /read_gradient /= /preactivation /total /table /= /W /b /=.
rewrite !mul1r !addr0 -/z1 -/z2 -/a1 -/a2 -/z3 -/a3.
by rewrite !(mulrC (w5 c)) !(mulrC (w6 c)).
Qed.

(** Equal incoming weights only: the two gradients differ by what the outgoing weights differ. *)
Theorem gap_of_gradients :
    w1 c = w3 c -> w2 c = w4 c -> b1 c = b2 c ->
  w3 chain - w1 chain = (w6 c - w5 c) * (dJ a3 * g' z3 * g' z1 * x1).
Proof.
have front (d p w q x : R) : d * p * w * q * x = w * (d * p * q * x) by rewrite (mulrC (d * p)) -!mulrA.
by rewrite /= /z2 => <- <- <-; rewrite -/z1 !(front _ _ _ (g' z1)) mulrBl.
Qed.

End Chain.

End TwoTwoOne.
