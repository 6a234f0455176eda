"""The gallery on the command line: exhibits computed side by side, drawn, and their numbers told."""

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import click

from . import progress, screens
from .errors import OneLine

COLUMNS = ["exhibit", "number", "published", "found", ""]
DOTS = 240  # an inch, of pictures for screens


def listed() -> list[tuple[str, str, str]]:
    """Rows of name, title and source."""
    from landscape import gallery

    return [(name, e.title, e.reproduces) for name, e in gallery.ENTRIES.items()]


def render(
    name: str,
    folder: Path,
    formats: tuple[str, ...],
    *,
    cache: str | None,
    afresh: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Draw one exhibit, or all of them with a manifest, and print the numbers."""
    import landscape_figures

    from landscape import gallery

    if name != "all" and name in landscape_figures.RECIPES:
        raise OneLine(f"{name} is a figure of a result: pass --from RUN.", 2)
    chosen = gallery.names() if name == "all" else [name]
    gallery.entry(chosen[0])
    _check(name, chosen, formats)
    where = Path(cache) if cache else gallery.default_cache()
    count = min(jobs or min(os.cpu_count() or 1, 8), len(chosen))
    rows: dict[str, dict[str, Any]] = {}
    with progress.bar() as bar:
        bar("gallery", 0, len(chosen))
        for done, row in enumerate(_rows(chosen, folder, formats, where, afresh, count), 1):
            rows[row["name"]] = row
            bar("gallery", done, len(chosen))
    ordered = [rows[n] for n in chosen]
    if earlier := [r["name"] for r in ordered if r["earlier"]]:
        click.echo(
            f"Note: computed by an earlier state of this library, --afresh computes again: {', '.join(earlier)}.",
            err=True,
        )
    if name == "all":
        _manifest(ordered, folder)
    if as_json:
        click.echo(json.dumps(ordered, indent=2, ensure_ascii=False))
        return
    table = [
        (r["name"], m["what"], m["published"], m["found"], "" if m["agrees"] else "DIFFERS")
        for r in ordered
        for m in r["numbers"]
    ]
    if table:
        screens.table(COLUMNS, table)
    click.echo("\n".join(path for r in ordered for path in r["files"]))


def _check(name: str, chosen: list[str], formats: tuple[str, ...]) -> None:
    """Refuse, before anything is computed, a format that none of the exhibits has or that nothing here can write."""
    from landscape_figures import film
    from landscape_figures.gallery import FILMS, RECIPES

    for form in formats:
        if not any(RECIPES[n].can(form) for n in chosen):
            raise OneLine(f"--format {form}: there is none of {name}; of the gallery, films are {', '.join(FILMS)}.", 2)
    if "mp4" in formats:
        film.encoder()


def _rows(chosen: list[str], folder: Path, formats: tuple[str, ...], cache: Path, afresh: bool, jobs: int) -> Any:
    """What ``one`` gives for each exhibit, as they are done."""
    if jobs == 1:
        for name in chosen:
            yield one(name, folder, formats, cache, afresh)
        return
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_alone)
    try:
        waiting = [pool.submit(one, name, folder, formats, cache, afresh) for name in chosen]
        for future in as_completed(waiting):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _alone() -> None:
    """A worker takes one core."""
    import torch

    torch.set_num_threads(1)


def one(name: str, folder: Path, formats: tuple[str, ...], cache: Path, afresh: bool) -> dict[str, Any]:
    """Compute or recall an exhibit, draw it, and say what was found."""
    import landscape_figures
    from landscape_figures.gallery import RECIPES, estimate, number

    from landscape import gallery

    try:
        exhibit = gallery.recall(name, cache, afresh=afresh)
    except OSError as error:
        raise OneLine(f"the cache {cache} cannot be written: {error.strerror}.", 2) from None
    recipe = RECIPES[name]
    alt = recipe.caption(exhibit)
    try:
        files = [
            str(
                landscape_figures.write(
                    recipe, exhibit, folder / f"{name}.{f}", alt=alt, provenance=exhibit.provenance, dpi=DOTS
                )
            )
            for f in formats or recipe.stored
            if recipe.can(f)
        ]
    except OSError as error:
        raise OneLine(f"the folder {folder} cannot be written: {error.strerror}.", 2) from None
    entry = gallery.entry(name)
    numbers = [
        {"what": m.what, "published": number(m.published), "source": m.source, "found": estimate(m.found)}
        | {"agrees": m.agrees, "note": m.note}
        for m in exhibit.matches
    ]
    return {
        "name": name, "title": exhibit.title, "reproduces": exhibit.reproduces, "setting": exhibit.setting,
        "computed_by": f"landscape.gallery.{entry.module}.{entry.function}", "command": f"landscape figures render {name}",
        "numbers": numbers, "seconds": round(exhibit.seconds, 1), "library": exhibit.library,
        "earlier": exhibit.earlier, "alt": alt, "files": files,
    }  # fmt: skip


def _manifest(rows: list[dict[str, Any]], folder: Path) -> None:
    """The gallery's manifest beside its figures."""
    from landscape.results import atomic_write

    body = [
        {k: v for k, v in row.items() if k not in ("files", "earlier")}
        | {"files": [Path(f).name for f in row["files"]]}
        for row in rows
    ]
    with atomic_write(folder / "manifest.json") as file:
        file.write((json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode())
