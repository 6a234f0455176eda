"""A result as one HTML page: styles and figures inside, no scripts, nothing fetched; readable narrow, wide, light and dark."""

import re
from collections.abc import Iterable
from dataclasses import fields
from html import escape
from typing import Any

import landscape_figures as figures
import numpy as np
from landscape_figures import style
from matplotlib.colors import to_rgb

from landscape.results import Estimate

from . import config, counts, diagnosis_facts, escapes, facts, numbers, saddle_facts, surfaces
from .errors import OneLine

INKS = {  # the colours of a figure on paper, by the page's own names for them: these change with the reader's theme
    style.INK: "var(--ink)",
    style.QUIET: "var(--quiet)",
    style.POSITIVE: "var(--blue)",
    style.NEGATIVE: "var(--red)",
    style.PREDICTED: "var(--pink)",
    style.SHADE: "var(--shade)",
}
CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #66707a; --paper: #fff; --card: #f5f7f9; --line: #dde2e7;
  --blue: #0072b2; --red: #c65500; --pink: #b8558c; --good: #00794f; --doubt: #8f5c00; --bad: #b3261e;
  --shade: #e4e8ec; --low: #a9c3d8; --high: #fbfcfd }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --quiet: #98a2ad; --paper: #14171b; --card: #1d2126;
  --line: #343b43; --blue: #56b4e9; --red: #ff8c42; --pink: #e79bc4; --good: #3ccf9a; --doubt: #f0b649; --bad: #ff8a80;
  --shade: #343b43; --low: #46678a; --high: #1d2126 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem clamp(1rem, 4vw, 3rem) 4rem; color: var(--ink);
  background: var(--paper); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; overflow-wrap: break-word }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 } h2 { font-size: 1.15rem; margin: 2.2rem 0 .7rem }
.what { color: var(--quiet); margin: .2rem 0 1.2rem }
.verdict { border-left: .35rem solid var(--tone); background: var(--card); padding: .9rem 1.1rem; border-radius: .3rem }
.verdict strong { color: var(--tone); font-size: 1.25rem } .verdict ul { margin: .4rem 0 0; padding-left: 1.2rem }
.good { --tone: var(--good) } .doubt { --tone: var(--doubt) } .bad { --tone: var(--bad) }
.key { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; margin: 1.2rem 0; padding: 0 }
.key div { background: var(--card); border-radius: .3rem; padding: .6rem .9rem } .key dt { color: var(--quiet); font-size: .85rem }
.key dd { margin: 0; font-variant-numeric: tabular-nums; font-weight: 600 } .key dd small { display: block; font-weight: 400 }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1rem 2.5rem; align-items: start }
.pair > section > h2:first-child { margin-top: 1.2rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .93rem }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { color: var(--quiet); font-weight: 500 } td.n, th.n { text-align: right } td.n { white-space: nowrap }
td:last-child, th:last-child { padding-right: 0 }
.verdict + table { margin-top: 1.2rem } table:not(:has(th)) td:first-child { white-space: nowrap }
.wide { overflow-x: auto } .wide td { overflow-wrap: normal } .wide td:first-child { white-space: nowrap }
figure { margin: 0; padding: 1rem; background: var(--card); border-radius: .3rem }
figure svg { display: block; width: 100%; height: auto;
  max-width: 34rem; margin: 0 auto } figcaption { color: var(--quiet); font-size: .88rem; margin-top: .7rem }
.figures { columns: 24rem 2; column-gap: 1rem } .figures figure { break-inside: avoid; margin-bottom: 1rem }
pre { background: var(--card); padding: .9rem; border-radius: .3rem; white-space: pre-wrap; font-size: .85rem }
@media (max-width: 40rem) { .causes tr { display: grid; grid-template-columns: 1fr auto; border-bottom: 1px solid var(--line) }
  .causes :is(td, th) { border: 0 } .causes td:nth-child(n + 3) { grid-column: 1 / -1 } .causes th:nth-child(n + 3) { display: none } }
