(** * Dense networks, backpropagation, training

    Every definition here can be run as well as reasoned about: the theorems speak of these very
    functions, and [tests/proofs] runs them over the rationals beside PyTorch.

    Numbers are taken from any commutative ring [R]. Units, layers and inputs are counted from 0. *)

From mathcomp Require Import all_ssreflect ssralg.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import GRing.Theory.
Local Open Scope ring_scope.

Section Network.

Variable R : comRingType.  (* the numbers *)
Variable S : Type.         (* what an optimizer remembers of one parameter; [unit] if nothing *)

Definition vector := nat -> R.

(** ** Sums that can be run

    [total n f] is [f 0 + ... + f (n-1)]; [table n f] is [f], with its first [n] values computed once
    and 0 beyond. *)

Definition total (n : nat) (f : nat -> R) : R := foldr (fun i sum => f i + sum) 0 (iota 0 n).

Definition table (n : nat) (f : vector) : vector := nth 0 (mkseq f n).

Lemma totalE n f : total n f = \sum_(0 <= i < n) f i.
Proof. by rewrite /total unlock /reducebig /index_iota subn0. Qed.

Lemma tableE n f i : (i < n)%N -> table n f i = f i.
Proof. by move=> lt_in; rewrite /table nth_mkseq. Qed.

(** ** Networks *)

(** A parameter: its value, and what the optimizer remembers of it (momentum, second moment, ...). *)
Record param := Param { value : R; memory : S }.

(** A weight for every pair (unit, input of the layer) and a bias for every unit. The parameters of a
    layer have this shape, and so have their gradients. *)
Record entries (T : Type) := Entries { weight : nat -> nat -> T; bias : nat -> T }.

(** A layer: number of units, activation, its "derivative", parameters. The two functions are
    arbitrary: nothing below asks that one be the derivative of the other. *)
