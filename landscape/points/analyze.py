"""The main job: where in its landscape is this point, and how sure are we."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from landscape.core import Landscape, Progress, silent
from landscape.errors import NumericalError
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.metrics import evaluator
from landscape.landscapes.model import ModelLandscape, require_model
from landscape.linalg.lanczos import Eigenpairs, eigsh
from landscape.linalg.operand import noise
from landscape.linalg.quadrature import SpectralDensity, probing, spectral_density
from landscape.linalg.trace import trace
from landscape.operators.hessian import Hessian
from landscape.operators.limits import DENSE_VERDICT
from landscape.points.budget import (
    KEPT,
    LAYER,
    LEAST_DENSITY,
    LEAST_TRACE,
    LIGHT,
    ROOM,
    ROUNDING,
    SEARCH,
    SLICES,
    TRACE,
    Clock,
    Stage,
    checking,
    modules,
    sample,
    timed,
)
from landscape.points.checks import Check, Status, chained, check
from landscape.points.classify import StationaryPoint, believed, classify
from landscape.points.crowds import between, conservative
from landscape.points.find import distance, settled
from landscape.points.look import Look
from landscape.points.polish import polish as polished
from landscape.points.room import ROOMY, Room
from landscape.points.room import room as room_of
from landscape.points.symmetry import symmetries
from landscape.points.walk import Outcome, Walk
from landscape.progress import watched
from landscape.results import Bounded, Estimate, Result, journal, provenance, result
from landscape.results.statistics import Spread, sampling_spread

SLICE_STEPS = 20  # to each side
UNTESTED = (
    "checks: the numbers hold only if value, gradient and products are those of one function, "
    "which was not tested"
)
# Of the time that is left, what the ends of the spectrum may take, and where they are all there is.
ENDS, ALL = 0.6, 0.8


@result("analysis-layer")
@dataclass(frozen=True)
class Layer:
    """One module's own parameters: its share of the gradient and the ends of its own diagonal block
    of the Hessian.
    """

    name: str  # the module's dotted name, "(top)" for parameters of the model itself
    parameters: int
    gradient_norm: float
    largest: Bounded  # eigenvalue of the block
    smallest: Bounded

    @classmethod
    def upgraded(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields of a layer as schema 1 stored them: bounds stood as the errors of
        estimates.
        """
        ends = {
            name: Bounded(end.value, end.error)
            for name, end in fields.items()
            if isinstance(end, Estimate)
        }
        return fields | ends


@result("analysis-slice")
@dataclass(frozen=True, eq=False)
class Slice:
    """f(x + t v) along an eigenvector v, beside the parabola that f(x), g'v and v'Hv predict."""

    name: str  # "largest" or "smallest"
    curvature: float  # v'Hv, the eigenvalue
    slope: float  # g'v
    t: Tensor  # (m,) float64, in the units of x
    values: Tensor  # (m,) float64, measured; NaN where the loss is not finite
    predicted: Tensor  # (m,) float64, f(x) + slope t + curvature t^2 / 2


@result("analysis-polish")
@dataclass(frozen=True)
class Polish:
    """How the point was moved before it was analysed, towards the stationary point nearby."""

    method: str
    outcome: Outcome  # whether the point analysed is stationary, and why not
    distance: float  # |x - start|, by the shortest way in the domain
    relative_distance: float  # in units of |start|; inf from 0
    value_before: float
    value: float
    gradient_norm_before: float
    gradient_norm: float
    iterations: int
    products: int  # Hessian-vector products of the search; those of the report do not count them
    gradients: int


class Sampled:
    """What a result with sampling errors says of them."""

    sampling_errors: Tensor
    sampling_freedom: int
    sampling_excess: float
    sampling_raised: int

    @property
    def sampling(self) -> Spread:
        """The sampling errors and what is known of them."""
        return Spread(
            self.sampling_errors, self.sampling_freedom, self.sampling_excess, self.sampling_raised
        )

    @property
    def sampling_reach(self) -> float:
        """How many sampling errors reach to an end of the 95 % interval, by Student's law with
        fewer degrees of freedom where batches have heavy tails; infinite where it is not known.
        """
        return self.sampling.reach


