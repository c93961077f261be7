"""A Hugging Face ``config.json`` -> a model with random weights, and example inputs.

Nothing is downloaded and no remote code is run: the class must be part of the installed
``transformers``. The class named in ``architectures`` is built, else what ``AutoModel`` makes of it.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import torch

from lockstep.errors import UsageError
from lockstep.suggest import closest_first
from lockstep.targets import memory
from lockstep.targets.blame import describe
from lockstep.targets.inputs import Spec, tensor
from lockstep.targets.trial import attempt

BATCH, TOKENS, FRAMES = 4, 8, 16


def load(path: Path) -> Any:
    """The model of a config file, built once it is known to fit into memory."""
    settings = _read(path)
    try:
        import transformers
    except ImportError as error:
        raise UsageError(
            f"{path} needs the package transformers, which is not installed. "
            'Install it: pip install "lockstep[transformers]"'
        ) from error
    config = _config(transformers, settings, path)
    build = _builder(transformers, config, settings)
    try:
        memory.require(_count_parameters(build), str(path))
        model = build()
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"{path}: no model can be built from this config. It raised\n  {describe(error)}\n"
            "Correct the values named there."
        ) from error
    return model


def _read(path: Path) -> dict[str, Any]:
    try:
        settings: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("model_type"), str):
        raise UsageError(
            f'{path} is not a Hugging Face config: it has no "model_type". '
            'Add it, for example {"model_type": "bert"}, or name a Python TARGET.'
        )
    return settings


def _config(transformers: Any, settings: dict[str, Any], path: Path) -> Any:
    kind, known = settings["model_type"], transformers.CONFIG_MAPPING
    if kind not in known:
        remote = "Its code is remote (auto_map), and remote code is not run. " * (
            "auto_map" in settings
        )
        raise UsageError(
            f"{path}: model_type {kind!r} is not part of transformers {transformers.__version__}; "
            f"the closest are {closest_first(kind, known.keys())}. {remote}"
            "Upgrade transformers, or name a Python TARGET that builds the model."
        )
    values = {name: value for name, value in settings.items() if name != "auto_map"}
    # A cache is of no use in one forward; pretrained backbones would be downloaded.
    values |= {name: False for name in ("use_pretrained_backbone",) if name in values}
    try:
        config = known[kind].from_dict(values)
    except Exception as error:
        raise UsageError(
            f"{path}: {kind} refuses these settings. It raised\n  {describe(error)}"
        ) from error
    config.use_cache = False
    return config


def _builder(transformers: Any, config: Any, settings: dict[str, Any]) -> Any:
    for name in settings.get("architectures") or ():
        cls: Any = getattr(transformers, str(name), None)
        if hasattr(cls, "_from_config"):
            return lambda: cls._from_config(config)
    return lambda: transformers.AutoModel.from_config(config)


def _count_parameters(build: Any) -> int:
    """Parameters of the model, built without storage; 0 if the class cannot be built that way."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            return sum(parameter.numel() for parameter in build().parameters())
    except (NotImplementedError, RuntimeError):  # a constructor that looks at values
        return 0


def example_inputs(model: Any) -> dict[str, torch.Tensor]:
    """Small inputs for a ``PreTrainedModel``, from ``main_input_name`` and its config.

    ``input_ids`` is (4, 8), ``pixel_values`` (4, C, H, W) with the config's image size, audio as
    long as sixteen frames need. Encoder-decoders get ``decoder_input_ids``, two-tower models both.
    """
    config, main, accepted = model.config, model.main_input_name, _accepted(model)
    names = [main]
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in accepted:
        names.append("decoder_input_ids")
    inputs = _made(model, names)
    # Two towers (CLIP) need text and images; models that put images into text (LLaVA) need not.
    both = ["input_ids", "pixel_values"]
    if accepted.issuperset(both) and attempt(model, inputs) is not None:
        inputs = _made(model, both)
    return inputs


def _made(model: Any, names: list[str]) -> dict[str, torch.Tensor]:
    makers = {
        "input_ids": _tokens,
        "decoder_input_ids": _tokens,
        "pixel_values": _pixels,
        "input_features": _features,
        "input_values": _waveform,
    }
    unknown = [name for name in names if name not in makers]
    if unknown:
        raise UsageError(
            f"no example can be made for the input {unknown[0]!r} of {type(model).__name__}. "
            f"Give its shape: --input {unknown[0]}=4,16"
        )
    return {name: tensor(makers[name](model), n) for n, name in enumerate(names)}


def _accepted(model: Any) -> set[str]:
    return set(inspect.signature(model.forward).parameters)


def _setting(config: Any, names: tuple[str, ...], otherwise: Any) -> Any:
    """The first of ``names`` that the config, or the config of one of its towers, holds."""
    towers = [getattr(config, name, None) for name in ("text_config", "vision_config")]
    for holder in [config, *(tower for tower in towers if tower is not None)]:
        for name in names:
            if getattr(holder, name, None) is not None:
                return getattr(holder, name)
    return otherwise


def _tokens(model: Any) -> Spec:
    rows = _setting(model.config, ("vocab_size",), 2)
    # The special tokens stand first in most vocabularies, and padding is masked out.
    low = 5 if rows > 5 + BATCH * TOKENS else 0
    return Spec((BATCH, TOKENS), torch.int64, (low, rows - 1))


def _pixels(model: Any) -> Spec:
    channels = _setting(model.config, ("num_channels",), 3)
    side = _setting(model.config, ("image_size",), 64)
    height, width = side if isinstance(side, list | tuple) else (side, side)
    frames = getattr(model.config, "num_frames", None)  # of a video
    return Spec((BATCH, *([frames] if frames else []), channels, height, width), model.dtype)


def _features(model: Any) -> Spec:
    bins = _setting(model.config, ("num_mel_bins", "feature_size"), 80)
    frames = 2 * _setting(model.config, ("max_source_positions",), 64)
    return Spec((BATCH, bins, frames), model.dtype)


def _waveform(model: Any) -> Spec:
    frames, strides = FRAMES, _setting(model.config, ("conv_stride",), ())
    kernels = _setting(model.config, ("conv_kernel",), ())
    for kernel, stride in reversed(list(zip(kernels, strides, strict=False))):
        frames = (frames - 1) * stride + kernel
    return Spec((BATCH, frames if kernels else 1024), model.dtype)
