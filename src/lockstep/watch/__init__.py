"""Stage 5. In: a model in training. Out: rows, one a step and layer, of what its units do; events."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockstep.watch.activity import (
        cloning_r2,
        dead,
        dormancy_scores,
        dormant,
        duplicates,
        effective_rank,
        saturated,
        spread,
    )
    from lockstep.watch.sinks import Parquet, TensorBoard
    from lockstep.watch.ties import Event
    from lockstep.watch.watching import Watch, watch
    from lockstep.watch.weights import Near, near
else:
    from lockstep.on_use import import_on_use

    import_on_use(
        __name__,
        {
            ".activity": "cloning_r2 dead dormancy_scores dormant duplicates effective_rank saturated spread",
            ".sinks": "Parquet TensorBoard",
            ".ties": "Event",
            ".watching": "Watch watch",
            ".weights": "Near near",
        },
    )

__all__ = [
    "Event",
    "Near",
    "Parquet",
    "TensorBoard",
    "Watch",
    "cloning_r2",
    "dead",
    "dormancy_scores",
    "dormant",
    "duplicates",
    "effective_rank",
    "near",
    "saturated",
    "spread",
    "watch",
]
