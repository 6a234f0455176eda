"""Run folders: ``result.json``, ``config.toml``, ``arrays/``, ``figures/`` and the
``manifest.json`` that lists them, complete or not there at all.

A run is staged in a hidden folder inside its own and comes to stand by one rename when it has
succeeded. Of a folder that is taken, ``--force`` replaces the files that its manifest lists and no
other; until then nothing of it is touched. While a run is under way, no other one writes there.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from . import config, given, ranks
from .errors import OneLine, interrupted
from .resume import NOTHING, Left, Resume, decide
from .screens import say

if TYPE_CHECKING:
    from landscape.results import Result
    from landscape.results.exchange import Claim

PREFIX = ".landscape-"
KEPT = f"{PREFIX}kept"  # what an unfinished run has done so far, for --resume
# What a run always writes, and so must not find there as a file of someone else's.
RESERVED = ("result.json", "config.toml", "manifest.json")
NOT_EMPTY = (
    "the folder {target} is not empty: pass --force to replace its results, --resume, or another "
    "--out."
)
T = TypeVar("T", bound="Result")


def place(out: str | None, model: str, *, force: bool, resume: bool) -> Claim:
    """Where the run goes: --out, which must be empty or new, else runs/NAME or the next free
    runs/NAME-2, -3, ...; nobody else writes there until the claim is released.
    """
    if force and resume:
        raise OneLine("--force replaces the result and --resume returns it: pass one of them.", 2)
    if out is not None:
        return _claimed(Path(out), force=force, resume=resume)
    first = Path("runs") / slug(model)
    if force or resume:
        return _claimed(first, force=force, resume=resume)
    number = 1
    while True:
        fresh = first if number == 1 else first.with_name(f"{first.name}-{number}")
        if not _taken(fresh, swept=True):
            try:
                return _claimed(fresh)
            except Taken:
                pass  # by another process, just now
        number += 1


class Taken(OneLine):
    """A folder holds something already, or another process writes there."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 2)


def _claimed(target: Path, *, force: bool = False, resume: bool = False) -> Claim:
    free = force or resume
    if _taken(target, swept=True) and not free:  # a mistake is told before torch is imported
        raise Taken(NOT_EMPTY.format(target=target))
    claim = claimed(target)
    try:
        if _taken(target) and not free:
            raise Taken(NOT_EMPTY.format(target=target))
        if force:
            _require_free(target)
        return claim
    except BaseException:
        claim.release()
        raise


def claimed(target: Path) -> Claim:
    """The right to write into a folder; what a killed run has left there is settled, and said."""
    from landscape.results.exchange import Claim

    try:
        claim = Claim(target)
    except BlockingIOError:
        raise Taken(
            f"another process is writing into {target}: wait for it, or pass another --out."
        ) from None
    except OSError as error:
        raise OneLine(f"the folder {target} cannot be written: {error.strerror}.", 2) from None
    if claim.left:
        say(f"Note: {claim.left}.", err=True)
    return claim