@result("analysis-report")
@dataclass(frozen=True, eq=False)
class AnalysisReport(Sampled, Result):
    """Everything ``analyze`` found. Units of eigenvalues: loss per squared parameter unit."""

    parameters: int
    samples: int  # 0 for a formula
    point: StationaryPoint
    # (k,) one data-sampling standard error per value of point.pairs, of that value as an estimate
    # of the population's; NaN: fewer than two batches
    sampling_errors: Tensor
    density: SpectralDensity | None  # None: the budget did not reach so far; see unfinished
    trace: (
        Estimate | None
    )  # of a dense spectrum: error is the sum of bounds, and low and high are certain
    layers: tuple[Layer, ...]  # empty for a formula
    slices: tuple[Slice, ...]
    checks: tuple[Check, ...]
    advice: tuple[str, ...]  # what to do next, most useful first
    products: int  # Hessian-vector products spent in all
    seconds: float
    polish: Polish | None = None  # None: the point is the one given
    # Of the sampling errors: batches less one; 0: not known.
    sampling_freedom: int = 0
    room: Room | None = None  # of the optimiser's rate; None: no optimiser was given
    stages: tuple[Stage, ...] = ()  # what each part took; () in results of earlier versions
    # what the budget left open, and about what it would take; empty: nothing
    unfinished: tuple[str, ...] = ()
    # how much heavier than a normal law's the tails of the batches' shares in the values are
    sampling_excess: float = 0.0
    # how many errors were raised to reach over the mean of values that are as near
    sampling_raised: int = 0

    @property
    def broken(self) -> tuple[Check, ...]:
        """The checks that broke: with any of them there is no verdict, index or bound."""
        return tuple(check for check in self.checks if check.status is Status.BROKEN)


@owned()
@watched
def analyze(  # noqa: PLR0913
    f: Landscape,
    at: Tensor | Sequence[float] | None = None,
    *,
    method: str = "auto",
    largest: int = 10,
    smallest: int = 10,
    tol: float = 1e-4,
    probes: int = 3,
    steps: int = 50,
    layers: bool = True,
    seed: int = 0,
    max_products: int = 600,
    polish: str | None = None,
    optimizer: Optimizer | None = None,
    budget: float | None = None,
    known: AnalysisReport | None = None,
    progress: Progress = silent,
) -> AnalysisReport:
    """Find out where in its landscape a point lies.

    Args:
        f: the landscape.
        at: the point (n,); None: a model's current parameters.
        method: how the spectrum is computed, see ``classify``.
        largest, smallest: eigenpairs at each end.
        tol: of the eigenpairs: residuals are at most ``tol`` times the norm of the Hessian.
        probes, steps: of the spectral density; spent only where the spectrum is not computed whole.
        layers: whether to compute the ends of each layer's own block.
        seed: of every random vector drawn here.
        max_products: where the search for the ends of the spectrum stops, if the spectrum is not
            computed whole.
        polish: a method of ``find_stationary`` that needs no index, to move the point with first;
            where it does not get there, L-BFGS and Newton's method are tried from the same start:
            the report is of where it ended and says how far that is. The landscape's model stays
            where it is.
        optimizer: of f's parameters, or of [x] for a formula, with its state: the report then has
            ``room``, by which factor its rate could grow and stay stable. It is not stepped.
        budget: seconds that the analysis may take, polishing apart; what was left out stands in
            ``unfinished``, and everything else holds as it would without a budget. Both ends of the
            spectrum come first, fewer pairs where time is short; a gradient and a few products are
            spent in any case. None: no limit.
        known: a report of the same point with the same options whose budget ran out: what it has
            is taken over.
        progress: called with the stage, how much of it is done, and the total.

    Raises:
        NumericalError: parameters, loss, gradient or a product are not finite, or a kernel has no
            second derivative.
        LoadingError: the model or its loss raises on the data.
        ValueError: a bad option, no point for a formula, or ``known`` is of another point.

    Cost: n products up to n = 3,000; else about 50 to 120 for the ends, which sampling errors
    share, (probes - 1) (steps - pairs) for the density, 9 more for the trace and 10 to 30 per
    layer, each a third of a whole one, and what ``points.room`` says for an optimiser.
    ``forecast`` tells it beforehand.

    Examples:
        >>> import landscape as ls, torch
        >>> x, y = torch.linspace(-1, 1, 20)[:, None], torch.linspace(0, 2, 20)[:, None]
        >>> f = ls.ModelLandscape(torch.nn.Linear(1, 1), torch.nn.functional.mse_loss, [(x, y)])
        >>> report = ls.analyze(f, [1.0, 1.0])
        >>> report.point.kind, report.point.index
        ('minimum', 0)
    """
    start = time.perf_counter()
    walk = None
    if polish is not None:
        walk, polish = polished(f, at, polish, seed=seed, progress=progress)
    look = Look(f, at, "analyze") if walk is None else walk.place
    H, x = look.hessian, look.x
    have = _Known(known, x)
    clock = Clock(budget, H)
    formed = method == "dense" or (method == "auto" and f.dim <= DENSE_VERDICT)
    checks = _early_checks(look, clock, have, seed, progress, dense=formed)
    wanted = _affordable(clock, have.made, largest, smallest)
    verdict = partial(
        classify,
        f,
        x,
        _route(method, f.dim, clock),
        largest=wanted[0],
        smallest=wanted[1],
        tol=tol,
        seed=seed,
        max_products=max_products,
        look=look,
        progress=progress,
    )
    H.by_batch = True
    with clock.stage("ends", _ends_share(clock)):
        point = have.point(verdict)
    H.by_batch = False
    _note_ends(clock, point, min(f.dim, largest + smallest), tol)
    checks = _checks(look, clock, have, seed, progress, done=checks)
    point, broken = believed(point, checks), _broke(checks)
    matrix = H.dense() if point.method == "dense" else None
    point = _along_orbits(f, point, matrix, seed)
    sampling = _sampled(clock, have, point.pairs)
    density = _density(clock, have, matrix, point.pairs, (probes, steps), seed, progress)
    sampling = _conservative(sampling, have, point, density)
    total = _trace(clock, have, matrix, point, density, seed, progress)
    chosen = layers and not broken
    parts = _layers(look, matrix, point, seed, clock, have, progress) if chosen else ()
    slices = _slices(look, point, clock, have, progress)
    free = _free(look, clock, have, None if broken else optimizer, matrix, point, seed, progress)
    point = _remarked(point, H)
    return AnalysisReport(
        parameters=f.dim,
        samples=f.samples,
        point=point,
        sampling_errors=sampling.errors,
        density=density,
        trace=total,
        layers=parts,
        slices=slices,
        checks=checks,
        advice=_advice(point, sampling, checks, free),
        products=H.products,
        seconds=time.perf_counter() - start,
        provenance=provenance(f, x, seed),
        polish=None if walk is None or polish is None else _polished(walk, polish, point),
        sampling_freedom=sampling.freedom,
        sampling_excess=sampling.excess,
        sampling_raised=sampling.raised,
        room=free,
        stages=tuple(clock.stages),
        unfinished=tuple(clock.open),
    )


