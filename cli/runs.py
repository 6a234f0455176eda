"""Run folders: ``result.json``, ``config.toml``, ``arrays/`` and ``figures/``, complete or not
there at all.

A run writes into a hidden folder inside its own and moves everything into place when it has
succeeded. Of a folder that is taken, ``--force`` replaces what a run owns and leaves every other
file alone; until then nothing of it is touched.
"""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from . import config, given, ranks
from .errors import OneLine
from .resume import NOTHING, Left, Resume, decide

if TYPE_CHECKING:
    from landscape.results import Result

OWNED = ("result.json", "config.toml", "arrays", "figures", "report.html")
STAGING = ".landscape-"
KEPT = f"{STAGING}kept"  # what an unfinished run has done so far, for --resume
T = TypeVar("T", bound="Result")


def place(out: str | None, model: str, *, force: bool, resume: bool) -> Path:
    """Where the run goes: --out, which must be empty or new, else runs/NAME or the next free
    runs/NAME-2, -3, ...
    """
    if force and resume:
        raise OneLine("--force replaces the result and --resume returns it: pass one of them.", 2)
    if out is not None:
        target = Path(out)
        if not (force or resume) and _taken(target):
            raise OneLine(
                f"the folder {target} is not empty: pass --force to replace its results, --resume, "
                f"or another --out.",
                2,
            )
        _taken(target)
        return target
    first = Path("runs") / slug(model)
    if force or resume or not _taken(first):
        return first
    number = 2
    while _taken(fresh := first.with_name(f"{first.name}-{number}")):
        number += 1
    return fresh


def slug(model: str) -> str:
    """A folder's name for MODEL: ``net.py:build`` is net-build."""
    path, _, attribute = model.partition(":")
    stem = Path(path).name.removesuffix(".py")
    return (
        re.sub(r"[^\w.-]+", "-", f"{stem}-{attribute}" if attribute else stem).strip("-.") or "run"
    )


REFUSALS = {
    Resume.REFUSE_BEGUN: (
        "the interrupted run in {target} used a different {what}: pass --force, or another --out."
    ),
    Resume.REFUSE_STORED: (
        "{target} holds a {kind} with a different {what}, which cannot be taken further: pass "
        "--force, or another --out."
    ),
}


@dataclass(frozen=True)
class Run:
    """A command's run: its options, its folder, and whether what is there counts."""

    ctx: click.Context
    target: Path
    resume: bool

    @classmethod
    def of(cls, ctx: click.Context, model: str, options: given.Run) -> Run:
        """The run of a command about ``model``."""
        force, resume = options["force"], options["resume"]
        target = ranks.lead(lambda: place(options["out"], model, force=force, resume=resume))
        return cls(ctx, target, resume)

    def finished(self, kind: type[T]) -> T | None:
        """The stored result with --resume, where there is one."""
        return self.earlier((kind,))[0]

    def earlier(
        self,
        kinds: tuple[type[T], ...],
        free: AbstractSet[str] = NOTHING,
        enough: Callable[[T], bool] = lambda result: True,
    ) -> tuple[T | None, bool]:
        """What --resume goes on from, None: nothing; and whether it is all that is asked for.

        Args:
            kinds: the classes of results that the command makes.
            free: the options that may change when a result is taken further.
            enough: whether a result holds all that is asked for.
        """
        if not self.resume:
            return None, False
        stored = ranks.lead(lambda: _stored(self.target, kinds))
        begun = ranks.lead(lambda: _stored(self.target / KEPT, kinds)) if free else None
        left, half = (self._left(result, enough) for result in (stored, begun))
        chosen = decide(left, half, free)
        what = ", ".join(sorted((half or left or Left()).changed - free))
        if chosen in REFUSALS:
            kind = type(stored).__name__
            raise OneLine(REFUSALS[chosen].format(target=self.target, kind=kind, what=what), 2)
        if chosen is Resume.FINISHED and left is not None and left.changed:
            click.echo(
                f"Note: the stored run used a different {', '.join(sorted(left.changed))}. "
                "Pass --force to run again.",
                err=True,
            )
        return (begun if chosen is Resume.CONTINUE else stored), chosen is Resume.FINISHED

    def keep(self, result: Result) -> None:
        """Store what this run has done so far, beside whatever is in its folder."""
        if ranks.first():
            result.save(self.target / KEPT)

    def _left(self, result: T | None, enough: Callable[[T], bool]) -> Left | None:
        if result is None:
            return None
        return Left(frozenset(differing(result, self.ctx)), enough(result))


