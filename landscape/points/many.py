"""Thousands of searches for stationary points side by side, with dense Hessians: for formulas of
few variables.

X: (B, n) points, g: (B, n) gradients, H: (B, n, n) Hessians, all in units of the domain's size, so
that a step of 1 crosses it. Three ways to step, each by rows:

minimise    Levenberg-Marquardt on |g|^2 / 2 with a damping mu of its own for every row (Levenberg
            1944; Marquardt 1963; the damping rule is Nielsen's, 1999): steps -(H^2 + mu I)^-1 H g.
            It goes to any kind of point, and stops where |g| has a minimum.
newton      the same with next to no damping and every step accepted: it does not stop at a minimum
            of |g|, and may leave.
follow      up along the k lowest eigenvectors and down along the others, to a point of index k
            (eigenvector following; Cerjan & Miller 1981, J. Chem. Phys. 75:2800).

Every search ends in Newton steps, which polish the point to rounding.
"""

from enum import Enum
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor

from landscape.core import Domain, Landscape
from landscape.operators.pointwise import derivatives, eigenpairs
from landscape.points.steps import eigenvector_step

# The most numbers in the Hessians of one batch.
NUMBERS = 2**22
# The longest step.
LONGEST = 0.2
# A search that is so far from its start has left.
FAR = 10.0
# A search has arrived when a Newton step is shorter than this and steps no longer shrink.
ARRIVED = 1e-8
# |H g| below this share of |H| |g|, while |g| no longer falls, is a minimum of |g|.
FLAT = 1e-3
# Polishing moves a point no farther.
NEAR = 1e-4
# Steps outside the domain after which a search has left.
AWAY = 20
# So many points tell the usual size of derivatives.
SAMPLES = 64
# Derivatives so many times those at the starts are a pole's.
POLE = 1e20
EPS = torch.finfo(torch.float64).eps
# Eigenvalues below this share of |H| are zero to a Newton step, and below the other one to
# eigenvector following.
TRUNCATED = 1e-10
IDLE = 1e-8


class End(Enum):
    """How a search ended."""

    STATIONARY = "stationary"
    FLAT = "gradient-flat: the squared gradient norm is stationary, the gradient is not zero"
    NONFINITE = "the value or a derivative was not finite"
    OUTSIDE = "outside the domain"
    UNFINISHED = "not converged within the steps allowed"


class Ends(NamedTuple):
    """Where B searches ended."""

    points: Tensor  # (B, n)
    ends: Tensor  # (B,) position in list(End)
    taken: Tensor  # (B,) steps


class _Local(NamedTuple):
    """Derivatives of the scaled landscape at the rows' points."""

    gradient: Tensor  # (B, n)
    hessian: Tensor  # (B, n, n)

    def rows(self, which: Tensor) -> "_Local":
        return _Local(self.gradient[which], self.hessian[which])

    def put(self, which: Tensor, other: "_Local") -> "_Local":
        pick = which[:, None]
        return _Local(
            torch.where(pick, other.gradient, self.gradient),
            torch.where(pick[:, None], other.hessian, self.hessian),
        )


class Labelled(Protocol):
    """Many formulas of one dimension and one domain, told apart by a label a point."""

    @property
    def dim(self) -> int: ...
    @property
    def domain(self) -> Domain: ...
    def derivatives(self, X: Tensor, labels: Tensor, /) -> tuple[Tensor, Tensor]:
        """Gradients (B, n) and Hessians (B, n, n) at points X (B, n), each of the formula of its
        label (B,); labels ascend.
        """
        ...


