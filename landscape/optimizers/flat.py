"""How long optimisers stay, flat, for programs."""

from landscape.optimizers.escape import Escapes, Study
from landscape.optimizers.sweeps import Sweep
from landscape.results.flat import flat


@flat.register
def study(result: Study) -> dict[str, object]:
    """The runs of every optimiser, in the order in which they were asked for."""
    rows = [{"optimizer": label} | escapes(runs) for label, runs in result.results.items()]
    return {
        "optimizers": rows,
        "runs": len(result.starts),
        "limit": result.limit,
        "event": result.event,
        "noise": result.noise,
        "schedule": result.schedule,
    }


@flat.register
def sweep(result: Sweep) -> dict[str, object]:
    """A study for every value of what was varied."""
    rows = [
        {"value": value} | study(one)
        for value, one in zip(result.values, result.studies, strict=True)
    ]
    return {"over": result.over, "studies": rows}


@flat.register
def escapes(runs: Escapes) -> dict[str, object]:
    """The steps of every run, and what they amount to."""
    return {
        "median": runs.median,
        "rate": runs.rate,
        "growth": runs.growth,
        "theory": runs.theory,
        "escaped": int(runs.escaped.sum()),
        "diverged": int(runs.diverged.sum()),
        "stalled": int(runs.stalled.sum()),
        "steps": runs.steps,
        "left": runs.escaped,
        "notes": runs.notes,
    }
