"""Every interval of every result class: what it covers, from how few samples, and the test that holds it.

``found`` asks the classes themselves; ``COVERS`` must have a row for each that it finds, and no other.
"""

import dataclasses
import importlib
import inspect
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass

from landscape.results import Bounded, Estimate, store
from landscape.results.kinds import KINDS

# Tensors and numbers that are half-widths or limits by their name.
WIDTHS = re.compile(r"(^|_)(errors?|bounds?|uncertainty|spread|residuals|unmet|low|high|band)$")
# Pairs that are an interval, and not a point or an option.
PAIRS = [tuple[float, float], tuple[int, int]]


@dataclass(frozen=True)
class Row:
    """What one interval promises."""

    covers: str
    fewest: str  # the fewest samples with which it says anything
    # of tests/, file::function; or ``coverage: NAME``, a name in ``coverage_table.CASES``
    test: str


def _interval(hint: object) -> bool:
    if hint in (Estimate, Bounded) or hint in PAIRS:
        return True
    return any(_interval(part) for part in typing.get_args(hint))


def _of_class(cls: type) -> Iterator[str]:
    if cls in (Estimate, Bounded):
        return
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if _interval(hints[field.name]) or WIDTHS.search(field.name):
            yield field.name
    for name, member in vars(cls).items():
        function = member.fget if isinstance(member, property) else member
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        if WIDTHS.search(name) or _interval(typing.get_type_hints(function).get("return")):
            yield name


def found() -> set[str]:
    """``Class.name`` of every field, property and method of a stored result that is an interval."""
    for module, _ in KINDS.values():
        importlib.import_module(module)
    classes = [cls for cls in store._CLASSES.values() if dataclasses.is_dataclass(cls)]
    return {f"{cls.__name__}.{name}" for cls in classes for name in _of_class(cls)}


_CERTAIN = "certain: rounding and the solver's own error"
_SHARE = "the share among all points of realisations like those counted"
_CORRELATION = "the correlation among the ends of all paths; a path is a sample"
_SAMPLING = (
    "one standard error, more where values are near each other; ± sampling_reach of them hold the "
    "population's value at this point"
)

