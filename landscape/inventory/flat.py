"""What is known of many stationary points, flat, for programs."""

from landscape.inventory.census import Census
from landscape.inventory.counting import SaddleCounts
from landscape.inventory.networks import NetworkCensus
from landscape.points.flat import verdict
from landscape.results.flat import flat, listed


@flat.register
def census(result: Census) -> dict[str, object]:
    """The points by ascending loss, how many there are of each index, and what may be missing."""
    points = [
        verdict(point) | {"x": listed(point.x), "hits": point.hits, "family": i in result.families}
        for i, point in enumerate(result.points)
    ]
    return {
        "parameters": result.dim,
        "points": points,
        "counts": result.counts,
        "degenerate": result.degenerate,
        "euler": result.euler,
        "euler_expected": result.euler_expected,
        "unseen": result.unseen,
        "unmet": result.unmet,
        "starts": result.starts,
        "failures": result.failures,
        "reasons": result.reasons,
    }


@flat.register
def networks(result: NetworkCensus) -> dict[str, object]:
    """Where every search ended, in the order of the starts."""
    columns = zip(
        result.losses.tolist(),
        result.indices.tolist(),
        result.nullities.tolist(),
        result.gradient_norms.tolist(),
        result.outcomes,
        strict=True,
    )
    names = ("loss", "index", "nullity", "gradient_norm", "outcome")
    return {
        "parameters": result.dim,
        "points": [dict(zip(names, row, strict=True)) for row in columns],
        "outcomes": result.counts,
        "correlation": result.correlation,
        "starts": len(result.starts),
        "hessians": result.hessians,
        "seconds": result.seconds,
    }


@flat.register
def counts(result: SaddleCounts) -> dict[str, object]:
    """Of every dimension means, shares, and what is expected of them."""
    keys = (
        *("dim", "directions", "realisations", "right", "unmet", "total", "means", "minima"),
        "saddles",
        *("expected", "deviations", "expected_minima", "expected_saddles"),
    )
    rows = [
        {key: getattr(d, key) for key in keys} | {"incomplete": int(d.incomplete.sum())}
        for d in result.dimensions
    ]
    return {"dimensions": rows, "realisations": result.realisations, "finished": result.finished}
