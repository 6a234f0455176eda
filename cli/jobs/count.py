"""From the options of `landscape saddles count` to stored counts.

A run keeps what it has counted in a hidden folder inside its own, every some tens of realisations,
until it has finished.
"""

from landscape import loading
from landscape.core import Progress
from landscape.inventory.counting import SaddleCounts, count_saddles
from landscape.loading.families import named
from landscape.ranks import joined

from .. import given, screens
from ..errors import OneLine
from ..options import dimensions
from ..runs import Run
from . import problem

GROWS = frozenset({"dims", "realisations"})  # options that may change when a run is taken further


def count(run: Run, options: given.Count) -> SaddleCounts:
    """The stored counts with --resume where they suffice, else those taken further, else new."""
    dims, realisations, seed = (
        dimensions(options["dims"]),
        options["realisations"],
        options["seed"],
    )

    def enough(counts: SaddleCounts) -> bool:
        rows = {d.dim: d for d in counts.dimensions}
        return set(dims) <= set(rows) and all(
            rows[dim].realisations >= realisations or not rows[dim].random for dim in dims
        )

    known, done = run.earlier((SaddleCounts,), GROWS, enough)
    if done and known is not None:
        return known
    with screens.aside():
        family = named(options["family"], seed, **dict(options["settings"]))
    if known is not None and known.provenance.model_hash != family.fingerprint:
        raise OneLine(
            f"{run.target} holds counts of another {family.name}: the file has changed since. "
            "Pass --force.",
            2,
        )

    def work(bar: Progress) -> SaddleCounts:
        return count_saddles(
            family,
            dims,
            realisations,
            seed,
            starts=options["starts"],
            known=known,
            device=loading.device(options["device"]),
            ranks=joined(),
            progress=bar,
            keep=run.keep,
        )

    return problem.store(run, work, GROWS)