COVERS: dict[str, Row] = {
    "AnalysisReport.sampling_errors": Row(_SAMPLING, "2 batches", "coverage: sampling errors"),
    "Spectrum.sampling_errors": Row(_SAMPLING, "2 batches", "coverage: sampling errors"),
    "AnalysisReport.trace": Row("the trace of H", "6 products", "coverage: trace"),
    "Census.unseen": Row(
        "how many points were not met: from what the Euler sum shows to infinity",
        "1 start",
        "inventory/test_census.py::test_a_census_promises_no_more_than_starts_can_say",
    ),
    "Census.unmet": Row(
        "the share of starts that all points not met hold together, at most",
        "1 start",
        "coverage: share of draws not met",
    ),
    "Comparison.fits": Row(
        "the slope of a line through points with normal errors", "3 points", "coverage: slope"
    ),
    "Series.measured": Row(
        "a median or mean of runs, as its series says", "1 run", "coverage: median of runs"
    ),
    "DimensionCounts.means": Row(
        "the mean number of points of an index, of realisations like those counted",
        "1 realisation",
        "coverage: mean of counts",
    ),
    "DimensionCounts.total": Row(
        "the mean number of points of realisations like those counted",
        "1 realisation",
        "coverage: mean of counts",
    ),
    "DimensionCounts.unmet": Row(
        "the share of realisations, at most, that have what none of those counted showed",
        "1 realisation",
        "coverage: what no realisation showed",
    ),
    "DimensionCounts.minima": Row(_SHARE, "1 realisation", "coverage: share"),
    "DimensionCounts.saddles": Row(_SHARE, "1 realisation", "coverage: share"),
    "DimensionCounts.share": Row(_SHARE, "1 realisation", "coverage: share"),
    "IndexByEnergy.shares": Row(_SHARE, "1 realisation", "coverage: share"),
    "WidthCounts.minimum_share": Row(
        "the share of minima among the ends of all paths", "1 path", "coverage: share"
    ),
    "WidthCounts.correlation": Row(_CORRELATION, "3 ends", "coverage: correlation"),
    "NetworkCensus.correlation": Row(_CORRELATION, "3 ends", "coverage: correlation"),
    "ExpectedCounts.errors": Row(
        "one standard error of a sampled mean number, never 0; measured is its 95 % interval",
        "100 samples",
        "coverage: expected counts",
    ),
    "EdgeRun.spread": Row(
        "half the range of the sharpness in the late steps of this run; no confidence",
        "1 step",
        "optimizers/test_studies.py",
    ),
    "Eigenpairs.bounds": Row(
        "the i-th eigenvalue, copies counted, with probability ``confidence``",
        "1 product",
        "coverage: eigenvalues of a search",
    ),
    "Eigenpairs.residuals": Row(_CERTAIN, "1 product", "coverage: eigenvalues of a search"),
    "Escapes.median": Row(
        "the median of all runs; open ends below 6 events", "1 run", "coverage: median of runs"
    ),
    "Escapes.rate": Row(
        "events a run and step, if waiting times are exponential", "1 run", "coverage: rate"
    ),
    "Escapes.growth": Row(
        "the median over all runs that escape", "6 runs that escaped", "coverage: median of runs"
    ),
    "StationaryPoint.index_bounds": Row(
        "the number of negative eigenvalues, with probability ``confidence``",
        "1 product",
        "coverage: index",
    ),
    "FoundPoint.index_bounds": Row(
        "the number of negative eigenvalues, with probability ``confidence``",
        "1 product",
        "coverage: index",
    ),
    "StationaryPoint.uncertainty": Row(_CERTAIN, "1 product", "coverage: eigenvalues at a point"),
    "FoundPoint.uncertainty": Row(_CERTAIN, "1 product", "coverage: eigenvalues at a point"),
    "Layer.largest": Row(_CERTAIN, "1 product", "coverage: eigenvalues at a point"),
    "Layer.smallest": Row(_CERTAIN, "1 product", "coverage: eigenvalues at a point"),
    "LossLaw.spread": Row(
        "no interval: the scale of the fitted law", "5 points", "inventory/test_widths.py"
    ),
    "Match.found": Row(
        "one standard error of the number found, 0 where exact; two make its ends",
        "1 run",
        "figures/test_gallery.py",
    ),
    "PictureCheck.error": Row(
        "the second derivative along a direction, unless no span resolves f",
        "25 values",
        "coverage: second derivative from values",
    ),
    "PictureCheck.trace_share": Row("the plane's share of tr H", "2 probes", "coverage: trace"),
    "PictureCheck.frobenius_share": Row(
        "the plane's share of the squared Frobenius norm",
        "2 probes",
        "coverage: moments of the spectrum",
    ),
    "Probe.change": Row(
        "the mean change over all seeds, if changes are nearly normal",
        "2 seeds",
        "coverage: mean over seeds",
    ),
    "Probe.against_control": Row(
        "its high is above the mean for all remedies at once",
        "3 seeds",
        "coverage: trials beside the control",
    ),
    "SpectralDensity.count": Row(
        "the number of eigenvalues in an interval", "2 probes", "coverage: counts of eigenvalues"
    ),
    "SpectralDensity.band": Row(
        "how many eigenvalues lie up to each of some levels, for all levels at once",
        "2 probes",
        "linalg/test_quadrature.py::test_a_band_holds_at_all_levels_at_once",
    ),
    "SpectralDensity.moment": Row(
        "the mean of lambda^k over the spectrum", "2 probes", "coverage: moments of the spectrum"
    ),
    "SpectralDensity.errors": Row(
        "one standard error of a weight, from the spread of probes",
        "2 probes",
        "linalg/test_quadrature.py",
    ),
    "Trace.largest_bound": Row(_CERTAIN, "1 product", "coverage: tracked ends"),
    "Trace.smallest_bound": Row(_CERTAIN, "1 product", "coverage: tracked ends"),
    "Change.predicted": Row(
        "the change of the loss by second order, its error the next order's",
        "1 product",
        "coverage: change by second order",
    ),
    "Change.measured": Row(
        "the change of the loss with other data", "2 batches", "coverage: change of the loss"
    ),
    "Change.hawq": Row(
        "HAWQ's estimate of the change, with its trace's error",
        "16 probes",
        "coverage: HAWQ's number",
    ),
    "Compared.barrier_errors": Row(
        "one standard error of a barrier from the data; ± barrier_reach of them hold it with other data",
        "2 batches",
        "coverage: barrier",
    ),
    "Compared.aligned_errors": Row(
        "one standard error of a barrier from the data; ± aligned_reach of them hold it with other data",
        "2 batches",
        "coverage: barrier",
    ),
    "Compared.angle_errors": Row(
        "certain: how far an angle may be off, residuals over gaps",
        "1 product",
        "coverage: angles between spans",
    ),
    "Room.low": Row(
        "the least factor by which the rate could grow and stay stable, with other data",
        "2 batches",
        "coverage: sharpness that an optimiser feels",
    ),
    "Room.high": Row(
        "the largest such factor", "2 batches", "coverage: sharpness that an optimiser feels"
    ),
    "Census.low": Row("no interval: a corner of the domain", "1 start", "inventory/test_census.py"),
    "Census.high": Row(
        "no interval: a corner of the domain", "1 start", "inventory/test_census.py"
    ),
    "Reading.low": Row("no interval: the least output", "1 sample", "training/test_diagnose.py"),
    "Reading.high": Row("no interval: the largest output", "1 sample", "training/test_diagnose.py"),
    "Reading.spread": Row(
        "no interval: the size of the outputs over samples", "1 sample", "training/test_diagnose.py"
    ),
    "Room.sharpness": Row(
        "the curvature that the optimiser feels, with other data",
        "2 batches",
        "coverage: sharpness that an optimiser feels",
    ),
    "Room.critical": Row(
        "the factor at which the loss rises again along the update",
        "1 pass",
        "coverage: critical factor",
    ),
    "Room.noise_scale": Row(
        "tr Sigma over the squared gradient norm", "2 batches", "coverage: noise scale"
    ),
    "Room.preconditioned_noise_scale": Row(
        "tr Sigma over the squared gradient norm as the optimiser steps",
        "2 batches",
        "coverage: noise scale of an optimiser's steps",
    ),
    "StationaryPoint.learning_coefficient": Row(
        "the local learning coefficient, certain at a minimum of an analytic loss",
        "n products",
        "coverage: learning coefficient",
    ),
    "Walk.bounds": Row(
        "an eigenvalue for certain, the i-th with the confidence of its search",
        "1 product",
        "coverage: eigenvalues of a search",
    ),
}