def differing(result: Result, ctx: click.Context) -> list[str]:
    """The options in force that are not those of a stored result."""
    asked, stored = config.resolved(ctx), result.provenance.config
    return [k for k in asked if k != "expect" and k in stored and asked[k] != stored[k]]


def _stored(target: Path, kinds: tuple[type[T], ...]) -> T | None:
    """The result in a folder, None where there is no run yet."""
    if not _taken(target) or all(p.name.startswith(STAGING) for p in target.iterdir()):
        return None  # nothing there, or what a run that was killed has left
    if not (target / "result.json").exists():
        raise OneLine(
            f"the folder {target} is not empty and holds no finished run: pass another --out, or "
            "--force.",
            2,
        )
    result = load(target)
    if not isinstance(result, kinds):
        raise OneLine(
            f"{target} holds a {type(result).__name__}, not a {kinds[0].__name__}: pass another "
            "--out, or --force.",
            2,
        )
    return result


def load(folder: str | Path) -> Result:
    """The result stored in ``folder``."""
    import landscape

    result: Result = landscape.load(folder)
    return result


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """A hidden folder inside ``target`` to write into: its contents take their place when the block
    ends, and go when it raises.

    While it is there ``target`` is not empty: a second run at the same time goes elsewhere.
    """
    if not ranks.first():
        with tempfile.TemporaryDirectory() as nowhere, _interrupted(target):
            yield Path(nowhere)
        return
    made = [p for p in (target, *target.parents) if not p.exists()]
    try:
        target.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=STAGING, dir=target))
    except OSError as error:
        _remove_empty(made)
        raise OneLine(f"the folder {target} cannot be written: {error.strerror}.", 2) from None
    try:
        staged = folder / "new"
        staged.mkdir()
        with _interrupted(target):
            yield staged
            _move(staged, target, folder / "old")
            shutil.rmtree(target / KEPT, ignore_errors=True)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)  # these name no file
        if not full and not str(error.filename or "").startswith(str(target)):
            raise
        raise OneLine(f"the folder {target} cannot be written: {error.strerror}.", 2) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _remove_empty(made)


@contextmanager
def _interrupted(target: Path) -> Iterator[None]:
    """Say of a run that is interrupted where what it has done is kept, if it is."""
    try:
        yield
    except KeyboardInterrupt:
        if (target / KEPT).exists():
            raise OneLine(
                f"interrupted; what was done is kept: go on with --resume --out {target}.", 130
            ) from None
        raise


def fill(folder: Path, result: Result, options: Mapping[str, object], command: str) -> None:
    """Store a result with its configuration and its figures, on the first rank."""
    if not ranks.first():
        return
    import landscape_figures as figures

    result.save(folder)
    (folder / "config.toml").write_text(
        config.dump(options, command, "config.toml"), encoding="utf-8"
    )
    for name, recipe in figures.RECIPES.items():
        try:
            for form in recipe.stored:
                path = folder / "figures" / f"{name}.{form}"
                figures.write(
                    recipe, result, path, alt=recipe.caption(result), provenance=result.provenance
                )
        except figures.NothingToDraw:
            continue


def _move(staged: Path, target: Path, backup: Path) -> None:
    """Exchange what a run owns in ``target`` for what is in ``staged``; undone when anything fails
    halfway.
    """
    backup.mkdir()
    done: list[tuple[Path, Path]] = []
    try:
        for source, goal in [
            *((target / name, backup / name) for name in OWNED if (target / name).exists()),
            *((path, target / path.name) for path in sorted(staged.iterdir())),
        ]:
            source.rename(goal)
            done.append((source, goal))
    except BaseException:
        for source, goal in reversed(done):
            goal.rename(source)
        raise


def _remove_empty(folders: list[Path]) -> None:
    """Remove these folders, innermost first, as far as they are empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def _taken(target: Path) -> bool:
    """Whether ``target`` holds anything; a file in its place is an error."""
    if target.is_symlink() and not target.exists():
        raise OneLine(f"{target} is a link to nothing: pass another --out.", 2)
    try:
        return target.exists() and any(True for _ in target.iterdir())
    except NotADirectoryError:
        raise OneLine(f"{target} is a file, not a folder: pass another --out.", 2) from None
    except OSError as error:
        raise OneLine(f"the folder {target} cannot be read: {error.strerror}.", 2) from None
