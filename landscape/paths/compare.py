"""Two or more checkpoints of one network beside each other: are they in the same basin?

x_i: (n,) the point of landscape i, V_i: (n, k) its top eigenvectors. The straight line from i to j
is evaluated on the data of i, parameters and buffers alike between their ends; the barrier is how
far the highest loss on it lies above the higher end. Principal angles are between the spans of V_i
and V_j: cos theta are the singular values of V_i'V_j.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import torch
from torch import Tensor

from landscape.core import Progress, silent
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.model import ModelLandscape, require_model
from landscape.linalg.lanczos import Eigenpairs
from landscape.operators.limits import loss_noise
from landscape.paths.families import families
from landscape.paths.matching import aligned
from landscape.paths.units import Family, State, at, state
from landscape.points.analyze import AnalysisReport, analyze
from landscape.points.survive import by_batch
from landscape.results import Result, provenance, result
from landscape.results.statistics import Spread, sampling_spread
from landscape.specs import whole

TOP = 10  # pairs of a top subspace
_UNTOLD = torch.empty(0, 0, dtype=torch.float64, device="cpu")


@result("checkpoints-compared")
@dataclass(frozen=True, eq=False)
class Compared(Result):
    """Checkpoints beside each other; matrices are (k, k), row and column in the order of
    ``names``, float64, on the CPU.
    """

    names: tuple[str, ...]
    reports: tuple[AnalysisReport, ...]
    barriers: Tensor  # the highest loss on the straight line above the higher end
    aligned: Tensor  # the same after the column's units were matched to the row's
    barrier_errors: Tensor  # one standard error from the data, of ``barriers``; NaN: one batch
    aligned_errors: Tensor
    overlaps: Tensor  # share of the row's top subspace that lies in the column's, 0 to 1
    # the same after alignment, without its scales: curvature is not the same in another scale
    aligned_overlaps: Tensor
    angles: Tensor  # (k, k, m) principal angles in radians, ascending
    # (k, k) how far any of the angles may be off: residuals over gaps (Davis & Kahan 1970)
    angle_errors: Tensor
    distances: Tensor  # |x_i - x_j|
    aligned_distances: Tensor
    moved: Tensor  # units whose place, sign or scale alignment changed
    t: Tensor  # (r,) places on the line, 0 the row's point, 1 the column's
    lines: Tensor  # (k, k, r) the loss there
    aligned_lines: Tensor  # (k, k, r)
    families: int = 0  # groups of hidden units that could be permuted
    signs: int = 0  # junctions between layers at which the sign of units is free
    scales: int = 0  # and their positive scale
    # how many of ``barrier_errors`` and ``aligned_errors`` reach to an end of the 95 % interval:
    # Student's, infinite with one batch; empty where a version before did not tell
    barrier_reach: Tensor = field(default_factory=lambda: _UNTOLD)
    aligned_reach: Tensor = field(default_factory=lambda: _UNTOLD)

    def same(self, i: int, j: int) -> bool | None:
        """Whether i and j, aligned, are in one basin: no barrier beyond rounding and two sampling
        errors of it. False: a barrier beyond the data's 95 % interval; None: one is seen that so
        few batches do not tell from none.
        """
        height, error = float(self.aligned[i, j]), float(self.aligned_errors[i, j])
        top = float(self.lines[i, j].abs().max())
        if height <= loss_noise(top, 1e-7 if "32" in self.provenance.dtype else 1e-15):
            return True
        reach = float(self.aligned_reach[i, j]) if len(self.aligned_reach) else 2.0
        return True if height <= 2 * error else False if height > reach * error else None


@owned()
def compare(
    landscapes: Sequence[ModelLandscape],
    names: Sequence[str] | None = None,
    *,
    resolution: int = 25,
    align: bool = True,
    method: str = "auto",
    seed: int = 0,
    progress: Progress = silent,
) -> Compared:
    """Set checkpoints of one network beside each other: verdicts, spectra, and what lies between.

    Args:
        landscapes: two or more, each of a model of its own, with the same parameters by name and
            shape, and best the same data.
        names: what they are called; None: "1", "2", ...
        resolution: points of each straight line, both ends among them.
        align: whether to match hidden units first, by their places and where they are free by
            sign (tanh) and positive scale (ReLU), see ``paths.matching``. Nothing is applied that
            changes the loss by more than rounding.
        method: of the spectra, see ``classify``.
        seed: of every random choice.

    Raises:
        TypeError: one is no landscape of a model.
        ValueError: fewer than two, names that are not as many, or networks that differ.

    Cost: an ``analyze`` each, and 2 ``resolution`` passes over the data a pair.

    Examples:
        >>> import landscape as ls, torch
        >>> x, y = torch.linspace(-1, 1, 20)[:, None], torch.linspace(0, 2, 20)[:, None]
        >>> f = ls.ModelLandscape(torch.nn.Linear(1, 1), torch.nn.functional.mse_loss, [(x, y)])
        >>> g = ls.ModelLandscape(torch.nn.Linear(1, 1), torch.nn.functional.mse_loss, [(x, y)])
        >>> found = ls.compare([f, g])
        >>> found.barriers.shape
        torch.Size([2, 2])
    """
    fs = [require_model(f, "compare needs landscapes of models.", TypeError) for f in landscapes]
    called = [str(i + 1) for i in range(len(fs))] if names is None else [str(n) for n in names]
    _check(fs, called, resolution)
    reports: list[AnalysisReport] = []
    for name, f in zip(called, fs, strict=True):
        progress(f"analysing {name}", len(reports), len(fs))
        reports.append(analyze(f, method=method, largest=TOP + 1, layers=False, seed=seed))
    groups = families(fs[0], seed) if align else []
    junctions = [junction for family in groups for junction in family.junctions]
    t = torch.linspace(0, 1, resolution, dtype=torch.float64, device="cpu")
    origin = provenance(fs[0], fs[0].point(), seed, names=called, resolution=resolution)
    return Compared(
        names=tuple(called),
        reports=tuple(reports),
        **_pairs(fs, reports, groups, t, progress),
        t=t,
        families=len(groups),
        signs=sum(junction.signs for junction in junctions),
        scales=sum(junction.scales for junction in junctions),
        provenance=replace(origin, name=" and ".join(called)),
    )


def _pairs(
    fs: Sequence[ModelLandscape],
    reports: Sequence[AnalysisReport],
    groups: Sequence[Family],
    t: Tensor,
    progress: Progress,
) -> dict[str, Tensor]:
    """What is known of all pairs, by the names of the fields of ``Compared``."""
    k, width = len(fs), max(1, min(TOP, fs[0].dim - 1))
    table = {key: torch.zeros(k, k, dtype=torch.float64, device="cpu") for key in _MATRICES}
    table["angles"] = torch.zeros(k, k, width, dtype=torch.float64, device="cpu")
    for key in ("lines", "aligned_lines"):
        ends = torch.tensor([r.point.value for r in reports], dtype=torch.float64, device="cpu")
        table[key] = ends[:, None, None].repeat(1, k, len(t))
    for key in ("overlaps", "aligned_overlaps"):
        table[key].fill_diagonal_(1.0)
    for i, j in combinations(range(k), 2):
        progress("between checkpoints", i, k)
        pair = _Pair(fs[i], fs[j], reports[i], reports[j], groups, width)
        for key, value in pair.numbers(t).items():
            table[key][i, j] = table[key][j, i] = value
        for key, line in (("lines", pair.line), ("aligned_lines", pair.aligned_line)):
            table[key][i, j], table[key][j, i] = line, line.flip(0)
        table["angles"][i, j] = table["angles"][j, i] = pair.angles
    return table


_MATRICES = (
    *("barriers", "aligned", "barrier_errors", "aligned_errors", "overlaps", "aligned_overlaps"),
    *("angle_errors", "distances", "aligned_distances", "moved", "barrier_reach", "aligned_reach"),
)


class _Pair:
    """Two checkpoints, the second one also with its units matched to the first one's."""

    def __init__(
        self,
        f: ModelLandscape,
        other: ModelLandscape,
        report: AnalysisReport,
        other_report: AnalysisReport,
        groups: Sequence[Family],
        width: int,
    ) -> None:
        self.f, self.a, self.b = f, state(f), state(other)
        self.alignment = aligned(f, self.a, self.b, groups)
        self.moved = self.alignment.of(self.b)
        self.tops = [r.point.pairs.vectors[:, -width:].double() for r in (report, other_report)]
        self.angles = principal_angles(*self.tops)
        self.error = sum(turned(r.point.pairs, width) for r in (report, other_report))
        self.line = self.aligned_line = torch.empty(0, dtype=torch.float32, device="cpu")

    def numbers(self, t: Tensor) -> dict[str, float]:
        """All that is one number a pair."""
        self.line, spread = barrier(self.f, self.a, self.b, t)
        self.aligned_line, aligned_spread = self.line, spread
        if self.alignment.moved:
            self.aligned_line, aligned_spread = barrier(self.f, self.a, self.moved, t)
        return {
            "barriers": _barrier(self.line),
            "aligned": _barrier(self.aligned_line),
            "barrier_errors": float(spread.errors),
            "aligned_errors": float(aligned_spread.errors),
            "barrier_reach": spread.reach,
            "aligned_reach": aligned_spread.reach,
            "overlaps": float(_cosines(*self.tops).square().mean()),
            "aligned_overlaps": float(_cosines(self.tops[0], self._moved_top()).square().mean()),
            "angle_errors": self.error,
            "distances": self._distance(self.b),
            "aligned_distances": self._distance(self.moved),
            "moved": self.alignment.moved,
        }

    def _moved_top(self) -> Tensor:
        """The second one's top vectors in the coordinates of its matched units."""
        columns = []
        for v in self.tops[1].T:
            parts = {k: v[s].view(self.f.shapes[k]) for k, s in self.f.layout.items()}
            tensors = {**{k: torch.zeros_like(t) for k, t in self.b.items()}, **parts}
            columns.append(self._point(self.alignment.orthogonal.of(tensors)))
        return torch.stack(columns, dim=1)

    def _point(self, tensors: State) -> Tensor:
        return torch.cat([tensors[k].reshape(-1) for k in self.f.layout])

    def _distance(self, b: State) -> float:
        return float((self._point(self.a) - self._point(b)).norm())


