"""A treated model as files: weights as safetensors, and a script or a changed config that makes the module for them.

Everything is written into a folder beside the one asked for, which is then renamed: a full disk or an interruption
leaves no half of it.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from . import function
from .edits import MEMBERS
from .plan import Receipt, cast_like, changed_axes

WEIGHTS = "model.safetensors"
SCRIPT = "model.py"
RECEIPT = "receipt.txt"
MOST_KEYS = 6


def write(receipt: Receipt, folder: Path, target: str) -> list[Path]:
    """Writes ``model.safetensors``, ``receipt.txt`` and ``model.py`` or ``config.json`` into ``folder``.

    Raises ``UsageError`` if the folder is there and not empty, or cannot be written; nothing is left then.
    """
    refuse_taken(folder)
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise UsageError(
            'writing a model needs the package safetensors: pip install "lockstep[treat]"'
        ) from error
    config = patched_config(receipt)
    beside: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        save_file(weights(receipt.model), str(beside / WEIGHTS), metadata={"format": "pt"})
        (beside / RECEIPT).write_text(f"{receipt}\n", "utf-8")
        if config is None:
            (beside / SCRIPT).write_text(script(receipt, target, folder), "utf-8")
        else:
            (beside / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
        if folder.is_dir():
            folder.rmdir()
        os.chmod(beside, 0o755)
        beside.rename(folder)
    except Exception as error:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
        said = str(error).strip() or type(error).__name__
        raise UsageError(
            f"cannot write the treated model to {str(folder)!r}: {said}. Nothing was left there; the model that "
            "was given is as it was. Free space, or name another folder."
        ) from error
    return [folder / name for name in sorted(os.listdir(folder))]


def refuse_taken(folder: Path) -> None:
    """Before any work: the folder must not exist, or be empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{str(folder)!r} exists and is not empty: name another folder")


def weights(model: nn.Module) -> dict[str, Tensor]:
    """What ``state_dict`` holds, tied tensors once."""
    out: dict[str, Tensor] = {}
    seen: set[tuple[int, torch.Size]] = set()
    for name, t in model.state_dict().items():
        key = (t.data_ptr(), t.shape)
        if t.numel() and key in seen:
            continue
        seen.add(key)
        out[name] = t.detach().cpu().contiguous().clone()
    return out


def script(receipt: Receipt, target: str, folder: Path) -> str:
    """A Python file with ``build()``: the original model, its sizes changed, its weights loaded."""
    ordered = sorted(receipt.plan.attributes, key=lambda a: a.name == MEMBERS)
    sizes = [(a.module, a.name, a.after) for a in ordered]
    lines = [f"    ({m!r}, {n!r}, {_source(v)})," for m, n, v in sizes]
    return SOURCE.format(
        target=target,
        treatment=receipt.plan.treatment,
        original=_original(target, receipt.model, folder),
        sizes="\n".join(["SIZES = [", *lines, "]"]),
        weights=WEIGHTS,
    )


def _source(value: Any) -> str:
    """An expression for a value that a module keeps."""
    if isinstance(value, type):
        return f"pydoc.locate({f'{value.__module__}.{value.__qualname__}'!r})"
    return repr(value)


def _original(target: str, model: nn.Module, folder: Path) -> str:
    """The lines that make the module as it was before."""
    path = Path(target)
    if path.suffix == ".json" or path.is_dir():
        config = path / "config.json" if path.is_dir() else path
        return HUGGING_FACE.format(path=_relative(config, folder), name=type(model).__name__)
    if path.suffix in (".pt", ".pth"):
        return PICKLED.format(path=_relative(path, folder))
    source, _, name = target.rpartition(":") if not target.endswith(".py") else (target, "", "")
    if source.endswith(".py"):
        if not name:
            from lockstep.targets import importing, python

            name = python._only_candidate(importing.import_file(Path(source)), source)
        return FROM_FILE.format(path=_relative(Path(source), folder), name=name)
    return FROM_MODULE.format(module=source, name=name)


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def patched_config(receipt: Receipt) -> dict[str, Any] | None:
    """The config of a Hugging Face model with other sizes, if some choice of them gives just these shapes."""
    config = getattr(receipt.model, "config", None)
    if config is None or not hasattr(config, "to_dict"):
        return None
    shapes = {name: t.shape for name, t in receipt.model.state_dict().items()}
    settings = config.to_dict()
    sizes = _sizes(receipt)
    keys = [k for k, v in settings.items() if type(v) is int and v in sizes]
    for count in range(min(len(keys), MOST_KEYS) + 1):
        for chosen in itertools.combinations(keys, count):
            changed = settings | {key: sizes[settings[key]] for key in chosen}
            same = _shapes(type(receipt.model), type(config), changed) == shapes
            if same and _computes(receipt, type(config), changed):
                changed["architectures"] = [type(receipt.model).__name__]
                return json.loads(json.dumps(changed, default=str))
    return None


