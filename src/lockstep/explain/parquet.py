"""A History as a Parquet file: one row a record; pyarrow is imported here only."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lockstep.errors import UsageError
from lockstep.explain.history import History

if TYPE_CHECKING:
    from types import ModuleType

PAIRED = 8  # layers up to this width get a column for each pair of units
FORMAT = 1


def write(history: History, path: Path) -> None:
    """Columns ``step``, ``loss``, one list column a parameter, ``distance[layer][i,j]``, ``width[layer]``.

    Distances and widths are null at records that were not replayed.
    """
    arrow, parquet = pyarrow()
    columns: dict[str, Any] = {"step": list(history.steps), "loss": history.losses.tolist()}
    for name, shape in history.shapes.items():
        values = history.parameter(name)
        if torch.Size(shape).numel() <= 64:
            for flat, entry in enumerate(entry_names(name, shape)):
                columns[entry] = values.reshape(len(history.steps), -1)[:, flat].tolist()
        else:
            columns[name] = values.reshape(len(history.steps), -1).tolist()
    columns |= measured(history)
    meta = {"format": FORMAT, "shapes": history.shapes, "optimizer": history.optimizer}
    table = arrow.table(columns).replace_schema_metadata({"lockstep": json.dumps(meta)})
    parquet.write_table(table, path)


def entry_names(name: str, shape: tuple[int, ...]) -> list[str]:
    """``"0.weight[0,0]"``, … in the order of the flat parameter."""
    indices = itertools.product(*(range(n) for n in shape))
    return [f"{name}[{','.join(map(str, index))}]" for index in indices]


def measured(history: History) -> dict[str, list[float | None]]:
    """Distances and effective widths, spread over all records."""
    if history.model is None:
        return {name: spread(t.tolist()) for name, t in history.measured.items()}
    found: dict[str, list[float | None]] = {}
    rows = history.replayed.rows.tolist()

    def column(values: Tensor) -> list[float | None]:
        full: list[float | None] = [None] * len(history.steps)
        for row, value in zip(rows, values.tolist(), strict=True):
            full[row] = float(value)
        return full

    for layer in history.layers:
        units = history.activations(layer).shape[-1]
        found[f"width[{layer}]"] = column(history.effective_width(layer))
        if units <= PAIRED:
            for i, j in itertools.combinations(range(units), 2):
                found[f"distance[{layer}][{i},{j}]"] = column(history.distance(layer, i, j))
    return found


def spread(values: list[float]) -> list[float | None]:
    """NaN, which stands for "not measured", as null."""
    return [None if value != value else value for value in values]


def read(path: Path) -> History:
    """The History in a file; what was measured is in ``measured``, NaN where it was not."""
    _, parquet = pyarrow()
    table = parquet.read_table(path)
    meta = json.loads((table.schema.metadata or {}).get(b"lockstep", b"{}"))
    if meta.get("format") != FORMAT:
        raise UsageError(f"{path} is not a Lockstep history of format {FORMAT}.")
    shapes = {name: tuple(shape) for name, shape in meta["shapes"].items()}
    parts = []
    for name, shape in shapes.items():
        if name in table.column_names:
            parts.append(torch.tensor(table[name].to_pylist(), dtype=torch.float64))
        else:
            entries = [table[entry].to_pylist() for entry in entry_names(name, shape)]
            parts.append(torch.tensor(entries, dtype=torch.float64).T)
    extra = {
        name: torch.tensor([float("nan") if v is None else v for v in table[name].to_pylist()])
        for name in table.column_names
        if name.startswith(("width[", "distance["))
    }
    losses = torch.tensor(table["loss"].to_pylist(), dtype=torch.float64)
    steps = tuple(table["step"].to_pylist())
    return History(shapes, steps, torch.cat(parts, 1), losses, meta["optimizer"], measured=extra)


def pyarrow() -> tuple[ModuleType, ModuleType]:
    """pyarrow and its Parquet module, or an error that says how to get them."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(
            "saving a History needs pyarrow: pip install 'lockstep[plots]'."
        ) from error
    return pyarrow, pyarrow.parquet
