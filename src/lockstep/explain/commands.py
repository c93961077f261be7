"""The commands ``why``, ``train`` and ``story``. Without a TARGET they use the bundled 2-2-1 network.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 2 wrong use, 3 could not decide.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lockstep.errors import LockstepError, UsageError
from lockstep.outputs import require_writable, write

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lockstep.explain.guest import Loss

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


class Tie(str, Enum):
    """What ``--tie`` takes."""

    none = "none"
    incoming = "incoming"
    outgoing = "outgoing"
    both = "both"


class Activation(str, Enum):
    """Hidden activation of the bundled network."""

    sigmoid = "sigmoid"
    tanh = "tanh"
    relu = "relu"


class Notation(str, Enum):
    """How weights are called."""

    course = "course"
    by_index = "index"


@dataclass(frozen=True)
class Problem:
    """A model with data and a loss."""

    model: nn.Module
    x: Any
    y: Tensor | None
    loss: Loss


TieOption = Annotated[
    Tie, typer.Option("--tie", help="Set units equal first: what they read, feed, or both.")
]
LayerOption = Annotated[str, typer.Option(help="Layer whose units --tie ties.")]
UnitsOption = Annotated[str, typer.Option(help="Units that --tie ties, as 0,1.")]
ActivationOption = Annotated[Activation, typer.Option(help="Of the bundled network.")]
BiasOption = Annotated[bool, typer.Option("--bias/--no-bias", help="Of the bundled network.")]
InputOption = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="SHAPE", help="Shape of an input of TARGET, as 4,2."),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.py:NAME",
        help="Data for TARGET: (x, y), or a function that returns them; by default random numbers.",
    ),
]
LossOption = Annotated[
    str | None,
    typer.Option(help="mse, bce, cross_entropy, …; by default bce (bundled) or mse (TARGET)."),
]
SeedOption = Annotated[int, typer.Option(help="Seed of the random start, data and batches.")]
NotationOption = Annotated[Notation | None, typer.Option(help="w1, z1, a1 or W[l][j,i].")]
OutOption = Annotated[Path | None, typer.Option(help="Write to this file.")]


@app.command()
def why(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TARGET] [WEIGHT] [WEIGHT]", help="By default w1 w3 of the bundled network."
        ),
    ] = None,
    input: InputOption = None,
    data: DataOption = None,
    loss: LossOption = None,
    tie: TieOption = Tie.none,
    layer: LayerOption = "0",
    units: UnitsOption = "0,1",
    activation: ActivationOption = Activation.sigmoid,
    bias: BiasOption = True,
    samples: Annotated[int, typer.Option(help="Samples of the bundled data.")] = 4,
    seed: SeedOption = 1,
    notation: NotationOption = None,
    depth: Annotated[int, typer.Option(help="Levels of the tree where a chain branches.")] = 2,
    width: Annotated[int, typer.Option(help="Terms shown at each branching.")] = 6,
    latex: Annotated[bool, typer.Option("--latex", help="LaTeX instead of text.")] = False,
    svg: OutOption = None,
) -> None:
    """One gradient as its chain of factors, or two of them side by side with the factor that differs."""
    with refusals():
        from lockstep.explain import compare, draw, explain

        require_writable(svg)
        target, weights = split(names or [])
        problem = problem_of(target, input, data, loss, activation, bias, samples, seed)
        tied(problem.model, tie, layer, units)
        given = (problem.model, problem.x, problem.y, problem.loss)
        style = notation.value if notation else None
        if len(weights) == 1:
            derivation = explain(*given, weights[0], notation=style)
            text = derivation.text(depth=depth, width=width)
            typer.echo(derivation.latex() if latex else text)
        else:
            found = compare(*given, weights[0], weights[1], notation=style)
            typer.echo(found.latex() if latex else found.text())
        if svg is not None:
            picture = draw(problem.model, problem.x, weight=weights[0], notation=style)
            write(picture.svg(), svg)


@app.command("train")
def train_command(
    target: Annotated[
        str | None, typer.Argument(metavar="[TARGET]", help="By default the bundled one.")
    ] = None,
    input: InputOption = None,
    data: DataOption = None,
    loss: LossOption = None,
    tie: TieOption = Tie.none,
    layer: LayerOption = "0",
    units: UnitsOption = "0,1",
    optimizer: Annotated[
        str, typer.Option(help="A torch.optim class: sgd, adam, adamw, …")
    ] = "adam",
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 0.05,
    momentum: Annotated[float | None, typer.Option(help="Of the optimizer.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of the optimizer.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Updates.")] = 500,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="By default the whole batch.")
    ] = None,
    activation: ActivationOption = Activation.sigmoid,
    bias: BiasOption = True,
    samples: Annotated[int, typer.Option(help="Samples of the bundled data.")] = 200,
    seed: SeedOption = 1,
    save: Annotated[
        Path | None, typer.Option(help="Write the history to this Parquet file.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write the figure to this file (png, svg, pdf).")
    ] = None,
) -> None:
    """Train, and print every weight before and after, and how far apart the units are."""
    with refusals():
        from lockstep.explain.training import train as run_training
        from lockstep.targets import training

        require_writable(save, plot)
        problem = problem_of(target, input, data, loss, activation, bias, samples, seed)
        done = tied(problem.model, tie, layer, units)
        settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        history = run_training(
            problem.model,
            problem.x,
            problem.y,
            loss=problem.loss,
            optimizer=training.optimizer(optimizer, **settings),
            steps=steps,
            batch_size=batch_size,
            seed=seed,
        )
        typer.echo("\n".join([*([done, ""] if done else []), str(history), "", history.widths()]))
        if save is not None:
            history.save(save)
        if plot is not None:
            history.plot().savefig(plot)


@app.command()
def story(
    steps: Annotated[int, typer.Option(min=1, help="Updates of each training.")] = 300,
) -> None:
    """The whole answer on the smallest network: random, incoming tied, all tied; trained and certified."""
    with refusals():
        from lockstep.explain.story import tell

        typer.echo(tell(steps=steps))


def split(names: list[str]) -> tuple[str | None, list[str]]:
    """TARGET (the first name, if it looks like one) and one or two weights."""
    first = names[0] if names else ""
    is_target = (
        ":" in first
        or first.endswith((".keras", ".json"))
        or (Path(first).is_dir() and first != "")
    )
    target, weights = (first, names[1:]) if is_target else (None, names)
    if not weights and target is None:
        weights = ["w1", "w3"]
    if not 1 <= len(weights) <= 2:
        raise UsageError(
            f"name one weight to explain or two to compare, got {len(weights)}: lockstep why w1, "
            "lockstep why w1 w3, or lockstep why file.py:net 0.weight[0,0] 0.weight[1,0]."
        )
    return target, weights


def problem_of(
    target: str | None,
    inputs: list[str] | None,
    data: str | None,
    loss: str | None,
    activation: Activation,
    bias: bool,
    samples: int,
    seed: int,
) -> Problem:
    """The bundled network with coffee data, or TARGET with its data (else inputs and a target that fits its output)."""
    from lockstep.targets import training

    if target is None:
        if data is not None:
            raise UsageError(
                "--data goes with a TARGET; the bundled network has data of its own (--samples)."
            )
        from lockstep.explain.bundled import coffee, course_network

        x, y = coffee()
        net = course_network(activation.value, bias=bias, seed=seed)
        return Problem(net, x[:samples], y[:samples], training.loss(loss or "bce", y)[0])
    from torch import nn

    from lockstep.targets import run

    request = run.Request(target=target, inputs=tuple(inputs or ()), seed=seed)
    found, example, output = run.prepared(
        request, lambda *_: None, lambda note: typer.echo(note, err=True)
    )
    if not isinstance(found.model, nn.Module):
        raise UsageError(
            f"{target} is a {type(found.model).__name__}; why and train need a torch.nn.Module."
        )
    function, y = training.loss(loss or "mse", output)
    if data is not None:
        example, y = training.pair(data)
    else:
        typer.echo("random x and y: give the real data with --data file.py:name", err=True)
    return Problem(found.model, example, y, function)


def tied(model: nn.Module, how: Tie, layer: str, units: str) -> str:
    """Ties as asked; what was done, or nothing."""
    if how is Tie.none:
        return ""
    from lockstep.explain.tying import tie

    try:
        chosen = [int(unit) for unit in units.split(",")]
    except ValueError as error:
        raise UsageError(f"--units {units!r}: give unit numbers as 0,1.") from error
    incoming, outgoing = how is not Tie.outgoing, how is not Tie.incoming
    return str(tie(model, layer, chosen, incoming=incoming, outgoing=outgoing))


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """An error on purpose becomes a message on stderr and an exit code."""
    try:
        yield
    except LockstepError as error:
        typer.echo(f"lockstep: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
