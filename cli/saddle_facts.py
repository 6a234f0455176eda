"""What a search, a census or a path says, as labelled lines and as the table of the points found."""

import shlex
from collections import Counter
from collections.abc import Iterator
from typing import Any

from . import numbers
from .facts import SHOWN, Fact, verdict

LISTED = 20  # points of a census
COORDINATES = 4  # of a point in a table
COLUMNS = ["#", "kind", "value", "index", "nullity", "hits", "x"]
ABOUT_THE_LANDSCAPE = (
    "set", "dim", "domain", "checkpoint", "checkpoint-key", "data", "loss", "l2", "l1", "include", "exclude", "mode", "masks",
    "dtype", "batch-size",
)  # fmt: skip
PLURALS = {"minimum": "minima", "maximum": "maxima", "saddle": "saddles"}


def of(result: Any, folder: str = "RUN") -> list[Fact]:
    """Every line of a SearchReport, a Census or an EnergyPath that is stored in ``folder``."""
    kinds = {"SearchReport": of_search, "Census": of_census, "NetworkCensus": of_network, "EnergyPath": of_path}
    lines = kinds[type(result).__name__]
    return [fact for fact in lines(result, folder) if fact.lines]


def of_search(report: Any, folder: str) -> Iterator[Fact]:
    """What was searched, how the search went, what the point is, what next."""
    point = report.found
    yield Fact("searched", (_searched(report),))
    yield Fact("search", (f"{point.search} from {report.start}",))
    yield Fact("outcome", (point.outcome.value,))
    yield Fact("went", (_went(point),))
    yield from of_point(point)
    yield Fact("notes", tuple(report.notes))
    yield Fact("next", tuple(_after_search(report)))


def of_point(point: Any) -> Iterator[Fact]:
    """The verdict on a point and what it rests on."""
    noise = numbers.bound(point.gradient_noise)
    yield Fact("verdict", (verdict(point),))
    yield Fact("why", tuple(point.reasons))
    yield Fact("value", (numbers.plain(point.value),))
    yield Fact("|gradient|", (f"{numbers.plain(point.gradient_norm)} (rounding alone: {noise})",))
    yield Fact("eigenvalues", (_eigenvalues(point),))
    yield Fact("x", (coordinates(point.x, 3 * COORDINATES),))


def of_census(census: Any, folder: str) -> Iterator[Fact]:
    """What was searched, what there is of each kind, and how complete the list is."""
    values = [point.value for point in census.points]
    families = f", {len(census.families)} of them continuous families" if census.families else ""
    starts = f"{numbers.count(census.starts)} starts, seed {census.seed}"
    yield Fact("searched", (f"{_searched(census)}, {starts}",))
    yield Fact("points", tuple(_points(census)))
    yield Fact("degenerate", (f"{census.degenerate}{families}",) if census.degenerate else ())
    yield Fact("values", (f"{numbers.plain(min(values))} to {numbers.plain(max(values))}",) if values else ())
    yield Fact("Euler sum", (_euler(census),))
    yield Fact("unseen", (_unseen(census.unseen),))
    yield Fact("failures", tuple(_failures(census)))
    yield Fact("why", tuple(census.reasons))
    yield Fact("next", tuple(_after_census(census, folder)))


