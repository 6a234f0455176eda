"""What a result says, as labelled lines: the table on the screen and the page in the browser show the same ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import numbers

SHOWN = 5  # eigenvalues of each end
VERDICTS = {
    "minimum": "every eigenvalue is positive",
    "maximum": "every eigenvalue is negative",
    "saddle": "curvature of both signs",
    "degenerate": "some curvature is zero, second order cannot tell",
    "plateau": "no curvature in any direction",
    "not-stationary": "the loss still slopes here",
    "inconclusive": "the numbers do not support a verdict",
}


@dataclass(frozen=True)
class Fact:
    """A label with its lines, or with eigenvalues."""

    label: str
    lines: tuple[str, ...] = ()
    eigenvalues: tuple[tuple[str, str], ...] = ()  # (value ± sampling error, solver bound)


def of_analysis(report: Any) -> list[Fact]:
    """Every line of an AnalysisReport, in the order people ask: what, verdict, why, how steep, how curved, what next."""
    point = report.point
    found = {f"{check.name}: {check.message}" for check in report.checks}  # said under "checks" already
    facts = [
        Fact("analysed", (analysed(report),)),
        Fact("polished", tuple(polished(report.polish))),
        Fact("verdict", (verdict(point),)),
        Fact("why", tuple(point.reasons)),
        Fact("loss", (numbers.plain(point.value),)),
        Fact(
            "|gradient|",
            (f"{numbers.plain(point.gradient_norm)} (rounding alone: {numbers.bound(point.gradient_noise)})",),
        ),
        *ends(report),
        Fact("negative", (negative(report),)),
        Fact("trace", (_trace(report.trace),)),
        Fact("checks", tuple(checks(report))),
        Fact("notes", tuple(report.notes)),
        Fact("next", tuple(line for line in report.advice if line not in found)),
    ]
    return [fact for fact in facts if fact.lines or fact.eigenvalues]


def _trace(trace: Any) -> str:
    """Six digits where the error does not reach them, as for a spectrum that is known as a whole."""
    small = trace.error <= 5e-7 * abs(trace.value)
    return numbers.uncertain(trace.value, 0.0 if small else trace.error)


def of_spectrum(spectrum: Any) -> list[Fact]:
    """Every line of a Spectrum."""
    facts = [Fact("analysed", (analysed(spectrum),)), *ends(spectrum), Fact("notes", tuple(spectrum.notes))]
    return [fact for fact in facts if fact.lines or fact.eigenvalues]


def analysed(result: Any) -> str:
    """What was analysed: name, size, samples, precision, device."""
    samples = f", {numbers.count(result.samples)} samples" if result.samples else ""
    origin = result.provenance
    return f"{result.name}: {numbers.count(result.parameters)} parameters{samples}, {origin.dtype} on {origin.device}"


def verdict(point: Any) -> str:
    """``saddle of index 3: curvature of both signs``."""
    index = ""
    if point.kind == "saddle":
        low, high = point.index_bounds
        index = f" of index {point.index}" if point.index is not None else f" of index {low:,} to {high:,}"
    return f"{point.kind.upper()}{index}: {VERDICTS.get(point.kind, '')}"


def ends(result: Any) -> Iterator[Fact]:
    """Both ends of the spectrum, outermost first."""
    from landscape_figures.spectrum import lower_end  # here, because matplotlib takes a second

    pairs = getattr(result, "point", result).pairs
    rows = list(zip(pairs.values.tolist(), result.sampling_errors.tolist(), pairs.bounds.tolist(), strict=True))
    split = lower_end(result)
    for label, end in (("largest", rows[split:][::-1]), ("smallest", rows[:split])):
        shown = tuple((numbers.uncertain(value, error), numbers.bound(bound)) for value, error, bound in end[:SHOWN])
        if shown:
            yield Fact(
                label, eigenvalues=shown, lines=(f"{len(end) - SHOWN} more in result.json",) if len(end) > SHOWN else ()
            )


def polished(polish: Any) -> Iterator[str]:
    """How far the point was moved before it was analysed, and whether it became stationary."""
    if polish is None:
        return
    yield (
        f"moved by {numbers.plain(polish.distance)} ({numbers.plain(polish.relative_distance)} |x|) by {polish.method}, "
        f"{numbers.count(polish.iterations)} steps: {polish.outcome.value}"
    )
    yield f"loss {numbers.plain(polish.value_before)} before, {numbers.plain(polish.value)} after"
    yield f"|gradient| {numbers.plain(polish.gradient_norm_before)} before, {numbers.plain(polish.gradient_norm)} after"
    if polish.outcome.name != "STATIONARY":
        yield "it did not become stationary: all below is of the point reached"


def negative(report: Any) -> str:
    """How many eigenvalues are negative, exactly where known, else within bounds."""
    point, n = report.point, report.parameters
    if point.index is not None:
        known = "the whole spectrum" if point.method == "dense" else f"confidence {100 * point.confidence:.3g} %"
        return (
            f"{numbers.count(point.index)} of {numbers.count(n)} eigenvalues ({numbers.share(point.index, n)}), {known}"
        )
    floor = -float(point.uncertainty.max())
    estimate = report.density.count(float("-inf"), floor)
    return (
        f"{numbers.count(point.index_bounds[0])} or more for certain; by the density "
        f"about {numbers.count(estimate.value)} of {numbers.count(n)} eigenvalues ({numbers.share(estimate.value, n)}) are below "
        f"{numbers.plain(floor)}; {numbers.count(estimate.low)} to {numbers.count(estimate.high)} with 95% confidence"
    )


def checks(report: Any) -> Iterator[str]:
    """The checks that found something, gravest first."""
    order = {"WARNING": 0, "NOTE": 1}
    found = [check for check in report.checks if check.status.name in order]
    for check in sorted(found, key=lambda check: order[check.status.name]):
        yield f"{check.status.name.lower()}: {check.name}: {check.message}"
    if report.checks and not found:
        yield f"all {len(report.checks)} passed: {', '.join(check.name for check in report.checks)}"


def of_file(report: Any) -> list[Fact]:
    """What a FileReport says of a file as a whole."""
    facts = [
        Fact("file", (report.path,)),
        Fact("format", (report.format,)),
        Fact("loads", ("yes, as tensors and plain values" if report.safe else f"no: {report.reason}",)),
        Fact("asks for", report.asks_for),
        Fact("others", tuple(f"{name}: {what}" for name, what in report.others.items())),
        Fact("tensors", (numbers.count(len(report.tensors)),)),
    ]
    return [fact for fact in facts if fact.lines]


def tensors(report: Any) -> list[tuple[str, str, str]]:
    """Name, shape and dtype of every tensor of a FileReport."""
    return [(t.name, " x ".join(map(str, t.shape)) or "scalar", t.dtype) for t in report.tensors]
