"""What is said of a surface and of a check of it."""

import math
from collections.abc import Iterator

from landscape.paths.words import reach
from landscape.results.numbers import plain, several, uncertain
from landscape.results.words import Fact, Words, said
from landscape.surfaces.result import PictureCheck, Surface


@said.register
def surface(result: Surface, folder: str) -> Words:
    """The directions, the grid, the values, and what is not on the picture."""
    what = "line" if result.values.ndim == 1 else "plane"
    r, low, high = len(result.steps), float(result.steps[0]), float(result.steps[-1])
    cells = f"{r} by {r} cells" if what == "plane" else f"{r} cells"
    steps = f"steps to {high:g}" if low == -high else f"steps from {low:g} to {high:g}"
    before = f", {result.reused} of them known before" if result.reused else ""
    measured = "; BatchNorm's statistics measured in every cell" if result.batch_statistics else ""
    chosen = f"{result.chosen} directions, normalisation {result.normalize or 'none'}"
    parts = [
        Fact(what, (chosen,)),
        Fact("grid", (f"{cells}, {steps}{before}{measured}",)),
        Fact("values", (reach(result.values),)),
        *(Fact(name, (reach(values),)) for name, values in result.metrics.items()),
        Fact("trajectories", tuple(_walks(result, what))),
        Fact("picture", () if result.check is None else tuple(_checked(result.check, what))),
    ]
    return Words(f"{cells}, {reach(result.values)}", parts)


@said.register
def picture(check: PictureCheck, folder: str) -> Words:
    """Whether a picture's curvature is the Hessian's."""
    what = "line" if len(check.measured) == 1 else "plane"
    state = "the curvatures agree" if check.agrees else "the curvatures differ"
    return Words(state, [Fact("picture", tuple(_checked(check, what)))])


def _walks(surface: Surface, what: str) -> Iterator[str]:
    for name, walk in surface.walks.items():
        gap = plain(float(walk.gap.abs().max()))
        lost = f"{100 * walk.lost:.3g} % of its squared distances outside the {what}"
        points = several(len(walk.values), "point")
        yield f"{name}: {points}, {lost}; values off the {what} differ by up to {gap}"


def _checked(check: PictureCheck, what: str) -> list[str]:
    found = (check.measured.tolist(), check.predicted.tolist(), check.error.tolist())
    curves = ", ".join(
        f"{f'{m:.5g} measured' if math.isfinite(e) else 'too rough to measure'}, {p:.5g} by the "
        "Hessian"
        for m, p, e in zip(*found, strict=True)
    )
    shares = [(check.trace_share, "trace"), (check.frobenius_share, "squared Frobenius norm")]
    right = "yes, its curvature is" if check.agrees else "NO, its curvature is not"
    return [
        f"right: {right} the Hessian's at the centre: {curves}",
        *(
            f"the {what} holds {uncertain(s.value, s.error)} of the Hessian's {of}, 1 is all"
            for s, of in shares
        ),
    ]
