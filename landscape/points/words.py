"""What is said of one point: an analysis, a spectrum, a verdict, a search."""

import math
import shlex
from collections.abc import Iterator, Sequence

from torch import Tensor

from landscape.linalg.lanczos import Eigenpairs
from landscape.linalg.words import lower_end
from landscape.linalg.words import pairs as eigenvalues
from landscape.points.analyze import AnalysisReport, Layer, Polish, Spectrum
from landscape.points.blocks import Blocks
from landscape.points.budget import Forecast, Stage, seconds
from landscape.points.checks import Check
from landscape.points.classify import VAGUE, StationaryPoint
from landscape.points.find import FoundPoint
from landscape.points.flat import negative
from landscape.points.reports import SearchReport
from landscape.points.room import Room
from landscape.points.survive import Change, Survival
from landscape.results import Estimate, Result
from landscape.results.numbers import bound, bounded, count, plain, several, share, uncertain
from landscape.results.words import Fact, Table, Words, columns, said

SHOWN = 5  # eigenvalues of each end
GO_ON = "--resume, or in Python known=, goes on from here"
COORDINATES = 12  # of a point
VERDICTS = {
    "minimum": "every eigenvalue is positive",
    "maximum": "every eigenvalue is negative",
    "saddle": "curvature of both signs",
    "degenerate": "some curvature is zero, second order cannot tell",
    "plateau": "no curvature in any direction",
    "not-stationary": "the loss still slopes here",
    "inconclusive": "the numbers do not support a verdict",
}
ABOUT_THE_LANDSCAPE = (
    *("set", "dim", "domain", "checkpoint", "checkpoint-key", "strip", "data", "loss", "l2", "l1"),
    *("include", "exclude", "mode", "masks", "dtype", "batch-size"),
)
HEAD = ("± sampling error of the data", "± solver")
# What --polish says where it has spent all it may: its budget is no option.
SPENT = (
    "all that polishing may spend was spent on the way; train on first, or add a regulariser "
    "(--l2 1e-4), which gives a narrow valley a floor"
)


@said.register
def analysis(report: AnalysisReport, folder: str) -> Words:
    """What one can act on first, then in the order people ask: verdict, why, how steep, how curved,
    what next.
    """
    point = report.point
    checked = {f"{check.name}: {check.message}" for check in report.checks}  # said under "checks"
    parts = [
        Fact("analysed", (analysed(report, report.parameters, report.samples),)),
        Fact("polished", tuple(_polished(report.polish))),
        *(_unnamed(report) if report.room is None else room_facts(report.room, point.value)),
        Fact("curvature", tuple(_curvature(report))),
        Fact("verdict", (verdict(point),)),
        Fact("why", tuple(point.reasons)),
        *_flat(point),
        Fact("loss", (plain(point.value),)),
        _gradient(point),
        *_ends(point.pairs, report.sampling_errors),
        Fact("sampling", tuple(_sampling(report, point.kind != "not-stationary"))),
        Fact("negative", (_negative(report),)),
        *(() if report.trace is None else (Fact("trace", (_trace(report.trace),)),)),
        Fact("checks", tuple(_checks(report.checks))),
        Fact("notes", tuple(report.notes)),
        Fact("unfinished", (*report.unfinished, GO_ON) if report.unfinished else ()),
        Fact("next", tuple(line for line in report.advice if line not in checked)),
        Fact("took", tuple(_stages(report.stages))),
    ]
    return Words(f"{_kind(point)}, {several(report.parameters, 'parameter')}", parts)


def _unnamed(report: AnalysisReport) -> Iterator[Fact]:
    """What is known of the way on where no optimiser was named."""
    if report.samples and not any("room" in line for line in report.unfinished):
        yield Fact(
            "optimiser",
            (
                "none was named: --optimizer NAME:lr=RATE tells whether yours is stable here, how "
                "much room its rate has, and what its steps would still gain",
            ),
        )
    point = report.point
    if point.kind == "not-stationary" and math.isfinite(point.predicted_decrease):
        fall = point.predicted_decrease
        told = f"lower by {plain(fall)}{_part(fall, point.value)}"
        if fall == point.value:
            told = f"lower by more than there is: {plain(fall)} is all that it can fall"
        yield Fact("further", (f"the quadratic here foretells a loss {told}",))


