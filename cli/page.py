"""A result as one HTML page: style, figures and one script that sorts tables inside, nothing
fetched.

The page is readable narrow, wide, light and dark, and without its script. ``page.html.j2`` has its
markup, ``page.css`` its style, ``page.js`` its script; here a result's words are put into sections.
"""

import base64
import csv
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import landscape_figures as figures
from jinja2 import Environment, PackageLoader
from landscape_figures import style, svg
from markupsafe import Markup

from landscape.inventory.census import Census
from landscape.points.analyze import AnalysisReport, Spectrum
from landscape.points.checks import Check
from landscape.points.words import layers
from landscape.results import Result, Words
from landscape.results.numbers import several
from landscape.results.words import Fact, Table
from landscape.training.diagnose import DiagnosisReport
from landscape.training.trace import Trace
from landscape.training.words import records

from . import config
from .errors import OneLine

TONES = {
    "MINIMUM": "good",
    "SADDLE": "doubt",
    "MAXIMUM": "doubt",
    "PLATEAU": "doubt",
    "DEGENERATE": "doubt",
}
# The command that makes a result of a class.
COMMANDS = {
    "AnalysisReport": "analyze",
    "Spectrum": "spectrum",
    "SearchReport": "saddles find",
    "Census": "saddles census",
    "NetworkCensus": "saddles census",
    "EnergyPath": "saddles path",
    "DiagnosisReport": "diagnose",
    "SaddleCounts": "saddles count",
    "Study": "escape",
    "Sweep": "escape",
    "Surface": "surface",
    "Connection": "surface",
}
# The facts that a page shows apart from the others, under the titles of their sections.
SECTIONS = {
    "polished": "Moved to a stationary point first",
    "next": "What to do next",
    "tried": "What was tried on copies",
    "notes": "Notes from loading",
}
SUBJECTS = ("analysed", "searched", "diagnosed")
KEY = {
    "loss": "loss",
    "|gradient|": "|gradient|",
    "trace": "trace",
    "negative": "negative curvature",
}
ENDS = ("largest", "smallest")
CAUSE = ("cause", "evidence", "remedy", "also", "phases")
BLOCKS = (
    "Ends of each layer's own block of the Hessian, with the solver's bound where it reaches the "
    "digits shown."
)


@dataclass(frozen=True)
class Section:
    """A part of a page; ``kind`` is the markup in the template that shows it."""

    kind: str
    title: str = ""
    lines: tuple[str, ...] = ()
    head: str = ""
    tail: str = ""
    tone: str = ""
    about: str = ""
    style: str = "wide"
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    numeric: tuple[int, ...] = ()  # columns of numbers
    cells: tuple[tuple[str, str, str], ...] = ()
    ends: tuple[Fact, ...] = ()
    figures: tuple["Drawn", ...] = ()


@dataclass(frozen=True)
class Drawn:
    """A figure on a page: to be seen, and to be taken along."""

    name: str
    svg: Markup
    caption: str
    pdf: str  # base64


