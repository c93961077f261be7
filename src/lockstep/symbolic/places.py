"""Where the units of a model are: one :class:`Place` a layer, found from the modules' own parameters.

``axis`` is the dimension of the module's output along which its units lie; ``slices`` are the parameters
that belong to the units, with the axis along which (that is, what must move apart for units to separate).
A weight inside a parametrization belongs to the module it parametrizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils import parametrize

Source = Literal["output", "input", "hidden", "projection", "heads", "parameter"]


@dataclass(frozen=True)
class Place:
    """``name`` of the layer, ``module`` path that owns it, ``width``, and how its units are observed.

    ``source``: ``"output"`` (or ``"input"``) of the module along ``axis``, where ``span`` neighbouring axes may
    number the units together, in the parameters of ``slices`` too; ``"hidden"`` state of an RNN layer (``part`` is its
    suffix ``l0_reverse``); ``"projection"`` rows of a packed weight (``rows``); ``"parameter"`` a bare
    parameter's slices along axis 0.
    """

    name: str
    module: str
    width: int
    source: Source
    axis: int = -1
    slices: tuple[tuple[str, int], ...] = ()
    part: str = ""
    rows: tuple[int, int] = (0, 0)
    span: int = 1


def places(model: nn.Module, canonical: dict[int, str]) -> list[Place]:
    """All layers in the order of ``model.named_modules()``; ``canonical`` names each parameter by id.

    Parameters without entries have no units.
    """
    found: list[Place] = []
    for path, module in model.named_modules():
        if isinstance(module, parametrize.ParametrizationList):
            continue
        own = {
            key: (canonical[id(p)], p)
            for key, p in module._parameters.items()
            if p is not None and p.numel() and id(p) in canonical
        }
        if not own and not parametrize.is_parametrized(module):
            continue
        found.extend(_of_module(path, module, own))
    return found


def _of_module(path: str, module: nn.Module, own: dict[str, tuple[str, Tensor]]) -> list[Place]:
    if isinstance(module, nn.RNNBase):
        return _recurrent(path, module, own)
    if isinstance(module, nn.MultiheadAttention):
        return _attention(path, module, own)
    known = _known(path, module, own)
    if known is not None:
        return [known]
    return _custom(path, module, own)


def _slices(
    own: dict[str, tuple[str, Tensor]], width: int, first: int = 0
) -> tuple[tuple[str, int], ...]:
    out = []
    for name, p in own.values():
        if p.dim() > first and p.shape[first] == width:
            out.append((name, first))
        elif p.dim() and p.shape[0] == width:
            out.append((name, 0))
    return tuple(out)


def _known(path: str, module: nn.Module, own: dict[str, tuple[str, Tensor]]) -> Place | None:
    """Modules of ``torch.nn`` whose units are known by class."""
    width, axis, first = None, -1, 0
    if isinstance(module, (nn.Linear, nn.Bilinear)):
        width = module.out_features
    elif isinstance(module, nn.modules.conv._ConvNd):
        width, axis = module.out_channels, -(len(module.kernel_size) + 1)
        if module.transposed:
            groups = module.groups
            own = {k: v for k, v in own.items() if k == "bias" or groups == 1}
            first = 1
    elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        width, first = module.embedding_dim, 1
    elif isinstance(module, nn.modules.instancenorm._InstanceNorm):
        width, axis = module.num_features, -(int(type(module).__name__[-2]) + 1)
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        width, axis = module.num_features, 1
    elif isinstance(module, nn.GroupNorm):
        width, axis = module.num_channels, 1
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        width, axis = module.normalized_shape[0], -len(module.normalized_shape)
    elif isinstance(module, nn.PReLU):
        width, axis = module.num_parameters, 1
        if width == 1:
            return Place(path or "weight", path, 1, "parameter", 0, _slices(own, 1))
    elif isinstance(module, nn.RNNCellBase):
        width = module.hidden_size
        own = {k: v for k, v in own.items() if v[1].shape[0] == width}
    if width is None:
        return None
    return Place(
        path or type(module).__name__, path, width, "output", axis, _slices(own, width, first)
    )


def _recurrent(path: str, module: nn.RNNBase, own: dict[str, tuple[str, Tensor]]) -> list[Place]:
    out = []
    for layer in range(module.num_layers):
        for suffix in ("", "_reverse") if module.bidirectional else ("",):
            part = f"l{layer}{suffix}"
            name = f"{path}[{part}]" if path else f"[{part}]"
            weights = [own[k][0] for k in own if k.endswith(f"_{part}") and "_hr_" not in k]
            slices = tuple((w, 0) for w in weights)
            out.append(Place(name, path, module.hidden_size, "hidden", -1, slices, part))
    return out


def _attention(
    path: str, module: nn.MultiheadAttention, own: dict[str, tuple[str, Tensor]]
) -> list[Place]:
    packed = "in_proj_weight" in own
    e = len(own["in_proj_weight"][1]) // 3 if packed else len(own["q_proj_weight"][1])
    out = []
    for n, letter in enumerate("qkv"):
        if packed:
            weight, rows = own["in_proj_weight"][0], (n * e, (n + 1) * e)
        else:
            weight, rows = own[f"{letter}_proj_weight"][0], (0, e)
        slices = [(weight, 0)]
        if "in_proj_bias" in own:
            slices.append((own["in_proj_bias"][0], 0))
        out.append(
            Place(f"{path}[{letter}]", path, e, "projection", -1, tuple(slices), letter, rows)
        )
    return out


def _custom(path: str, module: nn.Module, own: dict[str, tuple[str, Tensor]]) -> list[Place]:
    """A user's module: ``weight`` (and ``bias``) make a layer of it, other parameters are their own layers."""
    out = []
    rest = dict(own)
    if "weight" in own and set(own) <= {"weight", "bias"} and own["weight"][1].dim():
        weight = own["weight"][1]
        first = _unit_axis(module, weight, own["bias"][1] if "bias" in own else None)
        if first is not None:
            width, axis = weight.shape[first], -max(1, weight.dim() - 1)
            out.append(
                Place(path or "weight", path, width, "output", axis, _slices(own, width, first))
            )
            rest = {}
    for key, (name, p) in rest.items():
        width = p.shape[0] if p.dim() else 1
        where = f"{path}.{key}" if path else key
        out.append(Place(where, path, width, "parameter", 0, ((name, 0),) if p.dim() else ()))
    return out


def _unit_axis(module: nn.Module, weight: Tensor, bias: Tensor | None) -> int | None:
    """The axis of a user's weight that numbers its units: the one that fits the bias, else the first."""
    if bias is None or bias.dim() != 1:
        return 0
    axes = [axis for axis, size in enumerate(weight.shape) if size == bias.shape[0]]
    if type(module).__name__ == "Conv1D" and 1 in axes:
        return 1  # GPT-2's dense layer keeps its weight as (in, out), square ones too
    return axes[0] if axes else None
