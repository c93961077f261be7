(** What the main theorems rest on. [check] reads this list and what Coq prints for it. *)

From Lockstep Require Import Network Equitable Training Momentum Orbit Mirror TwoTwoOne Decide Counterexamples.

Print Assumptions backprop_activations.
Print Assumptions equitable_in_step.
Print Assumptions equitable_forever.
Print Assumptions same_function_forever.
Print Assumptions balanced_forever.
Print Assumptions balanced_same_function.
Print Assumptions balanced_at_rest.
Print Assumptions momentum_with_decay_is_linear.
Print Assumptions symmetric_forever.
Print Assumptions same_orbit_same_function.
Print Assumptions twins_forever.
Print Assumptions mirrored_forever.
Print Assumptions mirror_units_forever.
Print Assumptions backprop_is_the_chain.
Print Assumptions gap_of_gradients.
Print Assumptions two_two_one_with_bias.
Print Assumptions two_two_one_without_bias.
Print Assumptions equitableP.
Print Assumptions incoming_alone_is_not_enough.
Print Assumptions one_sided_classes_are_not_enough.
Print Assumptions decay_in_a_nonlinear_update_breaks_the_lock.
Print Assumptions cubed_without_decay_is_additive.