def of_network(census: Any, folder: str) -> Iterator[Fact]:
    """Where the searches ended, and whether the index of a stationary point goes with its loss."""
    stationary, correlation = census.stationary, census.correlation
    losses, indices, limit = census.losses[stationary], census.indices[stationary], census.tol * census.gradient_scale
    paths = len(census.runs.unique())
    along = f"{numbers.count(paths)} training path{'s' * (paths > 1)}"
    starts = f"{numbers.count(len(census.points))} starts on {along}, seed {census.seed}"
    yield Fact("searched", (f"{_searched(census)}, {starts}",))
    found = f"{numbers.count(int(stationary.sum()))} searches became stationary, at {numbers.count(census.distinct)} distinct points"
    yield Fact(
        "points", (found, f"stationary is |gradient| <= {limit:.2g}, {census.tol:.0e} of the median at the starts")
    )
    if bool(stationary.any()):
        yield Fact("losses", (f"{numbers.plain(float(losses.min()))} to {numbers.plain(float(losses.max()))}",))
        yield Fact("indices", (f"{int(indices.min())} to {int(indices.max())} of {numbers.count(census.dim)}",))
    interval = f"{correlation.low:.3f} to {correlation.high:.3f} with 95 % confidence"
    yield Fact("index, loss", (f"correlation {numbers.uncertain(correlation.value, correlation.error)}; {interval}",))
    others = {name: count for name, count in census.counts.items() if name != "stationary"}
    yield Fact(
        "failures",
        tuple(f"{numbers.count(count)} searches: {name.replace('_', '-')}" for name, count in others.items()),
    )


def of_path(path: Any, folder: str) -> Iterator[Fact]:
    """How high the barrier is from either side, what stands on it, and how well the path is known."""
    a, b = _ends(path)
    yield Fact("searched", (_searched(path),))
    yield Fact("path", (f"from {a} to {b}, {numbers.count(len(path.values))} points",))
    yield Fact("outcome", (path.stop.value,))
    yield Fact("barrier", (f"{numbers.plain(path.barrier)} from {a}, {numbers.plain(path.barrier_back)} from {b}",))
    yield Fact("stations", tuple(_stations(path)))
    yield Fact("residual", (f"{numbers.plain(path.residual)}, the largest slope across the path",))
    yield Fact("found", tuple(path.reasons))
    yield from of_point(path.saddle)


def listed(census: Any) -> bool:
    """Whether ``rows`` has anything to list: a network's ends are in its figure."""
    return isinstance(census.points, list) and bool(census.points)


def rows(census: Any) -> list[tuple[str, ...]]:
    """The first points of a census, by value: one row of COLUMNS each."""
    return [
        (
            str(i),
            f"{point.kind}{', a family' if i in census.families else ''}",
            numbers.plain(point.value),
            str(point.index) if point.index is not None else "{} to {}".format(*point.index_bounds),
            "?" if point.nullity is None else str(point.nullity),
            numbers.count(point.hits),
            coordinates(point.x, COORDINATES),
        )
        for i, point in enumerate(census.points[:LISTED])
    ]


def coordinates(x: Any, most: int) -> str:
    """``3, 2``: a point rounded to four digits, as ``--start`` takes it; the rest is left out."""
    shown = ", ".join(numbers.plain(value + 0.0) for value in x[:most].tolist())
    return shown if len(x) <= most else f"{shown}, … ({len(x) - most:,} more)"


def _searched(result: Any) -> str:
    origin = result.provenance
    where = f", {origin.dtype} on {origin.device}" if origin is not None and origin.dtype else ""
    dim = result.dim if hasattr(result, "dim") else result.points.shape[-1]
    return f"{result.name}: {numbers.count(dim)} coordinates{where}"


def _ends(path: Any) -> tuple[str, str]:
    """Both ends of a path as they were typed."""
    config = path.provenance.config if path.provenance is not None else {}
    what = "minimum " if "census" in config else ""
    return f"{what}{config.get('from', 'the first end')}", f"{what}{config.get('to', 'the last end')}"


def _stations(path: Any) -> Iterator[str]:
    """The stationary points on the way."""
    for point in path.stations[:LISTED]:
        yield f"{point.kind} {numbers.plain(point.value)} at {coordinates(point.x, COORDINATES)}"
    if len(path.stations) > LISTED:
        yield f"{numbers.count(len(path.stations) - LISTED)} more in result.json"


