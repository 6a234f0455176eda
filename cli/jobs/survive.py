"""From the options of `landscape survive` to a stored result."""

from landscape import loading
from landscape.core import Progress
from landscape.files import checkpoints
from landscape.landscapes.model import require_model
from landscape.points.survive import Survival
from landscape.points.survive import survive as survive_change

from .. import given
from ..runs import Run
from . import problem

FINETUNED = "finetune:"


def survive(run: Run, options: given.Survive) -> Survival:
    """The stored result with --resume where there is one, else a new one."""

    def work(bar: Progress) -> Survival:
        loaded = loading.problem(problem.asked(options, options["model"]))
        change, seed = options["change"], options["seed"]
        with problem.told(loaded):
            f = require_model(loaded.landscape, "survive needs a model.")
            if not change.startswith(FINETUNED):
                return survive_change(f, change, seed=seed, progress=bar)
            other = f.copy()
            path = change.removeprefix(FINETUNED)
            checkpoints.load_checkpoint(
                other.model, path, options["checkpoint_key"], options["strip"]
            )
            delta = other.point() - f.point()
            return survive_change(f, delta, label=change, seed=seed, progress=bar)

    return run.finished(Survival) or problem.store(run, work)
