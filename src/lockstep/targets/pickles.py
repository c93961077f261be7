"""Files that run code when they are opened: refused, unless the user says that they trust them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from lockstep.errors import UsageError
from lockstep.targets.blame import describe

PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")
WEIGHTS_ONLY = {
    ".safetensors": "holds weights without a model",
    ".npz": "holds weights without a model",
    ".onnx": "is an ONNX graph, which cannot be trained",
    ".gguf": "holds quantised weights without a model",
    ".h5": "is the old Keras format; save the model again as .keras",
    ".pb": "is a TensorFlow graph",
    ".pt2": "is an exported program, not an eager model",
}
CURE = "Write a function in a .py file that builds the model and loads the weights; name that one."


def is_weights(path: Path) -> bool:
    """Whether the name says that the file holds weights or a pickled model."""
    return path.suffix.lower() in (*PICKLES, *WEIGHTS_ONLY)


def load(path: Path, *, trust: bool) -> torch.nn.Module:
    """The module in a pickle that the user trusts."""
    suffix = path.suffix.lower()
    if suffix in WEIGHTS_ONLY:
        raise UsageError(f"{path} {WEIGHTS_ONLY[suffix]}. {CURE}")
    if not trust:
        raise UsageError(
            f"{path} is a pickle: opening it can run any code that its author put there. If you "
            f"trust where it comes from, add --trust. {CURE}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript archives warn before they are refused
            value: Any = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise UsageError(f"{path} cannot be opened. It raised\n  {describe(error)}") from error
    if isinstance(value, torch.jit.ScriptModule):
        raise UsageError(f"{path} is TorchScript, whose operations cannot be followed. {CURE}")
    if not isinstance(value, torch.nn.Module):
        kind = "a state_dict" if isinstance(value, dict) else f"of type {type(value).__name__}"
        raise UsageError(f"{path} is not a module but {kind}. {CURE}")
    return value