def _require_free(target: Path) -> None:
    """Refuse a folder where the run would replace what no run has written."""
    from landscape.results.exchange import require_free

    try:
        require_free(target, RESERVED)
    except FileExistsError as error:
        raise OneLine(
            f"the folder {target} is no run's: {error.strerror}. --force replaces only what a "
            "run has written: pass another --out.",
            2,
        ) from None


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
    home: Path = field(default_factory=Path.cwd)  # the user's code may go elsewhere

    @classmethod
    def of(cls, ctx: click.Context, model: str, options: given.Run) -> Run:
        """The run of a command about ``model``; its folder is its own until the command ends."""
        config.check(ctx)
        force, resume = options["force"], options["resume"]

        def claimed_here() -> Path:
            claim = place(options["out"], model, force=force, resume=resume)
            ctx.call_on_close(claim.release)
            return claim.folder

        return cls(ctx, ranks.lead(claimed_here), resume)

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
        begun = ranks.lead(lambda: self._begun(kinds)) if free else None
        left, half = (self._left(result, enough) for result in (stored, begun))
        half = half or self._half_done(left)
        chosen = decide(left, half, free)
        self._refuse(chosen, (half or left or Left()).changed - free, type(stored).__name__)
        if chosen is Resume.FINISHED and left:
            _note(left.changed)
        return (begun if chosen is Resume.CONTINUE else stored), chosen is Resume.FINISHED

    def _refuse(self, chosen: Resume, changed: AbstractSet[str], kind: str) -> None:
        """Raise where that is what has been chosen."""
        if chosen in REFUSALS:
            what = ", ".join(sorted(changed))
            raise OneLine(REFUSALS[chosen].format(target=self.target, kind=kind, what=what), 2)

    @contextmanager
    def journal(self, settings: Mapping[str, object], free: AbstractSet[str]) -> Iterator[None]:
        """Keep what is computed inside, so that --resume goes on from it; of several ranks each
        keeps what it holds, which the same number of them find again.

        Args:
            settings: the options in force; other ones are refused by --resume.
            free: those that may be others.
        """
        from landscape.results import journal
        from landscape.results.provenance import versions

        used = {k: str(v) for k, v in settings.items() if k not in {*free, "expect"}}
        about = {"command": config.words(self.ctx), **used}
        about |= {f"version of {name}": number for name, number in versions().items()}
        if not self.resume:
            ranks.lead(lambda: shutil.rmtree(kept(self.target), ignore_errors=True))
        try:
            work = kept(self.home / self.target) / ranks.own("work")
            with journal.keeping(journal.Journal(work, about, resume=self.resume)):
                yield
            ranks.lead(lambda: None)  # none is writing any more
        except journal.AnotherRun as error:
            told = REFUSALS[Resume.REFUSE_BEGUN].format(target=self.target, what=error.what)
            raise OneLine(told, 2) from None

    def keep(self, result: Result) -> None:
        """Store what this run has done so far, beside whatever is in its folder."""
        from landscape.results import journal

        if ranks.first():
            journal.begin()
            result.save(kept(self.home / self.target))

    def _begun(self, kinds: tuple[type[T], ...]) -> T | None:
        """The unfinished result that an interrupted run has kept."""
        from landscape.results import manifest

        there = os.path.lexists(manifest.place(kept(self.target), "result.json"))
        return _stored(self.target / KEPT, kinds) if there else None

    def _half_done(self, finished: Left | None) -> Left | None:
        """The work that a run has kept that was interrupted over a finished one, with --force."""
        from landscape.results import journal

        if finished is None or not finished.enough:
            return None
        about = ranks.lead(lambda: journal.about(kept(self.target) / ranks.own("work")))
        if not about:
            return None
        asked, named = config.resolved(self.ctx), config.options(self.ctx)
        words = {key: str(value) for key, value in asked.items()}
        return Left(frozenset(k for k in named if words.get(k) != about.get(k)) - {"expect"})

    def _left(self, result: T | None, enough: Callable[[T], bool]) -> Left | None:
        if result is None:
            return None
        whole, others = enough(result), differing(result, self.ctx)
        if whole:  # what takes a result further looks itself at what that is about
            others += rewritten(result, self.ctx)
        return Left(frozenset(others), whole)


def _note(changed: AbstractSet[str]) -> None:
    """Say of a stored result what it was made from otherwise."""
    if changed:
        what = ", ".join(sorted(changed))
        say(
            f"Note: the stored run used a different {what}. Pass --force to run again.",
            err=True,
        )


def differing(result: Result, ctx: click.Context) -> list[str]:
    """The options in force that are not those of a stored result."""
    asked, stored = config.resolved(ctx), result.provenance.config
    chosen = config.chosen(ctx)  # a default may be newer than the result
    either = [k for k in config.options(ctx) if k in stored or k in chosen]
    return [k for k in either if k != "expect" and asked.get(k) != stored.get(k)]


def rewritten(result: Result, ctx: click.Context) -> list[str]:
    """The contents of files that are no more those that a stored result was made from, in words."""
    then, now = result.provenance.files, config.contents(ctx)
    return [f"content of {name}" for name in now if now[name] != then.get(name, now[name])]


def kept(target: Path) -> Path:
    """Where a run keeps what it has done so far."""
    folder = target / KEPT
    if folder.is_symlink():
        raise OneLine(f"{folder} is a link: remove it, or pass another --out.", 2)
    return folder


def _stored(target: Path, kinds: tuple[type[T], ...]) -> T | None:
    """The result in a folder, None where there is no run yet."""
    from landscape.results import manifest

    if not _taken(target) or all(p.name == KEPT for p in target.iterdir()):
        return None  # nothing there, or what a run that was killed has left
    if not os.path.lexists(manifest.place(target, "result.json")):
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
def shown(folder: str | Path) -> Iterator[Result]:
    """The result stored in ``folder``, to be shown: where its numbers do not fit together, so that
    words or figures fail, the folder is named.
    """
    from landscape.errors import LoadingError

    result = load(folder)
    try:
        with warnings.catch_warnings(action="ignore"):  # of figures of numbers near the largest
            yield result
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError) as e:
        if _known(e):
            raise
        why = " ".join(f"{type(e).__name__}: {e}".split())
        raise LoadingError(f"{folder} holds numbers that do not fit together ({why}).") from e


