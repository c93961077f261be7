"""The command ``treat``. The plan and its dry run go to stdout, everything else to stderr.

Exit codes: 0 done (or nothing to do), 1 everything that was found was refused, 2 wrong use, 3 could not decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import LockstepError, UsageError

if TYPE_CHECKING:
    from torch import nn

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


class How(str, Enum):
    """The treatments."""

    merge = "merge"
    untie = "untie"
    widen = "widen"
    recycle = "recycle"


@app.command()
def treat(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="path/to/file.py:name, package.module:name or a HF config.json.",
        ),
    ],
    how: Annotated[How, typer.Argument(metavar="HOW", help="merge, untie, widen or recycle.")],
    input: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="[NAME=]SHAPE[:DTYPE[:LOW-HIGH]]",
            help="Shape of an input, as 4,2; once for each argument of forward.",
        ),
    ] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="Layers to treat; by default all with something to do.")
    ] = None,
    units: Annotated[str | None, typer.Option(help="widen: units to copy, as 0,3.")] = None,
    to: Annotated[int | None, typer.Option(help="widen: width to reach.")] = None,
    split: Annotated[
        str, typer.Option(help="widen: opposite, halves, or shares as 0.4,0.6.")
    ] = "opposite",
    within: Annotated[
        float | None,
        typer.Option(help="merge: also units that others explain to this fraction (lossy)."),
    ] = None,
    size: Annotated[float, typer.Option(help="untie: relative size of the push.")] = 0.01,
    dormant: Annotated[float, typer.Option(help="recycle: tau, 0 for silent units only.")] = 0.0,
    redraw: Annotated[
        float | None,
        typer.Option(help="recycle: share of the hidden units of copied modules to draw anew."),
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="untie: mse, cross_entropy, ...: the fastest direction.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the model's random start and of draws.")] = 0,
    train: Annotated[bool | None, typer.Option("--train/--eval", help="Mode of the model.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Open pickles: they run code.")] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Write the treated model; needs --output.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder for weights and script."),
    ] = None,
) -> None:
    """Merge, untie, widen or recycle units of TARGET: a plan with its dry run, or files with --apply."""
    with refusals():
        from .files import refuse_taken, write

        if apply != (output is not None):
            raise UsageError(
                "--apply and --output DIR go together: without them nothing is written"
            )
        if output is not None:
            refuse_taken(output)
        model, inputs, result = problem(target, input, seed, train, trust)
        plan = planned(
            how,
            model,
            inputs,
            result,
            layer,
            units,
            to,
            split,
            within,
            size,
            dormant,
            redraw,
            loss,
            seed,
        )
        if plan.empty or output is None:
            typer.echo(str(plan if plan.empty else plan.dry_run()))
        else:
            receipt = plan.apply()
            written = write(receipt, output, target)
            typer.echo(str(receipt))
            typer.echo(f"wrote {', '.join(map(str, written))}", err=True)
    raise typer.Exit(1 if plan.empty and plan.refused else 0)


def problem(
    target: str, inputs: list[str] | None, seed: int, train: bool | None, trust: bool
) -> tuple[nn.Module, Any, Any]:
    """The model of TARGET, example inputs and its output on them."""
    from lockstep.targets import run

    request = run.Request(
        target=target, inputs=tuple(inputs or ()), seed=seed, train=train, trust=trust
    )
    found, example, result = run.prepared(
        request, lambda *_: None, lambda note: typer.echo(note, err=True) if note else None
    )
    return found.model, example, result


def planned(
    how: How,
    model: nn.Module,
    inputs: Any,
    result: Any,
    layers: list[str] | None,
    units: str | None,
    to: int | None,
    split: Any,
    within: float | None,
    size: float,
    dormant: float,
    redraw: float | None,
    loss: str | None,
    seed: int,
) -> Any:
    """The plan that was asked for; options of another treatment are refused."""
    from . import merge, recycle, untie, widen

    given = {
        "--units": units is not None, "--to": to is not None, "--split": split != "opposite",
        "--within": within is not None, "--size": size != 0.01, "--dormant": dormant != 0.0,
        "--loss": loss is not None, "--redraw": redraw is not None,
    }  # fmt: skip
    mine = {
        How.merge: {"--within"},
        How.untie: {"--size", "--loss"},
        How.widen: {"--units", "--to", "--split"},
        How.recycle: {"--dormant", "--redraw"},
    }[how]
    strange = [name for name, is_given in given.items() if is_given and name not in mine]
    if strange:
        raise UsageError(f"{', '.join(strange)}: not an option of {how.value}")
    if how is How.merge:
        return merge(model, inputs, layers=layers, within=within, seed=seed)
    if how is How.recycle:
        return recycle(model, inputs, layers=layers, dormant=dormant, redraw=redraw, seed=seed)
    if how is How.untie:
        function, targets = None, None
        if loss is not None:
            from lockstep.targets import training

            function, targets = training.loss(loss, result)
        return untie(
            model, inputs, layers=layers, loss=function, targets=targets, size=size, seed=seed
        )
    if not layers or len(layers) != 1:
        raise UsageError("widen needs one layer: --layer NAME")
    return widen(
        model, inputs, layers[0], units=None if units is None else numbers(units, "--units", int),
        to=to, split=split if split.isalpha() else numbers(split, "--split", float), seed=seed,
    )  # fmt: skip


def numbers(text: str, option: str, kind: Any) -> list[Any]:
    """``0,3`` as a list."""
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{option} {text!r}: give numbers with commas between, as 0,3") from error


@contextmanager
def refusals() -> Iterator[None]:
    """An error on purpose becomes a message on stderr and an exit code."""
    try:
        yield
    except LockstepError as error:
        typer.echo(f"lockstep: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
