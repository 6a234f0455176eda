"""What is said of many points: a census, searches in a network, counts against dimension."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from landscape.inventory.census import Census
from landscape.inventory.counting import DimensionCounts, SaddleCounts
from landscape.inventory.networks import NetworkCensus
from landscape.inventory.tree import Tree
from landscape.inventory.widths import WidthStudy
from landscape.points.words import coordinates, searched, spelled
from landscape.results import Estimate
from landscape.results.numbers import count, plain, several, share, uncertain
from landscape.results.words import Fact, Table, Words, columns, said

LISTED = 20  # points of a census
COORDINATES = 4  # of a point in a table
POINTS = ("#", "kind", "value", "index", "nullity", "hits", "x")
COUNTS = ("dim", "points", "theory", "saddles %", "theory", "minima %", "theory", "Euler")
PLURALS = {"minimum": "minima", "maximum": "maxima", "saddle": "saddles"}


@said.register
def census(result: Census, folder: str) -> Words:
    """What was searched, what there is of each kind, and how complete the list is."""
    values = [point.value for point in result.points]
    starts = f"{several(result.starts, 'start')}, seed {result.seed}"
    families = len(result.families)
    continuous = f", {families} of them continuous families" if families else ""
    parts: list[Fact | Table] = [
        Fact("searched", (f"{searched(result, result.dim)}, {starts}",)),
        Fact("points", tuple(_points(result))),
        Fact("degenerate", (f"{result.degenerate}{continuous}",) if result.degenerate else ()),
        Fact("values", (f"{plain(min(values))} to {plain(max(values))}",) if values else ()),
        Fact("Euler sum", (_euler(result),)),
        Fact("unseen", (_unseen(result),)),
        Fact("failures", tuple(_failures(result))),
        Fact("why", tuple(result.reasons)),
        Fact("next", tuple(_after(result, folder))),
        Table(POINTS, tuple(_rows(result)), "Points"),
    ]
    return Words(f"{several(len(values), 'point')}, {several(result.dim, 'coordinate')}", parts)


@said.register
def network(result: NetworkCensus, folder: str) -> Words:
    """Where the searches ended, and whether the index of a stationary point goes with its loss."""
    stationary, correlation = result.stationary, result.correlation
    losses, indices = result.losses[stationary], result.indices[stationary]
    limit, number = result.tol * result.gradient_scale, int(stationary.sum())
    paths = several(len(set(result.runs.tolist())), "training path")
    starts = f"{several(len(result.points), 'start')} on {paths}, seed {result.seed}"
    interval = f"{correlation.low:.3f} to {correlation.high:.3f} with 95 % confidence"
    related = f"correlation {uncertain(correlation.value, correlation.error)}; {interval}"
    others = {name: n for name, n in result.counts.items() if name != "stationary"}
    ended = tuple(f"{_searches(n)}: {name.replace('_', '-')}" for name, n in others.items())
    distinct = several(result.distinct, "distinct point")
    points = (
        f"{_searches(number)} became stationary, at {distinct}",
        f"stationary is |gradient| <= {limit:.2g}, {result.tol:.0e} of the median at the starts",
    )
    between = []
    if number:
        low, high = int(indices.min()), int(indices.max())
        reach = f"{plain(float(losses.min()))} to {plain(float(losses.max()))}"
        between = [
            Fact("losses", (reach,)),
            Fact("indices", (f"{low} to {high} of {count(result.dim)}",)),
        ]
    parts = [
        Fact("searched", (f"{searched(result, result.dim)}, {starts}",)),
        Fact("points", points),
        *between,
        Fact("index, loss", (related,)),
        Fact("failures", ended),
    ]
    return Words(f"{several(number, 'stationary end')}, {_searches(len(result.points))}", parts)


@said.register
def counts(result: SaddleCounts, folder: str) -> Words:
    """What was counted, by dimension, beside what theory expects."""
    each = f"{several(result.realisations, 'realisation')} a dimension"
    if not any(d.random for d in result.dimensions):
        each = "nothing in it is random: one realisation a dimension"
    points = several(sum(len(d.values) for d in result.dimensions), "stationary point")
    parts: list[Fact | Table] = [
        Fact("counted", (f"{result.name}: {each}, seed {result.seed}", points)),
        Table(COUNTS, tuple(_dimension(d) for d in result.dimensions)),
        Fact("theory", _theory(result)),
        Fact("intervals", tuple(_rests(result))),
        Fact("why", tuple(_complete(result))),
    ]
    dims = f"dimensions {', '.join(map(str, result.dims))}"
    return Words(f"{dims}, {points}", parts)


@said.register
def widths(result: WidthStudy, folder: str) -> Words:
    """Index and loss by width of the network."""
    rows = tuple(
        (
            str(n.width),
            str(n.dim),
            f"{len(n.losses)} of {n.searches}",
            str(n.distinct),
            _narrow(n.minimum_share, 100),
            _narrow(n.correlation),
        )
        for n in result.networks
    )
    head = ("width", "parameters", "stationary", "distinct", "minima %", "index, loss")
    named = ", ".join(str(n.width) for n in result.networks)
    parts = [Fact("networks", (f"{result.name}: widths {named}, seed {result.seed}",))]
    return Words(f"widths {named}", [*parts, Table(head, rows)])


@said.register
def tree(result: Tree, folder: str) -> Words:
    """How many minima are joined, and where."""
    minima = several(len(result.minima), "minimum", "minima")
    joined = "all are connected" if result.connected else f"{len(result.groups)} groups stay apart"
    levels = tuple(f"{plain(m.level)}: over saddle {m.saddle}" for m in result.merges[:LISTED])
    parts = [Fact("minima", (f"{minima}; {joined} by the listed saddles",)), Fact("joined", levels)]
    return Words(minima, parts)


@columns.register
def _census_columns(result: Census) -> dict[str, Sequence[object]]:
    """One row a point."""
    keys = ("kind", "value", "index", "nullity", "hits", "gradient_norm", "confidence")
    found: dict[str, Sequence[object]] = {
        key: [getattr(point, key) for point in result.points] for key in keys
    }
    found["family"] = [i in result.families for i in range(len(result.points))]
    return found | {f"x{k}": [float(p.x[k]) for p in result.points] for k in range(result.dim)}


@columns.register
def _network_columns(result: NetworkCensus) -> dict[str, Sequence[object]]:
    """One row a search."""
    keys = ("runs", "start_losses", "losses", "gradient_norms", "indices", "nullities")
    found: dict[str, Sequence[object]] = {key: getattr(result, key).tolist() for key in keys}
    return found | {"outcome": [outcome.name.lower() for outcome in result.outcomes]}


@columns.register
def _counts_columns(result: SaddleCounts) -> dict[str, Sequence[object]]:
    """One row a dimension."""
    found: dict[str, Sequence[object]] = {
        key: [getattr(d, key) for d in result.dimensions]
        for key in ("dim", "directions", "realisations", "right")
    }
    for key in ("total", "saddles", "minima"):
        estimates: list[Estimate] = [getattr(d, key) for d in result.dimensions]
        found[key] = [e.value for e in estimates]
        found[f"{key}_error"] = [e.error for e in estimates]
    for key in ("expected_saddles", "expected_minima"):
        found[key] = [getattr(d, key) for d in result.dimensions]
    return found


def _searches(number: int) -> str:
    return several(number, "search", "searches")


def _points(found: Census) -> Iterator[str]:
    """One line an index: what the nondegenerate points of that index are."""
    if not found.points:
        yield "none was found"
        return
    more = len(found.points) > LISTED
    shown = f"; the first {LISTED} are listed, all are in result.json" if more else ""
    yield f"{several(len(found.points), 'distinct one')}{shown}"
    regular = [point for point in found.points if point.nullity == 0]
    for index, number in list(found.counts.items())[:LISTED]:
        kinds = Counter(point.kind for point in regular if point.index == index)
        words = [PLURALS.get(kind, kind) if n > 1 else kind for kind, n in kinds.items()]
        yield f"index {index}: {count(number)} {', '.join(words)}"


def _rows(found: Census) -> Iterator[tuple[str, ...]]:
    """The first points, by value."""
    for i, point in enumerate(found.points[:LISTED]):
        low, high = point.index_bounds
        yield (
            str(i),
            f"{point.kind}{', a family' if i in found.families else ''}",
            plain(point.value),
            str(point.index) if point.index is not None else f"{low} to {high}",
            "?" if point.nullity is None else str(point.nullity),
            count(point.hits),
            coordinates(point.x, COORDINATES),
        )


def _euler(found: Census) -> str:
    if found.euler is None:
        return f"not summed: {found.euler_reason}"
    if found.euler_expected is None:
        return f"{found.euler}; what it must be is not known: {found.euler_reason}"
    right = found.euler == found.euler_expected
    word = "as it must be" if right else f"and it must be {found.euler_expected}"
    return f"{found.euler}, {word}: {found.euler_reason}"


def _unseen(found: Census) -> str:
    number = found.unseen.value
    known = "how many points were not met is not known"
    if found.unseen.low > 0:
        known = f"{several(round(found.unseen.low), 'point')} or more not found yet"
    if round(number) > found.unseen.low:
        known = f"{known}, about {count(round(number))} by a low estimate"
    if found.unmet >= 1:
        return f"{known}; what share of the starts leads to them is not known of so few"
    return f"{known}; less than {100 * found.unmet:.2g} % of the starts lead to them (95 %)"


def _failures(found: Census) -> Iterator[str]:
    for reason, number in sorted(found.failures.items(), key=lambda item: -item[1]):
        if number:
            yield f"{_searches(number)} ({share(number, found.starts)}): {reason}"


def _after(found: Census, folder: str) -> Iterator[str]:
    """What to type next."""
    wrong = None not in (found.euler, found.euler_expected) and found.euler != found.euler_expected
    more = f"--config {folder}/config.toml --out {folder} --resume --starts {10 * found.starts}"
    if wrong:
        yield f"points are missing, or degenerate ones count: landscape saddles census {more}"
    elif found.unseen.value >= 0.5 or not found.points:
        yield f"for a more complete list: landscape saddles census {more}"
    if 2 * sum(found.failures.values()) > found.starts:
        yield "most searches failed: another --domain would spend them better"
    minima = [i for i, point in enumerate(found.points) if point.kind == "minimum"]
    if len(minima) > 1:
        way = f"{spelled(found)} --census {folder} --from {minima[0]} --to {minima[1]}"
        yield f"the saddle between two minima: landscape saddles path {way}"


def _dimension(d: DimensionCounts) -> tuple[str, ...]:
    return (
        str(d.dim),
        _narrow(d.total),
        _number(sum(d.expected.counts) if d.expected is not None else math.nan),
        _narrow(d.saddles, 100),
        _number(100 * d.expected_saddles),
        _narrow(d.minima, 100),
        _number(100 * d.expected_minima),
        "?" if math.isnan(d.right) else share(100 * d.right, 100),
    )


def _narrow(found: Estimate, unit: float = 1.0) -> str:
    """Without blanks: eight columns must fit 80 characters."""
    return uncertain(unit * found.value, unit * found.error).replace(" ", "")


def _number(value: float) -> str:
    return "" if math.isnan(value) else plain(value)


def _deviations(found: SaddleCounts) -> Iterator[tuple[float, int, int, float]]:
    """(size, dimension, index, deviation) wherever theory says something."""
    for d in found.dimensions:
        for k, z in enumerate(d.deviations):
            if not math.isnan(z):
                yield abs(z), d.dim, k, z


def _theory(found: SaddleCounts) -> tuple[str, ...]:
    expected = [d.expected for d in found.dimensions if d.expected is not None]
    sources = dict.fromkeys(e.source for e in expected)
    far = max(_deviations(found), default=None)
    if far is None:
        return (*sources,)
    most, dim, k, z = far
    if most == 0:
        return (*sources, "the mean number of every index is the one expected")
    largest = "the largest deviation of a mean number of an index is"
    return (*sources, f"{largest} {z:+.1f} standard errors: dim {dim}, index {k}")


def _total(numbers: Iterable[Tensor]) -> int:
    return sum(int(number) for number in numbers)


def _rests(found: SaddleCounts) -> Iterator[str]:
    """What no interval from so few realisations can know."""
    if unmet := max((d.unmet for d in found.dimensions), default=0.0):
        yield (
            "they hold for realisations like those counted: what none of them showed, such as very "
            f"many points at once, happens in less than {100 * unmet:.2g} % of all (95 %)"
        )


def _complete(found: SaddleCounts) -> Iterator[str]:
    """What the counts rest on."""
    dimensions = found.dimensions
    unknown = _total((~d.euler_known).sum() for d in dimensions)
    wrong = {d.dim: number for d in dimensions if (number := int(d.incomplete.sum()))}
    checked = sum(d.realisations for d in dimensions) - unknown
    if checked:
        right = count(checked - sum(wrong.values()))
        yield f"the Euler sum is right in {right} of {count(checked)}"
    if wrong:
        listed = ", ".join(f"{number} in dim {dim}" for dim, number in wrong.items())
        yield f"INCOMPLETE, and counted as they are: {listed}; raise --starts"
    if unknown:
        yield f"no Euler check in {count(unknown)}: what the sum must be is not known there"
    if rare := _total((d.rare > 0).sum() for d in dimensions):
        yield f"in {count(rare)} some points were met fewer than three times: more may be missing"
    if degenerate := _total(d.degenerate.sum() for d in dimensions):
        have = "point has" if degenerate == 1 else "points have"
        stand = "stands" if degenerate == 1 else "stand"
        yield f"{count(degenerate)} {have} a zero eigenvalue and {stand} in no count"
