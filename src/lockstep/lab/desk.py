"""The worker's side: experiments by tab, and the requests that can be made of them. Runs in a process of its own.

A request is one line of JSON, ``{"tab", "call", "with"}``; so is an answer, ``{"is": …}``,
``{"refused": text}``, or ``{"lost": true}`` where the tab has no experiment here.
``open`` makes one, ``ahead`` needs none.
One request at a time, in the order of arrival, so nothing is shared between threads.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, TextIO

import torch

from lockstep.errors import LockstepError
from lockstep.explain import draw
from lockstep.lab import edits
from lockstep.lab.ahead import ahead
from lockstep.lab.badge import badges
from lockstep.lab.experiment import Experiment
from lockstep.lab.state import State, read
from lockstep.lab.why import why, without_dropout


class Desk:
    """The experiments of the tabs that this worker serves."""

    def __init__(self) -> None:
        self.experiments: dict[str, Experiment] = {}
        self.calls: dict[str, Callable[..., Any]] = {
            "open": self.open,
            "advance": self.advance,
            "why": self.why,
            "badges": self.badges,
            "edit": self.edit,
            "ahead": self.ahead,
            "svg": self.svg,
            "weights": self.weights,
            "close": self.close,
        }

    def answer(self, line: str) -> str:
        """The answer to one request."""
        request = json.loads(line)
        if request["call"] not in ("open", "ahead") and request["tab"] not in self.experiments:
            return json.dumps({"lost": True})
        try:
            found = self.calls[request["call"]](request["tab"], **request["with"])
            return json.dumps({"is": found}, allow_nan=False)
        except LockstepError as error:
            return json.dumps({"refused": str(error)})
        except Exception as error:  # noqa: BLE001 – other tabs train here, too
            traceback.print_exc()
            return json.dumps(
                {"refused": f"the lab failed at this: {type(error).__name__}: {error}"}
            )

    def open(self, tab: str, state: dict[str, Any]) -> dict[str, Any]:
        """A new experiment for the tab, at its start; the old one is gone."""
        self.experiments[tab] = Experiment(read(state).start)
        return self.experiments[tab].structure()

    def advance(
        self, tab: str, updates: int, seconds: float, layer: str, maps: bool
    ) -> dict[str, Any]:
        """Up to so many updates, and the frame after them."""
        now = self.experiments[tab]
        now.advance(updates, seconds)
        return now.frame(layer, maps)

    def why(self, tab: str, weights: list[str], sample: int | None) -> dict[str, Any]:
        """One chain or two."""
        return why(self.experiments[tab], weights, sample)

    def badges(
        self, tab: str, level: int, units: list[int], symbols: dict[str, str]
    ) -> dict[str, Any]:
        """What the certificate of the start says."""
        return badges(self.experiments[tab].state, level, units, symbols)

    def edit(self, tab: str, what: str, **how: Any) -> dict[str, Any]:
        """The state after a change of weights."""
        changes: dict[str, Callable[..., State]] = {
            "weight": edits.with_weight,
            "nudge": edits.nudged,
            "twins": edits.twins,
            "mirror": edits.mirrored,
            "untie": edits.untied,
        }
        return changes[what](self.experiments[tab], **how).written()

    def ahead(self, tab: str, state: dict[str, Any], level: int, units: list[int]) -> str:
        """How long until the units are apart."""
        return ahead(read(state), level, units)

    def svg(self, tab: str, weight: str | None, sample: int) -> str:
        """The network as a picture."""
        now = self.experiments[tab]
        return draw(without_dropout(now), now.x, weight=weight, sample=sample).svg()

    def weights(self, tab: str) -> list[float]:
        """The weights of now, to the last bit."""
        return torch.cat(
            [p.detach().reshape(-1) for p in self.experiments[tab].model.parameters()]
        ).tolist()

    def close(self, tab: str) -> None:
        """The tab has gone."""
        self.experiments.pop(tab, None)


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answers until the other side closes."""
    desk = Desk()
    for line in requests:
        answers.write(desk.answer(line) + "\n")
        answers.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    # Answers have a channel of their own: a stray print must not come between them.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        serve(sys.stdin, channel)
