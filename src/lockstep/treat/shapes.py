"""Sizes that modules keep beside their tensors: ``out_features``, ``num_heads``, ``groups``.

A forward pass may look at them (``view(…, self.heads, …)``), and a reader of the model will. Known modules by a
table; otherwise an integer attribute of the module above that equals the old size. Whether that was right shows
when the changed copy runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import nn

from ..errors import UsageError
from ..symbolic.attention import COUNTS
from .edits import CLASS, Attribute, Rewrite
from .heads import HeadsAttention

CONV = nn.modules.conv._ConvNd
NORM = nn.modules.batchnorm._NormBase


def grouped(model: nn.Module, rewrites: Sequence[Rewrite]) -> bool:
    """Whether a changed module divides its channels into groups, so that whole groups may go or come."""
    names = {id(t): n for n, t in model.named_parameters()}
    changed = {r.name for r in rewrites}
    return any(
        (not m.affine or names.get(id(m.weight)) in changed)
        if isinstance(m, nn.GroupNorm)
        else m.groups > 1 and names.get(id(m.weight)) in changed
        for m in model.modules()
        if isinstance(m, (CONV, nn.GroupNorm))
    )


def attributes(
    model: nn.Module, rewrites: Sequence[Rewrite], *, around: bool, whole: bool = False
) -> tuple[Attribute, ...]:
    """Every size to change; with ``around`` also equal integers of the modules above, ``whole`` groups if so.

    Raises ``UsageError`` if one size would have to take two values.
    """
    found: dict[tuple[str, str], Attribute] = {}
    clashes: list[str] = []
    for attribute in _all(model, rewrites, around, whole):
        key = attribute.module, attribute.name
        old = found.setdefault(key, attribute)
        if old.after != attribute.after:
            clashes.append(f"{'.'.join(key).strip('.')} would be {old.after} and {attribute.after}")
    if clashes:
        raise UsageError("one size for several parts: " + "; ".join(dict.fromkeys(clashes)))
    clashes += _left_behind(model, found.values(), rewrites)
    if clashes:
        raise UsageError("; ".join(clashes))
    return tuple(a for a in found.values() if a.before != a.after)


def _left_behind(
    model: nn.Module, found: Iterable[Attribute], rewrites: Sequence[Rewrite]
) -> Iterator[str]:
    """Recurrent layers whose hidden size would change for a part of them only."""
    names = {id(p): n for n, p in model.named_parameters()}
    touched = {(r.name, r.axis) for r in rewrites}
    for attribute in found:
        module = model.get_submodule(attribute.module)
        if attribute.name != "hidden_size" or not isinstance(module, nn.RNNBase):
            continue
        alone = [
            key
            for key, p in module.named_parameters(recurse=False)
            if "weight_hh" in key and (names[id(p)], 1) not in touched
        ]
        if alone:
            yield (
                f"one hidden_size serves all layers and directions of {attribute.module or 'the layer'}, and "
                f"{', '.join(alone)} would keep the old one: treat the same number of units in each"
            )


def _all(
    model: nn.Module, rewrites: Sequence[Rewrite], around: bool, whole: bool
) -> Iterator[Attribute]:
    tensors = {id(t): n for n, t in (*model.named_parameters(), *model.named_buffers())}
    modules = dict(model.named_modules())
    for path, module in modules.items():
        for key, t in (*module._parameters.items(), *module._buffers.items()):
            for rewrite in rewrites:
                if t is not None and tensors.get(id(t)) == rewrite.name:
                    for name, value in _of(module, key, rewrite, whole):
                        yield Attribute(path, name, getattr(module, name), value)
                    above = path.rpartition(".")[0] if path else ""
                    if path:
                        yield from _heads(above, modules[above], rewrite)
                    if around:
                        yield from _equal(path, module, rewrite)
                        yield from _equal(above, modules[above], rewrite)
    for path, module in modules.items() if around or whole else ():
        bare = all(t is None for t in (*module._parameters.values(), *module._buffers.values()))
        if bare and isinstance(module, (NORM, nn.GroupNorm)):
            yield from _bare(path, module, rewrites, whole)


def _of(module: nn.Module, key: str, rewrite: Rewrite, whole: bool) -> Iterator[tuple[str, Any]]:
    """The attributes that say how long this axis of this tensor is."""
    axis, new = rewrite.axis, rewrite.new
    if "weight" not in key and not isinstance(module, (NORM, nn.GroupNorm)):
        return
    if isinstance(module, nn.Linear):
        yield ("out_features", "in_features")[axis], new
    elif isinstance(module, nn.Bilinear):
        yield ("out_features", "in1_features", "in2_features")[axis], new
    elif isinstance(module, CONV) and axis < 2:
        groups = module.groups
        one_each = groups > 1 and groups == module.in_channels
        if one_each and axis == 0:
            # A filter for each channel: groups, inputs and outputs shrink together.
            each = module.out_channels // module.in_channels
            channels = new if module.transposed else new // each
            yield from (("groups", channels), ("in_channels", channels))
            yield "out_channels", channels * each
        elif whole and groups > 1 and axis == 0:
            for name in ("groups", "in_channels", "out_channels"):
                yield name, _share(getattr(module, name), rewrite)
        elif not one_each:
            out = (axis == 0) != module.transposed
            per = groups if (axis == 1) else 1
            yield ("out_channels" if out else "in_channels"), new * per
    elif isinstance(module, NORM):
        yield "num_features", new
    elif isinstance(module, nn.GroupNorm):
        yield "num_channels", new
        if whole:
            yield "num_groups", _share(module.num_groups, rewrite)
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        shape = list(module.normalized_shape)
        shape[axis] = new
        yield "normalized_shape", tuple(shape)
    elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        yield ("num_embeddings", "embedding_dim")[axis], new
    elif isinstance(module, nn.PReLU):
        yield "num_parameters", new
    elif isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        yield from _recurrent(module, key, rewrite)
    elif type(module).__name__ == "Conv1D" and hasattr(module, "nf"):
        yield ("nx", "nf")[axis], new
    elif isinstance(module, nn.MultiheadAttention) and "proj_weight" in key:
        yield from _attention(module, key, rewrite)


def _share(size: int, rewrite: Rewrite) -> int:
    """A size that changes in the proportion of the axis."""
    if size * rewrite.new % rewrite.old:
        raise UsageError(
            f"{rewrite.name}: {rewrite.new} of {rewrite.old} channels are no whole number of groups"
        )
    return size * rewrite.new // rewrite.old


def _attention(
    module: nn.MultiheadAttention, key: str, rewrite: Rewrite
) -> Iterator[tuple[str, Any]]:
    """Whole heads go or come; the input's width belongs to the stream around the module."""
    if type(module) not in (nn.MultiheadAttention, HeadsAttention):
        raise UsageError(
            f"{type(module).__name__} is a subclass of nn.MultiheadAttention with a forward of its own, which may "
            "need the number of heads that it has; recycle or untie these units instead"
        )
    if module.bias_k is not None or module.add_zero_attn:
        raise UsageError(
            "an nn.MultiheadAttention with add_bias_kv or add_zero_attn has a key and value for its present heads; "
            "recycle or untie them instead"
        )
    width, heads = module.embed_dim, module.num_heads
    if rewrite.axis == 1:
        width = rewrite.new if key[0] in "iq" else width
        yield {"k_proj_weight": "kdim", "v_proj_weight": "vdim"}.get(key, "embed_dim"), rewrite.new
        if key == "in_proj_weight":
            yield from (("kdim", rewrite.new), ("vdim", rewrite.new))
    else:
        heads, rest = divmod(rewrite.new // (3 if key[:2] == "in" else 1), module.head_dim)
        if rest or not heads:
            raise UsageError(
                f"dimensions inside the heads of an nn.MultiheadAttention are as many in q, k and v of every head, and "
                f"{rewrite.new} rows of {key} would be no whole number of heads of {module.head_dim}; recycle or untie "
                "these units instead"
            )
        yield "num_heads", heads
    plain = heads * module.head_dim == width
    yield "head_dim", module.head_dim
    yield CLASS, nn.MultiheadAttention if plain else HeadsAttention
    # False keeps the encoder layer's fused kernel, which knows no such heads, from being used.
    yield "_qkv_same_embed_dim", plain and module.in_proj_weight is not None


def _recurrent(module: Any, key: str, rewrite: Rewrite) -> Iterator[tuple[str, int]]:
    if rewrite.axis == 0 and "weight_hr" not in key:
        gates = rewrite.old // module.hidden_size
        yield "hidden_size", rewrite.new // gates
    elif rewrite.axis == 1 and ("_ih_l0" in key or key == "weight_ih"):
        yield "input_size", rewrite.new
    elif rewrite.axis == 1 and "_hh" in key:
        yield "hidden_size", rewrite.new


def _heads(path: str, module: nn.Module, rewrite: Rewrite) -> Iterator[Attribute]:
    """The number of heads of the module above, if whole heads go from a projection as long as all heads."""
    for name in COUNTS:
        count = module.__dict__.get(name)
        dim = module.__dict__.get("head_dim")
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            continue
        dim = dim if isinstance(dim, int) else rewrite.old // count
        if rewrite.role == "outgoing" and dim * count == rewrite.old and rewrite.new % dim == 0:
            yield Attribute(path, name, count, rewrite.new // dim)


def _bare(path: str, module: Any, rewrites: Sequence[Rewrite], whole: bool) -> Iterator[Attribute]:
    """A norm without gains has no tensor that says what it normalises."""
    name = "num_features" if isinstance(module, NORM) else "num_channels"
    found = {r.new: r for r in rewrites if r.old == getattr(module, name)}
    if len(found) == 1:
        new, rewrite = found.popitem()
        yield Attribute(path, name, getattr(module, name), new)
        if whole and isinstance(module, nn.GroupNorm):
            yield Attribute(
                path, "num_groups", module.num_groups, _share(module.num_groups, rewrite)
            )


def _equal(path: str, module: nn.Module, rewrite: Rewrite) -> Iterator[Attribute]:
    """Integers of a module that equal the old size; not those that other tables speak of."""
    known = (nn.Linear, CONV, NORM, nn.RNNBase, nn.Embedding, nn.MultiheadAttention)
    if isinstance(module, known) or type(module).__name__ == "Conv1D":
        return
    for name, value in module.__dict__.items():
        if type(value) is int and value == rewrite.old and not name.startswith("_"):
            yield Attribute(path, name, value, rewrite.new)


def shared_heads(model: nn.Module, rewrites: Iterable[Rewrite]) -> tuple[Attribute, ...]:
    """Query heads a key-value head, where grouped-query attention keeps that number (``repeat_kv``)."""
    sizes = {(r.name, r.axis): r.new for r in rewrites}
    out = []
    for path, module in model.named_modules():
        groups, dim = getattr(module, "num_key_value_groups", None), getattr(module, "head_dim", 0)
        q, k = getattr(module, "q_proj", None), getattr(module, "k_proj", None)
        if not (isinstance(groups, int) and isinstance(q, nn.Linear) and isinstance(k, nn.Linear)):
            continue
        rows = [
            sizes.get((f"{path}.{n}.weight" if path else f"{n}.weight", 0), m.weight.shape[0])
            for n, m in (("q_proj", q), ("k_proj", k))
        ]
        if rows[0] * 1 != groups * rows[1]:
            if dim and rows[0] % rows[1]:
                raise UsageError(
                    f"{path}: {rows[0] // dim} query heads do not share {rows[1] // dim} key-value heads "
                    "evenly; the same number must go from each group"
                )
            out.append(Attribute(path, "num_key_value_groups", groups, max(1, rows[0] // rows[1])))
    return tuple(out)