def _part(change: float, loss: float) -> str:
    """``, 14 % of it``, where there is a loss."""
    known = math.isfinite(loss) and loss != 0
    return f", {_percent(abs(change / loss))} of it" if known else ""


def _percent(part: float) -> str:
    """``14 %``: two digits."""
    return f"{float(f'{100 * part:.2g}'):g} %"


def _curvature(report: AnalysisReport) -> Iterator[str]:
    """The largest curvature, how well the data know it, its share, and how much curves down."""
    if report.broken or not len(report.point.eigenvalues):
        return
    top, error = float(report.point.eigenvalues[-1]), float(report.sampling_errors[-1])
    trace = math.nan if report.trace is None else report.trace.value
    told = f"the largest is {uncertain(top, error)}"
    if error < top:
        told += f", known to {_percent(error / top)} from these data"
    if 0 < top < trace:
        told += f", {_percent(top / trace)} of the trace"
    yield told
    fallen = negative(report)
    if fallen is not None:
        n = report.parameters
        low, high = (share(end, n) for end in (fallen.low, fallen.high))
        within = "" if low == high else f" ({low} to {high} with 95% confidence)"
        yield f"{share(fallen.value, n)} of the directions curve down{within}"


@said.register
def spectrum(result: Spectrum, folder: str) -> Words:
    """Both ends of the spectrum."""
    parts = [
        Fact("analysed", (analysed(result, result.parameters, result.samples),)),
        *_ends(result.pairs, result.sampling_errors),
        Fact("sampling", tuple(_sampling(result))),
        Fact("notes", tuple(result.notes)),
    ]
    values = several(len(result.pairs.values), "eigenvalue")
    return Words(f"{values}, {several(result.parameters, 'parameter')}", parts)


@said.register
def room(result: Room, folder: str) -> Words:
    """Whether the optimiser is stable here, and how far its rate could grow."""
    return Words(f"{result.optimizer}, {plain(result.value)}", room_facts(result))


def room_facts(room: Room, loss: float = math.nan) -> list[Fact]:
    """Stable or not, what the steps gain, and how many samples they should see."""
    return [
        Fact("optimiser", (_stability(room), *_felt(room), *room.remarks)),
        Fact("further", tuple(_further(room, loss))),
        Fact("batch", tuple(_batch(room))),
    ]


def _stability(room: Room) -> str:
    rate = f"{room.optimizer} at a rate of {plain(room.rate)}"
    stands = {
        True: "is stable here",
        False: "is unstable here",
        None: "is at the edge of stability here, as far as the errors tell",
    }[room.stable]
    if room.value == math.inf:
        return f"{rate} {stands}: no curvature limits it"
    grown = f"{plain(room.value)} ({plain(room.low)} to {plain(room.high)} with 95% confidence)"
    return f"{rate} {stands}: its room is a factor of {grown}"


def _felt(room: Room) -> Iterator[str]:
    if math.isfinite(room.edge):
        felt = uncertain(room.sharpness.value, room.sharpness.error)
        yield f"the sharpness that it feels is {felt}, its edge {plain(room.edge)}"
    if room.critical.value == 0:
        yield (
            "along its own next update the loss rises at once: what it has gathered points uphill "
            "here, which no other rate changes"
        )
    elif math.isfinite(room.critical.value):
        bent = "the curvature along it, which is not positive, sets no limit"
        product = f"{plain(room.along)} by one product" if math.isfinite(room.along) else bent
        yield (
            "along its own next update the loss rises again at "
            f"{plain(room.critical.value)} times the rate, by forward passes ({product})"
        )


