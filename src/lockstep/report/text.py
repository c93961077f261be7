"""The terminal's view: a table of layers, the findings, and what the verdict rests on."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lockstep.report.rules import rule
from lockstep.report.shorten import Entry, entries, families, tied
from lockstep.types import LOCKING_CODES, Assumptions, Audit, Evidence, Layer

MOST_LAYERS = 40  # beyond it, layers without any tie share one row
MOST_PLACES = 6
PLAIN_WIDTH = 100


def plain(audit: Audit, width: int = PLAIN_WIDTH) -> str:
    """The report without colour, for a file, a pipe or ``str(audit)``."""
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, no_color=True, force_terminal=False)
    console.print(render(audit))
    lines = (line.rstrip() for line in buffer.getvalue().splitlines())
    return "\n".join(lines).strip("\n")


def render(audit: Audit) -> RenderableType:
    """The whole report as one rich renderable."""
    parts: list[RenderableType] = [_title(audit), _layers(audit)]
    if audit.findings:
        parts += ["", _findings(audit)]
    parts += ["", _verdict(audit)]
    parts.append(Text(assumptions_line(audit.assumptions), style="dim"))
    parts += [Text(note, style="dim") for note in audit.assumptions.notes]
    parts.append(Text(evidence_line(audit.evidence), style="dim"))
    if audit.rounding is not None:
        parts += ["", Text(str(audit.rounding))]
    return Group(*parts)


def _title(audit: Audit) -> Text:
    inputs = ", ".join(
        f"{name}: {dtype.removeprefix('torch.')}{list(shape)}"
        for name, dtype, shape in audit.inputs
    )
    title = Text(audit.model or "model", style="bold")
    facts = [f"{audit.parameters:,} parameters" if audit.parameters else "", inputs]
    return title.append("  " + "  ".join(filter(None, facts)), style="not bold dim")


def _layers(audit: Audit) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("layer", overflow="fold")
    table.add_column("width", justify="right")
    table.add_column("effective width", justify="right", no_wrap=True)
    table.add_column("classes of two and more", overflow="fold")
    quiet = _quiet_layers(audit)
    for layer in audit.layers.values():
        if layer.name not in quiet:
            table.add_row(escape(layer.name), str(layer.width), *_effective(layer))
    if quiet:
        widths = sum(audit.layers[name].width for name in quiet)
        row = f"[dim]{len(quiet)} more layers", f"[dim]{widths}", f"[dim]{widths} of {widths}"
        table.add_row(*row, "[dim]every unit in a class of its own")
    return table


def _effective(layer: Layer) -> tuple[str, str]:
    whole = layer.effective_width == layer.width
    effective = f"{layer.effective_width} of {layer.width}"
    return (effective, "") if whole else (f"[bold red]{effective}", escape(tied(layer)))


def _quiet_layers(audit: Audit) -> set[str]:
    """Layers that need no row of their own: nothing tied, no finding, and there are very many."""
    if len(audit.layers) <= MOST_LAYERS:
        return set()
    named = {finding.where for finding in audit.findings}
    return {
        layer.name
        for layer in audit.layers.values()
        if layer.effective_width == layer.width and layer.name not in named
    }


def _findings(audit: Audit) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for entry in entries(audit.findings):
        style = "bold red" if entry.code in LOCKING_CODES else "bold cyan"
        known = rule(entry.code)
        code = Text(entry.code, style=style)
        if known is not None:
            code.append(f"\n{known.name}", style="not bold dim")
        grid.add_row(code, _entry(entry))
    return grid


def _entry(entry: Entry) -> Text:
    places = families(entry.places)
    hidden = len(places) - MOST_PLACES
    shown = ", ".join(places[:MOST_PLACES]) + (f", +{hidden} more" if hidden > 0 else "")
    text = Text(shown, style="bold").append(f"\n{entry.message}", style="not bold")
    if entry.cure:
        text.append("\ncure: ", style="not bold green").append(entry.cure, style="not bold")
    return text


def _verdict(audit: Audit) -> Text:
    return Text(verdict_line(audit), style="bold green" if audit.ok else "bold red")


def verdict_line(audit: Audit) -> str:
    """One sentence for the whole audit.

    It speaks of the findings that are listed, which ``--select`` and ``--baseline`` may have thinned.
    """
    locking = [finding for finding in audit.findings if finding.code in LOCKING_CODES]
    inform = len(audit.findings) - len(locking)
    also = f"; {inform} that inform{'s' if inform == 1 else ''}" if inform else ""
    if not locking:
        return f"clean: nothing reported is locked or frozen{also}"
    codes = ", ".join(sorted({finding.code for finding in locking}))
    subject = (
        "1 finding locks or freezes"
        if len(locking) == 1
        else f"{len(locking)} findings lock or freeze"
    )
    return f"not clean: {subject} something ({codes}){also}"


def assumptions_line(given: Assumptions) -> str:
    """What the verdict takes for granted, as one sentence."""
    data = {"any": "any data", "given": "the given data"}.get(given.data, f"{given.data} data")
    noise = f"; noise in {', '.join(families(given.noise))}" if given.noise else ""
    return (
        f"Holds in exact arithmetic for {given.optimizer} (update {given.update}), {given.loss}, "
        f"{data}, {given.mode} mode{noise}."
    )


def evidence_line(found: Evidence) -> str:
    """Steps, primes and the probability of error, as one sentence."""
    primes = ", ".join(str(prime) for prime in dict.fromkeys(prime for prime, _ in found.lanes))
    steps = "1 symbolic step" if found.steps == 1 else f"{found.steps} symbolic steps"
    runs = "1 run" if len(found.lanes) == 1 else f"{len(found.lanes)} independent runs"
    claims = "1 equality or zero" if found.claims == 1 else f"{found.claims} equalities and zeros"
    sure = (
        f"{claims} claimed, probability of any false one at most {found.bound:.1e} "
        "(values of functions, roots and reciprocals taken as independent)"
        if found.claims
        else "no equality claimed, and differences are certain"
    )
    took = f" ({found.seconds:.1f} s)" if found.seconds >= 0.05 else ""
    return f"Pattern fixed after {steps}; {runs} modulo {primes or 'no prime'}; {sure}{took}."