small, .quiet { color: var(--quiet) } footer { margin-top: 3rem; color: var(--quiet); font-size: .88rem }
"""
TONES = {"minimum": "good", "saddle": "doubt", "maximum": "doubt", "plateau": "doubt", "degenerate": "doubt"}


COMMANDS = {  # what makes a result of which kind
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


def build(result: Any) -> str:
    """The page for a stored result of any command."""
    origin = getattr(result, "provenance", None)
    if origin is None:
        raise OneLine(f"a page shows a whole result with its origin; this is a {type(result).__name__}.", 2)
    makers = {
        "analyze": _of_analysis,
        "spectrum": _of_analysis,
        "saddles find": _of_saddles,
        "saddles census": _of_saddles,
        "saddles path": _of_saddles,
        "diagnose": _of_diagnosis,
    }
    parts = makers.get(_command(result), _of_others)(result)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(_name(result))} in its loss landscape</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _of_analysis(result: Any) -> list[str]:
    """The sections for an AnalysisReport or a Spectrum."""
    found = facts.of_analysis(result) if hasattr(result, "point") else facts.of_spectrum(result)
    lines = {fact.label: fact for fact in found}
    return [
        *_head(result, lines["analysed"].lines[0]),
        _verdict(getattr(result, "point", None), lines),
        _bullets("Moved to a stationary point first", lines.get("polished")),
        _key(lines),
        _bullets("What to do next", lines.get("next")),
        _ends(lines),
        _figures(result),
        _layers(getattr(result, "layers", ())),
        _checks(getattr(result, "checks", ())),
        _bullets("Notes from loading", lines.get("notes")),
        _provenance(result),
    ]


def _of_saddles(result: Any) -> list[str]:
    """The sections for a search, a census or a path: the lines of the screen, and the points as a table."""
    lines = {fact.label: fact for fact in saddle_facts.of(result)}
    point = getattr(result, "found", None) or getattr(result, "saddle", None)
    apart = ("searched", "next", "notes", *(("verdict", "why") if point is not None else ()))
    points = saddle_facts.rows(result) if _command(result) == "saddles census" and saddle_facts.listed(result) else []
    table = _table(saddle_facts.COLUMNS, points, numeric=(0, 2, 3, 4, 5)) if points else ""
    return [
        *_head(result, lines["searched"].lines[0]),
        _verdict(point, lines),
        _lines([fact for label, fact in lines.items() if label not in apart]),
        _bullets("What to do next", lines.get("next")),
        f'<h2>Points</h2><div class="wide">{table}</div>' if table else "",
        _figures(result),
        _bullets("Notes from loading", lines.get("notes")),
        _provenance(result),
    ]


def _of_diagnosis(result: Any) -> list[str]:
    """The sections for a diagnosis: the first cause as the verdict, the others, what was tried, what the run went through."""
    lines = {fact.label: fact for fact in diagnosis_facts.of(result)}
    diagnosis, trials = result.diagnosis, result.diagnosis.trials
    causes = [(c.name, f"{c.confidence:.2f}", "; ".join(c.evidence), c.remedy) for c in diagnosis.causes]
    phases = [(p.name, f"{p.start:,} to {p.stop:,}", p.evidence) for p in diagnosis.phases]
    tried = "" if trials is None else _table(diagnosis_facts.COLUMNS, diagnosis_facts.rows(trials), numeric=(1, 2, 3))
    return [
        *_head(result, lines["diagnosed"].lines[0]),
        _cause(diagnosis, lines),
        _bullets("What was tried on copies", diagnosis_facts.after(result)[0]),
        f'<div class="wide">{tried}</div>' if tried else "",
        f'<h2>Causes</h2><div class="causes">{_table(["cause", "confidence", "evidence", "remedy"], causes, numeric=(1,))}</div>',
        f"<h2>Phases</h2>{_table(['phase', 'steps', 'evidence'], phases)}" if phases else "",
        _figures(result),
        _bullets("Notes from loading", lines.get("notes")),
        _provenance(result),
    ]


def _of_others(result: Any) -> list[str]:
    """The sections for a result that has no page of its own: what its command prints; of one that Python has stored its plain values."""
    what = f"by landscape {_command(result)}" if _command(result) else f"a {type(result).__name__}"
    before, tables, after = _printed(result)
    return [
        *_head(result, what),
        _lines(before),
        *(f'<div class="wide">{_table(columns, rows)}</div>' for columns, rows in tables),
        _lines(after),
        _figures(result),
        _provenance(result),
    ]


def _printed(result: Any) -> tuple[list[facts.Fact], list[tuple[list[str], list[tuple[str, ...]]]], list[facts.Fact]]:
    """Lines, tables and lines, as on the screen."""
    match _command(result):
        case "saddles count":
            return counts.before(result), [(counts.COLUMNS, counts.rows(result))], counts.after(result)
        case "escape":
            return escapes.before(result), escapes.tables(result), escapes.after(result)
        case "surface":
            return surfaces.facts(result), [], []
        case _:
            return [], [(["", ""], _plain(result))], []


def _plain(result: Any) -> list[tuple[str, ...]]:
    """The fields of a result that are words or numbers."""
    values = {field.name: getattr(result, field.name) for field in fields(result)}
    return [
        (name.replace("_", " "), str(v)) for name, v in values.items() if isinstance(v, str | int | float | Estimate)
    ]


def _lines(found: list[facts.Fact]) -> str:
    return _table(["", ""], [(fact.label, " · ".join(fact.lines)) for fact in found], head=False) if found else ""


def _cause(diagnosis: Any, lines: dict[str, facts.Fact]) -> str:
    """The first cause with its evidence and remedy."""
    head, _, tail = lines["cause"].lines[0].partition(": ")
    why = "".join(f"<li>{escape(line)}</li>" for line in (*lines["evidence"].lines, *lines["remedy"].lines))
    tone = "good" if diagnosis.causes[0].name == "minimum" else "doubt" if diagnosis.stuck else "good"
    text = f"<strong>{escape(head)}</strong> <span>{escape(tail)}</span><ul>{why}</ul>"
    return f'<section class="verdict {tone}" aria-label="Cause">{text}</section>'


def _name(result: Any) -> str:
    return str(getattr(result, "name", "") or result.provenance.name)


def _command(result: Any) -> str:
    """What makes such a result, "" for what only Python makes."""
    return COMMANDS.get(type(result).__name__, "")


def _head(result: Any, what: str) -> list[str]:
    """The title, and a line of the screen without the name that it begins with."""
    text = what.partition(": ")[2] or what
    return [f"<h1>{escape(_name(result))}</h1>", f'<p class="what">{escape(text)}</p>']


def _verdict(point: Any, lines: dict[str, facts.Fact]) -> str:
    if "verdict" not in lines:
        return ""
    head, _, tail = lines["verdict"].lines[0].partition(": ")
    why = "".join(f"<li>{escape(reason)}</li>" for reason in lines["why"].lines) if "why" in lines else ""
    tone = TONES.get(point.kind, "bad")
    text = f"<strong>{escape(head)}</strong> <span>{escape(tail)}</span><ul>{why}</ul>"
    return f'<section class="verdict {tone}" aria-label="Verdict">{text}</section>'


def _key(lines: dict[str, facts.Fact]) -> str:
    cells = []
    for label in ("loss", "|gradient|", "trace", "negative"):
        if label in lines:
            head, bracket, tail = lines[label].lines[0].partition(" (")
            small = f"<small>{escape(bracket.strip() + tail)}</small>" if bracket else ""
            name = "negative curvature" if label == "negative" else label
            cells.append(f"<div><dt>{escape(name)}</dt><dd>{escape(head)}{small}</dd></div>")
    return f'<dl class="key">{"".join(cells)}</dl>' if cells else ""


def _ends(lines: dict[str, facts.Fact]) -> str:
    sections = []
    for label in ("largest", "smallest"):
        if label in lines:
            fact = lines[label]
            body = _table(["eigenvalue ± sampling error of the data", "solver ±"], fact.eigenvalues, numeric=(1,))
            more = f'<p class="quiet">{escape(fact.lines[0])}</p>' if fact.lines else ""
            sections.append(f"<section><h2>{label.capitalize()} eigenvalues</h2>{body}{more}</section>")
    return f'<div class="pair">{"".join(sections)}</div>'


def _figures(result: Any) -> str:
    drawn = []
    for name, recipe in figures.RECIPES.items():
        try:
            figure, caption = recipe.draw(result), recipe.caption(result)
        except figures.NothingToDraw:
            continue
        svg = style.render(figure, "svg", title=name, alt=caption, provenance=result.provenance).decode()
        drawn.append(f"<figure>{_inline(svg, name, caption)}<figcaption>{escape(caption)}</figcaption></figure>")
    return f'<h2>Figures</h2><div class="figures">{"".join(drawn)}</div>' if drawn else ""


def _inline(svg: str, name: str, alt: str) -> str:
    """An SVG file as part of a page: ids of its own, colours that follow the theme, alt text."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<title>.*?</title>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    for paper, themed in INKS.items():
        svg = svg.replace(paper, themed)
    svg = re.sub(r"#[0-9a-f]{6}\b", _shade, svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1)


