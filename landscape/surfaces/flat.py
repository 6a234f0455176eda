"""A surface, flat, for programs."""

from landscape.results.flat import flat
from landscape.surfaces.result import PictureCheck, Surface


@flat.register
def surface(result: Surface) -> dict[str, object]:
    """The loss at every cell, row by row, and whether the picture is right."""
    walks = {
        name: {"steps": walk.where.tolist(), "values": walk.values}
        for name, walk in result.walks.items()
    }
    return {
        "directions": result.chosen,
        "normalize": result.normalize,
        "steps": result.steps,
        "values": result.values.tolist(),
        "metrics": {name: values.tolist() for name, values in result.metrics.items()},
        "trajectories": walks,
        "check": None if result.check is None else picture(result.check),
        "complete": result.complete,
    }


@flat.register
def picture(check: PictureCheck) -> dict[str, object]:
    """Whether the picture's curvature is the Hessian's, and what the plane holds of it."""
    return {
        "agrees": check.agrees,
        "measured": check.measured,
        "predicted": check.predicted,
        "error": check.error,
        "trace_share": check.trace_share,
        "frobenius_share": check.frobenius_share,
    }
