"""What a watch may cost: a share of the time that training takes, and the rule that keeps it.

Every row is timed, hooks and sinks included. A row that falls due is taken if what the watch has spent since the first
row, and what a row costs (the median of the last five), come to at most ``share`` of the time that training has taken
since; otherwise it is left out, its step is noted in ``skipped``, and the next one in the interval has its turn. Three
rows are taken whatever they cost: the first, which also pays for PyTorch's warming up and is not counted, the second,
from which the rule learns the cost, and the last. Looks at ties take at most half of the share, after the first
hundred, which are always taken.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

SHARE = 0.05
FREE_ROWS = 2
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
        self._own, self._inside = 0.0, False
        self._row: float | None = None
        self._ended = False
        self._since = (0.0, 0.0)
        self._looks, self._look, self._looked = 0, 0.0, 0.0

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Time in here is the watch's own; not to be nested."""
        start = time.perf_counter()
        self._inside = True
        try:
            yield
        finally:
            self._inside = False
            end = time.perf_counter()
            self.spend(end - start)
            if self._ended:
                self._costs.append(self._row or 0.0)
                self._row, self._ended = None, False
                if len(self._costs) == 1:
                    self._since = end, self._own

    def spend(self, seconds: float) -> None:
        """So much was spent, in a hook for example; a hook inside :meth:`spending` is counted there."""
        if self._inside:
            return
        self._own += seconds
        if self._row is not None:
            self._row += seconds

    def row_begins(self) -> None:
        """What is spent from now on is spent on a row."""
        self._row = 0.0

    def row_ends(self) -> None:
        """The row is complete when the present spending ends."""
        self._ended = self._row is not None

    def row_is_due(self, step: int) -> bool:
        """Whether the row of ``step`` can be afforded; if not, that is noted."""
        if self.share is None or not self._rows or len(self._costs) < FREE_ROWS:
            return True
        cost = statistics.median(self._costs[1:][-REMEMBERED:])
        then, own = self._since
        spent = self._own - own
        if cost + spent <= self.share * (time.perf_counter() - then - spent):
            return True
        self.skipped.append(step)
        return False

    def look_is_due(self) -> bool:
        """Whether tied units can be compared after this update, too."""
        if self.share is None or self._looks < FREE_LOOKS:
            return True
        return self._look <= self.share / 2 * (time.perf_counter() - self._looked)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """One look at ties."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._looked = time.perf_counter()
            cost = self._looked - start
            self._look = min(cost, self._look) if self._looks else cost
            self._looks += 1