def _shade(found: re.Match[str]) -> str:
    """A colour between those of low and high values as a mixture of the page's own two; any other as it is."""
    low, high, colour = (np.array(to_rgb(c)) for c in (*style.PAPER, found[0]))
    share = (colour - low) / (high - low)
    if not (0 <= share.mean().round(6) <= 1 and np.ptp(share) < 0.05):
        return found[0]
    return f"color-mix(in srgb, var(--low), var(--high) {share.mean():.0%})"


def _layers(layers: Any) -> str:
    if not layers:
        return ""
    rows = [
        (
            layer.name,
            numbers.count(layer.parameters),
            f"{layer.gradient_norm:.3g}",
            numbers.bounded(layer.largest.value, layer.largest.bound),
            numbers.bounded(layer.smallest.value, layer.smallest.bound),
        )
        for layer in layers
    ]
    columns = ["layer", "parameters", "|gradient|", "largest", "smallest"]
    body = _table(columns, rows, numeric=(1, 2, 3, 4))
    about = "Ends of each layer's own block of the Hessian, with the solver's bound where it reaches the digits shown."
    return f'<h2>Layers</h2><p class="quiet">{escape(about)}</p><div class="wide">{body}</div>'


def _checks(checks: Any) -> str:
    rows = [(check.name, check.status.name.lower(), check.message) for check in checks]
    return f"<h2>Checks</h2>{_table(['check', 'status', 'found'], rows)}" if rows else ""


