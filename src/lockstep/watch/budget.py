"""What a watch may cost: a share of the time that training takes, and the rule that keeps it.

Everything that a watch does is timed: setting it up, its part of every update, rows with their hooks and sinks, looks
at ties. A row that falls due is taken if all that has been spent, what this row costs (the median of the last five),
and as much again for the last one come to at most four fifths of ``share`` of the time that training has taken;
otherwise it is left out, its step is noted in ``skipped``, and the next one in the interval has its turn. Two rows are
taken whatever they cost, and counted: the first, from which the rule learns the cost, and the last. Looks at ties are
taken after each of the first hundred updates; from then on as many as half of the share allows, and as rows leave room
for.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

SHARE = 0.05
AIM = 0.8  # of the share: steps after a row find cold caches, which no clock tells
FREE_LOOKS = 100
REMEMBERED = 5


class Budget:
    """``share`` of the training's time, or None: everything is taken when it is due; ``rows`` False: every row is.

    >>> budget = Budget(None)
    >>> budget.row_is_due(100), budget.skipped
    (True, [])
    """

    def __init__(self, share: float | None, rows: bool = True) -> None:
        self.share, self._rows = share, rows
        self.skipped: list[int] = []
        self._costs: list[float] = []
        self._own = 0.0
        self._inside: float | None = None  # since when we are inside of `spending`
        self._trained, self._begun = 0.0, time.perf_counter()
        self._row: float | None = None
        self._ended = False
        self._looks: deque[float] = deque(maxlen=REMEMBERED)
        self._look_count, self._looking_took = 0, 0.0
        self._looked, self._looked_after, self._pace = 0.0, 0, 0.0

    def spending(self) -> Budget:
        """Time in ``with budget.spending():`` is the watch's own; not to be nested."""
        return self

    def __enter__(self) -> None:
        self._inside = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        start, self._inside = self._inside, None
        self.spend(time.perf_counter() - (start or 0.0))
        if self._ended:
            self._costs.append(self._row or 0.0)
            self._row, self._ended = None, False

    def begin(self) -> None:
        """Training begins, or goes on: time between is nobody's; what has been spent stays spent."""
        self._begun = time.perf_counter() - self._own - self._trained

    def end(self) -> None:
        """Training ends, for now."""
        self._trained = self._training()

    def _training(self) -> float:
        """Seconds of training so far, without what the watch has spent."""
        now = time.perf_counter()
        spent = self._own + (now - self._inside if self._inside is not None else 0.0)
        return now - self._begun - spent

    def spend(self, seconds: float) -> None:
        """So much was spent, in a hook for example; a hook inside :meth:`spending` is counted there."""
        if self._inside is None:
            self.add(seconds)
            if self._row is not None:
                self._row += seconds

    def add(self, seconds: float) -> None:
        """So much was spent before, on no row."""
        self._own += seconds

    def row_begins(self) -> None:
        """What is spent from now on is spent on a row."""
        self._row = 0.0

    def row_ends(self) -> None:
        """The row is complete when the present spending ends."""
        self._ended = self._row is not None

    def row_is_due(self, step: int) -> bool:
        """Whether the row of ``step`` can be afforded; if not, that is noted."""
        if self.share is None or not self._rows or not self._costs:
            return True
        now, training = time.perf_counter(), self._training()
        spent = now - self._begun - training
        if spent + 2 * self._row_costs() <= AIM * self.share * training:
            return True
        self.skipped.append(step)
        return False

    def look_is_due(self) -> bool:
        """Whether tied units can be compared after this update, too."""
        if self.share is None or self._look_count < FREE_LOOKS:
            return True
        return self._wait() <= 0

    def updates_between_looks(self) -> int:
        """How many updates pass before the next look can be afforded, if they go on as the last ones did."""
        if self.share is None or self._look_count < FREE_LOOKS or not self._pace:
            return 0
        return max(0, math.ceil(self._wait() / self._pace))

    def _wait(self) -> float:
        """Seconds of training until a look can be afforded: by half of the share, and by what rows have left of it."""
        assert self.share is not None
        training, look = self._training(), statistics.median(self._looks)
        spent = time.perf_counter() - self._begun - training
        looks = (self._looking_took + look) / (AIM * self.share / 2)
        return max(looks, (spent + look + self._row_costs()) / (AIM * self.share)) - training

    def _row_costs(self) -> float:
        """The median of the last rows, the first left out: it also pays for PyTorch's warming up."""
        return statistics.median(self._costs[1:][-REMEMBERED:] or self._costs or [0.0])

    @contextmanager
    def looking(self, updates: int) -> Iterator[None]:
        """One look at ties, after so many updates in all."""
        start, training = time.perf_counter(), self._training()
        try:
            yield
        finally:
            if updates > self._looked_after:
                self._pace = (training - self._looked) / (updates - self._looked_after)
            self._looked, self._looked_after = training, updates
            cost = time.perf_counter() - start
            self._looks.append(cost)
            self._look_count, self._looking_took = self._look_count + 1, self._looking_took + cost
