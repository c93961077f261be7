"""``path/to/file.py:name`` and ``package.module:name``: import, look the name up, call it if need be."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from lockstep.errors import UsageError
from lockstep.suggest import closest_first
from lockstep.targets.blame import describe
from lockstep.targets.importing import import_file, import_module


@dataclass(frozen=True)
class Found:
    """A model, the inputs it came with (or None), and where it is made."""

    model: Any
    inputs: Any
    file: Path | None
    line: int | None


def load(text: str, forms: str) -> Found:
    """Import what stands before the colon, take the name after it, call it unless it is a module."""
    source, name = _split(text)
    module = _module(source, text, forms)
    name = name or _only_candidate(module, source)
    value = _look_up(module, name, source)
    model, inputs = _model_of(value, f"{source}:{name}")
    file = _file(module)
    return Found(model, inputs, file, _line(name, file))


def value(text: str, forms: str) -> Any:
    """Whatever ``file.py:name`` or ``module:name`` stands for, data for instance; nothing is called."""
    source, name = _split(text)
    if not name:
        raise UsageError(f"{text!r}: say what to take of it, as in data.py:pair")
    return _look_up(_module(source, text, forms), name, source)


def _module(source: str, text: str, forms: str) -> ModuleType:
    if source.endswith(".py"):
        return import_file(Path(source))
    if all(part.isidentifier() for part in source.split(".")):
        return import_module(source, text, forms)
    raise UsageError(f"{text!r} is not a TARGET. A TARGET is {forms}.")


def _split(text: str) -> tuple[str, str]:
    # A drive letter ("C:\\nets.py") is no name: only what follows ".py:" or a dotted module is.
    if text.endswith(".py"):
        return text, ""
    source, colon, name = text.rpartition(":")
    return (source, name) if colon and source else (text.rstrip(":"), "")


def _look_up(module: ModuleType, name: str, source: str) -> Any:
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            names = [known for known in vars(value) if not known.startswith("_")]
            raise UsageError(f"{source} has no name {name!r}; it has {closest_first(part, names)}")
        value = getattr(value, part)
    return value


def _only_candidate(module: ModuleType, source: str) -> str:
    """The name to use when none was given: a model or a function that makes one, else a class."""
    models, classes = _candidates(module)
    names = models or classes
    if len(names) == 1:
        return names[0]
    if names:
        listed = ", ".join(f"{source}:{name}" for name in models + classes)
        raise UsageError(f"{source} holds several candidates; name one of {listed}")
    raise UsageError(
        f"{source} holds no model: no torch.nn.Module, and no function or class that can be "
        "called without arguments. Add a function that returns the model and name it: "
        f"{source}:build"
    )


def _candidates(module: ModuleType) -> tuple[list[str], list[str]]:
    """Modules and functions, and module classes, written here and callable without arguments."""
    public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    own = {
        name: value
        for name, value in public.items()
        if getattr(value, "__module__", None) == module.__name__ and not required_arguments(value)
    }
    models = [
        name
        for name, value in public.items()
        if isinstance(value, torch.nn.Module)
        or (name in own and name != "main" and inspect.isfunction(value))
    ]
    return models, [name for name, value in own.items() if _is_module_class(value)]


def _is_module_class(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, torch.nn.Module)


def required_arguments(function: Any) -> list[str]:
    """Names of the arguments without which ``function`` cannot be called."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        item.name
        for item in parameters
        if item.default is inspect.Parameter.empty and item.kind not in free
    ]


def _model_of(value: Any, text: str) -> tuple[Any, Any]:
    if not isinstance(value, torch.nn.Module | tuple) and callable(value):
        needed = required_arguments(value)
        if needed:
            raise UsageError(
                f"{text} needs the argument(s) {', '.join(needed)}. Write a function without "
                "arguments that returns the model, or (model, inputs), and name that one."
            )
        try:
            value = value()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise UsageError(f"{text} was called and raised\n  {describe(error)}") from error
    pair = isinstance(value, tuple) and len(value) == 2
    model, inputs = value if pair else (value, None)
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"{text} is not a module but {_kind(model)}. {_cure(model)}")
    if isinstance(model, torch.nn.DataParallel):
        raise UsageError(f"{text} is nn.DataParallel, a wrapper; give the model in it: its .module")
    if isinstance(model, torch.jit.ScriptModule):
        raise UsageError(
            f"{text} is TorchScript, whose operations cannot be followed; give the eager module "
            "that was scripted or traced"
        )
    return model, inputs


def _kind(value: Any) -> str:
    kind = type(value)
    if isinstance(value, dict) and value and all(torch.is_tensor(item) for item in value.values()):
        return "a dict of tensors (a state_dict?)"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}, and (model, inputs) is a tuple of 2"
    return f"{'a class' if inspect.isclass(value) else 'of type'} {kind.__module__}.{kind.__qualname__}"


def _cure(value: Any) -> str:
    if type(value).__module__.partition(".")[0] == "keras":
        return "Keras models are audited on the torch backend: set KERAS_BACKEND=torch."
    if isinstance(value, dict):
        return "Weights alone compute nothing: load them into the model in a function, name that."
    return "A target is a torch.nn.Module, or a function that returns one or (model, inputs)."


def _file(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)  # a namespace package has none
    return Path(file) if file else None


def _line(name: str, file: Path | None) -> int | None:
    """Line of the definition: of the function or class, or of the assignment in the file."""
    if file is None or file.suffix != ".py":
        return None
    try:
        tree = ast.parse(file.read_text("utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    first = name.partition(".")[0]
    lines = [node.lineno for node in tree.body if first in _defined(node)]
    return lines[-1] if lines else None


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return [leaf.id for item in targets for leaf in ast.walk(item) if isinstance(leaf, ast.Name)]
