"""The inputs of an audit: given with ``--input``, brought by the target, declared, or inferred."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from torch import nn

from lockstep.targets import Target, infer, inputs
from lockstep.targets.trial import described


def choose(target: Target, given: Sequence[str]) -> tuple[Any, str]:
    """Inputs for the target's model, and a sentence for stderr where they were not given."""
    specs = inputs.parse(given)
    if specs:
        return inputs.tensors(specs, _span(target.model)), _range_note(specs, target.model)
    if target.inputs is not None:
        return target.inputs, ""
    declared = _declared(target.model)
    if declared is not None:
        return declared, f"no --input given: using {described(declared)}, from the config"
    return infer.example_inputs(target.model)


def _declared(model: Any) -> Any:
    """Example inputs of models that say themselves what they take."""
    # Only a library that is loaded can have made the model.
    transformers, keras = sys.modules.get("transformers"), sys.modules.get("keras")
    if transformers is not None and isinstance(model, transformers.PreTrainedModel):
        from lockstep.integrations.transformers import example_inputs

        return example_inputs(model)
    if keras is not None and isinstance(model, keras.Model):
        from lockstep.integrations.keras import example_inputs as keras_inputs

        return keras_inputs(model)
    return None


def _span(model: nn.Module) -> tuple[int, int]:
    """The range of indices that every embedding of the model has rows for."""
    rows = [
        module.num_embeddings
        for module in model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
    ]
    return (0, min(rows) - 1) if rows else (0, 1)


def _range_note(specs: Sequence[inputs.Spec], model: nn.Module) -> str:
    if not any(spec.is_integer and spec.span is None for spec in specs):
        return ""
    low, high = _span(model)
    return f"integer inputs without a range hold {low} to {high}; give one as in 4,16:int64:0-99"
