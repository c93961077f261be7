"""One self-contained page: the picture, the findings, what the verdict rests on. Light and dark.

Nothing is loaded from anywhere: style and picture are inline, fonts are the system's. Every text
that comes from the model or its author is escaped.
"""

from __future__ import annotations

import functools
from html import escape
from importlib import resources

from lockstep.errors import LockstepError
from lockstep.report import picture
from lockstep.report.rules import rule
from lockstep.report.shorten import Entry, entries, families
from lockstep.report.text import assumptions_line, evidence_line, verdict_line
from lockstep.types import LOCKING_CODES, Audit, Layer

MOST_LAYERS = 40  # beyond it, layers without any tie wait behind a click
MOST_PLACES = 12


def page(audit: Audit) -> str:
    """A whole HTML document."""
    return _document(audit.model or "model", fragment(audit))


def fragment(audit: Audit) -> str:
    """The report as one element with its own style, as a notebook shows it."""
    return (
        f'<div class="lockstep"><style>{_style()}</style>{_head(audit)}{_picture(audit)}'
        f"{_findings(audit)}{_rounding(audit)}{_basis(audit)}</div>"
    )


def refusal(error: LockstepError, model: str) -> str:
    """The page for a model about which nothing could be said."""
    decided = "could not decide" if error.exit_code == 3 else "could not be audited"
    return _document(
        model,
        f'<div class="lockstep"><style>{_style()}</style><h1>{escape(model)}</h1>'
        f'<p class="verdict bad">{decided}: {escape(type(error).__name__)}</p>'
        f"<pre>{escape(str(error))}</pre></div>",
    )


def _document(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - Lockstep audit</title>"
        f"<style>body{{margin:0}}</style></head>\n<body>{body}</body></html>\n"
    )


@functools.cache
def _style() -> str:
    return resources.files("lockstep.report").joinpath("style.css").read_text("utf-8")


def _head(audit: Audit) -> str:
    inputs = ", ".join(
        f"{name} {dtype.removeprefix('torch.')} {' × '.join(map(str, shape)) or 'scalar'}"
        for name, dtype, shape in audit.inputs
    )
    facts = [
        f"{len(audit.layers)} layers",
        f"{audit.parameters:,} parameters" if audit.parameters else "",
        inputs,
    ]
    state = "ok" if audit.ok else "bad"
    return (
        f"<h1>{escape(audit.model or 'model')}</h1>"
        f'<p class="facts">{escape(" · ".join(filter(None, facts)))}</p>'
        f'<p class="verdict {state}">{escape(verdict_line(audit))}</p>'
    )


def _picture(audit: Audit) -> str:
    layers = list(audit.layers.values())
    quiet: list[Layer] = []
    if len(layers) > MOST_LAYERS:
        quiet = [layer for layer in layers if layer.effective_width == layer.width]
        layers = [layer for layer in layers if layer.effective_width < layer.width]
    shown = f'<div class="scroll">{picture.network(audit, layers)}</div>' if layers else ""
    hidden = (
        f"<details><summary>{len(quiet)} {'more ' if layers else ''}layers in which every unit is in "
        f'a class of its own</summary><div class="scroll">{picture.network(audit, quiet)}</div>'
        "</details>"
        if quiet
        else ""
    )
    return f"<h2>Layers and their classes</h2>{shown}{hidden}{_legend(audit)}"


def _legend(audit: Audit) -> str:
    def swatch(style: str, hatched: bool = False) -> str:
        box = 'width="14" height="14" rx="3"'
        over = f'<rect {box} fill="url(#lockstep-hatch)"/>' if hatched else ""
        return f'<svg width="14" height="14"><rect class="{style}" {box}/>{over}</svg>'

    items = [f"<span>{swatch('alone')}a unit alone in its class</span>"]
    if any(layer.effective_width < layer.width for layer in audit.layers.values()):
        items.append(
            f"<span>{swatch('k0')}units of one colour and letter are locked to one another</span>"
        )
    if any(group.kind == "mirror" for group in audit.locked):
        items.append(f"<span>{swatch('k0', True)}hatched: the negative of its class</span>")
    items.append("<span>figures: effective width of width</span>")
    return f'<div class="legend">{"".join(items)}</div>'


def _findings(audit: Audit) -> str:
    if not audit.findings:
        return ""
    rows = "".join(_row(entry) for entry in entries(audit.findings))
    return (
        "<h2>Findings</h2><table><thead><tr><th>Code</th><th>Place</th><th>What and why</th></tr>"
        f'</thead><tbody>{rows}</tbody></table><p class="under">'
        "<code>lockstep rule CODE</code> explains a code with its mathematics and an example.</p>"
    )


def _row(entry: Entry) -> str:
    known = rule(entry.code)
    locking = " locking" if entry.code in LOCKING_CODES else ""
    name = f"<small>{escape(known.name)}</small>" if known else ""
    title = f' title="{escape(known.summary)}"' if known else ""
    places = families(entry.places)
    hidden = len(places) - MOST_PLACES
    shown = "<br>".join(escape(place) for place in places[:MOST_PLACES])
    shown += f"<br>and {hidden} more" if hidden > 0 else ""
    cure = f'<span class="cure">Cure: {escape(entry.cure)}</span>' if entry.cure else ""
    return (
        f'<tr><td class="code{locking}"{title}>{escape(entry.code)}{name}</td>'
        f'<td class="place">{shown}</td><td>{escape(entry.message)}{cure}</td></tr>'
    )


def _rounding(audit: Audit) -> str:
    if audit.rounding is None:
        return ""
    first, *rest = str(audit.rounding).splitlines()
    rows = "".join(f"<li>{escape(line)}</li>" for line in rest)
    return f"<h2>In floats</h2><p>{escape(first)}</p><ul>{rows}</ul>"


def _basis(audit: Audit) -> str:
    notes = "".join(f"<p>{escape(note)}</p>" for note in audit.assumptions.notes)
    return (
        f"<h2>What the verdict rests on</h2><p>{escape(assumptions_line(audit.assumptions))}</p>"
        f"{notes}<p>{escape(evidence_line(audit.evidence))}</p>"
        f'<p class="under">Digest of parameters and buffers: <code>{escape(audit.digest)}</code></p>'
    )