def _remarked(point: StationaryPoint, H: Hessian) -> StationaryPoint:
    """The point with what products have told since its verdict."""
    later = [note for note in H.notes if note not in point.reasons]
    return replace(point, reasons=[*point.reasons, *later]) if later else point


class _Known:
    """What an earlier report of the same point has, stage by stage; nothing where it left a stage
    open, or where there is none.
    """

    def __init__(self, report: AnalysisReport | None, x: Tensor) -> None:
        if report is not None and not torch.equal(report.point.x.to(x), x):
            raise ValueError("known is a report of another point: leave it out.")
        self.report = report

    def _closed(self, *stages: str) -> AnalysisReport | None:
        report = self.report
        # whatever holds has the rounding of products in its bounds
        begun = (*stages, "rounding")
        if report is None or any(line.startswith(begun) for line in report.unfinished):
            return None
        return report

    @property
    def made(self) -> int:
        """The products of its search, where they were kept."""
        return self.report.point.pairs.products if self.report and journal.active() else 0

    def checks(self) -> tuple[Check, ...]:
        report = self._closed("checks")
        return () if report is None else report.checks

    def point(self, verdict: Callable[[], StationaryPoint]) -> StationaryPoint:
        report = self._closed("eigenvalues", "checks")
        return verdict() if report is None else report.point

    def sampling(self) -> Spread | None:
        # the density tells what lies beside the pairs
        report = self._closed("eigenvalues", "checks", "sampling", "density")
        return None if report is None else report.sampling

    def density(self) -> SpectralDensity | None:
        report = self._closed("density")
        return None if report is None else report.density

    def trace(self) -> Estimate | None:
        report = self._closed("trace")
        return None if report is None else report.trace

    def layers(self) -> tuple[Layer, ...]:
        report = self._closed("layers")
        return () if report is None else report.layers

    def slices(self) -> tuple[Slice, ...]:
        report = self._closed("eigenvalues", "checks", "slices")
        return () if report is None else report.slices

    def room(self) -> Room | None:
        report = self._closed("eigenvalues", "checks", "room")
        return None if report is None else report.room


