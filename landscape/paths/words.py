"""What is said of ways between points: a minimum-energy path, a trained curve, a profile."""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

from torch import Tensor

from landscape.inventory.words import COORDINATES, LISTED
from landscape.paths.compare import Compared
from landscape.paths.connect import Connection
from landscape.paths.curves import Profile
from landscape.paths.minimum_energy import EnergyPath
from landscape.points.words import coordinates, searched, verdict, verdict_facts
from landscape.results import large
from landscape.results.numbers import bounded, count, plain, several, uncertain
from landscape.results.words import Fact, Table, Words, columns, said


@said.register
def path(result: EnergyPath, folder: str) -> Words:
    """How high the barrier is from either side, what stands on it, and how sure the path is."""
    a, b = _ends(result)
    points = several(len(result.values), "point")
    rise = f"{plain(result.barrier)} from {a}, {plain(result.barrier_back)} from {b}"
    parts = [
        Fact("searched", (searched(result, result.points.shape[-1]),)),
        Fact("path", (f"from {a} to {b}, {points}",)),
        Fact("outcome", (result.stop.value,)),
        Fact("barrier", (rise,)),
        Fact("stations", tuple(_stations(result))),
        Fact("residual", (f"{plain(result.residual)}, the largest slope across the path",)),
        Fact("found", tuple(result.reasons)),
        *verdict_facts(result.saddle),
    ]
    return Words(f"barrier {plain(result.barrier)}, {points}", parts)


@said.register
def connection(result: Connection, folder: str) -> Words:
    """How far a trained curve rises above its ends, beside the straight line."""
    bends = several(len(result.control) - 2, "trained point")
    ends = [plain(float(result.curve.values[i])) for i in (0, -1)]
    rise = f"{plain(result.barrier)} along the curve"
    straight = f"{plain(result.straight_barrier)} along the straight line"
    parts = [
        Fact("curve", (f"{result.kind} with {bends}, {result.optimizer}",)),
        Fact("ends", (" and ".join(ends),)),
        Fact("barrier", (f"{rise}, {straight}",)),
        *_metrics(result.curve.metrics),
    ]
    return Words(f"{result.kind}, barrier {plain(result.barrier)}", parts)


@said.register
def profile(result: Profile, folder: str) -> Words:
    """The values along a curve."""
    parts = [
        Fact("curve", (f"{result.kind}, {several(len(result.t), 'point')}",)),
        Fact("values", (reach(result.values),)),
        Fact("barrier", (plain(result.barrier),)),
        *_metrics(result.metrics),
    ]
    return Words(f"{result.kind}, barrier {plain(result.barrier)}", parts)


def reach(values: Tensor) -> str:
    """``0.1 to 2``, and how many values are not finite."""
    low, high, lost = math.inf, -math.inf, 0
    for part in large.pieces(values):
        finite = part[part.isfinite()]
        lost += part.numel() - finite.numel()
        if finite.numel():
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    shown = f"{low:.6g} to {high:.6g}" if low <= high else "none is finite"
    return shown + (f"; {lost} {'is' if lost == 1 else 'are'} not finite" if lost else "")


@columns.register
def _path_columns(result: EnergyPath) -> dict[str, Sequence[object]]:
    """One row a point of the path."""
    return {"arclength": result.arclength.tolist(), "value": result.values.tolist()}


@columns.register
def _profile_columns(result: Profile) -> dict[str, Sequence[object]]:
    """One row a point of the curve."""
    found: dict[str, Tensor] = {
        "t": result.t,
        "arclength": result.arclength,
        "value": result.values,
        **result.metrics,
    }
    return {name: tensor.tolist() for name, tensor in found.items()}


def _metrics(metrics: dict[str, Tensor]) -> list[Fact]:
    return [Fact(name, (f"{reach(values)} along the curve",)) for name, values in metrics.items()]


def _ends(path: EnergyPath) -> tuple[str, str]:
    """Both ends of a path as they were typed."""
    config = path.provenance.config
    what = "minimum " if "census" in config else ""
    a, b = config.get("from", "the first end"), config.get("to", "the last end")
    return f"{what}{a}", f"{what}{b}"


