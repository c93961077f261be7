"""Hand-made audits: one of each kind of verdict, without running the engine."""

from __future__ import annotations

from lockstep.types import (
    Assumptions,
    Audit,
    Classes,
    Evidence,
    Finding,
    Frozen,
    Group,
    Layer,
)

LANES = ((1048573, 11), (1048571, 12), (1048573, 13))
ASSUMPTIONS = Assumptions(
    "any",
    "any elementwise optimizer",
    "any loss of the outputs",
    "any",
    "train",
    ("drop",),
    ("note",),
)
EVIDENCE = Evidence(LANES, 3, 12, 44, 1.3e-9, 0.2)


def classes(width: int, *tied: tuple[int, ...]) -> Classes:
    together = {unit for members in tied for unit in members}
    alone = [(unit,) for unit in range(width) if unit not in together]
    return tuple(sorted([*tied, *alone]))


def layer(name: str, width: int, *tied: tuple[int, ...]) -> Layer:
    return Layer(name, width, classes(width, *tied))


def audit(*layers: Layer, **kwargs: object) -> Audit:
    values: dict[str, object] = {
        "locked": (),
        "frozen": (),
        "findings": (),
        "assumptions": ASSUMPTIONS,
        "evidence": EVIDENCE,
        "digest": "ab" * 32,
        "model": "nets.py:net",
        "inputs": (("input", "float32", (4, 2)),),
        "parameters": 9,
    }
    return Audit(layers={item.name: item for item in layers}, **{**values, **kwargs})  # type: ignore[arg-type]


def clean() -> Audit:
    return audit(layer("0", 2), layer("2", 1))


def everything() -> Audit:
    """Twins, mirrors, modules, frozen entries and a forward twin in one audit."""
    history = (
        (0, "forward", classes(4, (0, 1, 2))),
        (0, "backward", classes(4, (0, 1), (2, 3))),
        (1, "forward", classes(4, (0, 1))),
    )
    return audit(
        Layer("0", 4, classes(4, (0, 1)), history),
        layer("mirror", 3),
        layer("lstm[l0]", 5, (0, 1), (2, 3, 4)),
        layer("2", 1),
        locked=(
            Group("twin", "0", (0, 1)),
            Group("mirror", "mirror", (0, 2), (1, -1)),
            Group("twin", "lstm[l0]", (0, 1)),
            Group("balanced", "lstm[l0]", (2, 3, 4)),
            Group("module", ("a", "b"), (0, 1)),
        ),
        frozen=(Frozen("conv.bias", 2, 3, ((0,), (2,))),),
        findings=(
            Finding("LS001", "0", "units {0, 1} can never differentiate", "initialise at random"),
            Finding("LS002", "mirror", "units {0, 2} stay each other's negative", "change one"),
            Finding("LS001", "lstm[l0]", "units {0, 1} can never differentiate"),
            Finding("LS005", "lstm[l0]", "units {2, 3, 4} are balanced", "untie them"),
            Finding("LS003", "a", "modules a, b are exact twins", "initialise each"),
            *(
                Finding("LS004", f"h.{n}.key.bias", f"all 4 entries of h.{n}.key.bias never learn")
                for n in range(3)
            ),
            Finding("LS006", "0", "units {0, 2} compute the same now", "nothing to do"),
        ),
        because={
            "0": "2.weight[0,0] = 0.5, 2.weight[0,2] = -0.25: outgoing weights differ (w5, w7)"
        },
    )


def deep(layers: int) -> Audit:
    return audit(*(layer(f"block.{n}", 4, *([(0, 1)] if n == 7 else [])) for n in range(layers)))
