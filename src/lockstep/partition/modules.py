"""Modules with equal parameters: locked twins for ever, or copies that will separate.

Candidates are modules of one class whose parameters have equal shapes, and bare parameters (each under its own name).
As initialised their values are compared exactly; at the fixed pattern, by their colours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ..symbolic.places import Place
from ..symbolic.training import equal_tensors

Names = dict[str, tuple[str, ...]]
Modules = Mapping[str, nn.Module]


def parameters_by_module(modules: Modules, canonical: Mapping[int, str]) -> Names:
    """Path → canonical names of all parameters below it, in order."""
    out: Names = {}
    for path, module in modules.items():
        names = tuple(canonical[id(p)] for p in module.parameters() if id(p) in canonical)
        if path and names:
            out[path] = names
    return out


def bare_parameters(places: Iterable[Place], parameters: Mapping[str, Tensor]) -> Names:
    """Bare parameters, which are layers of their own: name → itself alone."""
    return {p.name: (p.name,) for p in places if p.source == "parameter" and p.name in parameters}


def padding_rows(modules: Modules, canonical: Mapping[int, str]) -> dict[str, int]:
    """Embedding table → the row that ``padding_idx`` keeps from learning."""
    return {
        canonical[id(m.weight)]: m.padding_idx
        for m in modules.values()
        if isinstance(m, (nn.Embedding, nn.EmbeddingBag))
        and m.padding_idx is not None
        and id(m.weight) in canonical
    }


def _groups(modules: Modules, names: Names, key: Mapping[str, object]) -> list[tuple[str, ...]]:
    """Paths of modules of one class (or names of bare parameters) whose parameters have equal keys."""
    found: dict[object, list[str]] = {}
    for path, own in names.items():
        kind = type(modules[path]) if path in modules else nn.Parameter
        found.setdefault((kind, tuple(key[n] for n in own)), []).append(path)
    groups = [tuple(paths) for paths in found.values()]
    groups = [_distinct(paths, names) for paths in groups]
    return [g for g in groups if len(g) > 1]


def _distinct(paths: tuple[str, ...], names: Names) -> tuple[str, ...]:
    """Modules that share (tied) parameters are one module: keep the first of them."""
    seen: set[tuple[str, ...]] = set()
    out = []
    for path in paths:
        if names[path] not in seen:
            seen.add(names[path])
            out.append(path)
    return tuple(out)


def _outermost(groups: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Drop a group whose members all lie inside members of another group."""

    def inside(inner: tuple[str, ...], outer: tuple[str, ...]) -> bool:
        return inner is not outer and all(
            any(p.startswith((q + ".", q + "/")) for q in outer) for p in inner
        )

    return [g for g in groups if not any(inside(g, other) for other in groups)]


def equal_now(
    modules: Modules, names: Names, parameters: Mapping[str, Tensor]
) -> list[tuple[str, ...]]:
    """Groups of modules with exactly equal values, also within one another."""
    labels = equal_tensors({n: [p.detach()] for n, p in parameters.items()})
    return _groups(modules, names, labels)


def copied(
    groups: list[tuple[str, ...]], names: Names, parameters: Mapping[str, Tensor]
) -> list[tuple[str, ...]]:
    """Those of :func:`equal_now` that are not all constants (fresh norms are no copies), outermost ones only."""
    return _outermost([g for g in groups if any(_varied(parameters[n]) for n in names[g[0]])])


def _varied(p: Tensor) -> bool:
    flat = p.detach().reshape(-1)
    return flat.numel() > 1 and bool((flat != flat[0]).any())


def equal_for_ever(
    modules: Modules,
    names: Names,
    labels: Mapping[str, str],
    moves: Callable[[str], bool],
) -> list[tuple[str, ...]]:
    """Groups of modules whose parameters agree at the fixed pattern and of which something moves."""
    groups = _outermost(_groups(modules, names, labels))
    return [g for g in groups if any(moves(n) for n in names[g[0]])]


def side_by_side(
    paths: tuple[str, ...], layers: Sequence[str], units: Mapping[str, Tensor]
) -> bool:
    """Whether the units of all these modules look the same: equal functions, not only equal values."""

    def below(path: str) -> list[Tensor]:
        inside = (path + ".", path + "/", path + "[")
        return [units[n] for n in layers if n in units and (n == path or n.startswith(inside))]

    first, *others = map(below, paths)
    return bool(first) and all(
        len(first) == len(other) and all(map(torch.equal, first, other)) for other in others
    )
