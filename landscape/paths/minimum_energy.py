"""Minimum-energy paths: from one minimum to another over the lowest passes (climbing-image nudged
elastic band).

A band of images (``band.py``) is relaxed from a to b. Its tops and bottoms are refined to
stationary points, pinned, and the band between them is relaxed again, until it shows no others.
For networks: Draxler et al. 2018, arXiv:1803.00885; Garipov et al. 2018, arXiv:1802.10026.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from landscape import rng
from landscape.core import Landscape, Progress, require_finite, silent
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.domains import Box, Sphere
from landscape.paths.band import SAME, Band
from landscape.points.classify import StationaryPoint, classify
from landscape.points.descent import follow, move, norms, tangent
from landscape.progress import watched
from landscape.results import Result, provenance, result
from landscape.specs import whole

BEND = 1e-2  # of the path's length: the random arc that breaks ties at the start
ROUNDS = 12  # how often stationary points are looked for
COARSE = 30.0  # until no more are found, the band is settled to this many times the tolerance only
# distances between images: a top that is refined to a point farther away bends the band before it
# is pinned
FAR = 3.0


@result("path-stop")
class Stop(Enum):
    """Why ``minimum_energy_path`` stopped."""

    CONVERGED = (
        "every image's perpendicular gradient is within tol and the top is a saddle of index 1"
    )
    DOWNHILL = (
        "the path has no top between its ends: they lie in one basin, or one end is above the "
        "other's basin"
    )
    STEPS = (
        "max_steps ran out before the band settled: raise max_steps, or loosen tol; the barrier is "
        "that of the images"
    )
    TOP = (
        "the band settled but its top is no saddle of index 1 to rounding: raise images, or use "
        "float64; the barrier "
        "is that of the highest image"
    )


@result("energy-path")
@dataclass(frozen=True, eq=False)
class EnergyPath(Result):
    """A path between two minima along which f is minimal perpendicular to it."""

    # (m, n), from one minimum to the other; stationary points found on the way are among them
    points: Tensor
    values: Tensor  # (m,) f there, float64, on the CPU
    arclength: Tensor  # (m,) along the straight pieces between points, float64, on the CPU
    saddle: StationaryPoint  # the highest one on the way; stop says whether it is a saddle
    barrier: float  # f(saddle) - f(first point)
    barrier_back: float  # f(saddle) - f(last point)
    # minima and saddles in the order they are met, both ends among them
    stations: list[StationaryPoint]
    places: list[int]  # positions of the stations in points
    residual: float  # the largest perpendicular gradient of the other points
    tolerance: float  # what was asked of it, in the units of residual
    stop: Stop
    steps: int  # of all bands together
    evaluations: int  # gradients of single points, those for refining and classifying apart
    reasons: list[str]  # what was done to the ends, and what the path is worth
    seed: int

    @property
    def converged(self) -> bool:
        """Whether the path has settled, over a saddle or without one."""
        return self.stop in (Stop.CONVERGED, Stop.DOWNHILL)


@owned()
@watched
def minimum_energy_path(
    f: Landscape,
    a: Tensor | Sequence[float],
    b: Tensor | Sequence[float],
    *,
    images: int = 17,
    tol: float = 1e-3,
    max_steps: int = 3_000,
    spring: float = 1.0,
    seed: int = 0,
    progress: Progress = silent,
) -> EnergyPath:
    """The minimum-energy path from a to b, found by a climbing-image nudged elastic band.

    Args:
        f: a landscape of dimension n; on a ``Torus`` the path starts by the shortest way, on a
            ``Sphere`` along a great circle.
        a, b: the ends (n,), minima; ends that are not stationary are first relaxed downhill, and
            ``reasons`` says so.
        images: of the first band, ends included, at least 5; more are added where it meets further
            stationary points.
        tol: the perpendicular gradient is at most ``tol`` times the mean slope (highest less lowest
            value) / length, and rounding.
        max_steps: of all bands together.
        spring: stiffness between images, in units that fit the landscape; it decides how evenly
            images are spaced.
        seed: of the small random arc by which the first path leaves the straight line, so that
            symmetry cannot hold it on a ridge.
        progress: called with the steps done.

    Returns:
        The path over the lowest passes that the first path relaxes to. Another one may be lower: no
        local method knows.

    Raises:
        ValueError: an argument is out of range, the ends have another shape, or are one point.
        NumericalError: f or its gradient is not finite on the path.

    Cost: ``images`` gradients a step, in one batch for a formula; then, per stationary point, some
    dense Hessians up to n = 500 or some tens of Lanczos steps above that, and a verdict.

    Examples:
        >>> import landscape as ls
        >>> f = ls.FunctionLandscape(lambda x: (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, dim=2)
        >>> path = ls.minimum_energy_path(f, [-1.0, 0.0], [1.0, 0.0])
        >>> round(path.barrier, 6)
        1.0
    """
    a, b = f.locate(a).detach(), f.locate(b).detach()
    _check(f, a, b, images, tol, max_steps, spring)
    reasons: list[str] = []
    b = _nearest(f, a, b, reasons)
    reach = float(norms(f.domain.difference(a, b)))
    a = _settle(f, a, reach, seed, "first", reasons)
    b = _settle(f, b, reach, seed, "last", reasons)
    if float(norms(f.domain.difference(a, b))) <= 1e-3 * reach:
        reasons.append("both ends relax to one minimum")
        b = f.domain.difference(a, b) + a
        band = Band(f, torch.stack([a, b]), spring, progress)
    else:
        band = Band(f, _straight(f, a, b, images, seed), spring, progress)
    settled, found = _explore(band, images, tol, max_steps, seed)
    return _report(f, band, settled, found, tol, seed, reasons, progress)


def _check(
    f: Landscape, a: Tensor, b: Tensor, images: int, tol: float, max_steps: int, spring: float
) -> None:
    for name, x in (("a", a), ("b", b)):
        require_finite(x, f"the end {name}")
    if a.dtype != b.dtype or a.device != b.device:
        raise ValueError(
            f"the ends must agree, got {a.dtype} on {a.device} and {b.dtype} on {b.device}."
        )
    if not bool((f.domain.difference(a, b) != 0).any()):
        raise ValueError("a and b are one point: pass two minima.")
    whole(5, images=images)
    whole(1, max_steps=max_steps)
    for name, value in (("tol", tol), ("spring", spring)):
        if not value > 0:
            raise ValueError(f"{name} must be a positive number, got {value!r}.")


def _nearest(f: Landscape, a: Tensor, b: Tensor, reasons: list[str]) -> Tensor:
    """b, or of the points that the landscape's symmetry relates to it one nearer to a, unless that
    is a itself.
    """
    symmetry = f.symmetry
    if symmetry is None or symmetry.nearest is None:
        return b
    copy = symmetry.nearest(a, b)
    near, far = float(norms(copy - a)), float(norms(b - a))
    if not 1e-3 * far < near < 0.999 * far:
        return b
    reasons.append(
        f"the last end is a copy of the one given, by symmetry: {near:.3g} from the first instead "
        f"of {far:.3g}"
    )
    return copy


def _settle(
    f: Landscape, x: Tensor, reach: float, seed: int, which: str, reasons: list[str]
) -> Tensor:
    """x itself if it is stationary and no saddle; else the minimum downhill from it."""
    point = classify(f, x, largest=1, smallest=1, seed=seed)
    if point.kind not in ("not-stationary", "saddle", "maximum"):
        return x
    start = x
    if point.kind != "not-stationary":
        coin = torch.rand((), generator=rng.generator(seed), dtype=torch.float32, device="cpu")
        sign = 1 if coin < 0.5 else -1
        start = move(f.domain, x, 1e-2 * sign * reach * point.pairs.vectors[:, 0].to(x))
    end = follow(f, start, 0, 0.05 * reach, steps=200, seed=seed)
    moved = float(norms(end.x - x))
    if not bool(torch.isfinite(end.x).all()) or float(f.value(end.x)) > point.value:
        reasons.append(
            f"the {which} end is {_a(point.kind)} and no minimum was found downhill from it: the "
            f"path starts there"
        )
        return x
    result = (
        "a minimum"
        if end.settled
        else "a point whose gradient is not zero: train it further, or lower tol"
    )
    reasons.append(
        f"the {which} end was {_a(point.kind)}; relaxed downhill by "
        f"{point.value - float(f.value(end.x)):.3g} in value over "
        f"a distance of {moved:.3g} to {result}"
    )
    return end.x


def _a(kind: str) -> str:
    return "not stationary" if kind == "not-stationary" else f"a {kind}"


def _straight(f: Landscape, a: Tensor, b: Tensor, images: int, seed: int) -> Tensor:
    """Images (m, n) by the shortest way from a to b, on a slight random arc."""
    domain = f.domain
    t = torch.linspace(0, 1, images, dtype=a.dtype, device=a.device)[:, None]
    arc = torch.randn(f.dim, generator=rng.generator(seed), dtype=torch.float64, device="cpu").to(a)
    if isinstance(domain, Sphere):
        a, b = domain.wrap(a), domain.wrap(b)
        r = domain.radius
        ahead = tangent(domain, a, b - a)
        aside = tangent(domain, a, arc)
        if (
            float(norms(ahead)) < 1e-3 * r and float(norms(b - a)) > r
        ):  # opposite points: any great circle is the shortest
            ahead = aside
            aside = tangent(domain, a, arc.roll(1))
        unit = ahead / ahead.norm()
        angle = torch.arccos(((a * b).sum() / (r * r)).clamp(-1, 1))
        X = torch.cos(t * angle) * a + torch.sin(t * angle) * r * unit
        length = r * angle
    else:
        D = domain.difference(a, b)
        X, length, aside, b = a + t * D, D.norm(), arc, a + D
    if float(norms(aside)) > 0:
        X = move(domain, X, BEND * length * torch.sin(torch.pi * t) * aside / aside.norm())
    return torch.cat([a[None], X[1:-1], b[None]])


def _explore(band: Band, images: int, tol: float, max_steps: int, seed: int) -> tuple[bool, bool]:
    """Relax the band, pin the stationary points it passes, and again; whether it settled, and
    whether no top was lost.
    """
    if len(band.X) < 3:
        return True, True
    lost, level = False, COARSE * tol
    for turn in range(ROUNDS):
        part = max_steps if level == tol else max(1, max_steps // (4 if turn else 2))
        settled = band.relax(level, min(part, max_steps - band.steps))
        if band.steps >= max_steps and not settled:
            break  # images that are pinned now would stay out of line
        extremes = band.extremes(level)
        if not extremes:
            if level == tol:
                return settled, True
            level = tol  # the last ones are looked for on a settled band
            continue
        lost = _pin(band, extremes, seed, last=turn == ROUNDS - 1)
        band.cut_loops()
        band.resample(images)
    return band.relax(tol, max_steps - band.steps), not lost


def _pin(band: Band, extremes: list[tuple[int, int]], seed: int, last: bool) -> bool:
    """Refine tops and bottoms and pin them; a top that lies far off bends the band towards it.
    Whether a top was lost.
    """
    lost = False
    length = float(band.gaps().sum())
    gap = length / (len(band.X) - 1)
    for at, index in extremes:
        end = follow(band.f, band.X[at], index, gap / 4, seed=seed)
        moved = float(norms(end.x - band.X[at]))
        known = norms(band.X[sorted(band.pinned)] - end.x)
        if not end.settled or (index == 1 and moved > 3 * FAR * gap):
            lost |= index == 1
        elif float(known.min()) <= SAME * band.length:
            continue
        elif index == 1 and moved > FAR * gap and not last:
            band.bend(at, end.x - band.X[at])
        else:
            X = band.X.clone()
            X[at] = end.x
            band.pinned[at] = index
            band.place(X)
    return lost


def _report(
    f: Landscape,
    band: Band,
    settled: bool,
    found: bool,
    tol: float,
    seed: int,
    reasons: list[str],
    progress: Progress,
) -> EnergyPath:
    """Classify the stations and put the path together."""
    places = sorted(band.pinned)
    stations = []
    for k, i in enumerate(places):
        progress("verdicts along the path", k, len(places))
        stations.append(classify(f, band.X[i], seed=seed))
    passes = [s for s, i in zip(stations, places, strict=True) if band.pinned[i] == 1]
    highest = int(band.V.argmax())
    if passes and (highest in places or (settled and found)):
        saddle = max(passes, key=lambda s: s.value)
    else:
        saddle = (
            stations[places.index(highest)]
            if highest in places
            else classify(f, band.X[highest], seed=seed)
        )
    free = band.free()
    first, last = stations[0].value, stations[-1].value
    reasons += _remarks(f, band, stations)
    return EnergyPath(
        points=band.X,
        values=band.V.cpu(),
        arclength=torch.cat(
            [torch.zeros(1, dtype=torch.float64, device="cpu"), band.gaps().cumsum(0).cpu()]
        ),
        saddle=saddle,
        barrier=saddle.value - first,
        barrier_back=saddle.value - last,
        stations=stations,
        places=places,
        residual=float(band.residuals(free).max()) if len(free) else 0.0,
        tolerance=band.limit(tol),
        stop=_stop(band, bool(passes), saddle, settled, found),
        steps=band.steps,
        evaluations=band.evaluations,
        reasons=reasons,
        seed=seed,
        provenance=provenance(f, band.X[0], seed),
    )


def _stop(band: Band, passes: bool, saddle: StationaryPoint, settled: bool, found: bool) -> Stop:
    if not settled:
        return Stop.STEPS
    if (
        passes and found and saddle.kind in ("saddle", "maximum") and saddle.index == 1
    ):  # a maximum of one dimension
        return Stop.CONVERGED
    monotone = not passes and float(band.V.max()) <= float(torch.maximum(band.V[0], band.V[-1]))
    return Stop.DOWNHILL if monotone else Stop.TOP


def _remarks(f: Landscape, band: Band, stations: list[StationaryPoint]) -> list[str]:
    """What the path is worth, in sentences."""
    inner = [s.kind for s in stations[1:-1]]
    met = (
        ", ".join(f"{inner.count(kind)} of kind {kind}" for kind in dict.fromkeys(inner)) or "none"
    )
    remarks = [
        f"stationary points between the ends: {met}",
        "the barrier is that of this path; a lower pass may lie on another one, which no local "
        "method excludes",
    ]
    domain = f.domain
    if isinstance(domain, Box) and not bool(domain.contains(band.X).all()):
        remarks.append("the path leaves the box")
    return remarks
