"""A ``.keras`` file -> a Keras 3 model on the torch backend, and example inputs.

A file may carry code: Lambda layers hold byte code, custom objects name classes to import. Both are
looked for in the file's ``config.json`` before Keras opens it, and refused unless trusted.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lockstep.errors import UsageError
from lockstep.targets.blame import describe
from lockstep.targets.inputs import Spec, tensors

BATCH, LENGTH = 4, 8


def load(path: Path, *, trust: bool = False) -> Any:
    """The model in a ``.keras`` file."""
    foreign = sorted(set(_foreign(_config(path))))
    if foreign and not trust:
        raise UsageError(
            f"{path} holds {', '.join(foreign)}: loading it would run code from the file or import "
            "it by name. If you trust where it comes from, add --trust; or build the model in a "
            "function in a .py file and name that."
        )
    keras = torch_keras(str(path))
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=not trust)
    except Exception as error:
        raise UsageError(f"{path} cannot be loaded. It raised\n  {describe(error)}") from error


def torch_keras(place: str) -> Any:
    """The package ``keras`` on the torch backend, or a refusal that says how to get there."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    try:
        import keras
    except ImportError as error:
        raise UsageError(
            f"{place} needs the package keras, which is not installed. "
            'Install it: pip install "lockstep[keras]"'
        ) from error
    backend = keras.backend.backend()
    if backend != "torch":
        raise UsageError(
            f"{place}: Keras runs on the {backend} backend here, and Lockstep follows torch. "
            "Set the environment variable KERAS_BACKEND=torch before keras is imported."
        )
    return keras


def _config(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError, OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not a .keras file: {error}. Save the model with model.save('name.keras')."
        ) from error


def _foreign(node: Any) -> Iterator[str]:
    """Lambdas and custom objects anywhere in a serialised model."""
    if isinstance(node, list):
        for item in node:
            yield from _foreign(item)
        return
    if not isinstance(node, dict):
        return
    name = node.get("class_name")
    if name in ("Lambda", "__lambda__"):
        layer = (node.get("config") or {}).get("name", "") if name == "Lambda" else ""
        yield f"a Lambda {layer!r}" if layer else "a lambda function"
    elif isinstance(name, str) and "config" in node and not _built_in(node):
        yield f"the custom object {node.get('registered_name') or name!r}"
    for value in node.values():
        yield from _foreign(value)


def _built_in(node: dict[str, Any]) -> bool:
    module = node.get("module")
    if (
        module is None
    ):  # plain values ("__tuple__", "__tensor__") have none, nor have custom objects
        return str(node["class_name"]).startswith("__")
    return str(module).partition(".")[0] in ("keras", "builtins")


def example_inputs(model: Any) -> Any:
    """Tensors of the shapes that a built model declares; unknown sizes become 4 (batch) or 8."""
    declared = getattr(model, "inputs", None)
    if not declared:
        raise UsageError(
            f"the Keras model {model.name!r} declares no input shape. Give it: --input 4,16"
        )
    structure = getattr(model, "_inputs_struct", None)
    if isinstance(structure, dict):
        return {name: tensors([_spec(item, model)]) for name, item in structure.items()}
    return tensors([_spec(item, model) for item in declared])


def _spec(declared: Any, model: Any) -> Spec:
    sizes = [size or LENGTH for size in declared.shape[1:]]
    shape = (declared.shape[0] or BATCH, *sizes)
    dtype = getattr(torch, str(declared.dtype), torch.float32)
    rows = [
        layer.input_dim
        for layer in model._flatten_layers()
        if type(layer).__name__ == "Embedding" and _reads(layer, declared)
    ]
    if rows:
        # Keras declares token inputs as floats by default; the embedding casts them.
        return Spec(shape, torch.int64, (0, min(rows) - 1))
    return Spec(shape, dtype, (0, 1) if not dtype.is_floating_point else None)


def _reads(layer: Any, declared: Any) -> bool:
    nodes = layer._inbound_nodes
    return any(tensor is declared for node in nodes for tensor in node.input_tensors)
