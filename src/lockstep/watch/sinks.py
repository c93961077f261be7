"""Where rows go besides memory. A sink is any callable ``sink(values, step=step)``.

``values`` maps ``"layer/metric"`` to a number, so that loggers fit as they are: ``wandb.log``,
``mlflow.log_metrics``, ``aim_run.track``. A sink may have ``close()``, called once at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lockstep.errors import UsageError
from lockstep.watch.rows import COLUMNS, COUNTS, TEXT

FORMAT = 1
GROWTH = 1.1


class Sink(Protocol):
    """What a sink is; a plain function will do."""

    def __call__(self, values: Mapping[str, float], *, step: int) -> Any: ...


class Parquet:
    """Rows as a Parquet file, one row a step and layer; the columns are those of ``w.rows``.

    The file is written whole, beside its place, and then moved there, each time it has grown by a tenth and at
    the end: it is readable at every moment, also after a crash or on a full disk.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._written = 0
        self._rows: Sequence[Mapping[str, Any]] = ()
        self._events: Sequence[Mapping[str, Any]] = ()
        _pyarrow()

    def take(self, rows: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]) -> None:
        """All rows and events so far."""
        self._rows, self._events = rows, events
        if len(rows) >= GROWTH * self._written:
            self.close()

    def close(self) -> None:
        """Write what is there."""
        if self._rows:
            write(self.path, self._rows, self._events)
            self._written = len(self._rows)


class TensorBoard:
    """Scalars ``layer/metric`` for TensorBoard: a log folder, or a ``SummaryWriter`` of your own."""

    def __init__(self, where: Any) -> None:
        self._own = isinstance(where, (str, os.PathLike))
        if not self._own:
            self._writer = where
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "the TensorBoard sink needs tensorboard: pip install 'lockstep[watch]'."
            ) from error
        self._writer = SummaryWriter(os.fspath(where))

    def __call__(self, values: Mapping[str, float], *, step: int) -> None:
        """One scalar a value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush; a writer that was given stays open."""
        self._writer.flush()
        if self._own:
            self._writer.close()


def write(
    path: Path, rows: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
) -> None:
    """A Parquet file of ``rows``; ``events`` go into its metadata."""
    arrow, parquet = _pyarrow()
    # Types are told: a column of which nothing is known yet would have none, and files of two runs not go together.
    kinds = dict.fromkeys(TEXT, arrow.string()) | dict.fromkeys(COUNTS, arrow.int64())
    schema = arrow.schema([(name, kinds.get(name, arrow.float64())) for name in COLUMNS])
    table = arrow.Table.from_pylist([dict(row) for row in rows], schema)
    meta = json.dumps({"format": FORMAT, "events": list(events)})
    aside = path.with_name(f"{path.name}.part")
    try:
        parquet.write_table(table.replace_schema_metadata({"lockstep.watch": meta}), aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def read(path: str | os.PathLike[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and events of a file that :class:`Parquet` wrote."""
    _, parquet = _pyarrow()
    table = parquet.read_table(path)
    meta = json.loads((table.schema.metadata or {}).get(b"lockstep.watch", b"{}"))
    if meta.get("format") != FORMAT:
        raise UsageError(f"{path} is not a Lockstep watch of format {FORMAT}.")
    return table.to_pylist(), meta["events"]


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(
            "the Parquet sink needs pyarrow: pip install 'lockstep[watch]'."
        ) from error
    return pyarrow, pyarrow.parquet