def _further(room: Room, loss: float) -> Iterator[str]:
    """What a person's own steps would still gain."""
    if math.isfinite(room.gain):
        change = "lower" if room.gain >= 0 else "raise"
        yield (
            f"{room.steps} more of its steps, a micro-batch each, {change} the loss by "
            f"{plain(abs(room.gain))}{_part(room.gain, loss)}, tried on a copy"
        )
    elif room.steps:
        yield (
            f"within {room.steps} more of its steps, a micro-batch each, the loss is finite no "
            "more: it diverges, tried on a copy"
        )


def _batch(room: Room) -> Iterator[str]:
    """The critical batch size, raw and as the optimiser's steps see it."""
    raw, weighed = room.noise_scale, room.preconditioned_noise_scale
    scales = [(raw, "more samples a step than this save few steps")]
    # where steps are not as long as gradients
    if not math.isclose(weighed.value, raw.value, rel_tol=1e-6):
        scales.append((weighed, "the same as its steps weigh the parameters"))
    for scale, how in scales:
        if scale.value == math.inf:
            yield (
                f"critical batch size {count(scale.low)} or more: all these data do not tell the "
                f"gradient from noise; {how}"
            )
        elif not math.isnan(scale.value):
            high = "no limit" if scale.high == math.inf else plain(scale.high)
            yield (
                f"critical batch size {plain(scale.value)} ({plain(scale.low)} to {high} with 95% "
                f"confidence): {how}"
            )


@said.register
def survival(result: Survival, folder: str) -> Words:
    """What the change does as a whole, what to keep, and layer by layer what was predicted."""
    whole = result.whole
    told = "as predicted" if whole.inside else "not as predicted"
    wrong = [layer.name for layer in result.layers if not layer.holds]
    kept = sum(layer.parameters for layer in result.layers if layer.name in result.keep)
    changed = sum(layer.parameters for layer in result.layers)
    spared = "in 16 bits" if result.change.startswith("int") else "unchanged"
    parts: list[Fact | Table] = [
        Fact("analysed", (analysed(result, result.parameters, result.samples),)),
        Fact("change", (f"{result.change} of {several(len(result.layers), 'tensor')}",)),
        Fact(
            "loss",
            (
                f"{plain(result.loss)} before, {plain(result.loss + whole.measured.value)} "
                f"after; {told}: {_predicted(whole)}",
            ),
        ),
        Fact(
            "keep",
            (
                f"{', '.join(result.keep)} {spared} ({share(kept, changed)} of what "
                "changes): alone they make nine tenths of what the tensors one by one add",
            )
            if result.keep
            else ("nothing: no tensor by itself raises the loss",),
        ),
        Fact(
            "beyond",
            (
                f"second order does not reach as far as the change of "
                f"{', '.join(wrong)}: trust what was measured",
            )
            if wrong
            else (),
        ),
        Table(
            ("tensor", "changed", "predicted", "measured", "holds", "HAWQ"),
            tuple(_survived(layer) for layer in (*result.layers, whole)),
            "Layers",
        ),
        Fact("notes", tuple(result.notes)),
    ]
    return Words(f"{result.change}: {plain(whole.measured.value)}", parts)


def _predicted(change: Change) -> str:
    low, high = plain(change.predicted.low), plain(change.predicted.high)
    return f"{plain(change.predicted.value)} ({low} to {high})"


def _survived(layer: Change) -> tuple[str, ...]:
    measured = uncertain(layer.measured.value, layer.measured.error)
    holds = "yes" if layer.holds else "too wide" if layer.inside else "no"
    hawq = uncertain(layer.hawq.value, layer.hawq.error)
    return layer.name, count(layer.parameters), _predicted(layer), measured, holds, hawq


@said.register
def blocks(result: Blocks, folder: str) -> Words:
    """How much of the Hessian the layers' own blocks hold, and the norm of each block."""
    n = sum(result.sizes)
    own = f"{100 * result.diagonal_share:.3g} % of |H|^2 lies within the layers' own blocks"
    names = result.layers
    rows = [
        (a, *map("{:.3g}".format, row)) for a, row in zip(names, result.norms.tolist(), strict=True)
    ]
    cost = several(result.products, "Hessian-vector product")
    parts: list[Fact | Table] = [
        Fact("analysed", (analysed(result, n, 0),)),
        Fact("blocks", (own,)),
        Table(("norm of the block", *names), tuple(rows), "Blocks of the Hessian"),
        Fact("cost", (cost,)),
    ]
    return Words(f"{result.name}: {own}", parts)


