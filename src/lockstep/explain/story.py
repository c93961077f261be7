"""The whole answer in one command: three starts of the 2-2-1 network, trained, compared, certified.

Random start: the units differ and differentiate. Incoming weights tied: they differentiate all the same,
because the outgoing weights differ. Everything tied: they never do, and the audit proves it.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from lockstep.explain.bundled import ACTIVATIONS, coffee, course_network
from lockstep.explain.derivation import number
from lockstep.explain.history import History
from lockstep.explain.sidebyside import compare
from lockstep.explain.training import train
from lockstep.explain.tying import tie
from lockstep.types import Audit

STARTS = ("random", "incoming tied", "all tied")
SEED = 1
QUESTION = (
    "Two units of a layer get the same inputs and obey the same equations, z = w·x + b and a = g(z).\n"
    "Why do they not learn the same thing?"
)


@dataclass(frozen=True)
class Outcome:
    """One start, trained: was w1 = w3 and w2 = w4 before and after, how far apart, which factor."""

    start: str
    activation: str
    bias: bool
    equal_before: bool
    equal_after: bool
    distance: float
    verdict: str
    certificate: str
    history: History

    def __str__(self) -> str:
        lines = [f"before: {row(self.history, 0)}", f"after:  {row(self.history, -1)}"]
        same = ["yes" if flag else "no" for flag in (self.equal_before, self.equal_after)]
        lines.append(f"w1 = w3 and w2 = w4, bit for bit: before {same[0]}, after {same[1]}")
        lines.append(f"largest difference of the two units' activations: {number(self.distance)}")
        return "\n".join([*lines, self.verdict, self.certificate])


def start(kind: str, activation: str = "sigmoid", *, bias: bool = True) -> nn.Sequential:
    """The 2-2-1 network as initialised, with incoming or all weights of its two hidden units tied."""
    net = course_network(activation, bias=bias, seed=SEED)
    if kind != "random":
        tie(net, "0", [0, 1], outgoing=kind == "all tied")
    return net


def outcome(
    kind: str, activation: str = "sigmoid", *, bias: bool = True, steps: int = 300
) -> Outcome:
    """Compare, audit and train one start on the coffee data (Adam, lr 0.05, cross-entropy)."""
    net, (x, y) = start(kind, activation, bias=bias), coffee()
    verdict = compare(net, x, y, functional.binary_cross_entropy, "w1", "w3", certify=False).verdict
    certificate = certified(net, x)
    history = trained(net, steps)
    before, after = (equal_rows(history, at) for at in (0, -1))
    distance = float(history.distance("0", 0, 1)[-1])
    return Outcome(kind, activation, bias, before, after, distance, verdict, certificate, history)


def trained(net: nn.Module, steps: int, *, record_every: int | None = None) -> History:
    """The coffee data, cross-entropy, Adam with lr 0.05, the whole batch."""
    x, y = coffee()
    return train(
        net,
        x,
        y,
        loss=functional.binary_cross_entropy,
        optimizer=functools.partial(torch.optim.Adam, lr=0.05),
        steps=steps,
        record_every=record_every,
        progress=False,
    )


def certified(net: nn.Module, x: torch.Tensor) -> str:
    """What the audit says of the hidden layer."""
    audit: Audit = importlib.import_module("lockstep.pipeline").audit(net, x[:4])
    layer, bound = audit.layers["0"], audit.evidence.bound
    if layer.effective_width == layer.width:
        return f"audit: layer '0' has {layer.width} units in {layer.width} classes: they can differentiate."
    return (
        f"audit: layer '0' has {layer.width} units in {layer.effective_width} class, for ever: on any data, "
        f"under any loss and any elementwise optimizer (error at most {bound:.0e})."
    )


def equal_rows(history: History, at: int) -> bool:
    """w1 = w3 and w2 = w4, bit for bit."""
    return bool(history["w1"][at] == history["w3"][at] and history["w2"][at] == history["w4"][at])


def row(history: History, at: int) -> str:
    """``w1 = 0.36  w2 = …``"""
    return "  ".join(f"w{n} = {float(history[f'w{n}'][at]):.4f}" for n in range(1, 7))


def tell(*, steps: int = 300) -> str:
    """The story as text: three outcomes in full, then every activation with and without bias."""
    parts = [
        QUESTION,
        "",
        "The 2-2-1 network on 200 coffee roasts (temperature, duration -> good?):",
        "",
    ]
    for n, kind in enumerate(STARTS, 1):
        parts += [
            f"{n}. {HEADS[kind]}",
            *(f"   {line}" for line in str(outcome(kind, steps=steps)).split("\n")),
            "",
        ]
    return "\n".join([*parts, *grid(steps), "", MORAL])


HEADS = {
    "random": "Random start: the units differentiate.",
    "incoming tied": "Incoming weights tied (w1 = w3, w2 = w4): they differentiate all the same.",
    "all tied": "Outgoing weights tied too (w5 = w6): they never do.",
}
MORAL = (
    "Units differentiate because they start different. Your own model: lockstep audit TARGET;"
    " one gradient of it: lockstep why TARGET WEIGHT [WEIGHT]."
)


def separation(kind: str, activation: str, bias: bool, steps: int) -> float:
    """Largest difference of the two hidden units' activations after training."""
    history = trained(start(kind, activation, bias=bias), steps, record_every=steps)
    return float(history.distance("0", 0, 1)[-1])


def grid(steps: int) -> list[str]:
    """Distance between the two units after training, activation by activation."""
    lines = ["Largest difference of the two units' activations after training:", ""]
    lines.append("   " + "activation".ljust(20) + "".join(kind.rjust(16) for kind in STARTS))
    for activation in ACTIVATIONS:
        for bias in (True, False):
            cells = [separation(kind, activation, bias, steps) for kind in STARTS]
            name = f"{activation}, {'with' if bias else 'no'} bias"
            lines.append("   " + name.ljust(20) + "".join(number(cell).rjust(16) for cell in cells))
    return lines
