"""The command ``lockstep``. The result goes to stdout, everything else to stderr.

Exit codes of ``audit``: 0 clean, 1 findings LS001 to LS005, 2 wrong use, 3 could not decide. Of
``check``: 0 verified, 1 refused, 2 wrong use.
"""

from __future__ import annotations

import contextlib
import enum
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from lockstep.errors import CertificateError, LockstepError, UndecidedError, UsageError
from lockstep.explain.commands import app as explain_app
from lockstep.forecast.commands import app as forecast_app
from lockstep.outputs import require_writable, write
from lockstep.report import selection
from lockstep.report.progress import Shown
from lockstep.report.rules import required, rules
from lockstep.treat.commands import app as treat_app
from lockstep.types import Audit


class Format(str, enum.Enum):
    """What ``--format`` takes."""

    text = "text"
    json = "json"
    html = "html"
    sarif = "sarif"


class Update(str, enum.Enum):
    """What ``--update`` takes."""

    any = "any"
    additive = "additive"


class Data(str, enum.Enum):
    """What ``--data`` takes."""

    any = "any"
    given = "given"


app = typer.Typer(
    name="lockstep",
    help="Which units of a neural network can never differentiate, and why the others do.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(explain_app)  # why, train, story
app.add_typer(forecast_app)  # forecast
app.add_typer(treat_app)  # treat

TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="path/to/file.py:name, package.module:name, a .keras file or a HF config.json.",
    ),
]
InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="[NAME=]SHAPE[:DTYPE[:LOW-HIGH]]",
        help="Shape of an input, as 4,2 or ids=4,16:int64:0-99; once for each argument of forward.",
    ),
]
OptimizerOption = Annotated[
    str | None, typer.Option(help="Name of a torch.optim class: sgd, adam, adamw, ...")
]
SettingOption = Annotated[float | None, typer.Option(help="Of the optimizer.")]
LossOption = Annotated[
    str | None, typer.Option(help="mse, cross_entropy, nll, bce_with_logits, huber, ...")
]
SeedOption = Annotated[int, typer.Option(help="Seed of the model's random start and of the audit.")]
TrustOption = Annotated[
    bool, typer.Option("--trust", help="Open pickles and custom Keras objects: they run code.")
]
ModeOption = Annotated[
    bool | None, typer.Option("--train/--eval", help="Mode of the model; as it comes by default.")
]


def main() -> None:
    """Run the command; the entry point of ``python -m lockstep``."""
    app()


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    # A config is all that is needed: whatever a model's constructor asks a hub for is refused.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if version:
        from lockstep import __version__

        typer.echo(f"lockstep {__version__}")
        raise typer.Exit(0)


@app.command()
def audit(
    target: TargetArgument,
    input: InputOption = None,
    update: Annotated[
        Update | None, typer.Option(help="Class of optimizers; by default the optimizer's, or any.")
    ] = None,
    optimizer: OptimizerOption = None,
    lr: SettingOption = None,
    momentum: SettingOption = None,
    weight_decay: SettingOption = None,
    loss: LossOption = None,
    data: Annotated[
        Data, typer.Option(help="any: symbols stand for the numbers; given: the numbers count.")
    ] = Data.any,
    seed: SeedOption = 0,
    train: ModeOption = None,
    format: Annotated[
        Format | None, typer.Option("--format", help="By default the ending of --output, or text.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the report to this file.")
    ] = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Codes to report, or their beginnings: LS00,LS004.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Codes not to report; LS004:encoder.* names places.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Do not report the findings in this file.")
    ] = None,
    rounding: Annotated[
        bool,
        typer.Option(
            "--rounding",
            help="Train copies in float32 and float64, and say whether locked units stay bitwise equal.",
        ),
    ] = False,
    write_baseline: Annotated[
        Path | None, typer.Option(help="Write today's findings to this file and exit with 0.")
    ] = None,
    trust: TrustOption = False,
) -> None:
    """Which units of TARGET are locked for ever, what is frozen, and why the rest separates."""
    chosen = format or _format_of(output)
    err = _stderr()
    with _refusals(chosen, output, target, err):
        source = Path(target), Path(target.rpartition(":")[0]), Path(target) / "config.json"
        require_writable(output, write_baseline, read=source)
        require_writable(output, read=[baseline] if baseline else [])
        selected, ignored = selection.patterns(select or [], ignore or [])
        known = selection.read_baseline(baseline) if baseline else frozenset()
        with Shown(err) as progress:
            progress("loading the model", 0, None)
            from lockstep.targets import run  # on use: rules and help load no target

            settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
            request = run.Request(
                target=target,
                inputs=tuple(input or ()),
                update=update.value if update else None,
                optimizer=optimizer,
                settings=settings,
                loss=loss,
                data=data.value,
                seed=seed,
                train=train,
                trust=trust,
                rounding=rounding,
            )
            found, result = run.audit(request, progress, lambda note: _say(err, note))
        if write_baseline:
            selection.write_baseline(result, write_baseline)
            _say(err, f"wrote {len(result.findings)} known finding(s) to {write_baseline}")
        result = selection.chosen(result, selected, ignored, known)
        _print(result, chosen, output, err, found.file, found.line)
    raise typer.Exit(0 if result.ok or write_baseline else 1)


