"""A forger's bench: honest certificates as plain documents, and the tools to edit and re-derive them.

A clumsy edit contradicts the rest of the document. The forgeries worth defending against are *sealed*:
everything that follows from the edit (counts, bound, findings, ``ok``) is worked out again.
"""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import lockstep

Document = dict[str, Any]


@torch.no_grad()
def dense(*weights: Any, act: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """Layers of the given matrices without biases, in float64, ``act`` between them."""
    parts: list[nn.Module] = []
    for rows in weights:
        matrix = torch.as_tensor(rows, dtype=torch.float64)
        layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False, dtype=torch.float64)
        layer.weight.copy_(matrix)
        parts += [layer, act()]
    return nn.Sequential(*parts[:-1])


def example(width: int = 2, batch: int = 6) -> torch.Tensor:
    return torch.zeros(batch, width, dtype=torch.float64)


def tied(first: float = 0.5, second: float = 0.5, act: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """The 2-2-1 network; tied if ``first`` equals ``second``."""
    return dense([[first, -0.25], [second, -0.25]], [[0.5, 0.5]], act=act)


def healthy() -> nn.Sequential:
    return dense([[0.5, -0.25], [0.75, 0.125], [-0.3, 0.2]], [[0.5, -0.25, 0.7]])


def mirrored(act: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    return dense([[0.5, -0.25], [-0.5, 0.25]], [[0.75, -0.75]], act=act)


def balanced() -> nn.Sequential:
    """3-3-1: a block of equal row sums and equal column sums in which no two weights are equal."""
    block = [[1.75, -1.0, -0.5], [-0.625, 1.0, -0.125], [-0.875, 0.25, 0.875]]
    return dense([[0.171875, -0.328125, 0.09375]] * 3, block, [[0.4375] * 3])


class Biased(nn.Module):
    """A convolution whose bias a batch norm cancels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3)
        self.head = nn.Linear(9, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.norm(self.conv(x))).flatten(1))


class Branches(nn.Module):
    """Two equal branches, added (locked) or concatenated (not)."""

    def __init__(self, added: bool) -> None:
        super().__init__()
        self.added = added
        self.left = nn.Linear(3, 4)
        self.right = copy.deepcopy(self.left)
        self.head = nn.Linear(4 if added else 8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = torch.tanh(self.left(x)), torch.tanh(self.right(x))
        return self.head(left + right if self.added else torch.cat([left, right], 1))


def noisy(train: bool) -> nn.Module:
    """Tied units behind dropout: locked in eval mode only."""
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Dropout(0.5), nn.Linear(3, 1))
    for p in net.parameters():
        nn.init.constant_(p, 0.5)
    return net.train(train)


def summed(output: torch.Tensor) -> torch.Tensor:
    """A loss that does not see which output is which."""
    return F.softplus(output.sum())


def certify(model: Any, inputs: Any, **settings: Any) -> Document:
    """An honest certificate, as a document to be edited."""
    return json.loads(lockstep.audit(model, inputs, **settings).to_json())


def tie(document: Document, layer: str, units: list[int], kind: str = "twin") -> None:
    """Claim ``units`` equal: merged classes, a group of the given kind."""
    entry = document["layers"][layer]
    rest = [[u for u in members if u not in units] for members in entry["classes"]]
    entry["classes"] = sorted([sorted(units), *(members for members in rest if members)])
    entry["history"] = [{"step": 0, "direction": "forward", "tied": [units]}]
    document["locked"].append({"kind": kind, "where": layer, "units": units, "signs": []})


def untie(document: Document, layer: str) -> None:
    """Claim that all units of ``layer`` differ, now and for ever."""
    entry = document["layers"][layer]
    entry["classes"] = [[unit] for unit in range(entry["width"])]
    entry["history"] = [{"step": 0, "direction": "forward", "tied": []}]
    document["locked"] = [group for group in document["locked"] if group["where"] != layer]


def freeze(
    document: Document, parameter: str, shape: tuple[int, ...], *indices: tuple[int, ...]
) -> None:
    total = torch.Size(shape).numel()
    entry = {"parameter": parameter, "count": len(indices), "total": total}
    document["frozen"].append({**entry, "indices": [list(index) for index in indices]})


def seal(document: Document) -> Document:
    """Work out again everything that follows from the tables."""
    codes = {"twin": "LS001", "mirror": "LS002", "module": "LS003", "balanced": "LS005"}
    wanted = [
        (codes[g["kind"]], g["where"] if isinstance(g["where"], str) else g["where"][0])
        for g in document["locked"]
    ]
    wanted += [("LS004", frozen["parameter"]) for frozen in document["frozen"]]
    for layer, entry in document["layers"].items():
        entry["effective_width"] = len(entry["classes"])
        final = {unit: n for n, members in enumerate(entry["classes"]) for unit in members}
        first = entry["history"][0]["tied"]
        if any(len({final[unit] for unit in members}) > 1 for members in first):
            wanted.append(("LS006", layer))
    informing = [f for f in document["findings"] if f["code"] in ("LS007", "LS008", "LS009")]
    document["findings"] = informing + [
        {"code": code, "where": where, "message": "forged", "cure": ""}
        for code, where in dict.fromkeys(wanted)
    ]
    document["because"] = {where: "forged" for code, where in wanted if code == "LS006"}
    document["ok"] = not any(f["code"] <= "LS005" for f in document["findings"])
    evidence = document["evidence"]
    claims = sum(len(g["units"]) - 1 for g in document["locked"])
    evidence["claims"] = claims + sum(f["count"] for f in document["frozen"])
    chance = evidence["degree"] / min(lane["prime"] for lane in evidence["lanes"])
    evidence["bound"] = min(1.0, evidence["claims"] * chance ** len(evidence["lanes"]))
    return document


def readdress(document: Document, model: Any, inputs: Any, **settings: Any) -> Document:
    """Make the document one about ``model``: the digest, the one thing that names it."""
    document["digest"] = lockstep.audit(model, inputs, **settings).digest
    return document


def colliding(primes: list[int]) -> tuple[float, float]:
    """Two different floats that are one residue modulo each of ``primes``.

    A float64 is ``m * 2^e`` with 53 bits of ``m``; three primes near 2^20 leave 2^60 residues, so
    collisions are not rare: they only have to be looked for.
    """
    product, shift = math.prod(primes), 48
    for m in range((product >> shift) + 1, 1 << 14, 2):
        other = (m << shift) % product
        if other < 1 << 53:
            return m * 2.0**-12, math.ldexp(other, -12 - shift)
    raise AssertionError("no collision found")
