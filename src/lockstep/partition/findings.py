"""Verdicts → findings: one code, one place, one sentence, one cure each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..types import Classes, Finding, Frozen, Group, Layer
from .classes import shared


def shortened(units: Sequence[int], limit: int = 12) -> str:
    """``0, 1, 2, ... (40 in all)``."""
    text = ", ".join(map(str, units[:limit]))
    return text if len(units) <= limit else f"{text}, ... ({len(units)} in all)"


def of_locked(
    groups: Sequence[Group], layers: Mapping[str, Layer], modules: Collection[str]
) -> list[Finding]:
    """LS001, LS002, LS003, LS005: one finding a layer and kind, one a group of ``modules`` or of bare parameters."""
    out = [_modules(g, modules) for g in groups if g.kind == "module"]
    by_place: dict[tuple[str, str], list[Group]] = {}
    for g in groups:
        if isinstance(g.where, str):
            by_place.setdefault((g.where, g.kind), []).append(g)
    for (where, kind), members in by_place.items():
        out.append(_units(where, kind, members, layers[where]))
    return out


def _units(where: str, kind: str, groups: list[Group], layer: Layer) -> Finding:
    listed = "; ".join(f"{{{shortened(g.units)}}}" for g in groups[:6])
    more = f" and {len(groups) - 6} more groups" if len(groups) > 6 else ""
    width = f"effective width {layer.effective_width} of {layer.width}"
    if kind == "mirror":
        return Finding(
            "LS002",
            where,
            f"units {listed}{more} stay each other's negative for ever",
            "give one unit of each pair an incoming or outgoing weight that is not the other's negative, or "
            "leave it: a mirror pair of an odd activation counts as one unit",
        )
    if kind == "balanced":
        return Finding(
            "LS005",
            where,
            f"units {listed}{more} compute the same function for ever under additive updates; {width}",
            "weight decay coupled into Adam or Adagrad, an L1 term, or dropout breaks a balanced lock; so does "
            "changing one weight of the block",
        )
    code = "LS003" if where.endswith("[heads]") else "LS001"
    what = "heads" if code == "LS003" else "units"
    return Finding(
        code,
        where,
        f"{what} {listed}{more} can never differentiate; {width}",
        "initialise their incoming or outgoing weights differently (random instead of constant, another seed); "
        "dropout on this layer would break the tie too",
    )


def _modules(g: Group, modules: Collection[str]) -> Finding:
    paths = g.where if isinstance(g.where, tuple) else (g.where,)
    what = "modules" if paths[0] in modules else "parameters"
    return Finding(
        "LS003",
        paths[0],
        f"{what} {', '.join(paths[:8])} are exact twins for ever: they learn the same thing",
        "initialise each with its own random numbers (not one seed, one initializer instance or deepcopy), or "
        "feed or read them differently",
    )


def of_frozen(frozen: Sequence[Frozen], padding: Mapping[str, int]) -> list[Finding]:
    """LS004; ``padding``: embedding table → its padding row, which never gets a gradient by design."""
    return [
        Finding(
            "LS004",
            f.parameter,
            f"{_amount(f)} of {f.parameter} never learn: their gradient is identically zero"
            + ("" if f.count == f.total else f" (first: {list(f.indices[0])})")
            + ("; it is the padding row, intended by its owner" if _is_padding(f, padding) else ""),
            "if it is a bias that a normalisation or a softmax cancels, drop it; if weights around it are zero, "
            "initialise one side away from zero (weight decay still shrinks what never learns)"
            if not _is_padding(f, padding)
            else "nothing to do: padding_idx asks for it",
        )
        for f in frozen
    ]


def _is_padding(f: Frozen, padding: Mapping[str, int]) -> bool:
    """Whether all frozen entries lie in the row of an embedding that ``padding_idx`` names."""
    row = padding.get(f.parameter)
    return row is not None and f.count == len(f.indices) and {i[0] for i in f.indices} == {row}


def _amount(f: Frozen) -> str:
    return f"all {f.total} entries" if f.count == f.total else f"{f.count} of {f.total} entries"


def forward_twins(layer: Layer) -> Classes:
    """Classes of the activations as initialised that are no longer classes at the fixed pattern."""
    start = next(
        (c for step, direction, c in layer.history if step == 0 and direction == "forward"), ()
    )
    twins = shared(start, layer.width)
    final = {u: c for c in layer.classes for u in c} if twins else {}
    return tuple(c for c in twins if any(final[u] != final[c[0]] for u in c))


def of_forward_twins(layers: Mapping[str, Layer], because: Mapping[str, str]) -> list[Finding]:
    out = []
    for name, layer in layers.items():
        twins = forward_twins(layer)
        if not twins or name not in because:
            continue
        listed = "; ".join(f"{{{shortened(c)}}}" for c in twins[:4])
        out.append(
            Finding(
                "LS006",
                name,
                f"units {listed} compute the same function now and will separate, because {because[name]}",
                "nothing to do, if that is meant; under Adam or sign updates a positive ratio of outgoing weights "
                "separates them only slowly (first-step gap near 1e-9)",
            )
        )
    return out


def of_parallel(groups: Sequence[tuple[str, ...]]) -> list[Finding]:
    """Copies that compute the same function now, side by side, and are read differently."""
    return [
        Finding(
            "LS006",
            paths[0],
            f"modules {', '.join(paths[:8])} start with exactly equal values and compute the same function now; they "
            "will separate, because what reads them differs",
            "nothing to do, if that is meant; otherwise give each its own random numbers (not one seed or one "
            "initializer instance)",
        )
        for paths in groups
    ]


def of_copies(groups: Sequence[tuple[str, ...]]) -> list[Finding]:
    return [
        Finding(
            "LS007",
            paths[0],
            f"modules {', '.join(paths[:8])} start with exactly equal values; they are used differently, so they "
            "will separate: identical is not locked",
            "initialise each on its own if the equal start is not meant (nn.TransformerEncoder deep-copies its layer)",
        )
        for paths in groups
    ]


def of_noise(saved: Mapping[str, Classes], noisy: Sequence[str]) -> list[Finding]:
    sources = ", ".join(noisy) or "the model"
    return [
        Finding(
            "LS008",
            name,
            f"units {'; '.join('{' + shortened(c) + '}' for c in classes[:4])} would be locked but for the noise "
            f"of {sources}",
            "initialise them differently: in eval mode, or with the noise set to 0, they can never differentiate",
        )
        for name, classes in saved.items()
    ]


def of_unread(unread: Mapping[str, tuple[int, int]], silent: Sequence[str] = ()) -> list[Finding]:
    return [
        Finding(
            "LS009",
            name,
            f"the example never reaches {count} of {total} entries of {name}: nothing is said about them",
            "use an example that reaches them (all token ids, all experts, larger images) if you want a verdict",
        )
        for name, (count, total) in unread.items()
    ]