def _stations(path: EnergyPath) -> Iterator[str]:
    """The stationary points on the way."""
    for point in path.stations[:LISTED]:
        yield f"{point.kind} {plain(point.value)} at {coordinates(point.x, COORDINATES)}"
    if len(path.stations) > LISTED:
        yield f"{count(len(path.stations) - LISTED)} more in result.json"


@said.register
def compared(result: Compared, folder: str) -> Words:
    """Same basin or not, then the checkpoints beside each other, then what lies between them."""
    names = result.names
    pairs = list(combinations(range(len(names)), 2))
    parts: list[Fact | Table] = [
        Fact("basin", tuple(_basin(result, i, j) for i, j in pairs)),
        Fact("alignment", (_free(result),) if result.families else ()),
        Table(
            ("checkpoint", "loss", "verdict", "|gradient|", "largest", "smallest"),
            tuple(_checkpoint(result, i) for i in range(len(names))),
            "Checkpoints",
        ),
        Table(
            ("between", "distance", "barrier", "aligned distance", "aligned barrier", "overlap"),
            tuple(_between(result, i, j) for i, j in pairs),
            "Between them",
        ),
        Fact("angles", tuple(_angles(result, i, j) for i, j in pairs)),
    ]
    return Words(f"{len(names)} checkpoints, {_same(result, pairs)} in one basin", parts)


def _free(result: Compared) -> str:
    """What may be done to hidden units without changing the network."""
    groups = several(result.families, "group") + " of hidden units can be permuted"
    kinds = (("flipped in sign", result.signs), ("rescaled", result.scales))
    free = [f"{count(n)} can be {what}" for what, n in kinds if n]
    return ", ".join([groups, *free, "each verified by the loss"])


def _same(result: Compared, pairs: Sequence[tuple[int, int]]) -> str:
    return f"{sum(result.same(i, j) is True for i, j in pairs)} of {several(len(pairs), 'pair')}"


def _basin(result: Compared, i: int, j: int) -> str:
    a, b = result.names[i], result.names[j]
    moved = int(result.moved[i, j])
    free = result.signs or result.scales
    what = "changed place, sign or scale" if free else "changed places"
    after = f" after {several(moved, 'unit')} {what}" if moved else ""
    height = _height(result.aligned[i, j], result.aligned_errors[i, j])
    return {
        True: f"{a} and {b} are in one basin{after}: the straight line has no barrier beyond its "
        f"error ({height})",
        False: f"{a} and {b} are in different basins as far as the straight line tells: its "
        f"barrier is {height}{after}",
        None: f"{a} and {b} have a barrier of {height} between them{after}; so few batches do not "
        "tell it from none",
    }[result.same(i, j)]


def _height(barrier: Tensor, error: Tensor) -> str:
    return uncertain(float(barrier), None if math.isnan(float(error)) else float(error))


def _checkpoint(result: Compared, i: int) -> tuple[str, ...]:
    report = result.reports[i]
    point, pairs = report.point, report.point.pairs
    ends = [uncertain(float(pairs.values[k]), float(report.sampling_errors[k])) for k in (-1, 0)]
    word = verdict(point).partition(":")[0].lower()
    return result.names[i], plain(point.value), word, plain(point.gradient_norm), *ends


def _between(result: Compared, i: int, j: int) -> tuple[str, ...]:
    return (
        f"{result.names[i]}, {result.names[j]}",
        plain(float(result.distances[i, j])),
        _height(result.barriers[i, j], result.barrier_errors[i, j]),
        plain(float(result.aligned_distances[i, j])),
        _height(result.aligned[i, j], result.aligned_errors[i, j]),
        f"{plain(float(result.overlaps[i, j]))}, aligned "
        f"{plain(float(result.aligned_overlaps[i, j]))}",
    )


def _angles(result: Compared, i: int, j: int) -> str:
    """The principal angles of a pair in degrees."""
    found = [math.degrees(a) for a in result.angles[i, j].tolist()]
    error = math.degrees(float(result.angle_errors[i, j]))
    ends = f"{bounded(found[0], error)} to {bounded(found[-1], error)} degrees"
    return f"top {len(found)} directions of {result.names[i]} and {result.names[j]}: {ends}"