def _early_checks(
    look: Look, clock: Clock, have: _Known, seed: int, progress: Progress, *, dense: bool
) -> tuple[Check, ...]:
    """The checks, where they leave most of the time to the ends. Before them one gradient and one
    product say how long everything takes.
    """
    if clock.limited:
        progress("first product", 0, None)
        with clock.stage("gradient"):
            _ = look.gradient
        with clock.stage("first product"), journal.paused():  # one of an earlier run says nothing
            _ = look.hessian @ sample(look, dense=dense)
        if look.hessian.retained:  # it has built the graphs for all others
            clock.product *= KEPT
        _spare_rounding(look.hessian, clock)
    return (
        _checked(look, clock, have, seed, progress) if clock.fits(4 * checking(clock.H.f)) else ()
    )


def _spare_rounding(H: Hessian, clock: Clock) -> None:
    """Leave it to arithmetic in full precision how products are rounded, where a measurement would
    take a large part of the time.
    """
    if H.precision == "full" and H.dtype != torch.float64 and not clock.fits(4 * ROUNDING):
        H.assume_rounding()
        clock.leave_open("rounding of products: taken to be 20 eps |H|, not measured", ROUNDING)


def _checks(
    look: Look,
    clock: Clock,
    have: _Known,
    seed: int,
    progress: Progress,
    *,
    done: tuple[Check, ...],
) -> tuple[Check, ...]:
    """The checks where they are not done yet and there is time for them."""
    if done or clock.fits(checking(clock.H.f)):
        return done or _checked(look, clock, have, seed, progress)
    clock.leave_open(UNTESTED, checking(clock.H.f))
    return ()


def _checked(
    look: Look, clock: Clock, have: _Known, seed: int, progress: Progress
) -> tuple[Check, ...]:
    if have.checks():
        return have.checks()
    progress("checks", 0, None)
    with clock.stage("checks"):
        return check(look.f, seed=seed, look=look)


def _broke(checks: tuple[Check, ...]) -> bool:
    return any(check.status is Status.BROKEN for check in checks)


def _ends_share(clock: Clock) -> float:
    """Of the time that is left, what the ends may take: more where nothing else would fit
    into the rest.
    """
    return ENDS if clock.fits(checking(clock.H.f) / (1 - ENDS)) else ALL