@said.register
def point(result: StationaryPoint, folder: str) -> Words:
    """The verdict and what it rests on."""
    return Words(f"{_kind(result)}, {several(len(result.x), 'coordinate')}", verdict_facts(result))


@said.register
def found(result: FoundPoint, folder: str) -> Words:
    """How the search went, and the verdict."""
    parts = [*_search(result), *verdict_facts(result)]
    return Words(f"{_kind(result)}, {several(len(result.x), 'coordinate')}", parts)


@said.register
def search(report: SearchReport, folder: str) -> Words:
    """What was searched, how the search went, what the point is, what next."""
    result = report.found
    parts = [
        Fact("searched", (searched(report, report.dim),)),
        *(_search(result, report.start) if isinstance(result, FoundPoint) else ()),
        *verdict_facts(result),
        Fact("notes", tuple(report.notes)),
        Fact("next", tuple(_after(report))),
    ]
    return Words(f"{_kind(result)}, {several(report.dim, 'coordinate')}", parts)


@said.register
def forecast(result: Forecast, folder: str) -> Words:
    """What an analysis will take."""
    whole = f"about {several(result.products, 'product')}, {seconds(result.seconds)}"
    parts = [
        Fact("analysis", (f"{whole}, within a factor of 2",)),
        Fact("one gradient", (seconds(result.gradient),)),
        Fact("one product", (seconds(result.product),)),
        Fact("stages", tuple(_stages(result.stages))),
    ]
    return Words(f"{whole}, {several(result.parameters, 'parameter')}", parts)


def _stages(stages: Sequence[Stage]) -> Iterator[str]:
    for stage in stages:
        spent = f", {several(stage.products, 'product')}" if stage.products else ""
        yield f"{stage.name}: {seconds(stage.seconds)}{spent}"


def verdict_facts(point: StationaryPoint) -> list[Fact]:
    """The verdict on a point and what it rests on."""
    return [
        Fact("verdict", (verdict(point),)),
        Fact("why", tuple(point.reasons)),
        *_flat(point),
        Fact("value", (plain(point.value),)),
        _gradient(point),
        Fact("eigenvalues", (_eigenvalues(point),)),
        Fact("x", (coordinates(point.x, COORDINATES),)),
    ]


def verdict(point: StationaryPoint) -> str:
    """``SADDLE of index 3: curvature of both signs``."""
    if point.kind == "minimum" and point.flat:
        count_flat = sum(point.flat.values())
        of = "all" if point.symmetric == count_flat else f"{point.symmetric:,}"
        return (
            f"{point.kind.upper()}: every eigenvalue is positive but for "
            f"{several(count_flat, 'flat direction')}, {of} of them of symmetries"
        )
    return f"{_kind(point, point.kind.upper())}: {VERDICTS.get(point.kind, '')}"


def coordinates(x: Tensor, most: int) -> str:
    """``3, 2``: a point to four digits, as ``--start`` takes it; what is beyond ``most`` is left
    out.
    """
    shown = ", ".join(plain(value + 0.0) for value in x[:most].tolist())
    return shown if len(x) <= most else f"{shown}, … ({len(x) - most:,} more)"


def searched(result: Result, dim: int) -> str:
    """What was searched: name, size, precision, device."""
    origin = result.provenance
    where = f", {origin.dtype} on {origin.device}" if origin.dtype else ""
    return f"{result.name}: {several(dim, 'coordinate')}{where}"


def spelled(result: Result) -> str:
    """The landscape as it is typed, with the options that make it this one."""
    config = result.provenance.config
    words = [str(config.get("landscape", "LANDSCAPE"))]
    for key in ABOUT_THE_LANDSCAPE:
        given = config.get(key, [])
        for value in given if isinstance(given, list) else [given]:
            words += [f"--{key}", str(value)]
    return shlex.join(words)