def _went(point: Any) -> str:
    return (
        f"{numbers.plain(point.distance)} from the start in {numbers.count(point.iterations)} iterations "
        f"({numbers.count(point.search_products)} Hessian-vector products, {numbers.count(point.gradients)} gradients); "
        f"the value went from {numbers.plain(point.start_value)} to {numbers.plain(point.value)}"
    )


def _eigenvalues(point: Any) -> str:
    values = [numbers.plain(value) for value in point.eigenvalues.tolist()]
    if len(values) > 2 * SHOWN:
        values = [*values[:SHOWN], "…", *values[-SHOWN:]]
    return f"{', '.join(values)} (each ± {numbers.bound(float(point.uncertainty.max()))})"


def _points(census: Any) -> Iterator[str]:
    """One line an index: what the nondegenerate points of that index are."""
    known = [point for point in census.points if point.nullity == 0 and point.index is not None]
    if not census.points:
        yield "none was found"
        return
    shown = f"; the first {LISTED} are listed, all are in result.json" if len(census.points) > LISTED else ""
    yield f"{numbers.count(len(census.points))} distinct ones{shown}"
    for index, number in list(census.counts.items())[:LISTED]:
        kinds = Counter(point.kind for point in known if point.index == index)
        words = ", ".join(PLURALS.get(kind, kind) if n > 1 else kind for kind, n in kinds.items())
        yield f"index {index}: {numbers.count(number)} {words}"


def _euler(census: Any) -> str:
    if census.euler is None:
        return f"not summed: {census.euler_reason}"
    if census.euler_expected is None:
        return f"{census.euler}; what it must be is not known: {census.euler_reason}"
    word = "as it must be" if census.euler == census.euler_expected else f"and it must be {census.euler_expected}"
    return f"{census.euler}, {word}: {census.euler_reason}"


def _unseen(unseen: Any) -> str:
    return f"about {numbers.uncertain(unseen.value, unseen.error)} points not found yet, at most {unseen.high:.3g} with 95 % confidence"


def _failures(census: Any) -> Iterator[str]:
    for reason, number in sorted(census.failures.items(), key=lambda item: -item[1]):
        if number:
            yield f"{numbers.count(number)} searches ({numbers.share(number, census.starts)}): {reason}"


def _after_search(report: Any) -> Iterator[str]:
    kind, spec = report.found.kind, _spelled(report)
    if kind in ("not-stationary", "inconclusive"):
        yield "not there: begin elsewhere (--start, --seed), try another --method, or raise --max-products"
    if kind == "saddle":
        yield "a way down: step along an eigenvector of a negative eigenvalue, either way, and train or search on"
    yield f"all stationary points: landscape saddles census {spec}"


def _after_census(census: Any, folder: str) -> Iterator[str]:
    spec = _spelled(census)
    wrong = None not in (census.euler, census.euler_expected) and census.euler != census.euler_expected
    more = (
        f"landscape saddles census --config {folder}/config.toml --out {folder} --resume --starts {10 * census.starts}"
    )
    if wrong:
        yield f"points are missing, or degenerate ones count: {more}"
    elif census.unseen.high >= 1 or not census.points:
        yield f"for a more complete list: {more}"
    if 2 * sum(census.failures.values()) > census.starts:
        yield "most searches failed: another --domain would spend them better"
    minima = [i for i, point in enumerate(census.points) if point.kind == "minimum"]
    if len(minima) > 1:
        ends = f"--from {minima[0]} --to {minima[1]}"
        yield f"the saddle between two minima: landscape saddles path {spec} --census {folder} {ends}"


def _spelled(result: Any) -> str:
    """The landscape as it is typed, with the options that make it this one."""
    config = result.provenance.config if result.provenance is not None else {}
    words = [str(config.get("landscape", "LANDSCAPE"))]
    for key in ABOUT_THE_LANDSCAPE:
        given = config.get(key, [])
        for value in given if isinstance(given, list) else [given]:
            words += [f"--{key}", str(value)]
    return shlex.join(words)
