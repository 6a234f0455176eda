"""Minimum-energy paths: from one minimum to another over the lowest passes (climbing-image nudged elastic band).

X: (m, n) the images of a band, a first and b last. An image feels the part of the gradient that is perpendicular to the path and, along
the path, springs to its neighbours (Henkelman & Jonsson 2000, J. Chem. Phys. 113:9978, for the tangent); one at the top of the path climbs
instead (Henkelman, Uberuaga, Jonsson 2000, J. Chem. Phys. 113:9901). Images are moved by FIRE (Bitzek et al. 2006, Phys. Rev.
Lett. 97:170201), each in units of its own curvature. Tops and bottoms of the band are refined to stationary points, pinned,
and the band between them is relaxed again, until it shows no others. On a torus the images run on without leaps.
For networks: Draxler et al. 2018, arXiv:1803.00885; Garipov et al. 2018, arXiv:1802.10026.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from landscape.core import Landscape, Progress, require_finite, silent
from landscape.domains import Box, Sphere, Torus
from landscape.results import Provenance, result, save
from landscape.stationary.classify import StationaryPoint, classify
from landscape.stationary.descent import NOISE, domain_of, follow, move, norms, tangent

BEND = 1e-2  # of the path's length: the random arc that breaks ties at the start
ROUNDS = 12  # how often stationary points are looked for
COARSE = 30.0  # until no more are found, the band is settled to this many times the tolerance only
SAME = 1e-6  # of the first path's length: points nearer than this are one
LEAST = 4  # images between two stationary points
FAR = 3.0  # distances between images: a top that is refined to a point farther away bends the band before it is pinned
CLIMB = 10.0  # the band's tops climb while its residual is within this many times the tolerance
SPRING = 0.25  # of an image's curvature, for spring = 1
STEP, LONGEST = 0.3, 1.0  # of FIRE, in units of 1 / sqrt(curvature)


@result
class Stop(Enum):
    """Why ``minimum_energy_path`` stopped."""

    CONVERGED = "every image's perpendicular gradient is within tol and the top is a saddle of index 1"
    DOWNHILL = "the path has no top between its ends: they lie in one basin, or one end is above the other's basin"
    STEPS = (
        "max_steps ran out before the band settled: raise max_steps, or loosen tol; the barrier is that of the images"
    )
    TOP = (
        "the band settled but its top is no saddle of index 1 to rounding: raise images, or use float64; the barrier "
        "is that of the highest image"
    )


@result
@dataclass(frozen=True, eq=False)
class EnergyPath:
    """A path between two minima along which f is minimal perpendicular to it."""

    name: str
    points: Tensor  # (m, n), from one minimum to the other; stationary points found on the way are among them
    values: Tensor  # (m,) f there, float64, on the CPU
    arclength: Tensor  # (m,) along the straight pieces between points, float64, on the CPU
    saddle: StationaryPoint  # the highest one on the way; stop says whether it is a saddle
    barrier: float  # f(saddle) - f(first point)
    barrier_back: float  # f(saddle) - f(last point)
    stations: list[StationaryPoint]  # minima and saddles in the order they are met, both ends among them
    places: list[int]  # positions of the stations in points
    residual: float  # the largest perpendicular gradient of the other points
    tolerance: float  # what was asked of it, in the units of residual
    stop: Stop
    steps: int  # of all bands together
    evaluations: int  # gradients of single points, those for refining and classifying apart
    reasons: list[str]  # what was done to the ends, and what the path is worth
    seed: int
    provenance: Provenance | None = None

    @property
    def converged(self) -> bool:
        """Whether the path has settled, over a saddle or without one."""
        return self.stop in (Stop.CONVERGED, Stop.DOWNHILL)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Store in ``folder``; ``landscape.load`` reads it back."""
        return save(self, folder)


