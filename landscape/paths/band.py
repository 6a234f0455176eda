"""The band of a minimum-energy path: images that feel the gradient across it, and springs along it.

X: (m, n) the images, a first and b last. An image feels the part of the gradient that is
perpendicular to the path and, along the path, springs to its neighbours (Henkelman & Jonsson 2000,
J. Chem. Phys. 113:9978, for the tangent); one at the top of the path climbs instead (Henkelman,
Uberuaga, Jonsson 2000, J. Chem. Phys. 113:9901). Images are moved by FIRE (Bitzek et al. 2006,
Phys. Rev. Lett. 97:170201), each in units of its own curvature. On a torus the images run on
without leaps.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from landscape.core import Landscape, Progress, require_finite
from landscape.landscapes.domains import Torus
from landscape.operators.limits import gradient_noise
from landscape.points.descent import move, norms, tangent

SAME = 1e-6  # of the first path's length: points nearer than this are one
LEAST = 4  # images between two stationary points
CLIMB = 10.0  # the band's tops climb while its residual is within this many times the tolerance
SPRING = 0.25  # of an image's curvature, for spring = 1
STEP, LONGEST = 0.3, 1.0  # of FIRE, in units of 1 / sqrt(curvature)


class Band:
    """Images and what is known of them; ``pinned`` ones stay where they are."""

    def __init__(self, f: Landscape, X: Tensor, spring: float, progress: Progress) -> None:
        self.f, self.domain, self.spring, self.progress = f, f.domain, spring, progress
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
        farthest = self.X[int(norms(self.X).argmax())]
        return tol * self.slope() + gradient_noise(
            farthest, float(self.L.max()), self.f.rounding(farthest)
        )

    def free(self) -> Tensor:
        """Positions of the images that move."""
        fixed = set(self.pinned)
        return torch.tensor(
            [i for i in range(len(self.X)) if i not in fixed],
            dtype=torch.long,
            device=self.X.device,
        )

    def tangents(self, free: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Unit tangents at the free images, the distances ahead and behind, and which are higher
        than both neighbours.
        """
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
        T = (w_ahead / total).to(here)[:, None] * ahead + (w_behind / total).to(here)[
            :, None
        ] * behind
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
            if float(torch.where(climbers, norms(G), worst).max()) <= limit and (
                climbing or not climb
            ):
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
            pace = torch.where(
                good, torch.where(faster, (1.1 * pace).clamp_max(LONGEST), pace), 0.5 * pace
            ).clamp_min(0.05)
            mixing = torch.where(good, torch.where(faster, 0.99 * mixing, mixing), 0.1)
            turned = (1 - mixing) * P + mixing * F * (norms(P) / norms(F).clamp_min(1e-300)).to(P)[
                :, None
            ]
            P = torch.where(good, turned, 0.0) + pace * F
            D = pace * P
            longest = 0.3 * torch.minimum(ahead, behind).clamp_min(
                0.1 * float(torch.maximum(ahead, behind).mean())
            )
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
            self.L[free] = torch.where(
                clear, torch.maximum(0.999 * self.L[free], met), self.L[free]
            )
            P = tangent(self.domain, X[free], P)
            self.steps += 1
        return False

    def extremes(self, tol: float) -> list[tuple[int, int]]:
        """(position, index) where the slope along the path turns: index 1 from up to down, 0 from
        down to up.

        Pinned images are none of them.
        """
        if len(self.pinned) == len(self.X):
            return []
        free = self.free()
        T, _, _, _ = self.tangents(free)
        slopes = dict(zip(free.tolist(), (self.G[free] * T).double().sum(-1).tolist(), strict=True))
        limit = self.limit(tol)
        turns = []
        for p, q in pairwise(sorted(self.pinned)):
            steep = [i for i in range(p + 1, q) if abs(slopes[i]) > limit]
            # Between two maxima must be a minimum: a change of sign that pinned images explain is
            # none.
            signs = [(p, 1 if self.pinned[p] == 0 else -1)]
            signs += [(i, 1 if slopes[i] > 0 else -1) for i in steep]
            signs.append((q, -1 if self.pinned[q] == 0 else 1))
            turns += [self._turn(i, j, s) for (i, s), (j, t) in pairwise(signs) if s != t]
        return [turn for turn in turns if turn is not None]

    def _turn(self, first: int, last: int, sign: int) -> tuple[int, int] | None:
        """The highest free image between two for sign 1, the lowest one for -1; None where all are
        pinned.
        """
        inner = [k for k in range(first, last + 1) if k not in self.pinned]
        if not inner:
            return None
        return max(inner, key=lambda k: sign * float(self.V[k])), 1 if sign > 0 else 0

    def resample(self, images: int) -> None:
        """Spread images evenly between pinned ones: about ``images`` in all, and at least LEAST
        between two of them.
        """
        marks = sorted(self.pinned)
        gaps = self.gaps()
        total = float(gaps.sum())
        parts, pinned = [self.X[:1]], {0: self.pinned[0]}
        count = 1
        for p, q in pairwise(marks):
            s = torch.cat([gaps.new_zeros(1), gaps[p:q].cumsum(0)])
            inner = max(LEAST, round(images * float(s[-1]) / total))
            where = (
                torch.linspace(0, 1, inner + 2, dtype=torch.float64, device=s.device)[1:-1] * s[-1]
            )
            k = torch.searchsorted(s, where).clamp(1, q - p)
            w = ((where - s[k - 1]) / (s[k] - s[k - 1]).clamp_min(1e-300)).to(self.X)[:, None]
            low, high = self.X[p + k - 1], self.X[p + k]
            parts += [move(self.domain, low, w * (high - low)), self.X[q : q + 1]]
            count += inner + 1
            pinned[count - 1] = self.pinned[q]
        self.pinned = pinned
        self.place(torch.cat(parts))

    def cut_loops(self) -> None:
        """Leave out what lies between two visits to one minimum; on a torus the rest is moved by
        whole periods.
        """
        minima = [i for i in sorted(self.pinned) if self.pinned[i] == 0]
        ends = (0, len(self.X) - 1)
        for p in minima:
            same = [
                q
                for q in minima
                if q > p and (p, q) != ends and self._apart(p, q) <= SAME * self.length
            ]
            if same:
                q = same[-1]
                rest = (
                    self.X[q + 1 :] + (self.X[p] - self.X[q])
                    if isinstance(self.domain, Torus)
                    else self.X[q + 1 :]
                )
                self.pinned = {
                    i if i <= p else i - (q - p): k
                    for i, k in self.pinned.items()
                    if i <= p or i > q
                }
                self.place(torch.cat([self.X[: p + 1], rest]))
                self.cut_loops()
                return

    def _apart(self, p: int, q: int) -> float:
        return float(norms(self.domain.difference(self.X[p], self.X[q])))

    def bend(self, at: int, D: Tensor) -> None:
        """Move image ``at`` by D (n,) and its neighbours up to the next pinned ones by part of
        it.
        """
        marks = sorted(self.pinned)
        p = max(k for k in marks if k < at)
        q = min(k for k in marks if k > at)
        X = self.X.clone()
        for i in range(p + 1, q):
            part = (i - p) / (at - p) if i <= at else (q - i) / (q - at)
            X[i] = move(self.domain, X[i], part * D)
        self.place(X)
