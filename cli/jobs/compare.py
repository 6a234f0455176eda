"""From the options of `landscape compare` to a stored comparison."""

from dataclasses import replace
from pathlib import Path

import landscape as ls
from landscape import loading, results, zoo
from landscape.core import Progress
from landscape.landscapes.model import require_model
from landscape.loading.data import SUFFIXES
from landscape.paths.compare import Compared
from landscape.results import journal

from .. import given
from ..errors import OneLine
from ..runs import Run
from . import problem


def compare(run: Run, options: given.Compare) -> Compared:
    """The stored comparison with --resume where there is one, else a new one."""
    if len(options["checkpoints"]) < 2:
        raise OneLine("compare needs two checkpoints or more: landscape compare A B.", 2)
    if options["checkpoint"]:
        raise OneLine("--checkpoint: the checkpoints to compare are A, B, ... themselves.", 2)

    def work(bar: Progress) -> Compared:
        loaded = [_loaded(options, given_as) for given_as in options["checkpoints"]]
        notes = tuple(note for one in loaded for note in one.notes)
        names = _names(options["checkpoints"])
        with results.origin(" and ".join(names), notes=tuple(dict.fromkeys(notes))):
            return ls.compare(
                [require_model(one.landscape, "compare needs models.") for one in loaded],
                names,
                resolution=options["resolution"],
                align=options["align"],
                seed=options["seed"],
                progress=bar,
            )

    return run.finished(Compared) or problem.store(run, work)


def _loaded(options: given.Compare, given_as: str) -> loading.Problem:
    """One checkpoint of --model, or a model that is given itself."""
    if options["model"] is None:
        _require_model(given_as)
    about = problem.asked(options, options["model"] or given_as)
    if options["model"] is not None:
        about = replace(about, checkpoint=given_as)
    found = loading.problem(about)
    with journal.part(given_as):
        journal.require(found.landscape, found.fingerprint)
    return found


def _require_model(given_as: str) -> None:
    """Raise for a file or folder of weights alone."""
    path = Path(given_as)
    folder = path.is_dir() and given_as not in zoo.names()
    if folder or path.suffix in (*SUFFIXES, ".zip"):
        raise OneLine(
            f"{given_as} is no model: where it is a checkpoint, say which network it is of by "
            f"--model, landscape compare A B --model net.py.",
            2,
        )


def _names(paths: tuple[str, ...]) -> list[str]:
    """File names without their ends where these differ, else the paths."""
    short = [Path(path).stem if Path(path).suffix else path for path in paths]
    if len(set(short)) == len(paths):
        return short
    if len(set(paths)) == len(paths):
        return list(paths)
    return [f"{path} ({i + 1})" for i, path in enumerate(paths)]
