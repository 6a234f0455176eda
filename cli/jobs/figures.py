"""Figures of stored results, and the gallery: exhibits computed side by side, drawn, and told."""

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import landscape_figures
import torch
from landscape_figures import film
from landscape_figures.gallery import FILMS, RECIPES, estimate, number

from landscape import gallery
from landscape.results import Result, atomic_write
from landscape.results.numbers import several
from landscape.specs import closest

from .. import given, progress, runs, screens
from ..errors import OneLine

COLUMNS = ("exhibit", "number", "expected", "computed", "")
DOTS = 240  # an inch, in pictures for screens


class Row(TypedDict):
    """What the manifest and ``--json`` say of a number."""

    what: str
    expected: str
    printed: bool  # whether the source prints this very number
    source: str
    found: str
    agrees: bool
    note: str


class Shown(TypedDict):
    """What the manifest and ``--json`` say of an exhibit."""

    name: str
    title: str
    reproduces: str
    setting: str
    computed_by: str
    command: str
    numbers: list[Row]
    seconds: float
    library: str
    earlier: bool
    alt: str
    files: list[str]


@dataclass(frozen=True)
class Order:
    """How exhibits are computed and drawn."""

    folder: Path
    formats: tuple[str, ...]
    cache: Path
    afresh: bool


def draw(name: str, run: str, out: str | None, formats: Sequence[str]) -> None:
    """Draw one figure of a stored result, or all of them, and print the names of the files; without
    ``out`` they join the run's own.
    """
    recipes = landscape_figures.RECIPES
    if name != "all" and name not in recipes:
        hint = closest(name, [*recipes, "all"])
        raise OneLine(f"there is no figure {name!r}.{hint} Known: {', '.join(recipes)}, all.", 2)
    folder = Path(out) if out is not None else Path(run) / "figures"
    with runs.shown(run) as result:
        if out is not None:
            files = _drawn_of(name, result, folder, formats)
        else:
            with runs.adding(Path(run)) as staged:
                files = _drawn_of(name, result, staged / "figures", formats)
    for file in files:
        screens.say(folder / file)
    if name == "all":
        screens.say(f"{several(len(files), 'file')} written into {folder}.", err=True)


def _drawn_of(name: str, result: Result, folder: Path, formats: Sequence[str]) -> list[str]:
    """Draw one figure, or all that there are; the names of the files."""
    recipes = landscape_figures.RECIPES
    if name != "all":
        return _draw_one(recipes[name], result, folder, formats)
    files: list[str] = []
    for recipe in recipes.values():
        forms = [form for form in formats or recipe.stored if recipe.can(form)]
        try:
            files += _draw_one(recipe, result, folder, forms) if forms else []
        except landscape_figures.NothingToDraw:
            continue
    return files


def _draw_one(
    recipe: landscape_figures.Recipe, result: Result, folder: Path, formats: Sequence[str]
) -> list[str]:
    files = [f"{recipe.name}.{form}" for form in formats or recipe.stored]
    alt, origin = recipe.caption(result), result.provenance
    try:
        for file in files:
            landscape_figures.write(recipe, result, folder / file, alt=alt, provenance=origin)
    except OSError as error:
        raise OneLine(f"the folder {folder} cannot be written: {error.strerror}.", 2) from None
    return files


def render(name: str, options: given.Render) -> list[Shown]:
    """Draw one exhibit, or all of them with a manifest."""
    if name != "all" and name in landscape_figures.RECIPES:
        raise OneLine(f"{name} is a figure of a result: pass --from RUN.", 2)
    chosen = gallery.names() if name == "all" else [name]
    gallery.entry(chosen[0])
    _check(name, chosen, options["formats"])
    folder = Path(options["out"] or "gallery")
    cache = Path(options["cache"]) if options["cache"] else gallery.default_cache()
    order = Order(folder, options["formats"], cache, options["afresh"])
    workers = min(options["jobs"] or min(os.cpu_count() or 1, 8), len(chosen))
    ordered = _computed(chosen, order, workers)
    if earlier := [row["name"] for row in ordered if row["earlier"]]:
        screens.say(
            "Note: an earlier state of this library has computed these exhibits, --afresh computes "
            f"them again: {', '.join(earlier)}.",
            err=True,
        )
    if name == "all":
        _manifest(ordered, folder)
    return ordered