def _known(error: BaseException) -> bool:
    """Whether it says itself what is wrong."""
    from landscape_figures import NothingToDraw

    return isinstance(error, NothingToDraw | click.ClickException) or hasattr(error, "exit_code")


@contextmanager
def writing(target: Path, goes_on: Callable[[], bool] = bool) -> Iterator[Path]:
    """A hidden folder inside the claimed ``target`` to write a run into: it comes to stand when the
    block ends, and goes when it raises. What was kept goes then, unless the run ``goes_on``.
    """
    if not ranks.first():
        with tempfile.TemporaryDirectory() as nowhere, _interrupted(target):
            yield Path(nowhere)
        return
    from landscape.results.exchange import replacing

    left_out: list[str] = []
    try:
        with _interrupted(target), replacing(target, left_out=left_out) as staged:
            yield staged
        if not goes_on():
            shutil.rmtree(target / KEPT, ignore_errors=True)
        for path in (target / KEPT).rglob("*"):  # it belongs to the run that stands
            path.touch()
    except OSError as error:
        raise _unwritten(target, error) from None
    if left_out:
        names = ", ".join(left_out)
        say(f"Note: {names} is not of a run and was left as it is.", err=True)


@contextmanager
def adding(run: Path) -> Iterator[Path]:
    """A hidden folder inside a run's own to write figures and pages into, which join its files when
    the block ends.
    """
    from landscape.results.exchange import replacing

    claim = claimed(run)
    left_out: list[str] = []
    try:
        with replacing(run, keeping=".*", left_out=left_out) as staged:
            yield staged
    except OSError as error:
        raise _unwritten(run, error) from None
    finally:
        claim.release()
    if left_out:
        raise OneLine(f"{run / left_out[0]} is there, and no run has written it: pass --out.", 2)


def _unwritten(target: Path, error: OSError) -> OSError | OneLine:
    """What becomes of an error while a run is written: of the folder, or of something else."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # these name no file
    if not full and not str(error.filename or "").startswith(str(target)):
        return error
    if error.errno == errno.EEXIST:
        return OneLine(f"{target} is left as it is: {error.strerror}. Pass another --out.", 2)
    return OneLine(f"the folder {target} cannot be written: {error.strerror}.", 2)


@contextmanager
def _interrupted(target: Path) -> Iterator[None]:
    """Say of a run that is interrupted where what it has done is kept, if it is."""
    try:
        yield
    except KeyboardInterrupt as error:
        if (target / KEPT).exists():
            what = f"what was done is kept: go on with --resume --out {target}."
            raise interrupted(error, what) from None
        raise


def fill(folder: Path, result: Result, options: Mapping[str, object], command: str) -> None:
    """Write a result with its configuration into a hidden folder, on the first rank."""
    if not ranks.first():
        return
    from landscape.results import store

    store.write(result, folder)
    (folder / "config.toml").write_text(
        config.dump(options, command, "config.toml"), encoding="utf-8"
    )


def draw(folder: Path, result: Result) -> None:
    """Draw every figure that the result has the numbers for, on the first rank. One that cannot be
    drawn, of numbers near the largest there are, does not cost the result.
    """
    if not ranks.first():
        return
    import landscape_figures as figures

    for name, recipe in figures.RECIPES.items():
        try:
            with warnings.catch_warnings(action="ignore"):
                for form in recipe.stored:
                    path, alt = folder / f"{name}.{form}", recipe.caption(result)
                    figures.write(recipe, result, path, alt=alt, provenance=result.provenance)
        except figures.NothingToDraw:
            continue
        except (ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
            why = " ".join(f"{type(error).__name__}: {error}".split())
            say(f"Note: the figure {name} cannot be drawn ({why:.200}).", err=True)


@contextmanager
def staying() -> Iterator[None]:
    """Come back to where the command began: the user's code may have gone elsewhere."""
    here = Path.cwd()
    try:
        yield
    finally:
        os.chdir(here)


def _taken(target: Path, *, swept: bool = False) -> bool:
    """Whether ``target`` holds anything; a file in its place is an error.

    Args:
        swept: what a killed run has left and nobody goes on with counts as nothing.
    """
    if target.is_symlink() and not target.exists():
        raise OneLine(f"{target} is a link to nothing: pass another --out.", 2)
    try:
        names = {p.name for p in target.iterdir()} if target.exists() else set()
        return any(not (swept and n.startswith(PREFIX) and n != KEPT) for n in names)
    except NotADirectoryError:
        raise OneLine(f"{target} is a file, not a folder: pass another --out.", 2) from None
    except OSError as error:
        raise OneLine(f"the folder {target} cannot be read: {error.strerror}.", 2) from None