@app.command()
def check(
    certificate: Annotated[
        Path, typer.Argument(metavar="CERT.json", help="Written by `lockstep audit -o CERT.json`.")
    ],
    target: TargetArgument,
    input: InputOption = None,
    optimizer: OptimizerOption = None,
    lr: SettingOption = None,
    momentum: SettingOption = None,
    weight_decay: SettingOption = None,
    loss: LossOption = None,
    seed: SeedOption = 0,
    train: ModeOption = None,
    trust: TrustOption = False,
) -> None:
    """Verify a certificate against TARGET, with other primes and with float64 training."""
    err = _stderr()
    with _refusals(Format.text, None, target, err):
        try:
            text = certificate.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"the certificate {str(certificate)!r} cannot be read: {error}"
            ) from error
        claim = Audit.from_json(text)
        with Shown(err) as progress:
            progress("loading the model", 0, None)
            from lockstep.targets import run

            request = run.Request(
                target=target,
                inputs=tuple(input or ()),
                optimizer=optimizer,
                settings={"lr": lr, "momentum": momentum, "weight_decay": weight_decay},
                loss=loss,
                seed=seed,
                train=train,
                trust=trust,
            )
            checked = run.check(claim, request, progress, lambda note: _say(err, note))
        for line in str(checked).splitlines():
            _say(err, line)
    typer.echo(f"verified: every claim of {certificate} holds for {target}")


@app.command()
def rule(
    code: Annotated[str | None, typer.Argument(metavar="[CODE]", help="LS001 to LS009.")] = None,
) -> None:
    """Explain a finding code: mathematics, example, cure. Without CODE: list them."""
    out = _stdout()
    with _refusals(Format.text, None, code or "", _stderr()):
        if code is None:
            for found in rules().values():
                out.print(f"{found.code}  {found.name}", style="bold", highlight=False)
                out.print(f"       {found.summary}", highlight=False, markup=False, soft_wrap=True)
        elif out.is_terminal:
            out.print(Markdown(required(code).text))
        else:
            typer.echo(required(code).text.rstrip())


@app.command()
def lab(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8377,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
) -> None:
    """A page in the browser on which units differentiate, or do not, and one sees why."""
    with _refusals(Format.text, None, "", _stderr()):
        from lockstep.lab import lab as serve_lab

        serve_lab(port=port, open_browser=not no_open)


def _stdout() -> Console:
    # FORCE_COLOR would put colours into a pipe, where nobody asked for them.
    return Console(file=sys.stdout, force_terminal=sys.stdout.isatty())


def _stderr() -> Console:
    return Console(stderr=True, force_terminal=sys.stderr.isatty())


def _say(err: Console, note: str) -> None:
    if note:
        err.print(f"lockstep: {note}", markup=False, highlight=False, soft_wrap=True)


def _format_of(output: Path | None) -> Format:
    ending = output.suffix.lower().removeprefix(".") if output else ""
    return Format(ending) if ending in ("json", "html", "sarif") else Format.text


def _print(
    result: Audit,
    chosen: Format,
    output: Path | None,
    err: Console,
    file: Path | None,
    line: int | None,
) -> None:
    if chosen is Format.text and output is None and sys.stdout.isatty():
        _stdout().print(result)
        return
    _write(_rendered(result, chosen, file, line), output, err)


def _rendered(result: Audit, chosen: Format, file: Path | None, line: int | None) -> str:
    if chosen is Format.json:
        return result.to_json()
    if chosen is Format.html:
        from lockstep.report.html import page

        return page(result)
    if chosen is Format.sarif:
        from lockstep.report.sarif import log

        return log(result, file, line)
    return str(result)


def _write(text: str, output: Path | None, err: Console) -> None:
    if output is None:
        typer.echo(text.rstrip("\n"))
        return
    write(text.rstrip("\n") + "\n", output)
    _say(err, f"wrote {output}")


@contextlib.contextmanager
def _refusals(chosen: Format, output: Path | None, target: str, err: Console) -> Iterator[None]:
    """Every error on purpose becomes a message and an exit code; none becomes a traceback."""
    try:
        yield
    except LockstepError as error:
        _refuse(error, chosen, output, target, err)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        err.print("lockstep: interrupted", highlight=False)
        raise typer.Exit(130) from error
    except Exception as error:
        if os.environ.get("LOCKSTEP_DEBUG"):
            raise
        from lockstep.targets.blame import describe

        _refuse(
            UndecidedError(
                f"Lockstep failed. This is a defect of Lockstep, not a verdict; please report it.\n  "
                f"{describe(error)}\nLOCKSTEP_DEBUG=1 shows the whole traceback."
            ),
            chosen,
            output,
            target,
            err,
        )
        raise typer.Exit(UndecidedError.exit_code) from error


def _refuse(
    error: LockstepError, chosen: Format, output: Path | None, target: str, err: Console
) -> None:
    kind = "could not decide" if isinstance(error, UndecidedError) else "error"
    kind = "refused" if isinstance(error, CertificateError) else kind
    err.print(f"lockstep: {kind}: {error}", markup=False, highlight=False, soft_wrap=True)
    document = _refusal(error, chosen, target)
    if output is not None and output.exists() and isinstance(error, UsageError):
        return  # a slip in the command costs no earlier report
    with contextlib.suppress(UsageError):  # the file may be what could not be written
        if document:
            _write(document, output, err)


def _refusal(error: LockstepError, chosen: Format, target: str) -> str:
    if chosen is Format.json:
        from lockstep.certificate import claim

        return claim.write(claim.refusal(error, target))
    if chosen is Format.html:
        from lockstep.report import html

        return html.refusal(error, target)
    if chosen is Format.sarif:
        from lockstep.report import sarif

        return sarif.refusal(error, target)
    return ""


if __name__ == "__main__":
    main()
