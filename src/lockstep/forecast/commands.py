"""The command ``forecast``. The result goes to stdout, everything else to stderr.

Exit codes: 0 every group separates (or nothing is tied), 1 some group merges: it will not separate by itself, 2 wrong
use, 3 for some group it is unknown, with the reason.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lockstep.errors import LockstepError, UsageError
from lockstep.outputs import require_writable
from lockstep.outputs import write as write_file

if TYPE_CHECKING:
    from lockstep.types import Rounding

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


class Form(str, Enum):
    """What ``--format`` takes."""

    text = "text"
    json = "json"


@app.command("forecast")
def forecast_command(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="path/to/file.py:name, package.module:name, a .keras file or a HF config.json.",
        ),
    ],
    input: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="[NAME=]SHAPE[:DTYPE[:LOW-HIGH]]",
            help="Shape of an input, as 64,2; the data are random numbers of this shape.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:NAME", help="Real data: (x, y), or a function that returns them."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Updates to look ahead.")] = 300,
    optimizer: Annotated[
        str, typer.Option(help="A torch.optim class: sgd, adam, adamw, …")
    ] = "adam",
    lr: Annotated[float | None, typer.Option(help="Of the optimizer.")] = None,
    momentum: Annotated[float | None, typer.Option(help="Of the optimizer.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of the optimizer.")] = None,
    loss: Annotated[str, typer.Option(help="mse, cross_entropy, bce, huber, …")] = "mse",
    units: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER:0,1",
            help="Units to look at, moved onto their mean first; by default all locked ones.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random start and data.")] = 0,
    train: Annotated[bool | None, typer.Option("--train/--eval", help="Mode of the model.")] = None,
    rounding: Annotated[
        bool,
        typer.Option(
            "--rounding", help="Train in float32 and float64 and say when rounding shows."
        ),
    ] = False,
    format: Annotated[Form, typer.Option("--format", help="text or json.")] = Form.text,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file.")
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Open pickles: they run code.")] = False,
) -> None:
    """How fast the locked units of TARGET separate or merge in training, and when rounding separates them."""
    try:
        require_writable(output)
        text, code = answer(
            target, input or [], data, steps, optimizer,
            {"lr": lr, "momentum": momentum, "weight_decay": weight_decay},
            loss, units or [], seed, train, rounding, format, trust,
        )  # fmt: skip
        write(text, output)
    except LockstepError as error:
        typer.echo(f"lockstep: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
    raise typer.Exit(code)


def answer(
    target: str,
    inputs: list[str],
    data: str | None,
    steps: int,
    optimizer: str,
    settings: dict[str, float | None],
    loss: str,
    units: list[str],
    seed: int,
    train: bool | None,
    rounding: bool,
    form: Form,
    trust: bool,
) -> tuple[str, int]:
    """What is printed, and the exit code."""
    from lockstep import forecast as look_ahead
    from lockstep import rounding as look_at_rounding
    from lockstep.targets import run, training

    groups = [group_of(text) for text in units] or None
    make = training.optimizer(optimizer, **settings)
    request = run.Request(target=target, inputs=tuple(inputs), seed=seed, train=train, trust=trust)
    found, example, result = run.prepared(
        request, lambda *_: None, lambda note: typer.echo(note, err=True)
    )
    function, y = training.loss(loss, result)
    note = "random x and y: give the real data with --data file.py:name, or the numbers say little"
    if data is not None:
        example, y = training.pair(data)
        note = ""
    given: dict[str, Any] = {
        "loss": function,
        "optimizer": make,
        "steps": steps,
        "groups": groups,
        "seed": seed,
    }
    forecast = look_ahead(found.model, example, y, **given)
    verdicts = {one.verdict for one in forecast.groups}
    text = forecast.to_json() if form is Form.json else str(forecast)
    if form is Form.text and note and forecast.groups:
        text += f"\n  {note}"
    if rounding and forecast.groups:
        seen = look_at_rounding(found.model, example, y, **given)
        text = with_rounding(text, seen) if form is Form.json else f"{text}\n\n{seen}"
    return text, 3 if "unknown" in verdicts else int("merges" in verdicts)


def group_of(text: str) -> tuple[str, tuple[int, ...]]:
    """``"layer:0,1"`` as a layer and its units."""
    layer, _, numbers = text.rpartition(":")
    try:
        units = tuple(int(number) for number in numbers.split(","))
    except ValueError:
        units = ()
    if not layer or len(units) < 2:
        raise UsageError(f"--units {text!r}: give a layer and its units, as --units 0:0,1")
    return layer, units


def with_rounding(text: str, seen: Rounding) -> str:
    """The forecast's JSON with what :func:`lockstep.rounding` saw, in the form that certificates have."""
    import json

    from lockstep.certificate.claim import rounding_document

    return json.dumps({**json.loads(text), "rounding": rounding_document(seen)}, indent=1)


def write(text: str, output: Path | None) -> None:
    """To stdout or into a file."""
    if output is None:
        typer.echo(text)
        return
    write_file(text + "\n", output)
    typer.echo(f"lockstep: wrote {output}", err=True)