def barrier(f: ModelLandscape, a: State, b: State, t: Tensor) -> tuple[Tensor, Spread]:
    """The loss (r,) on the line from tensors a to tensors b at shares t (r,), and the spread of its
    barrier.
    """
    rows = []
    for s in t.tolist():
        mixed = {k: torch.lerp(tensor, b[k], s) for k, tensor in a.items()}
        rows.append(by_batch(*at(f, mixed)))
    return risen(torch.stack(rows), f.weights, f.samples)


def risen(rows: Tensor, shares: Tensor, samples: int) -> tuple[Tensor, Spread]:
    """The sums (r,) of what batches with these shares (B,) of the samples add along a line (r, B),
    and what they say of the spread of the highest sum over the higher end.
    """
    values = rows.sum(1).cpu()
    top, end = int(values.argmax()), (0 if values[0] >= values[-1] else len(rows) - 1)
    rises = (rows[top] - rows[end])[:, None]
    return values, sampling_spread(rises, shares.to(rows.device), samples)


def _barrier(line: Tensor) -> float:
    return float(line.max() - torch.maximum(line[0], line[-1]))


def _cosines(V: Tensor, W: Tensor) -> Tensor:
    """The cosines of the principal angles between two spans."""
    found: Tensor = torch.linalg.svdvals(V.T @ W.to(V.device))
    return found


