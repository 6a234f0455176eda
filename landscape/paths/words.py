"""What is said of ways between points: a minimum-energy path, a trained curve, a profile."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from landscape.inventory.words import COORDINATES, LISTED
from landscape.paths.connect import Connection
from landscape.paths.curves import Profile
from landscape.paths.minimum_energy import EnergyPath
from landscape.points.words import coordinates, searched, verdict_facts
from landscape.results.numbers import count, plain, several
from landscape.results.words import Fact, Words, columns, said


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
    finite = values[values.isfinite()]
    lost = values.numel() - finite.numel()
    shown = "none is finite"
    if finite.numel():
        shown = f"{float(finite.min()):.6g} to {float(finite.max()):.6g}"
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