Record layer := Layer { width : nat; act : R -> R; act' : R -> R; params : entries param }.

Definition W (l : layer) (i j : nat) : R := value (weight (params l) i j).
Definition b (l : layer) (i : nat) : R := value (bias (params l) i).

(** A network is the list of its layers. It is read together with the number [n] of its inputs. *)
Definition network := seq layer.

(** [z_i = sum_j W_ij x_j + b_i] *)
Definition preactivation (n : nat) (l : layer) (x : vector) : vector :=
  fun i => total n (fun j => W l i j * x j) + b l i.

(** The activations of all layers, first layer first. *)
Fixpoint activations (n : nat) (net : network) (x : vector) : seq vector :=
  if net is l :: above then
    let a := table (width l) (fun i => act l (preactivation n l x i)) in
    a :: activations (width l) above a
  else [::].

(** What unit [i] of layer [k] answers to the input [x]. *)
Definition unit_output (n : nat) (net : network) (k i : nat) (x : vector) : R :=
  nth (fun=> 0) (activations n net x) k i.

(** ** Backpropagation

    [dloss a] is the gradient of the loss with respect to the outputs [a] of the network; any
    function will do. *)

(** What backpropagation leaves behind at a layer: activations [a = act z], cotangents [dL/dz], and the
    gradients of its parameters. *)
Record trace := Trace { activation : vector; cotangent : vector; gradients : entries R }.

(** Gives [dL/dx] and the traces of all layers, first layer first. *)
Fixpoint backprop (n : nat) (net : network) (x : vector) (dloss : vector -> vector)
  : vector * seq trace :=
  if net is l :: above then
    let z := table (width l) (preactivation n l x) in
    let a := table (width l) (fun i => act l (z i)) in
    let: (da, traces) := backprop (width l) above a dloss in
    let dz := table (width l) (fun i => da i * act' l (z i)) in
    let dx := table n (fun j => total (width l) (fun i => W l i j * dz i)) in
    let dW := fun i j => dz i * x j in
    let db := dz in
    (dx, Trace a dz (Entries dW db) :: traces)
  else (dloss x, [::]).

(** ** Training *)

(** One sample of a batch: an input, its weight in the sum, and the gradient of its loss. *)
Record sample := Sample { input : vector; coefficient : R; dloss : vector -> vector }.

Definition sample_gradient (n : nat) (net : network) (s : sample) : seq (entries R) :=
  [seq gradients t | t <- (backprop n net (input s) (dloss s)).2].

Definition no_gradient : entries R := Entries (fun _ _ => 0) (fun _ => 0).

(** [c * g + h] *)
Definition combine (c : R) (g h : entries R) : entries R :=
  Entries (fun i j => c * weight g i j + weight h i j) (fun i => c * bias g i + bias h i).

(** The gradient of a batch: the sum over its samples, each times its coefficient (1/size: the mean). *)
Definition batch_gradient (n : nat) (net : network) (batch : seq sample) : seq (entries R) :=
  foldr (fun s rest => [seq combine (coefficient s) gh.1 gh.2
                       | gh <- zip (sample_gradient n net s) rest])
        (nseq (size net) no_gradient) batch.

(** An elementwise update: the gradient of an entry and the entry give the new entry. *)
Definition rule := R -> param -> param.

(** Weights and biases may follow different rules (decay is often for weights only). *)
Record rules := Rules { on_weights : rule; on_biases : rule }.

(** An optimizer says which rules hold at step [t] in layer [k]. *)
Definition optimizer := nat -> nat -> rules.

Definition update_layer (r : rules) (g : entries R) (l : layer) : layer :=
  Layer (width l) (act l) (act' l)
    (Entries (fun i j => on_weights r (weight g i j) (weight (params l) i j))
             (fun i => on_biases r (bias g i) (bias (params l) i))).

Fixpoint update (r : nat -> rules) (gs : seq (entries R)) (net : network) : network :=
  match gs, net with
  | g :: gs', l :: above => update_layer (r 0%N) g l :: update (fun k => r k.+1) gs' above
  | _, _ => net
  end.

(** The network after [t] steps; step [t] sees the batch number [t]. *)
Fixpoint train (n : nat) (opt : optimizer) (batch : nat -> seq sample) (net : network) (t : nat)
  : network :=
  if t is t'.+1 then
    let now := train n opt batch net t' in
    update (opt t') (batch_gradient n now (batch t')) now
  else net.

Lemma eq_table n (f g : vector) : (forall i, (i < n)%N -> f i = g i) -> table n f = table n g.
Proof.
move=> eq_fg; rewrite /table /mkseq; congr (nth 0 _).
by apply/eq_in_map => i; rewrite mem_iota => /andP[_ lt_in]; apply: eq_fg.
Qed.

(** The activations that backpropagation leaves behind are those of the forward pass. *)
Lemma backprop_activations n net x dloss :
  [seq activation t | t <- (backprop n net x dloss).2] = activations n net x.
Proof.
elim: net n x => [|l above IH] n x //=.
set a := table _ (fun i => act l (table _ _ i)).
have -> : table (width l) (fun i => act l (preactivation n l x i)) = a.
  by apply: eq_table => i lt_i; rewrite tableE.
by move: (IH (width l) a); case: (backprop _ _ _ _) => da traces /= ->.
Qed.

Lemma size_backprop n net x dloss : size (backprop n net x dloss).2 = size net.
Proof.
elim: net n x => [|l above IH] n x //=.
by move: (IH (width l) (table (width l) (fun i => act l (table (width l) (preactivation n l x) i))));
  case: (backprop _ _ _ _) => da traces /= ->.
Qed.

Lemma size_batch_gradient n net batch : size (batch_gradient n net batch) = size net.
Proof.
elim: batch => [|s batch IH] /=; first by rewrite size_nseq.
by rewrite size_map size_zip IH size_map size_backprop minnn.
Qed.

End Network.

Arguments no_gradient {R}.
