"""Example inputs when none are given: the shape that the first layer with parameters asks for.

Candidates are tried on the model itself (``trial.py``); the first that runs is taken and announced.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from lockstep.errors import UsageError
from lockstep.targets.inputs import Spec, tensors
from lockstep.targets.trial import attempt, described

BATCH = 4  # BatchNorm over two samples outputs +-1 whatever the data
SIDES = (32, 28, 64, 224, 16, 8, 96, 128, 256, 299)
LENGTHS = (32, 128, 1024, 8)


def example_inputs(model: Any) -> tuple[Any, str]:
    """Inputs on which the model runs, and the sentence that says how they were chosen."""
    arguments = _required(model)
    if arguments == []:
        return (), "no --input needed: forward takes no arguments"
    name, layer = _first_layer(model)
    if layer is None:
        raise UsageError(
            f"no --input was given and none can be inferred: {type(model).__name__} has no "
            f"layer with parameters. {_cure(arguments)}"
        )
    if len(arguments) > 1 and not type(model).__module__.startswith("torch.nn"):
        raise UsageError(
            f"no --input was given and none can be inferred: forward takes "
            f"{len(arguments)} arguments ({', '.join(arguments)}). {_cure(arguments)}"
        )
    tried = []
    for specs in _candidates(layer, max(len(arguments), 1)):
        inputs = tensors(specs)
        failure = attempt(model, inputs)
        if failure is None:
            how = f"inferred from {name or 'the model'} ({type(layer).__name__})"
            return inputs, f"no --input given: using {described(inputs)}, {how}"
        tried.append(f"  {described(inputs)}: {failure.splitlines()[0]}")
    if not tried:
        tried = [f"  the first layer with parameters, {name!r}, is a {type(layer).__name__}"]
    raise UsageError(
        "no --input was given and none can be inferred. Tried:\n"
        + "\n".join(tried)
        + f"\n{_cure(arguments)}"
    )


def _cure(arguments: list[str]) -> str:
    named = " ".join(f"--input {argument}=SHAPE" for argument in arguments)
    example = named if len(arguments) > 1 else "--input 4,16 (or 4,16:int64:0-99 for indices)"
    return f"Give the shapes: {example}"


def _required(model: Any) -> list[str]:
    """Arguments of forward without a default."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(model.forward).parameters.values())
    named = [
        item.name
        for item in parameters
        if item.default is inspect.Parameter.empty and item.kind in kinds
    ]
    star = any(item.kind is inspect.Parameter.VAR_POSITIONAL for item in parameters)
    return named or (["input"] if star else [])


def _first_layer(model: nn.Module) -> tuple[str, nn.Module | None]:
    """The first module, in order of registration, that owns a parameter itself."""
    for name, module in model.named_modules():
        if next(module.parameters(recurse=False), None) is not None:
            return name, module
    return "", None


def _candidates(layer: nn.Module, arguments: int) -> Iterator[list[Spec]]:
    if isinstance(layer, nn.Bilinear) and arguments == 2:
        yield [Spec((BATCH, layer.in1_features)), Spec((BATCH, layer.in2_features))]
        return
    first = next(layer.parameters(recurse=False))
    for shape in _shapes(layer):
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            yield [Spec(shape, torch.int64, (0, layer.num_embeddings - 1))] * arguments
        else:
            yield [Spec(shape, first.dtype)] * arguments


def _shapes(layer: nn.Module) -> Iterator[tuple[int, ...]]:
    match layer:
        case nn.Linear():
            yield from ((BATCH, layer.in_features), (BATCH, 8, layer.in_features))
        case nn.Embedding() | nn.EmbeddingBag():
            yield from ((BATCH, 8), (BATCH,))
        case nn.Conv1d() | nn.ConvTranspose1d():
            yield from ((BATCH, layer.in_channels, length) for length in LENGTHS)
        case nn.Conv2d() | nn.ConvTranspose2d():
            yield from ((BATCH, layer.in_channels, side, side) for side in SIDES)
        case nn.Conv3d() | nn.ConvTranspose3d():
            yield from ((BATCH, layer.in_channels, side, side, side) for side in (8, 16, 32))
        case nn.RNNBase():
            size = layer.input_size
            yield (BATCH, 8, size) if layer.batch_first else (8, BATCH, size)
        case nn.RNNCellBase():
            yield (BATCH, layer.input_size)
        case nn.MultiheadAttention():
            size = layer.embed_dim
            yield (BATCH, 8, size) if layer.batch_first else (8, BATCH, size)
        case nn.LayerNorm() | nn.RMSNorm():
            yield from ((BATCH, *layer.normalized_shape), (BATCH, 8, *layer.normalized_shape))
        case nn.BatchNorm1d() | nn.BatchNorm2d() | nn.BatchNorm3d() | nn.GroupNorm():
            width = layer.num_channels if isinstance(layer, nn.GroupNorm) else layer.num_features
            yield from ((BATCH, width), (BATCH, width, 8), (BATCH, width, 8, 8))
            yield (BATCH, width, 8, 8, 8)
        case nn.PReLU():
            yield (BATCH, max(layer.num_parameters, 2))
