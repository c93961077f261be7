"""Stage 2. In: a model, an example, a plan. Out: a trace of symbolic training."""
