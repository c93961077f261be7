"""The inputs of an audit: given with ``--input``, brought by the target, declared, or inferred."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from torch import nn

from lockstep.targets import Target, infer, inputs
from lockstep.targets.trial import attempt, described


def choose(target: Target, given: Sequence[str]) -> tuple[Any, str]:
    """Inputs for the target's model, and a sentence for stderr where they were not given."""
    specs = inputs.parse(given)
    if specs:
        return _given(specs, target.model)
    if target.inputs is not None:
        return target.inputs, ""
    declared = _declared(target.model)
    if declared is not None:
        return declared, f"no --input given: using {described(declared)}, as the model declares"
    return infer.example_inputs(target.model)


def _declared(model: Any) -> Any:
    """Example inputs of models that say themselves what they take."""
    # Only a library that is loaded can have made the model.
    transformers, keras = sys.modules.get("transformers"), sys.modules.get("keras")
    if transformers is not None and isinstance(model, transformers.PreTrainedModel):
        from lockstep.integrations.transformers import example_inputs

        return example_inputs(model)
    if keras is not None and isinstance(model, keras.Model):
        from lockstep.integrations.keras_files import example_inputs as keras_inputs

        return keras_inputs(model)
    return None


def _given(specs: Sequence[inputs.Spec], model: nn.Module) -> tuple[Any, str]:
    """Tensors for the specs; integers without a range get the widest one on which the model runs."""
    open_ranges = any(spec.is_integer and spec.span is None for spec in specs)
    if not open_ranges:
        return inputs.tensors(specs), ""
    rows = {
        module.num_embeddings
        for module in model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
    }
    spans = [(0, count - 1) for count in sorted(rows, reverse=True)] or [(0, 1)]
    fits = (span for span in spans if attempt(model, inputs.tensors(specs, span)) is None)
    low, high = next(fits, spans[-1])
    note = f"integer inputs without a range hold {low} to {high}; give one as in 4,16:int64:0-99"
    return inputs.tensors(specs, (low, high)), note