def _affordable(clock: Clock, made: int, largest: int, smallest: int) -> tuple[int, int]:
    """How many pairs of each end there is time for beside so many products that are made, at least
    one.
    """
    full = 2 * (largest + smallest) + SEARCH
    products = made + clock.affordable(full, _ends_share(clock))
    if products >= full:
        return largest, smallest
    each = max(1, (products - SEARCH // 2) // 4)
    return min(largest, each), min(smallest, each)


def _route(method: str, n: int, clock: Clock) -> str:
    """The dense route only where there is time for n products."""
    return "lanczos" if method == "auto" and not clock.fits(n / ENDS) else method


def _note_ends(clock: Clock, point: StationaryPoint, asked: int, tol: float) -> None:
    """Say which eigenvalues the budget has left open."""
    pairs = point.pairs
    if not clock.limited or (pairs.converged and len(pairs.values) >= asked):
        return
    known = int((pairs.residuals <= 1.01 * tol * pairs.scale).sum())
    found = f"eigenvalues: {known} of {asked} pairs are known within tol"
    clock.leave_open(found, max(2 * asked + SEARCH - pairs.products, asked))


def _sampled(clock: Clock, have: _Known, pairs: Eigenpairs) -> Spread:
    """The sampling errors of as many pairs as there is time for, the outermost first, NaN of the
    others.
    """
    earlier = have.sampling()
    if earlier is not None:
        return earlier
    H, k = clock.H, len(pairs.values)
    if _told(pairs):  # by the products of the search
        with clock.stage("sampling errors"):
            return _told_spread(H, pairs)
    found = Spread(torch.full((k,), math.nan, dtype=torch.float64, device="cpu"), 0, 0.0)
    if len(H.batches) < 2:
        return found
    order = sorted(range(k), key=lambda i: (min(i, k - 1 - i), -i))
    chosen = sorted(order[: clock.affordable(k)])
    if chosen:
        with clock.stage("sampling errors", pace=False):
            known = _sampling(H, pairs.vectors[:, chosen])
            found.errors[chosen] = known.errors
            found = known._replace(errors=found.errors)
    if len(chosen) < k:
        clock.leave_open(f"sampling errors: {len(chosen)} of {k}", k - len(chosen))
    return found


def _density(
    clock: Clock,
    have: _Known,
    matrix: Tensor | None,
    pairs: Eigenpairs,
    size: tuple[int, int],
    seed: int,
    progress: Progress,
) -> SpectralDensity | None:
    """Of the matrix where it was formed; else by as many products as there is time for."""
    if have.density() is not None:
        return have.density()
    if matrix is not None:
        with clock.stage("density"):
            return spectral_density(matrix, *size, seed, known=pairs, progress=progress)
    most, shorter = _affordable_density(clock, pairs, size, seed)
    if shorter is None:
        clock.leave_open("density", most)
        return None
    if shorter != size:
        products = probing(clock.H, *shorter, pairs, seed)
        clock.leave_open(f"density: with {products} of {most} products", most)
    with clock.stage("density", pace=False):
        return spectral_density(clock.H, *shorter, seed, known=pairs, progress=progress)


def _affordable_density(
    clock: Clock, pairs: Eigenpairs, size: tuple[int, int], seed: int
) -> tuple[int, tuple[int, int] | None]:
    """The products that a density of this many probes and steps takes, and how many of both there
    is time for; None: for none that says anything.
    """
    most = probing(clock.H, *size, pairs, seed)
    products = clock.affordable(most, 0.7)
    if products >= most:
        return most, size
    for steps in range(size[1], 1, -1):
        spent = probing(clock.H, 2, steps, pairs, seed)
        if spent <= products:
            return most, (2, steps) if spent >= min(most, LEAST_DENSITY) else None
    return most, None


def _trace(
    clock: Clock,
    have: _Known,
    matrix: Tensor | None,
    point: StationaryPoint,
    density: SpectralDensity | None,
    seed: int,
    progress: Progress,
) -> Estimate | None:
    if have.trace() is not None:
        return have.trace()
    if matrix is not None:
        return _exact_trace(point)
    # the probes of the density are samples of the trace already
    seen = 0 if density is None else len(density.masses) * bool(len(density.known))
    asked = max(0, min(TRACE, clock.H.shape[0]) - seen)
    products = clock.affordable(asked, 0.8)
    if products + seen < LEAST_TRACE:
        clock.leave_open("trace", asked)
        return None
    if products < asked:
        clock.leave_open(f"trace: with {products} of {asked} products", asked)
    with clock.stage("trace", pace=False):
        return trace(
            clock.H,
            probes=products + seen,
            seed=seed,
            known=point.pairs,
            density=density,
            progress=progress,
        )


def _free(
    look: Look,
    clock: Clock,
    have: _Known,
    optimizer: Optimizer | None,
    matrix: Tensor | None,
    point: StationaryPoint,
    seed: int,
    progress: Progress,
) -> Room | None:
    """The room of the optimiser's rate, where there is one."""
    if optimizer is None or have.room() is not None:
        return None if optimizer is None else have.room()
    if not clock.fits(ROOM):
        clock.leave_open("room of the rate", ROOM)
        return None
    error = float(point.uncertainty.max())
    with clock.stage("room"):
        return room_of(look, optimizer, matrix, error=error, seed=seed, progress=progress)


def _along_orbits(
    f: Landscape, point: StationaryPoint, matrix: Tensor | None, seed: int
) -> StationaryPoint:
    """The point with its symmetries, and what of the curvature is the gradient's along them.

    Along an orbit x(t) f is constant: x'Hx = -g'x'', which vanishes with the gradient.
    """
    sloping = point.kind == "not-stationary" and isinstance(f, ModelLandscape)
    if matrix is None or not sloping:
        return point
    found = symmetries(require_model(f, "symmetries are a model's."), point.x, None, seed)
    if not found.kinds:
        return point
    T = found.tangents.to(matrix.device, torch.float64)
    curvatures = torch.linalg.eigvalsh(T.T @ matrix.double() @ T)
    told = (
        f"along {T.shape[1]} directions the loss is constant by verified symmetries: their "
        f"curvatures, {float(curvatures[0]):.3g} to {float(curvatures[-1]):.3g}, are the "
        "gradient's share, and vanish at a stationary point"
    )
    return replace(point, flat=found.dims, reasons=[*point.reasons, told])


def _polished(walk: Walk, method: str, point: StationaryPoint) -> Polish:
    far, size = distance(walk), float(walk.start.x.double().norm())
    return Polish(
        method=method,
        outcome=settled(walk, point),
        distance=far,
        relative_distance=far / size if size else (float("inf") if far else 0.0),
        value_before=walk.start.value,
        value=point.value,
        gradient_norm_before=walk.start.norm,
        gradient_norm=point.gradient_norm,
        iterations=walk.iterations,
        products=walk.products,
        gradients=walk.gradients,
    )


@result("spectrum")
@dataclass(frozen=True, eq=False)
class Spectrum(Sampled, Result):
    """Both ends of a Hessian's spectrum and its density. Units of eigenvalues: loss per squared
    parameter unit.
    """

    parameters: int
    samples: int  # 0 for a formula
    pairs: Eigenpairs
    # (k,) one data-sampling standard error per value, as in ``AnalysisReport``
    sampling_errors: Tensor
    density: SpectralDensity
    products: int  # Hessian-vector products spent in all
    seconds: float
    sampling_freedom: int = 0  # batches less one; 0: not known
    sampling_excess: float = 0.0  # of the batches' tails, as in ``AnalysisReport``
    sampling_raised: int = 0  # how many of the errors, as in ``AnalysisReport``


@owned()
@watched
def spectrum(
    f: Landscape,
    at: Tensor | Sequence[float] | None = None,
    *,
    largest: int = 10,
    smallest: int = 10,
    tol: float = 1e-4,
    probes: int = 3,
    steps: int = 50,
    seed: int = 0,
    progress: Progress = silent,
) -> Spectrum:
    """Eigenpairs with both error bars and the density of the Hessian at a point (n,), without a
    verdict.

    Arguments and errors are those of ``analyze``; a NumericalError besides where products are not
    those of the loss. Cost: what ``eigsh`` takes, that of ``spectral_density`` beside its pairs,
    and some six for the chain value, gradient, product.
    """
    start = time.perf_counter()
    look = Look(f, at, "spectrum")
    H = look.hessian
    _require_chain(look, seed)
    H.by_batch = True
    pairs = eigsh(H, largest=largest, smallest=smallest, tol=tol, seed=seed, progress=progress)
    H.by_batch = False
    density = spectral_density(H, probes, steps, seed, known=pairs, progress=progress)
    told = _told_spread(H, pairs) if _told(pairs) else _sampling(H, pairs.vectors)
    sampling = conservative(
        pairs.values,
        pairs.bounds,
        told,
        between(pairs, None, density),
    )
    origin = provenance(f, look.x, seed)
    return Spectrum(
        parameters=f.dim,
        samples=f.samples,
        pairs=pairs,
        sampling_errors=sampling.errors,
        density=density,
        products=H.products,
        seconds=time.perf_counter() - start,
        sampling_freedom=sampling.freedom,
        sampling_excess=sampling.excess,
        sampling_raised=sampling.raised,
        provenance=replace(origin, notes=(*origin.notes, *H.notes)),
    )


def _require_chain(look: Look, seed: int) -> None:
    if look.f.spread.sharded:  # there is no room for float64 beside it
        return
    found = chained(look, seed)
    if found.status is Status.BROKEN:
        raise NumericalError(f"the chain value, gradient, product broke: {found.message}.")


def sampling_errors(H: Hessian, pairs: Eigenpairs) -> Tensor:
    """One data-sampling standard error per eigenvalue (k,).

    lambda estimates the eigenvalue of the population that the data are from, at this point, with
    this error; that of another data set of the same size is another estimate, and their difference
    is sqrt 2 times as wide. First order: d lambda = v' dH v, from the spread of v'H_b v over the B
    micro-batches; for shares w_b of the data, 1/(B-1) sum (v'H_b v - w_b sum v'H_b v)^2 / w_b, of B
    - 1 degrees of freedom. NaN with fewer than two batches.

    The data must be independent samples. Where pairs are nearer to each other than their errors
    tell apart they repel each other, and the errors are raised to reach over the mean of all that
    are as near (``points.crowds``). At a point that was trained on these very data fresh data bring
    a bias of about an error besides, which is not in it: small eigenvalues are smaller there. Cost:
    one product a pair.
    """
    return conservative(pairs.values, pairs.bounds, _sampling(H, pairs.vectors)).errors


def _conservative(
    sampling: Spread, have: _Known, point: StationaryPoint, density: SpectralDensity | None
) -> Spread:
    """Errors that reach over the mean of what is as near, those between both ends among it; an
    earlier report's do.
    """
    if have.sampling() is not None:
        return sampling
    whole = point.eigenvalues if point.method == "dense" else None
    pairs = point.pairs
    return conservative(pairs.values, pairs.bounds, sampling, between(pairs, whole, density))


def _told(pairs: Eigenpairs) -> bool:
    """Whether the search for the pairs has told what each batch makes of them."""
    return pairs.forms.numel() > 0 and bool(torch.isfinite(pairs.forms).all())


def _sampling(H: Hessian, vectors: Tensor) -> Spread:
    """Of the eigenvalues whose eigenvectors are the columns of ``vectors`` (n, k)."""
    return sampling_spread(*H.quadratic_forms(vectors), H.f.samples)


def _told_spread(H: Hessian, pairs: Eigenpairs) -> Spread:
    return sampling_spread(pairs.forms, pairs.shares, H.f.samples)


def _exact_trace(point: StationaryPoint) -> Estimate:
    value, error = float(point.eigenvalues.sum()), float(point.uncertainty.sum())
    return Estimate(value, error, value - error, value + error)


def _layers(
    look: Look,
    matrix: Tensor | None,
    point: StationaryPoint,
    seed: int,
    clock: Clock,
    have: _Known,
    progress: Progress,
) -> tuple[Layer, ...]:
    if not look.f.layout or have.layers():
        return have.layers()
    f = require_model(look.f, "layers are a model's.")
    names = modules(f)
    cost = LAYER * LIGHT if matrix is None else 0
    most = 2 * LAYER if matrix is None else 0  # of one that is begun, which is not cut off
    if not clock.fits(most):
        clock.leave_open("layers", cost * len(names))
        return ()
    look.hessian.release()  # a layer's graphs take their place
    layers: list[Layer] = []
    with clock.stage("layers", pace=False):
        for i, (name, own) in enumerate(names.items()):
            progress("layers", i, len(names))
            if not clock.fits(most):
                clock.leave_open(f"layers: {i} of {len(names)}", cost * (len(names) - i))
                break
            layers.append(_layer(f, look, matrix, point, seed, name, own))
    return tuple(layers)


def _layer(
    f: ModelLandscape,
    look: Look,
    matrix: Tensor | None,
    point: StationaryPoint,
    seed: int,
    name: str,
    own: list[str],
) -> Layer:
    """The module with this name and these parameters of its own."""
    H, gradient = look.hessian, look.gradient.double()
    slices = [f.layout[k] for k in own]
    where = torch.cat([torch.arange(s.start, s.stop, device=gradient.device) for s in slices])
    if matrix is not None:
        error = float(point.uncertainty.max())
        values = torch.linalg.eigvalsh(matrix[where][:, where].double())
        low, high = (Bounded(float(v), error) for v in (values[0], values[-1]))
    else:
        low, high = _block_ends(f.part(own, H.x), look.x[where], H, point.pairs.scale, seed)
    return Layer(name, len(where), float(gradient[where].norm()), high, low)


def _block_ends(
    part: Landscape, x: Tensor, H: Hessian, scale: float, seed: int
) -> tuple[Bounded, Bounded]:
    """The smallest and the largest eigenvalue of a layer's own block of H, whose norm is
    ``scale``.
    """
    block = Hessian(part, at=x, method=H.method, memory=H.memory)
    if not H.unmeasured:  # the block's products are parts of such as were held against float64
        block.presume(noise(H, scale))
    pairs = eigsh(block, largest=1, smallest=1, tol=1e-2, seed=seed, exact=16)
    H.products += block.products
    low, high = (Bounded(float(pairs.values[j]), float(pairs.bounds[j])) for j in (0, -1))
    return low, high


def _slices(
    look: Look, point: StationaryPoint, clock: Clock, have: _Known, progress: Progress
) -> tuple[Slice, ...]:
    """Along the eigenvectors of both ends, as far as the parabola changes f by its own size."""
    if have.slices():
        return have.slices()
    cost = _slice_cost(look, clock)
    if not clock.fits(cost):
        clock.leave_open("slices", cost)
        return ()
    with clock.stage("slices"):
        return _sliced(look, point, progress)


def _slice_cost(look: Look, clock: Clock) -> float:
    """What the values of both slices take, in products: where graphs are kept a product takes less
    than a value, which is timed.
    """
    if not clock.limited:
        return SLICES
    with journal.paused():
        _, each = timed(lambda: float(look.f.value(look.x)))
    values = 2 * (2 * SLICE_STEPS + 1)
    return values * look.f.ranks.agreed(each) / clock.product


def _sliced(look: Look, point: StationaryPoint, progress: Progress) -> tuple[Slice, ...]:
    x, pairs, slices = look.x, point.pairs, []
    longest = 0.5 * max(float(x.double().norm()), 1.0)
    steps = torch.arange(-SLICE_STEPS, SLICE_STEPS + 1, dtype=torch.float64, device="cpu")
    for i, (name, j) in enumerate((("largest", -1), ("smallest", 0))):
        progress("slices", i, 2)
        v, curvature = pairs.vectors[:, j], float(pairs.values[j])
        span = (2 * max(abs(point.value), 1e-3) / max(abs(curvature), 1e-12)) ** 0.5
        t = min(span, longest) * steps / SLICE_STEPS  # exactly 0 in the middle
        values = _values_at(look, [x + float(s) * v for s in t]).double().cpu()
        values = torch.where(torch.isfinite(values), values, torch.full_like(values, float("nan")))
        slope = float(look.gradient.double() @ v.double())
        predicted = point.value + slope * t + 0.5 * curvature * t**2
        slices.append(Slice(name, curvature, slope, t, values, predicted))
    return tuple(slices)


def _values_at(look: Look, points: list[Tensor]) -> Tensor:
    """f at points, in passes of many where the time of one is Python's."""
    if not look.hessian.light:
        return torch.stack([look.f.value(x) for x in points])
    measure, size = evaluator(look.f, {})
    return torch.cat([measure(X)["loss"] for X in torch.split(torch.stack(points), size)])


def _advice(
    point: StationaryPoint,
    sampling: Spread,
    checks: tuple[Check, ...],
    free: Room | None,
) -> tuple[str, ...]:
    """What to do next, most useful first."""
    advice = [*_rate(point, free), *_moves(point), *_doubts(point)]
    smallest = float(point.eigenvalues[0])
    reach = sampling.reach * float(sampling.errors[0]) if sampling.freedom else math.nan
    if float(point.uncertainty[0]) < abs(smallest) < reach:
        advice.append(
            f"more data would help: the smallest eigenvalue {smallest:.2g} ± {reach:.2g} (95 %, "
            f"from {sampling.freedom + 1} batches) may be of either sign in the population"
        )
    advice += [f"{c.name}: {c.message}" for c in checks if c.status is Status.WARNING]
    return tuple(advice)


def _rate(point: StationaryPoint, free: Room | None) -> list[str]:
    """What to do with the rate of the user's own optimiser."""
    if free is None:
        return []
    of, known = f"{free.optimizer}'s rate of {free.rate:.3g}", math.isfinite(free.advised)
    to = free.rate * (free.advised if known else free.low)
    fall = f"lower the loss by {free.advised_gain:.2g}"
    tried = f"{free.steps} steps at that rate {fall}, tried on a copy"
    if free.stable is False and not any("eps" in line for line in free.remarks):
        why = tried if known else f"no rate tried on a copy lowers the loss in {free.steps} steps"
        return [f"lower {of} to {to:.3g} or less: it is unstable here; {why}"]
    if not ROOMY < free.low < math.inf:
        return []
    if known:
        return [
            f"{of} could be raised to {to:.3g} and stay stable here: {tried} (by {free.gain:.2g} "
            "at its own); go there in steps, for sharpness changes with the rate"
        ]
    return [
        f"keep {of}: the curvature here has room up to {to:.3g}, but no higher rate tried on a "
        f"copy lowers the loss by more in {free.steps} steps"
    ]


def _moves(point: StationaryPoint) -> list[str]:
    """Where the loss still falls."""
    smallest = float(point.eigenvalues[0])
    moving, advice = point.kind == "not-stationary", []
    if moving:
        advice.append(
            "train on: the spectrum describes this point, not the minimum or saddle it may lead to"
        )
    if point.kind == "saddle" or (moving and smallest < -float(point.uncertainty[0])):
        advice.append(
            "a way down: step along the most negative eigenvector, either way (curvature "
            f"{smallest:.3g}; see the slices)"
        )
    return advice


def _doubts(point: StationaryPoint) -> list[str]:
    """What would settle an open verdict."""
    if point.kind in ("degenerate", "plateau"):
        return [
            "second order cannot tell: weight decay (--l2) or dtype float64 would decide the zero "
            "eigenvalues"
        ]
    if point.kind == "inconclusive":
        return ["raise the number of products or loosen tol: " + point.reasons[-1]]
    return []