def analysed(result: Result, parameters: int, samples: int) -> str:
    """What was analysed: name, size, samples, precision, device."""
    size = several(parameters, "parameter") + (f", {several(samples, 'sample')}" if samples else "")
    return f"{result.name}: {size}, {result.provenance.dtype} on {result.provenance.device}"


def layers(found: Sequence[Layer]) -> Table:
    """The curvature of each layer's own parameters."""
    rows = tuple(
        (
            layer.name,
            count(layer.parameters),
            f"{layer.gradient_norm:.3g}",
            bounded(layer.largest.value, layer.largest.bound),
            bounded(layer.smallest.value, layer.smallest.bound),
        )
        for layer in found
    )
    return Table(("layer", "parameters", "|gradient|", "largest", "smallest"), rows, "Layers")


@columns.register
def _report_columns(report: AnalysisReport) -> dict[str, Sequence[object]]:
    """One row an eigenvalue of both ends."""
    return _pair_columns(report.point.pairs, report.sampling_errors)


@columns.register
def _spectrum_columns(result: Spectrum) -> dict[str, Sequence[object]]:
    """One row an eigenvalue."""
    return _pair_columns(result.pairs, result.sampling_errors)


def _pair_columns(pairs: Eigenpairs, errors: Tensor) -> dict[str, Sequence[object]]:
    return {**eigenvalues(pairs), "sampling_error": errors.tolist()}


def _kind(point: StationaryPoint, word: str = "") -> str:
    """``saddle of index 3``."""
    word = word or point.kind
    if point.kind != "saddle":
        return word
    low, high = point.index_bounds
    if point.index is not None:
        return f"{word} of index {point.index}"
    vague = high - low > VAGUE * len(point.x)
    return f"{word} of index {low:,} {'or more' if vague else f'to {high:,}'}"


def _flat(point: StationaryPoint) -> Iterator[Fact]:
    """The symmetries that flat directions are of, and the learning coefficient of a minimum."""
    yield Fact("flat", tuple(f"{count(m)} of {name}" for name, m in point.flat.items()))
    if point.learning_coefficient is not None and point.method == "dense":
        low, high = point.learning_coefficient
        known = plain(low) if low == high else f"between {plain(low)} and {plain(high)}"
        rank = len(point.x) - (point.nullity or 0)
        yield Fact(
            "learning",
            (f"local learning coefficient {known}: half of {count(rank)} curved directions",),
        )


def _gradient(point: StationaryPoint) -> Fact:
    alone = f"(rounding alone: {bound(point.gradient_noise)})"
    return Fact("|gradient|", (f"{plain(point.gradient_norm)} {alone}",))


def _trace(trace: Estimate) -> str:
    """Six digits where the error does not reach them, as of a spectrum that is known as a whole."""
    small = trace.error <= 5e-7 * abs(trace.value)
    return uncertain(trace.value, 0.0 if small else trace.error)


def _ends(pairs: Eigenpairs, errors: Tensor) -> Iterator[Fact]:
    """Both ends of the spectrum, outermost first."""
    each = zip(pairs.values.tolist(), errors.tolist(), pairs.bounds.tolist(), strict=True)
    rows = [(uncertain(value, error), bound(limit)) for value, error, limit in each]
    split = lower_end(pairs)
    for label, end, head in (
        ("largest", rows[split:][::-1], HEAD),
        ("smallest", rows[:split], None),
    ):
        shown = tuple((value, f"± {limit}") for value, limit in end[:SHOWN])
        more = (f"{len(end) - SHOWN} more in result.json",) if len(end) > SHOWN else ()
        yield Fact(label, more, shown, head)


def _sampling(result: AnalysisReport | Spectrum, fitted: bool = False) -> Iterator[str]:
    """What the sampling errors are of, and how much they say."""
    if result.sampling_freedom:
        yield (
            "errors of these values as estimates of the population's, one standard error each from "
            f"{result.sampling_freedom + 1} batches: 95 % reach {result.sampling_reach:.3g} times "
            "as far"
        )
        if result.sampling_raised:
            yield (
                f"{result.sampling_raised} of them are no farther from the next than errors tell "
                "apart: such values repel each other in any data, and the errors here reach over "
                "the mean of all that are as near"
            )
        if fitted:
            yield "the point fits these data: fresh data at it bring a bias of about an error more"