def build(result: object) -> str:
    """The page for a stored result of any command."""
    if not isinstance(result, Result):
        kind = type(result).__name__
        raise OneLine(f"a page shows a whole result with its origin; this is a {kind}.", 2)
    loader = PackageLoader("landscape_cli", ".")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    css, js = (loader.get_source(environment, f"page.{kind}")[0] for kind in ("css", "js"))
    digest = base64.b64encode(hashlib.sha256(js.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        name=result.name or type(result).__name__,
        what=_what(result),
        css=Markup(css),
        js=Markup(js),
        allowed=Markup(f"'sha256-{digest}'"),
        csv=_csv,
        sections=list(_sections(result)),
        origin=list(_origin(result)),
        again=_again(result),
    )


def _sections(result: Result) -> Iterator[Section]:
    """The sections in the order in which they are read; those with nothing to show are left out."""
    words = result.words()
    facts = words.facts
    apart = {*SECTIONS, *SUBJECTS, *ENDS}
    if isinstance(result, DiagnosisReport):
        yield from _diagnosis(result, facts)
        apart |= set(CAUSE)
    elif "verdict" in facts:
        yield _verdict(facts)
        apart |= {"verdict", "why"}
    if isinstance(result, AnalysisReport | Spectrum):
        yield from _bullets(facts, "polished")
        yield from _key(facts)
        yield from _bullets(facts, "next")
        yield Section("ends", ends=tuple(facts[end] for end in ENDS if end in facts))
    else:
        yield from _lines(words, apart)
        yield from _bullets(facts, "next")
    if not isinstance(result, DiagnosisReport):
        yield from _tables(words, isinstance(result, Census))
    yield from _run(result)
    yield from _figures(result)
    if isinstance(result, AnalysisReport):
        yield from _rows("Layers", layers(result.layers), (1, 2, 3, 4), about=BLOCKS)
        yield from _rows("Checks", _checks(result.checks), style="")
    yield from _bullets(facts, "notes")


def _what(result: Result) -> str:
    """A line of the screen without the name that it begins with."""
    facts, command = result.words().facts, _command(result)
    for label in SUBJECTS:
        if label in facts:
            line = facts[label].lines[0]
            return line.partition(": ")[2] or line
    return f"by landscape {command}" if command else f"a {type(result).__name__}"


def _command(result: Result) -> str:
    """What makes such a result, "" for what only Python makes."""
    return COMMANDS.get(type(result).__name__, "")


def _verdict(facts: dict[str, Fact]) -> Section:
    head, _, tail = facts["verdict"].lines[0].partition(": ")
    why = facts["why"].lines if "why" in facts else ()
    tone = TONES.get(head.split()[0], "bad")
    return Section("verdict", "Verdict", why, head, tail, tone)


def _diagnosis(result: DiagnosisReport, facts: dict[str, Fact]) -> Iterator[Section]:
    """The first cause as the verdict, what was tried, the other causes, the phases."""
    diagnosis = result.diagnosis
    head, _, tail = facts["cause"].lines[0].partition(": ")
    why = (*facts["evidence"].lines, *facts["remedy"].lines) if diagnosis.causes else ()
    good = not diagnosis.stuck or diagnosis.causes[0].name == "minimum"
    yield Section("verdict", "Cause", why, head, tail, "good" if good else "doubt")
    yield from _bullets(facts, "tried")
    for table in result.words().tables:
        yield from _rows("", table, (1, 2, 3))
    causes = tuple(
        (c.name, f"{c.confidence:.2f}", "; ".join(c.evidence), c.remedy) for c in diagnosis.causes
    )
    phases = tuple((p.name, f"{p.start:,} to {p.stop:,}", p.evidence) for p in diagnosis.phases)
    head_of_causes = ("cause", "confidence", "evidence", "remedy")
    yield from _rows("Causes", Table(head_of_causes, causes), (1,), style="causes")
    yield from _rows("Phases", Table(("phase", "steps", "evidence"), phases), style="")


def _run(result: Result) -> Iterator[Section]:
    """The records of a run, which a slider goes through, above the figures of them."""
    trace = result.trace if isinstance(result, DiagnosisReport) else result
    if isinstance(trace, Trace) and len(trace.of_f().steps):
        table = records(trace)
        numeric = tuple(i for i in range(len(table.columns)) if table.columns[i] != "phase")
        title = "The run, record by record"
        yield Section("run", title, columns=table.columns, rows=table.rows, numeric=numeric)


def _bullets(facts: dict[str, Fact], label: str) -> Iterator[Section]:
    if label in facts:
        yield Section("bullets", SECTIONS[label], facts[label].lines)


def _key(facts: dict[str, Fact]) -> Iterator[Section]:
    cells = []
    for label, name in KEY.items():
        if label in facts:
            head, *more = re.split(r"; | (?=\()", facts[label].lines[0], maxsplit=1)
            cells.append((name, head, "".join(more)))
    if cells:
        yield Section("key", cells=tuple(cells))


def _lines(words: Words, apart: set[str]) -> Iterator[Section]:
    parts = [part for part in words.parts if isinstance(part, Fact) and part.label not in apart]
    rows = tuple((fact.label, " · ".join(fact.lines)) for fact in parts)
    if rows:
        yield Section("rows", rows=rows, style="")


def _tables(words: Words, numeric: bool) -> Iterator[Section]:
    for table in words.tables:
        yield from _rows(table.title, table, (0, 2, 3, 4, 5) if numeric else ())


def _rows(
    title: str, table: Table, numeric: tuple[int, ...] = (), style: str = "wide", about: str = ""
) -> Iterator[Section]:
    if table:
        columns, rows = table.columns, table.rows
        yield Section(
            "rows", title, about=about, style=style, columns=columns, rows=rows, numeric=numeric
        )


def _checks(checks: tuple[Check, ...]) -> Table:
    rows = tuple((check.name, check.status.name.lower(), check.message) for check in checks)
    return Table(("check", "status", "result"), rows)


def _csv(columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> str:
    """A table as an address that a browser saves."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(
        [[_inert(text) for text in row] for row in (columns, *rows)]
    )
    return f"data:text/csv;charset=utf-8,{quote(written.getvalue())}"


def _inert(text: str) -> str:
    """A cell that a spreadsheet does not take for a formula."""
    return f"'{text}" if re.match(r"[=@\t\r]|[+-](?!\.?\d)", text) else text


def _figures(result: Result) -> Iterator[Section]:
    drawn = []
    for recipe in figures.RECIPES.values():
        try:
            figure, caption = recipe.draw(result), recipe.caption(result)
        except figures.NothingToDraw:
            continue
        origin = result.provenance
        pdf = style.render(figure, "pdf", title=recipe.name, alt=caption, provenance=origin)
        seen, kept = Markup(svg.inline(recipe, result, figure)), base64.b64encode(pdf).decode()
        drawn.append(Drawn(recipe.name, seen, caption, kept))
    if drawn:
        yield Section("figures", figures=tuple(drawn))


def _origin(result: Result) -> Iterator[tuple[str, str]]:
    """Where the result comes from, as rows."""
    origin = result.provenance
    machine = f"{origin.platform}, {origin.dtype} on {origin.device}" if origin.platform else ""
    rows = {
        "made": ", ".join(filter(None, [origin.created, *_cost(result)])),
        "versions": ", ".join(f"{name} {version}" for name, version in origin.versions.items()),
        "machine": machine,
        "seed": str(origin.seed),
        "model": origin.model_hash,
        "data": origin.data_hash,
    }
    yield from ((label, text) for label, text in rows.items() if text)


def _again(result: Result) -> str:
    """The options of a command, which read back repeat the run."""
    options, command = result.provenance.config, _command(result)
    return config.dump(options, command, "config.toml") if options and command else ""


def _cost(result: Result) -> list[str]:
    """What the result took, as far as it is stored."""
    seconds, products = getattr(result, "seconds", None), getattr(result, "products", None)
    return [
        *([] if seconds is None else [f"{seconds:.1f} s"]),
        *([] if products is None else [several(products, "Hessian-vector product")]),
    ]