def minimum_energy_path(
    f: Landscape,
    a: Tensor,
    b: Tensor,
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
        f: a landscape of dimension n; on a ``Torus`` the path starts by the shortest way, on a ``Sphere`` along a great circle.
        a, b: the ends (n,), minima; ends that are not stationary are first relaxed downhill, and ``reasons`` says so.
        images: of the first band, ends included, at least 5; more are added where it meets further stationary points.
        tol: the perpendicular gradient is at most ``tol`` times the mean slope (highest less lowest value) / length, and rounding.
        max_steps: of all bands together.
        spring: stiffness between images, in units that fit the landscape; it decides how evenly images are spaced.
        seed: of the small random arc by which the first path leaves the straight line, so that symmetry cannot hold it on a ridge.
        progress: called with the steps done.

    Returns:
        The path over the lowest passes that the first path relaxes to. Another one may be lower: no local method knows.

    Raises:
        ValueError: an argument is out of range, the ends have another shape, or are one point.
        NumericalError: f or its gradient is not finite on the path.

    Cost: ``images`` gradients a step, in one batch for a formula; then, per stationary point, some dense Hessians up to n = 500 or
    some tens of Lanczos steps above that, and a verdict.
    """
    _check(f, a, b, images, tol, max_steps, spring)
    a, b = a.detach(), b.detach()
    reasons: list[str] = []
    reach = float(norms(domain_of(f).difference(a, b)))
    a = _settle(f, a, reach, seed, "first", reasons)
    b = _settle(f, b, reach, seed, "last", reasons)
    if float(norms(domain_of(f).difference(a, b))) <= 1e-3 * reach:
        reasons.append("both ends relax to one minimum")
        b = domain_of(f).difference(a, b) + a
        band = _Band(f, torch.stack([a, b]), spring, progress)
    else:
        band = _Band(f, _straight(f, a, b, images, seed), spring, progress)
    settled, found = _explore(band, images, tol, max_steps, seed)
    return _report(f, band, settled, found, tol, seed, reasons, progress)


def _check(f: Landscape, a: Tensor, b: Tensor, images: int, tol: float, max_steps: int, spring: float) -> None:
    for name, x in (("a", a), ("b", b)):
        if x.shape != (f.dim,):
            raise ValueError(f"{name} must have shape ({f.dim},), got {tuple(x.shape)}.")
        require_finite(x, f"the end {name}")
    if a.dtype != b.dtype or a.device != b.device:
        raise ValueError(f"the ends must agree, got {a.dtype} on {a.device} and {b.dtype} on {b.device}.")
    if not bool((domain_of(f).difference(a, b) != 0).any()):
        raise ValueError("a and b are one point: pass two minima.")
    if images < 5:
        raise ValueError(f"images must be at least 5, got {images}.")
    if not (tol > 0 and spring > 0 and max_steps >= 1):
        raise ValueError(f"tol, spring and max_steps must be positive, got {tol}, {spring} and {max_steps}.")


def _settle(f: Landscape, x: Tensor, reach: float, seed: int, which: str, reasons: list[str]) -> Tensor:
    """x itself if it is stationary and no saddle; else the minimum downhill from it."""
    point = classify(f, x, largest=1, smallest=1, seed=seed)
    if point.kind not in ("not-stationary", "saddle", "maximum"):
        return x
    start = x
    if point.kind != "not-stationary":
        sign = 1 if torch.rand((), generator=torch.Generator().manual_seed(seed), device="cpu") < 0.5 else -1
        start = move(domain_of(f), x, 1e-2 * sign * reach * point.pairs.vectors[:, 0].to(x))
    end = follow(f, start, 0, 0.05 * reach, steps=200, seed=seed)
    moved = float(norms(end.x - x))
    if not bool(torch.isfinite(end.x).all()) or float(f.value(end.x)) > point.value:
        reasons.append(
            f"the {which} end is {_a(point.kind)} and no minimum was found downhill from it: the path starts there"
        )
        return x
    result = "a minimum" if end.settled else "a point whose gradient is not zero: train it further, or lower tol"
    reasons.append(
        f"the {which} end was {_a(point.kind)}; relaxed downhill by {point.value - float(f.value(end.x)):.3g} in value over "
        f"a distance of {moved:.3g} to {result}"
    )
    return end.x


def _a(kind: str) -> str:
    return "not stationary" if kind == "not-stationary" else f"a {kind}"


def _straight(f: Landscape, a: Tensor, b: Tensor, images: int, seed: int) -> Tensor:
    """Images (m, n) by the shortest way from a to b, on a slight random arc."""
    domain = domain_of(f)
    t = torch.linspace(0, 1, images, dtype=a.dtype, device=a.device)[:, None]
    arc = torch.randn(f.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, device="cpu").to(a)
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


class _Band:
    """Images and what is known of them; ``pinned`` ones stay where they are."""

    def __init__(self, f: Landscape, X: Tensor, spring: float, progress: Progress) -> None:
        self.f, self.domain, self.spring, self.progress = f, domain_of(f), spring, progress
        self.steps = self.evaluations = 0
        self.pinned: dict[int, int] = {0: 0, len(X) - 1: 0}  # position -> index
        self.place(X)
        self.length = float(self.gaps().sum())  # of the first path: a unit of distance

    def place(self, X: Tensor) -> None:
        """New images; values, gradients and curvatures are computed."""
        self.X = X
        self.V, self.G = self._evaluate(X)
        self.L = self._curvature()

    def _evaluate(self, X: Tensor) -> tuple[Tensor, Tensor]:
        self.evaluations += len(X)
        V, G = self.f.value(X), self.f.gradient(X)
        require_finite(V, "f on the path")
        require_finite(G, "the gradient on the path")
        return V.double(), G

    def _curvature(self) -> Tensor:
        """The curvature along the path at every image (m,), float64: the unit of its step."""
        between = norms(self.G[1:] - self.G[:-1]) / self.gaps().clamp_min(1e-300)
        L = torch.maximum(torch.cat([between[:1], between]), torch.cat([between, between[-1:]]))
        return L.clamp_min(1e-6 * float(L.max()) or 1e-300)

    def gaps(self) -> Tensor:
        """Distances (m - 1,) between neighbours."""
        return norms(self.X[1:] - self.X[:-1])

    def slope(self) -> float:
        """(highest - lowest value) / length."""
        return float(self.V.max() - self.V.min()) / max(float(self.gaps().sum()), 1e-300)

    def limit(self, tol: float) -> float:
        """What a perpendicular gradient may be."""
        noise = NOISE * torch.finfo(self.X.dtype).eps * float(self.L.max()) * float(norms(self.X).max())
        return tol * self.slope() + noise

    def free(self) -> Tensor:
        """Positions of the images that move."""
        fixed = set(self.pinned)
        return torch.tensor([i for i in range(len(self.X)) if i not in fixed], dtype=torch.long, device=self.X.device)

    def tangents(self, free: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Unit tangents at the free images, the distances ahead and behind, and which are higher than both neighbours."""
        here = self.X[free]
        ahead = tangent(self.domain, here, self.X[free + 1] - here)
        behind = tangent(self.domain, here, here - self.X[free - 1])
        up, down = self.V[free + 1] - self.V[free], self.V[free - 1] - self.V[free]
        most, least = torch.maximum(up.abs(), down.abs()), torch.minimum(up.abs(), down.abs())
        higher_ahead = up > down
        w_ahead = torch.where(higher_ahead, most, least)
        w_behind = torch.where(higher_ahead, least, most)
        rising, falling = (up > 0) & (down < 0), (up < 0) & (down > 0)
        w_ahead = torch.where(rising, 1.0, torch.where(falling, 0.0, w_ahead))
        w_behind = torch.where(rising, 0.0, torch.where(falling, 1.0, w_behind))
        level = (w_ahead + w_behind) == 0
        w_ahead, w_behind = torch.where(level, 1.0, w_ahead), torch.where(level, 1.0, w_behind)
        total = w_ahead + w_behind
        T = (w_ahead / total).to(here)[:, None] * ahead + (w_behind / total).to(here)[:, None] * behind
        T = T / norms(T).clamp_min(1e-300).to(here)[:, None]
        return T, norms(ahead), norms(behind), (up <= 0) & (down <= 0)

    def residuals(self, free: Tensor) -> Tensor:
        """The perpendicular gradients (k,) of the free images."""
        T, _, _, _ = self.tangents(free)
        return norms(self.G[free] - (self.G[free] * T).sum(-1, keepdim=True) * T)

    def relax(self, tol: float, max_steps: int, climb: bool = True) -> bool:
        """Move the free images until all are within ``tol``; whether they are."""
        free = self.free()
        if not len(free):
            return True
        eps = torch.finfo(self.X.dtype).eps
        P = torch.zeros_like(self.X[free])  # velocities
        pace = self.X.new_full((len(free), 1), STEP)
        mixing = self.X.new_full((len(free), 1), 0.1)
        uphill = torch.zeros_like(pace)  # steps since the velocity last went against the force
        for _ in range(max_steps):
            T, ahead, behind, top = self.tangents(free)
            G = self.G[free]
            along = (G * T).sum(-1, keepdim=True)
            across = G - along * T
            limit = self.limit(tol)
            worst = norms(across)
            climbing = climb and float(worst.max()) <= CLIMB * limit
            climbers = top if climbing else torch.zeros_like(top)
            if float(torch.where(climbers, norms(G), worst).max()) <= limit and (climbing or not climb):
                return True
            if self.steps % 10 == 0:
                self.progress("path", self.steps, None)
            L = self.L[free].to(G)[:, None]
            springs = (SPRING * self.spring * (ahead - behind)).to(G)[:, None] * T
            F = torch.where(climbers[:, None], (2 * along * T - G) / L, springs - across / L)
            power = (F * P).sum(-1, keepdim=True)
            good = power > 0
            uphill = torch.where(good, uphill + 1, 0.0)
            faster = uphill > 5
            pace = torch.where(good, torch.where(faster, (1.1 * pace).clamp_max(LONGEST), pace), 0.5 * pace).clamp_min(
                0.05
            )
            mixing = torch.where(good, torch.where(faster, 0.99 * mixing, mixing), 0.1)
            turned = (1 - mixing) * P + mixing * F * (norms(P) / norms(F).clamp_min(1e-300)).to(P)[:, None]
            P = torch.where(good, turned, 0.0) + pace * F
            D = pace * P
            longest = 0.3 * torch.minimum(ahead, behind).clamp_min(0.1 * float(torch.maximum(ahead, behind).mean()))
            D = D * (longest / norms(D).clamp_min(1e-300)).clamp_max(1.0).to(D)[:, None]
            P = D / pace
            before, old = self.X[free], G
            X = self.X.clone()
            X[free] = move(self.domain, before, D)
            self.X = X
            self.V[free], self.G[free] = self._evaluate(X[free])
            moved = norms(X[free] - before)
            met = norms(self.G[free] - old) / moved.clamp_min(1e-300)
            clear = moved > 1e3 * eps * norms(before)  # else the difference is rounding
            self.L[free] = torch.where(clear, torch.maximum(0.999 * self.L[free], met), self.L[free])
            P = tangent(self.domain, X[free], P)
            self.steps += 1
        return False

    def extremes(self, tol: float) -> list[tuple[int, int]]:
        """(position, index): index 1 where the slope along the path turns from up to down, 0 the other way; pinned images apart."""
        found = []
        marks = sorted(self.pinned)
        if len(marks) == len(self.X):
            return []
        free = self.free()
        T, _, _, _ = self.tangents(free)
        slopes = dict(zip(free.tolist(), (self.G[free] * T).double().sum(-1).tolist(), strict=True))
        limit = self.limit(tol)
        for p, q in pairwise(marks):
            signs = [(i, 1 if slopes[i] > 0 else -1) for i in range(p + 1, q) if abs(slopes[i]) > limit]
            signs = [(p, 1 if self.pinned[p] == 0 else -1), *signs, (q, -1 if self.pinned[q] == 0 else 1)]
            # between two maxima must be a minimum: a change of sign that pinned images explain is none
            for (i, s), (j, t) in pairwise(signs):
                if s != t:
                    inner = [k for k in range(i, j + 1) if k not in self.pinned]
                    if inner:
                        found.append((max(inner, key=lambda k, s=s: s * float(self.V[k])), 1 if s > 0 else 0))  # type: ignore[misc]
        return found

    def resample(self, images: int) -> None:
        """Spread images evenly between pinned ones: about ``images`` in all, and at least LEAST between two of them."""
        marks = sorted(self.pinned)
        gaps = self.gaps()
        total = float(gaps.sum())
        parts, pinned = [self.X[:1]], {0: self.pinned[0]}
        count = 1
        for p, q in pairwise(marks):
            s = torch.cat([gaps.new_zeros(1), gaps[p:q].cumsum(0)])
            inner = max(LEAST, round(images * float(s[-1]) / total))
            where = torch.linspace(0, 1, inner + 2, dtype=torch.float64, device=s.device)[1:-1] * s[-1]
            k = torch.searchsorted(s, where).clamp(1, q - p)
            w = ((where - s[k - 1]) / (s[k] - s[k - 1]).clamp_min(1e-300)).to(self.X)[:, None]
            low, high = self.X[p + k - 1], self.X[p + k]
            parts += [move(self.domain, low, w * (high - low)), self.X[q : q + 1]]
            count += inner + 1
            pinned[count - 1] = self.pinned[q]
        self.pinned = pinned
        self.place(torch.cat(parts))

    def cut_loops(self) -> None:
        """Leave out what lies between two visits to one minimum; on a torus the rest is moved by whole periods."""
        minima = [i for i in sorted(self.pinned) if self.pinned[i] == 0]
        ends = (0, len(self.X) - 1)
        for p in minima:
            same = [q for q in minima if q > p and (p, q) != ends and self._apart(p, q) <= SAME * self.length]
            if same:
                q = same[-1]
                rest = self.X[q + 1 :] + (self.X[p] - self.X[q]) if isinstance(self.domain, Torus) else self.X[q + 1 :]
                self.pinned = {i if i <= p else i - (q - p): k for i, k in self.pinned.items() if i <= p or i > q}
                self.place(torch.cat([self.X[: p + 1], rest]))
                self.cut_loops()
                return

    def _apart(self, p: int, q: int) -> float:
        return float(norms(self.domain.difference(self.X[p], self.X[q])))

    def bend(self, at: int, D: Tensor) -> None:
        """Move image ``at`` by D (n,) and its neighbours up to the next pinned ones by part of it."""
        marks = sorted(self.pinned)
        p = max(k for k in marks if k < at)
        q = min(k for k in marks if k > at)
        X = self.X.clone()
        for i in range(p + 1, q):
            part = (i - p) / (at - p) if i <= at else (q - i) / (q - at)
            X[i] = move(self.domain, X[i], part * D)
        self.place(X)


def _explore(band: _Band, images: int, tol: float, max_steps: int, seed: int) -> tuple[bool, bool]:
    """Relax the band, pin the stationary points it passes, and again; whether it settled, and whether no top was lost."""
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


def _pin(band: _Band, extremes: list[tuple[int, int]], seed: int, last: bool) -> bool:
    """Refine tops and bottoms and pin them; a top that lies far off bends the band towards it. Whether a top was lost."""
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
    f: Landscape, band: _Band, settled: bool, found: bool, tol: float, seed: int, reasons: list[str], progress: Progress
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
        saddle = stations[places.index(highest)] if highest in places else classify(f, band.X[highest], seed=seed)
    free = band.free()
    first, last = stations[0].value, stations[-1].value
    reasons += _remarks(f, band, stations)
    return EnergyPath(
        name=getattr(f, "name", type(f).__name__),
        points=band.X,
        values=band.V.cpu(),
        arclength=torch.cat([torch.zeros(1, dtype=torch.float64, device="cpu"), band.gaps().cumsum(0).cpu()]),
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
    )


def _stop(band: _Band, passes: bool, saddle: StationaryPoint, settled: bool, found: bool) -> Stop:
    if not settled:
        return Stop.STEPS
    if passes and found and saddle.kind in ("saddle", "maximum") and saddle.index == 1:  # a maximum of one dimension
        return Stop.CONVERGED
    monotone = not passes and float(band.V.max()) <= float(torch.maximum(band.V[0], band.V[-1]))
    return Stop.DOWNHILL if monotone else Stop.TOP


def _remarks(f: Landscape, band: _Band, stations: list[StationaryPoint]) -> list[str]:
    """What the path is worth, in sentences."""
    inner = [s.kind for s in stations[1:-1]]
    met = ", ".join(f"{inner.count(kind)} of kind {kind}" for kind in dict.fromkeys(inner)) or "none"
    remarks = [
        f"stationary points between the ends: {met}",
        "the barrier is that of this path; a lower pass may lie on another one, which no local method excludes",
    ]
    domain = domain_of(f)
    if isinstance(domain, Box) and not bool(domain.contains(band.X).all()):
        remarks.append("the path leaves the box")
    return remarks