def _polished(polish: Polish | None) -> Iterator[str]:
    """How far the point was moved before it was analysed, and whether it became stationary."""
    if polish is None:
        return
    way = f"moved by {plain(polish.distance)} ({plain(polish.relative_distance)} |x|)"
    steps = several(polish.iterations, "step")
    before, after = polish.gradient_norm_before, polish.gradient_norm
    spent = polish.outcome.name == "BUDGET"
    yield f"{way} by {polish.method}, {steps}: {SPENT if spent else polish.outcome.value}"
    yield f"loss {plain(polish.value_before)} before, {plain(polish.value)} after"
    yield f"|gradient| {plain(before)} before, {plain(after)} after"
    if polish.outcome.name != "STATIONARY":
        place = "the start" if polish.outcome.name == "UNENDING" else "the point that was reached"
        yield f"it did not become stationary: everything below describes {place}"


def _negative(report: AnalysisReport) -> str:
    """How many eigenvalues are negative, exactly where known, else within bounds."""
    point, n = report.point, report.parameters
    if point.index is not None:
        sure = f"confidence {100 * point.confidence:.3g} %"
        known = "the whole spectrum" if point.method == "dense" else sure
        return f"{count(point.index)} of {_whole(n)} ({share(point.index, n)}), {known}"
    floor, estimate = -float(point.uncertainty.max()), negative(report)
    if estimate is None:
        return f"{count(point.index_bounds[0])} or more for certain"
    about = f"about {count(estimate.value)} of {_whole(n)} ({share(estimate.value, n)})"
    return (
        f"{count(point.index_bounds[0])} or more for certain; by the density "
        f"{about} are below {plain(floor)}; "
        f"{count(estimate.low)} to {count(estimate.high)} with 95% confidence"
    )


def _whole(n: int) -> str:
    return several(n, "eigenvalue")


def _checks(checks: Sequence[Check]) -> Iterator[str]:
    """The checks that found something, gravest first."""
    order = {"BROKEN": 0, "WARNING": 1, "NOTE": 2}
    told = [check for check in checks if check.status.name in order]
    for check in sorted(told, key=lambda check: order[check.status.name]):
        yield f"{check.status.name.lower()}: {check.name}: {check.message}"
    if checks and not told:
        yield f"all {len(checks)} passed: {', '.join(check.name for check in checks)}"


def _search(point: FoundPoint, start: str = "the start") -> list[Fact]:
    products = several(point.search_products, "Hessian-vector product")
    went = (
        f"{plain(point.distance)} from the start in {several(point.iterations, 'iteration')} "
        f"({products}, {several(point.gradients, 'gradient')}); "
        f"the value went from {plain(point.start_value)} to {plain(point.value)}"
    )
    return [
        Fact("search", (f"{point.search} from {start}",)),
        Fact("outcome", (point.outcome.value,)),
        Fact("went", (went,)),
    ]


def _eigenvalues(point: StationaryPoint) -> str:
    values = [plain(value) for value in point.eigenvalues.tolist()]
    if len(values) > 2 * SHOWN:
        values = [*values[:SHOWN], "…", *values[-SHOWN:]]
    return f"{', '.join(values)} (each ± {bound(float(point.uncertainty.max()))})"


def _after(report: SearchReport) -> Iterator[str]:
    kind = report.found.kind
    if kind in ("not-stationary", "inconclusive"):
        yield (
            "not there: begin elsewhere (--start, --seed), try another --method, or raise "
            "--max-products"
        )
    if kind == "saddle":
        yield (
            "a way down: step along an eigenvector of a negative eigenvalue, either way, and train "
            "or search on"
        )
    yield f"all stationary points: landscape saddles census {spelled(report)}"
