"""What is known of one point, flat, for programs."""

import dataclasses

from torch import Tensor

from landscape.linalg.lanczos import Eigenpairs
from landscape.points.analyze import AnalysisReport, Spectrum
from landscape.points.blocks import Blocks
from landscape.points.budget import Forecast
from landscape.points.classify import StationaryPoint
from landscape.points.reports import SearchReport
from landscape.points.room import Room
from landscape.points.survive import Change, Survival
from landscape.results import Estimate
from landscape.results.flat import flat, listed


@flat.register
def analysis(report: AnalysisReport) -> dict[str, object]:
    """The verdict, the eigenvalues of both ends with both of their errors, and the checks."""
    point = report.point
    return verdict(point) | {
        "parameters": report.parameters,
        "samples": report.samples,
        "eigenvalues": eigenvalues(point.pairs, report.sampling_errors),
        "trace": report.trace,
        "negative": negative(report),
        "checks": [
            {"name": c.name, "status": c.status.name, "message": c.message} for c in report.checks
        ],
        "layers": list(report.layers),
        "advice": list(report.advice),
        "polish": report.polish,
        "room": None if report.room is None else room(report.room),
        "unfinished": list(report.unfinished),
        "products": report.products,
        "seconds": report.seconds,
    }


@flat.register
def forecast(result: Forecast) -> dict[str, object]:
    """What an analysis would take, stage by stage."""
    names = (f.name for f in dataclasses.fields(result) if f.name != "provenance")
    known = {name: getattr(result, name) for name in names}
    return known | {"products": result.products, "seconds": result.seconds}


@flat.register
def room(result: Room) -> dict[str, object]:
    """Whether the optimiser is stable, its room, and what the room rests on."""
    names = (f.name for f in dataclasses.fields(result) if f.name != "provenance")
    return {"stable": result.stable} | {name: getattr(result, name) for name in names}


@flat.register
def survival(result: Survival) -> dict[str, object]:
    """The change tensor by tensor and as a whole, predicted and measured, and what to keep."""
    return {
        "change": result.change,
        "parameters": result.parameters,
        "samples": result.samples,
        "loss": result.loss,
        "keep": list(result.keep),
        "layers": [_changed(layer) for layer in result.layers],
        "whole": _changed(result.whole),
        "products": result.products,
    }


@flat.register
def blocks(result: Blocks) -> dict[str, object]:
    """The norm of each block, and the share of those on the diagonal."""
    return {
        "layers": list(result.layers),
        "sizes": list(result.sizes),
        "norms": result.norms.tolist(),
        "diagonal_share": result.diagonal_share,
        "products": result.products,
    }


def _changed(change: Change) -> dict[str, object]:
    names = (f.name for f in dataclasses.fields(change))
    return {"holds": change.holds} | {name: getattr(change, name) for name in names}


@flat.register
def spectrum(result: Spectrum) -> dict[str, object]:
    """The eigenvalues of both ends with both of their errors, and the density."""
    return {
        "parameters": result.parameters,
        "samples": result.samples,
        "eigenvalues": eigenvalues(result.pairs, result.sampling_errors),
        "density": {"nodes": result.density.nodes, "weights": result.density.weights},
        "products": result.products,
        "seconds": result.seconds,
    }


@flat.register
def point(result: StationaryPoint) -> dict[str, object]:
    """The verdict and the eigenvalues that it rests on."""
    return verdict(result) | {
        "parameters": len(result.x),
        "x": listed(result.x),
        "eigenvalues": eigenvalues(result.pairs, None),
        "products": result.products,
    }


@flat.register
def search(report: SearchReport) -> dict[str, object]:
    """The point that was found, and from where."""
    return point(report.found) | {"start": report.start, "seconds": report.seconds}


def negative(report: AnalysisReport) -> Estimate | None:
    """How many eigenvalues are negative: exactly where the index is known, else by the density;
    None where there is none.
    """
    point = report.point
    if point.index is not None:
        return Estimate(point.index, 0.0, point.index, point.index)
    if report.density is None:
        return None
    return report.density.count(float("-inf"), -float(point.uncertainty.max()))


def verdict(point: StationaryPoint) -> dict[str, object]:
    """What kind of point it is, and how sure that is."""
    return {
        "verdict": point.kind,
        "index": point.index,
        "index_bounds": point.index_bounds,
        "nullity": point.nullity,
        "flat": point.flat,
        "learning_coefficient": point.learning_coefficient,
        "confidence": point.confidence,
        "loss": point.value,
        "gradient_norm": point.gradient_norm,
        "reasons": point.reasons,
    }


def eigenvalues(pairs: Eigenpairs, sampling: Tensor | None) -> list[dict[str, object]]:
    """Ascending; ``sampling_error`` is null where fewer than two batches were seen."""
    errors = [None] * len(pairs.values) if sampling is None else sampling.tolist()
    rows = zip(pairs.values.tolist(), pairs.bounds.tolist(), errors, strict=True)
    return [{"value": v, "bound": b, "sampling_error": e} for v, b, e in rows]