def _provenance(result: Any) -> str:
    origin = result.provenance
    rows = [
        ("made", ", ".join(filter(None, [origin.created, *_cost(result)]))),
        ("versions", ", ".join(f"{k} {v}" for k, v in origin.versions.items())),
        ("machine", f"{origin.platform}, {origin.dtype} on {origin.device}" if origin.platform else ""),
        ("seed", str(origin.seed)),
        ("model", origin.model_hash),
        ("data", origin.data_hash),
    ]
    rows = [row for row in rows if row[1]]
    command = _command(result)
    typed = bool(origin.config and command)  # the options of a command, which read back repeat the run
    again = f"<pre>{escape(config.dump(origin.config, command, 'config.toml'))}</pre>" if typed else ""
    return f"<h2>Where this comes from</h2>{_table(['', ''], rows, head=False)}{again}"


def _cost(result: Any) -> list[str]:
    """What the result took, as far as it is stored."""
    seconds, products = getattr(result, "seconds", None), getattr(result, "products", None)
    return [
        *([] if seconds is None else [f"{seconds:.1f} s"]),
        *([] if products is None else [f"{numbers.count(products)} Hessian-vector products"]),
    ]


def _bullets(title: str, fact: facts.Fact | None) -> str:
    if fact is None:
        return ""
    return f"<h2>{escape(title)}</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in fact.lines)}</ul>"


def _table(
    columns: list[str], rows: Iterable[tuple[str, ...]], *, numeric: tuple[int, ...] = (), head: bool = True
) -> str:
    def cell(tag: str, i: int, text: str) -> str:
        return f"<{tag}{' class=' + chr(34) + 'n' + chr(34) if i in numeric else ''}>{escape(text)}</{tag}>"

    top = f"<thead><tr>{''.join(cell('th', i, c) for i, c in enumerate(columns))}</tr></thead>" if head else ""
    body = "".join(f"<tr>{''.join(cell('td', i, c) for i, c in enumerate(row))}</tr>" for row in rows)
    return f"<table>{top}<tbody>{body}</tbody></table>"