def search(
    f: Landscape | Labelled,
    starts: Tensor,
    method: str = "minimise",
    *,
    index: Tensor | None = None,
    steps: int = 100,
    labels: Tensor | None = None,
) -> Ends:
    """Search from every row of ``starts`` (B, n) for a stationary point.

    Args:
        f: the landscape; its domain's size is the unit of length.
        starts: float64.
        method: "minimise", "newton" or "follow", see the module's docstring.
        index: (B,) the index that "follow" aims at.
        steps: most steps of one search.
        labels: (B,) ascending, which of the formulas of a ``Labelled`` f each row searches.

    Raises:
        ValueError: an unknown method.
        NumericalError: f has no second derivative.

    Cost: n + 1 products a step and row.
    """
    if method not in ("minimise", "newton", "follow"):
        raise ValueError(f"method must be minimise, newton or follow, got {method!r}.")
    chunk = max(1, NUMBERS // f.dim**2)
    few = (
        slice(0, len(starts), max(1, len(starts) // SAMPLES))
        if labels is not None
        else slice(SAMPLES)
    )
    usual = _typical(f, starts[few], None if labels is None else labels[few])
    if (
        labels is None and not cast("Landscape", f).layout
    ):  # the starts themselves may all be stationary
        anywhere = f.domain.sample(
            SAMPLES, f.dim, torch.Generator(device="cpu").manual_seed(0), starts.dtype
        )
        usual = [
            max(pair) for pair in zip(usual, _typical(f, anywhere.to(starts.device)), strict=True)
        ]
    parts = [
        _Searches(f, starts[rows], method, _part(index, rows), usual, _part(labels, rows)).run(
            steps
        )
        for rows in (slice(i, i + chunk) for i in range(0, len(starts), chunk))
    ]
    return Ends(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def polish(f: Landscape, X: Tensor, steps: int = 40) -> Tensor:
    """The points X (B, n) after undamped Newton steps, for the rows where these stay near and lower
    the gradient.

    A search ends where the Hessian is as good as singular; a degenerate point needs more steps to
    be known to rounding.
    """
    searches = _Searches(f, X, "newton", None, [0.0, 0.0])
    best, least = X.clone(), searches.local.gradient.norm(dim=1)
    for _ in range(steps):
        searches.advance(0.0)
        norm = searches.local.gradient.norm(dim=1)
        near = (searches.domain.difference(X, searches.x) / searches.size).norm(dim=1) <= NEAR
        better = near & (norm < least)
        best, least = (
            torch.where(better[:, None], searches.x, best),
            torch.where(better, norm, least),
        )
    return best


class _Searches:
    """The searches of one batch; rows that have ended leave the arrays that the steps work on."""

    def __init__(
        self,
        f: Landscape | Labelled,
        starts: Tensor,
        method: str,
        index: Tensor | None,
        typical: list[float],
        labels: Tensor | None = None,
    ) -> None:
        self.f, self.method, self.typical, self.labels = f, method, typical, labels
        self.domain: Domain = f.domain
        self.size = self.domain.size(f.dim).to(starts)
        self.found = starts.clone()
        self.ends = torch.full((len(starts),), _NUMBER[End.UNFINISHED], device=starts.device)
        self.rows = torch.arange(len(starts), device=starts.device)
        self.taken = torch.zeros_like(self.rows)
        self.x, self.start, self.index = starts.clone(), starts, index
        self.local = self._derivatives(starts)
        self.damping = 1e-3 * self.local.hessian.square().sum((1, 2)).clamp(min=1e-300)
        self.growth = torch.full_like(self.damping, 2.0)
        # the shortest Newton step so far
        self.shortest = torch.full_like(self.damping, float("inf"))
        self.stalled = torch.zeros_like(self.rows)  # steps since |g| last fell
        self.away = torch.zeros_like(self.rows)  # steps since the row was in the domain
        self.last = torch.full_like(self.damping, float("inf"))  # length of the last step
        self.ratio = torch.zeros_like(self.damping)  # of the last two lengths

    def run(self, steps: int) -> Ends:
        count = 0
        while len(self.rows) and count < steps:
            self._sort_out()
            if len(self.rows):
                self.taken[self.rows] += 1
                self.advance()
            count += 1
        self._sort_out()
        self.found[self.rows] = self.x
        inside = self.domain.contains(self.found)
        self.ends[~inside & (self.ends != _NUMBER[End.NONFINITE])] = _NUMBER[End.OUTSIDE]
        return Ends(self.domain.wrap(self.found), self.ends, self.taken)

    def _derivatives(self, X: Tensor) -> _Local:
        g, H = _derivatives(self.f, X, _part(self.labels, self.rows))
        return _Local(g * self.size, H * self.size[:, None] * self.size)

    def advance(self, share: float = TRUNCATED) -> None:
        """One step of every row; ``share`` of |H| is the damping of "newton"."""
        step = self._damped(self.damping)
        if self.method == "follow":
            step = self._followed()
        elif self.method == "newton":
            step = self._damped(
                (share**2 * self.local.hessian.square().sum((1, 2))).clamp(min=1e-290)
            )
        step = self._stretched(step)
        step = step * (LONGEST / step.norm(dim=1, keepdim=True).clamp(min=LONGEST))
        moved = self.domain.wrap(self.x + step * self.size)
        new = self._derivatives(moved)
        before, after = (local.gradient.square().sum(1) for local in (self.local, new))
        self.stalled = torch.where(after < 0.9999 * before, 0, self.stalled + 1)
        better = (
            self._judge(step, before, after)
            if self.method == "minimise"
            else torch.ones_like(self.rows) > 0
        )
        self.x = torch.where(better[:, None], moved, self.x)
        self.local = self.local.put(better, new)

    def _stretched(self, step: Tensor) -> Tensor:
        """Steps that shrink by a steady ratio q, as they do to a degenerate point, are taken to the
        limit: 1 / (1 - q) times.
        """
        length = step.norm(dim=1)
        ratio = length / self.last
        steady = ((ratio - self.ratio).abs() < 0.01) & (ratio > 0.3) & (ratio < 0.95)
        self.last, self.ratio = length, ratio
        return step * torch.where(steady, 1 / (1 - ratio), 1.0)[:, None]

    def _judge(self, step: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Which rows accept their step; the damping follows the ratio of gained to predicted
        decrease (Nielsen 1999).
        """
        linear = self.local.gradient + (self.local.hessian @ step[:, :, None])[:, :, 0]
        predicted = before - linear.square().sum(1)
        ratio = (before - after) / predicted.clamp(min=1e-300)
        better = (ratio > 1e-4) & torch.isfinite(after)
        shrink = (1 - (2 * ratio - 1) ** 3).clamp(min=1 / 9)
        self.damping = torch.where(better, self.damping * shrink, self.damping * self.growth).clamp(
            1e-290, 1e290
        )
        self.growth = torch.where(better, 2.0, (2 * self.growth).clamp(max=1e6))
        return better

    def _damped(self, damping: Tensor) -> Tensor:
        """-(H^2 + mu I)^-1 H g."""
        g, H = self.local
        A = H @ H
        A.diagonal(dim1=1, dim2=2).add_(damping[:, None])
        factor, _ = torch.linalg.cholesky_ex(A)
        step = -torch.cholesky_solve(H @ g[:, :, None], factor)[:, :, 0]
        return torch.where(torch.isfinite(step), step, 0.0)

    def _followed(self) -> Tensor:
        """Up the lowest ``index`` eigenvectors, down the others; zero modes stay."""
        assert self.index is not None
        g, H = self.local
        values, vectors = eigenpairs(H)
        along = (vectors.mT @ g[:, :, None])[:, :, 0]
        size = values.abs()
        alive = size > IDLE * size.amax(1, keepdim=True)
        up = (alive.cumsum(1) <= self.index[:, None]) & alive
        step: Tensor = (
            vectors @ eigenvector_step(along, size.clamp(min=1e-300), up, ~alive)[:, :, None]
        )
        return step[:, :, 0]

    def _sort_out(self) -> None:
        """Rows that have ended are noted and leave."""
        g, H = self.local
        norm, curvature = g.norm(dim=1), H.norm(dim=(1, 2))
        slope, bend = self.typical
        finite = (norm <= POLE * slope) & (curvature <= POLE * bend)
        newton = self._newton(finite)
        length = newton.norm(dim=1)
        settled = (length >= 0.9 * self.shortest) | (length <= 1e-3 * EPS)  # steps no longer shrink
        self.shortest = torch.minimum(self.shortest, length)
        arrived = finite & (length <= ARRIVED) & settled & (norm <= slope)
        pull = (H @ g[:, :, None])[:, :, 0].norm(dim=1)
        flat = (
            (pull <= FLAT * curvature.clamp(min=bend) * norm)
            & (self.stalled > 8)
            & ~arrived
            & (self.method == "minimise")
        )
        self.away = torch.where(self.domain.contains(self.x), 0, self.away + 1)
        far = (self.domain.difference(self.start, self.x) / self.size).norm(dim=1) > FAR
        gone = far | (self.away > AWAY)
        end = torch.full_like(self.rows, _NUMBER[End.UNFINISHED])
        for which, kind in (
            (gone, End.OUTSIDE),
            (flat, End.FLAT),
            (arrived, End.STATIONARY),
            (~finite, End.NONFINITE),
        ):
            end[which] = _NUMBER[kind]
        over = end != _NUMBER[End.UNFINISHED]
        if not bool(over.any()):
            return
        self.found[self.rows[over]], self.ends[self.rows[over]] = self.x[over], end[over]
        self._keep(~over)

    def _newton(self, finite: Tensor) -> Tensor:
        """The Newton step by the eigenvalues that are not zero: how far the stationary point is;
        long where rows are not near one.
        """
        g, H = self.local
        norm, curvature = g.norm(dim=1), H.norm(dim=(1, 2))
        near = finite & (norm <= 1e-3 * curvature)
        step = torch.full_like(g, float("inf"))
        step[~finite] = 0.0
        if not bool(near.any()):
            return step
        values, vectors = eigenpairs(H[near])
        along = (vectors.mT @ g[near][:, :, None])[:, :, 0]
        size = values.abs()
        scale = size.amax(1, keepdim=True)
        zero = size <= TRUNCATED * scale
        # along a zero mode the gradient must vanish to rounding
        along = torch.where(zero, along / scale.clamp(min=1e-300), along / values)
        step[near] = (vectors @ along[:, :, None])[:, :, 0]
        return step

    def _keep(self, which: Tensor) -> None:
        self.rows, self.x, self.start = self.rows[which], self.x[which], self.start[which]
        self.index = None if self.index is None else self.index[which]
        self.local = self.local.rows(which)
        for name in ("damping", "growth", "shortest", "stalled", "away", "last", "ratio"):
            setattr(self, name, getattr(self, name)[which])


def _part(each: Tensor | None, rows: Tensor | slice) -> Tensor | None:
    return None if each is None else each[rows]


def _derivatives(
    f: Landscape | Labelled, X: Tensor, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    if labels is None:
        return derivatives(cast("Landscape", f), X)
    return cast("Labelled", f).derivatives(X, labels)


def _typical(f: Landscape | Labelled, X: Tensor, labels: Tensor | None = None) -> list[float]:
    """The medians of |g| and |H| over the points X, in units of the domain's size; 0 where none is
    finite.
    """
    size = f.domain.size(f.dim).to(X)
    g, H = _derivatives(f, X, labels)
    sizes = [(g * size).norm(dim=1), (H * size[:, None] * size).norm(dim=(1, 2))]
    finite = [s[torch.isfinite(s)] for s in sizes]
    return [float(s.median()) if len(s) else 0.0 for s in finite]


_NUMBER = {end: number for number, end in enumerate(End)}
STATIONARY = _NUMBER[End.STATIONARY]  # as it stands in ``Ends.ends``