def _sizes(receipt: Receipt) -> dict[int, int]:
    """Old size → new one: axes, what modules keep beside them, and numbers of heads."""
    config = receipt.model.config
    dim = getattr(config, "head_dim", None)
    if not isinstance(dim, int):
        heads, width = (getattr(config, n, 0) for n in ("num_attention_heads", "hidden_size"))
        dim = width // heads if heads else 0
    out: dict[int, int] = {}
    for rewrite in changed_axes(receipt.plan.edits):
        out.setdefault(rewrite.old, rewrite.new)
        if dim and rewrite.old % dim == 0 and rewrite.new % dim == 0:
            out.setdefault(rewrite.old // dim, rewrite.new // dim)
    for attribute in receipt.plan.attributes:
        if type(attribute.before) is int:
            out[attribute.before] = attribute.after
    return out


def _shapes(model: Any, config: Any, settings: dict[str, Any]) -> dict[str, torch.Size] | None:
    try:
        with torch.device("meta"):
            made = model(config.from_dict(settings))
    except Exception:  # noqa: BLE001 - a config that makes no model is no answer, whatever it raises
        return None
    return {name: t.shape for name, t in made.state_dict().items()}


def _computes(receipt: Receipt, config: Any, settings: dict[str, Any]) -> bool:
    """Whether the model of these settings, with the treated weights, has the treated model's outputs.

    Equal shapes are not enough: three heads of eight dimensions are as long as six of four.
    """
    model = receipt.model
    inputs = cast_like(receipt.plan.inputs, model)
    with torch.random.fork_rng(devices=[]):
        made = type(model)(config.from_dict(settings))
    made = made.to(next(model.parameters()).dtype).train(model.training)
    made.load_state_dict(model.state_dict())
    try:
        found = function.change(
            function.outputs(model, inputs),
            function.outputs(made, inputs),
            function.rounding_of(model),
        )
    except (UsageError, RuntimeError, ValueError):
        return False
    return found.kept


SOURCE = '''"""{target} after `lockstep treat`: {treatment}. `build()` returns the model with its weights.

Needs torch and safetensors, and the source of the original model; where heads of an attention changed, lockstep too.
"""

import pydoc
from pathlib import Path

import torch
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
{sizes}

{original}

def build():
    """The treated model: the original's modules, their sizes as they are now, the saved weights."""
    model = original()
    for path, name, value in SIZES:
        module = model.get_submodule(path)
        if name == "__class__":
            module.__class__ = value
        elif name == "bias":  # of a router, which had none
            module.bias = torch.nn.Parameter(torch.tensor(value), requires_grad=False)
        elif name == "members":  # of a ModuleList: those that stay
            module._modules = {{str(n): module._modules[str(k)] for n, k in enumerate(value)}}
        else:
            module.__dict__[name] = value
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
    for name, value in load_file(HERE / "{weights}").items():
        tensors[name].data = value.to(tensors[name].dtype)
    return model


if __name__ == "__main__":
    print(build())
'''

FROM_FILE = '''
def original():
    """The model as {name} makes it."""
    import importlib.util
    import sys

    path = (HERE / "{path}").resolve()
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return named(module, "{name}")


def named(module, name):
    """A module, or what a function or class returns: the model, or (model, inputs)."""
    for part in name.split("."):
        module = getattr(module, part)
    value = module if isinstance(module, (torch.nn.Module, tuple)) else module()
    return value[0] if isinstance(value, tuple) else value

'''
FROM_MODULE = '''
def original():
    """The model as {module}:{name} makes it."""
    import importlib

    value = importlib.import_module("{module}")
    for part in "{name}".split("."):
        value = getattr(value, part)
    value = value if isinstance(value, (torch.nn.Module, tuple)) else value()
    return value[0] if isinstance(value, tuple) else value

'''
HUGGING_FACE = '''
def original():
    """The model of the config, with random weights."""
    import transformers

    config = transformers.AutoConfig.from_pretrained((HERE / "{path}").resolve())
    return transformers.{name}(config)

'''
PICKLED = '''
def original():
    """The pickled module; loading it runs code, as it did before."""
    return torch.load((HERE / "{path}").resolve(), weights_only=False)

'''
