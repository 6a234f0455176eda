"""The values of a landscape on a plane through a point, and how much of the landscape the plane shows.

x: (n,) the centre. u, v: (n,) the directions as used, not orthogonalised. a, b: (r,) from -span to span. values: (r, r).
A plane shows two directions of n: ``curvatures`` are those of the Hessian within it, ``largest`` and ``smallest`` those of the whole.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from landscape.core import Landscape, Progress, silent
from landscape.errors import NumericalError
from landscape.hessian import Hessian
from landscape.linalg.lanczos import eigsh
from landscape.provenance import provenance
from landscape.results import Provenance, result, save
from landscape.surfaces import directions as ways

HELD = 2**22  # numbers in the points that are evaluated at once


@result
@dataclass(frozen=True, eq=False)
class Surface:
    """f on a plane; ``values[i, j]`` = f(centre + a[i] u + b[j] v), non-finite where f is, never altered. All on the CPU."""

    name: str
    values: Tensor  # (r, r) in the landscape's dtype
    a: Tensor  # (r,) float64, along u
    b: Tensor  # (r,) float64, along v
    directions: tuple[Tensor, Tensor]  # (u, v) as used, (n,) each
    centre: Tensor  # (n,)
    kind: str  # "random", "eigen", "pca", "given"
    normalize: str | None
    slopes: Tensor  # (2,) float64, g'u and g'v at the centre
    hessian: Tensor  # (2, 2) float64, [[u'Hu, u'Hv], [u'Hv, v'Hv]] at the centre, by Hessian-vector products; NaN where undefined
    curvatures: Tensor  # (2,) float64 ascending, eigenvalues of H within the plane (of an orthonormal basis of it)
    largest: float  # eigenvalue of the whole H; NaN where not asked for
    smallest: float
    bounds: tuple[float, float]  # of the smallest and the largest
    products: int
    provenance: Provenance

    @property
    def finite(self) -> Tensor:
        """Which cells are finite, (r, r) bool."""
        return torch.isfinite(self.values)

    def coordinates(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Where points (m, n) lie on the plane: (m, 2) least-squares coordinates along u and v, and the share (m,) of their distance from
        the centre that lies outside the plane, 0 to 1, 0 at the centre; float64."""
        moves = points.detach().cpu().double() - self.centre.double()
        V = torch.stack([d.double() for d in self.directions], dim=1)
        found = torch.linalg.lstsq(V, moves.T, driver="gelsd").solution
        length = moves.norm(dim=1)
        outside = (moves.T - V @ found).norm(dim=0)
        return found.T, torch.where(length > 0, outside / length, torch.zeros_like(length))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Store in ``folder``; ``landscape.load`` reads it back."""
        return save(self, folder)


def surface(
    f: Landscape,
    x: Tensor | None = None,
    directions: str | tuple[Tensor, Tensor] = "random",
    normalize: str | None = "filter",
    span: float = 1.0,
    resolution: int = 51,
    *,
    biases: bool = False,
    trajectory: Tensor | None = None,
    spectrum: bool = True,
    known: Surface | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Surface:
    """Evaluate f on a plane through x.

    Args:
        f: a model's or a formula's landscape, float32 or float64, CPU or CUDA.
        x: (n,) the centre; None: where the model is.
        directions: "random" (normal, by ``seed``), "eigen" (unit eigenvectors of the largest and the smallest eigenvalue), "pca" (unit
            principal directions of ``trajectory`` about x), or (u, v), (n,) each.
        normalize: the length of random and given directions: "filter" (Li et al. 2018), "layer", None (as they are). A formula
            has no layers, and its directions get length 1. Nothing is orthogonalised.
        span: a and b go from -span to span.
        resolution: r, at least 2; an odd one has the centre as a cell.
        biases: keep biases and norm layers in "filter" instead of zeroing them.
        trajectory: (m, n) points for "pca".
        spectrum: compute both ends of the whole spectrum, to compare the plane's curvatures with.
        known: a surface of the same plane and centre; cells that it has are taken from it (r = 51 takes every cell of r = 26).
        seed: of the directions and of Lanczos.
        progress: told of the cells done.

    Raises:
        ValueError: an option is out of range; a direction is zero; ``known`` is of another plane.
        NumericalError: the gradient or a product at x is not finite.

    Cost: r^2 evaluations of f, one gradient, 2 products and, with ``spectrum``, those of ``eigsh`` for one pair an end at 1e-2.
    """
    if not (isinstance(resolution, int) and resolution >= 2) or not 0 < span < float("inf"):
        raise ValueError(f"resolution must be at least 2 and span a positive number, got {resolution!r} and {span!r}.")
    if normalize not in ways.NORMALISATIONS:
        raise ValueError(f"normalize must be 'filter', 'layer' or None, got {normalize!r}.")
    x = _centre(f, x)
    kind, (u, v) = _directions(f, x, directions, trajectory, seed)
    if kind in ("random", "given"):
        u, v = (ways.normalised(f, x, d, normalize, biases) for d in (u, v))
    a = torch.linspace(-span, span, resolution, dtype=torch.float64, device="cpu")
    values = _evaluated(f, x, u, v, a, known, progress)
    H = Hessian(f, x)
    slopes, within, curvatures = _plane(f, x, u, v, H)
    ends = eigsh(H, largest=1, smallest=1, tol=1e-2, seed=seed) if spectrum and f.dim > 1 else None
    nan = float("nan")
    return Surface(
        name=str(getattr(f, "name", type(f).__name__)),
        values=values,
        a=a,
        b=a.clone(),
        directions=(u.cpu(), v.cpu()),
        centre=x.cpu(),
        kind=kind,
        normalize=normalize if kind in ("random", "given") else None,
        slopes=slopes,
        hessian=within,
        curvatures=curvatures,
        largest=float(ends.values[-1]) if ends else nan,
        smallest=float(ends.values[0]) if ends else nan,
        bounds=(float(ends.bounds[0]), float(ends.bounds[-1])) if ends else (nan, nan),
        products=H.products,
        provenance=provenance(f, x, None, seed, {"kind": kind, "normalize": normalize, "span": span, "biases": biases}),
    )


def _centre(f: Landscape, x: Tensor | None) -> Tensor:
    if x is None:
        point = getattr(f, "point", None)
        if point is None:
            raise ValueError("x is needed: a formula is nowhere in particular.")
        x = point()
    if not isinstance(x, Tensor) or x.shape != (f.dim,):
        raise ValueError(f"x must be one point of shape ({f.dim},), got {getattr(x, 'shape', x)!r}.")
    return x.detach()


def _directions(
    f: Landscape, x: Tensor, directions: str | tuple[Tensor, Tensor], trajectory: Tensor | None, seed: int
) -> tuple[str, tuple[Tensor, Tensor]]:
    """Their kind, and the two before they are normalised."""
    if isinstance(directions, str):
        if (directions == "pca") != (trajectory is not None):
            raise ValueError("directions='pca' and trajectory= (points, n) go together: pass both or neither.")
        if trajectory is not None:
            return "pca", ways.principal(x, trajectory)
        if directions not in ways.NAMED:
            raise ValueError(f"directions must be 'random', 'eigen', 'pca' or a pair (u, v), got {directions!r}.")
        return directions, ways.NAMED[directions](f, x, seed)
    if len(directions) != 2 or any(d.shape != x.shape for d in directions):
        raise ValueError(f"directions must be two tensors ({f.dim},), got {[tuple(d.shape) for d in directions]}.")
    u, v = (d.detach().to(x) for d in directions)
    return "given", (u, v)


def _evaluated(
    f: Landscape, x: Tensor, u: Tensor, v: Tensor, a: Tensor, known: Surface | None, progress: Progress
) -> Tensor:
    """f on all cells, (r, r) on the CPU."""
    r = len(a)
    values = torch.full((r, r), float("nan"), dtype=x.dtype, device="cpu")
    missing = torch.ones(r, r, dtype=torch.bool, device="cpu")
    if known is not None:
        _require_same(known, x, u, v)
        rows = [(i, j) for i, s in enumerate(a) for j, t in enumerate(known.a) if abs(s - t) <= 1e-12 * known.a[-1]]
        for i, k in rows:
            for j, m in rows:
                values[i, j], missing[i, j] = known.values[k, m], False
    cells = missing.nonzero()
    for chunk in torch.split(cells, max(1, HELD // f.dim)):
        progress("surface", int((~missing).sum()), r * r)
        s, t = (a[chunk[:, i]].to(x)[:, None] for i in range(2))
        values[chunk[:, 0], chunk[:, 1]] = f.value(x + s * u + t * v).detach().cpu()
        missing[chunk[:, 0], chunk[:, 1]] = False
    progress("surface", r * r, r * r)
    return values


def _require_same(known: Surface, x: Tensor, u: Tensor, v: Tensor) -> None:
    pairs = zip((known.centre, *known.directions), (x, u, v), strict=True)
    if not all(old.shape == new.shape and torch.equal(old, new.cpu()) for old, new in pairs):
        raise ValueError("known is a surface of another plane or centre: its cells cannot be taken.")


def _plane(f: Landscape, x: Tensor, u: Tensor, v: Tensor, H: Hessian) -> tuple[Tensor, Tensor, Tensor]:
    """Slopes (2,), the Hessian (2, 2) in u and v, and its eigenvalues (2,) in an orthonormal basis of the plane."""
    V = torch.stack([u, v], dim=1)
    nan = torch.full((2, 2), float("nan"), dtype=torch.float64, device="cpu")
    try:
        products = H @ V
        slopes = V.double().T @ f.gradient(x).double()
    except NumericalError:
        return nan[0], nan, nan[0]
    within = (V.double().T @ products.double()).cpu()
    within = (within + within.T) / 2
    gram = (V.double().T @ V.double()).cpu()
    sizes, W = torch.linalg.eigh(gram)
    if not bool(sizes[0] > 1e-12 * sizes[1]):  # u and v are parallel: a line
        return slopes.cpu(), within, nan[0]
    S = W / sizes.sqrt()
    return slopes.cpu(), within, torch.linalg.eigvalsh(S.T @ within @ S)