def principal_angles(V: Tensor, W: Tensor) -> Tensor:
    """The angles (k,) between the spans of orthonormal columns (n, k), ascending, on the CPU.

    By cosines and sines together: a cosine alone loses angles below the root of its rounding
    (Knyazev & Argentati 2002, SIAM J. Sci. Comput. 23:2008).
    """
    W = W.to(V.device)
    sines = torch.linalg.svdvals(W - V @ (V.T @ W)).flip(0)
    return torch.atan2(sines, _cosines(V, W)).cpu()


def turned(pairs: Eigenpairs, width: int) -> float:
    """How far the span of the ``width`` largest may be turned by what the solver left: |residuals|
    over the gap to all that the next eigenvalue may be.
    """
    values, residuals = pairs.values, pairs.residuals
    if len(values) <= width:
        return math.pi / 2
    gap = float(values[-width] - values[-width - 1] - pairs.bounds[-width - 1])
    size = float(residuals[-width:].square().sum().sqrt())
    return math.asin(min(size / gap, 1.0)) if gap > 0 else math.pi / 2


def _check(fs: Sequence[ModelLandscape], names: Sequence[str], resolution: int) -> None:
    whole(3, resolution=resolution)
    if len(fs) < 2:
        raise ValueError(f"compare needs two landscapes or more, got {len(fs)}.")
    if len(names) != len(fs):
        raise ValueError(f"names must be as many as the landscapes, {len(fs)}, got {len(names)}.")
    for name, f in zip(names[1:], fs[1:], strict=True):
        if f.shapes != fs[0].shapes or list(f.layout) != list(fs[0].layout):
            raise ValueError(
                f"{name} is another network than {names[0]}: their parameters differ in name or "
                f"shape."
            )
        if f.model is fs[0].model:
            raise ValueError(
                f"{name} and {names[0]} hold the same model object: load each checkpoint into a "
                f"model of its own."
            )