def _computed(chosen: list[str], order: Order, workers: int) -> list[Shown]:
    """What ``one`` gives for each exhibit, in the order asked for."""
    rows: dict[str, Shown] = {}
    with progress.bar() as bar:
        bar("gallery", 0, len(chosen))
        for done, row in enumerate(_rows(chosen, order, workers), 1):
            rows[row["name"]] = row
            bar("gallery", done, len(chosen))
    return [rows[name] for name in chosen]


def numbers(exhibit: Shown) -> Iterator[tuple[str, ...]]:
    """Rows of COLUMNS."""
    for m in exhibit["numbers"]:
        differs = "" if m["agrees"] else "DIFFERS"
        yield exhibit["name"], m["what"], _expected(m), m["found"], differs


def _expected(row: Row) -> str:
    return f"{row['expected']} (printed)" if row["printed"] else row["expected"]


def _check(name: str, chosen: list[str], formats: tuple[str, ...]) -> None:
    """Refuse, before anything is computed, a format that nothing here has or can write."""
    for form in formats:
        if not any(RECIPES[n].can(form) for n in chosen):
            films = f"the films of the gallery are {', '.join(FILMS)}"
            raise OneLine(f"--format {form}: {name} has none; {films}.", 2)
    if "mp4" in formats:
        film.encoder()


def _rows(chosen: list[str], order: Order, workers: int) -> Iterator[Shown]:
    """What ``one`` gives for each exhibit, as they are done."""
    if workers == 1:
        yield from (one(name, order) for name in chosen)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_alone)
    try:
        waiting = [pool.submit(one, name, order) for name in chosen]
        for future in as_completed(waiting):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _alone() -> None:
    """A worker takes one core."""
    torch.set_num_threads(1)


def one(name: str, order: Order) -> Shown:
    """Compute or recall an exhibit, draw it, and say what was computed."""
    try:
        exhibit = gallery.recall(name, order.cache, afresh=order.afresh)
    except OSError as error:
        raise OneLine(f"the cache {order.cache} cannot be written: {error.strerror}.", 2) from None
    entry = gallery.entry(name)
    return {
        "name": name,
        "title": exhibit.title,
        "reproduces": exhibit.reproduces,
        "setting": exhibit.setting,
        "computed_by": f"landscape.gallery.{entry.module}.{entry.function}",
        "command": f"landscape figures render {name}",
        "numbers": [_number(match) for match in exhibit.matches],
        "seconds": round(exhibit.seconds, 1),
        "library": exhibit.library,
        "earlier": exhibit.earlier,
        "alt": RECIPES[name].caption(exhibit),
        "files": [str(file) for file in _drawn(exhibit, name, order)],
    }


def _drawn(exhibit: gallery.Exhibit, name: str, order: Order) -> list[Path]:
    recipe, folder = RECIPES[name], order.folder
    forms = [form for form in order.formats or recipe.stored if recipe.can(form)]
    files = [folder / f"{name}.{form}" for form in forms]
    alt, origin = recipe.caption(exhibit), exhibit.provenance
    try:
        for file in files:
            landscape_figures.write(recipe, exhibit, file, alt=alt, provenance=origin, dpi=DOTS)
    except OSError as error:
        raise OneLine(f"the folder {folder} cannot be written: {error.strerror}.", 2) from None
    return files


def _number(match: gallery.Match) -> Row:
    return {
        "what": match.what,
        "expected": number(match.expected),
        "printed": match.printed,
        "source": match.source,
        "found": estimate(match.found),
        "agrees": match.agrees,
        "note": match.note,
    }


def _manifest(rows: list[Shown], folder: Path) -> None:
    """The gallery's manifest beside its figures."""
    left_out = ("files", "earlier")
    body = [
        {key: value for key, value in row.items() if key not in left_out}
        | {"files": [Path(file).name for file in row["files"]]}
        for row in rows
    ]
    with atomic_write(folder / "manifest.json") as file:
        file.write((json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode())
