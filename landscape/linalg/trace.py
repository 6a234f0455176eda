"""The trace of a symmetric operator by Hutch++ (Meyer, Musco, Musco & Woodruff 2021, SOSA), with an
honest error.

A third of the products sketches the range of H (Y = H G, Q its orthonormal basis), a third gives
tr(QᵀHQ) exactly, a third estimates the rest: z' H z for independent z on the sphere of radius
sqrt(n - q) in the complement of Q. How much such forms spread is known from |PHz|^2, P the
projection onto the complement: a few samples say it better than their own spread does.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from landscape.core import Operator, Progress, silent
from landscape.landscapes.arithmetic import owned
from landscape.linalg.lanczos import Eigenpairs
from landscape.linalg.operand import (
    as_operator,
    bad_product,
    gaussian,
    is_coarse,
    ranks,
    reference,
    spread,
)
from landscape.linalg.quadrature import SpectralDensity
from landscape.linalg.reductions import dots, norm, orthogonalise
from landscape.progress import watched
from landscape.ranks import Ranks
from landscape.results import Estimate
from landscape.results.statistics import exact, form_mean

# What one product was seen to lose, this many times is what others may.
FOLD = 4.0
# A share of the standard error.
LITTLE = 0.2


@owned()
@watched
def trace(
    H: Operator | Tensor,
    *,
    probes: int = 30,
    seed: int = 0,
    known: Eigenpairs | None = None,
    density: SpectralDensity | None = None,
    progress: Progress = silent,
) -> Estimate:
    """Estimate the trace of a symmetric operator.

    Args:
        H: shape (n, n), float32 or float64, any device: an operator, used as ``H @ V``; or a dense
            symmetric tensor.
        probes: products to spend, at least 6: a third of them are independent samples, and one has
            no standard error.
        seed: of generators made here; the global random state is neither read nor moved.
        known: eigenpairs of the same operator: their sum is the trace on what they span, and all
            products are samples of the rest. No sketch is needed then.
        density: of the same operator, with the same ``known``: its probes are samples already, and
            ``probes`` counts them, so that so many products fewer are spent.

    Returns:
        ``value`` with ``error``, one standard error, and the 95 % interval, in the units of H. When
        n <= probes the trace is read off exactly, with error 0 and n products.

    Raises:
        ValueError: fewer than 6 probes, or H is not square, of another dtype, or a tensor that is
            not symmetric.
        NumericalError: a product has a NaN or inf; the message says which.

    Cost: ``probes`` products; a third of ``probes`` vectors are held twice. The error falls as 1 /
    probes where the
        spectrum decays, as 1 / sqrt(probes) where it is flat: one sample's variance is 2 ‖PHP - c
        P‖_F², c its mean diagonal.

    Examples:
        >>> import landscape as ls
        >>> f = ls.FunctionLandscape(lambda x: (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, dim=2)
        >>> print(ls.trace(ls.Hessian(f, [1.0, 0.0])))
        10
    """
    A = as_operator(H)
    n, over = A.shape[0], ranks(A)
    if probes < 6:
        raise ValueError(
            f"probes must be at least 6, got {probes}: a third are samples, one has no standard "
            f"error."
        )
    if n <= probes:
        return _exact(A, progress)
    if known is not None:
        return _beside(A, known, density, probes, seed, progress)
    seeds = np.random.SeedSequence(seed)
    sketch = probes // 3
    samples = probes - 2 * sketch
    G = gaussian(sketch, seeds, A)
    Q = _orthonormal(_products(A, G, 0), over)
    progress("trace", sketch, probes)
    inside = _quadratic(Q, _products(A, Q, sketch), over)
    progress("trace", sketch + len(Q), probes)
    fresh = _sampled(A, Q, gaussian(samples, seeds, A), sketch + len(Q))
    found = _completed(A, inside, fresh, len(Q))
    progress("trace", probes, probes)
    return replace(found, products=sketch + len(Q) + samples)


class _Samples(NamedTuple):
    """Of unit vectors z in the complement of known vectors, P its projection."""

    forms: Tensor  # (s,) z'Hz, float64, on the CPU
    squares: Tensor  # (s,) |PHz|^2


NOTHING = _Samples(*torch.zeros(2, 0, dtype=torch.float64, device="cpu"))


def _beside(
    A: Operator,
    known: Eigenpairs,
    density: SpectralDensity | None,
    probes: int,
    seed: int,
    progress: Progress,
) -> Estimate:
    """The sum of known eigenvalues and samples of the trace on the complement of their vectors."""
    chosen, before = torch.ones(len(known.values), dtype=torch.bool, device="cpu"), NOTHING
    if density is not None and len(density.known):
        rest = density.rest
        chosen = torch.isin(known.values, density.nodes[density.known])
        before = _Samples(rest.masses @ rest.nodes, rest.masses @ rest.nodes.square())
    vectors = known.vectors[:, chosen.to(known.vectors.device)].to(A.device, A.dtype)
    Q = spread(A).taken(vectors).T.contiguous()
    # other vectors than those that the search for the pairs began with
    seeds = np.random.SeedSequence(seed, spawn_key=(len(known.values),))
    drawn = gaussian(max(0, probes - len(before.forms)), seeds, A)
    off, measured = _off(A, Q, drawn)
    # finer products only where the others lose what would be seen beside the spread of the samples
    fresh = _sampled(A, Q, drawn, 0, fine=off == 0)
    samples = _Samples(*(torch.cat(both) for both in zip(before, fresh, strict=True)))
    found = _completed(A, known.values[chosen], samples, len(Q), _between(known, chosen))
    progress("trace", probes, probes)
    return replace(
        found, low=found.low - off, high=found.high + off, products=len(drawn) + measured
    )


def _off(A: Operator, Q: Tensor, drawn: Tensor) -> tuple[float, int]:
    """What a trace from coarse products with random vectors ``drawn`` (s, n), in the complement of
    the orthonormal rows of Q, is off by at most, where that is little beside what the samples
    spread, else 0; and the products that told it.
    """
    if not is_coarse(A) or not len(drawn):
        return 0.0, 0
    over, left = ranks(A), A.shape[0] - len(Q)
    z = _unit(_complement(drawn[0], Q, over), over)
    finer = reference(A, z)
    off = left * FOLD * float(norm(finer - (A @ z).double(), over))
    error = (2 * left / len(drawn)) ** 0.5 * float(norm(finer, over))
    return (off if off <= LITTLE * error else 0.0), 2


def _between(known: Eigenpairs, chosen: Tensor) -> float:
    """How far apart the eigenvalues besides the ``chosen`` known ones can be: the others that are
    known, and those that are not, which lie between both ends.
    """
    if not known.smallest or len(known.values) <= known.smallest:
        return math.inf
    left = ~chosen
    left[known.smallest - 1 : known.smallest + 1] = True
    values, bounds = known.values[left], known.bounds[left]
    return float((values + bounds).max() - (values - bounds).min())


def _sampled(A: Operator, Q: Tensor, drawn: Tensor, spent: int, *, fine: bool = True) -> _Samples:
    """At random vectors ``drawn`` (s, n), in the complement of the orthonormal rows of Q; ``fine``:
    by finer products where A's own are coarse.
    """
    if not len(drawn):
        return NOTHING
    over = ranks(A)
    Z = torch.stack([_unit(_complement(z, Q, over), over) for z in drawn])
    W = _products(A, Z, spent, fine=fine)
    forms = _quadratic(Z, W, over)
    W = torch.stack([_complement(w, Q, over) for w in W])
    return _Samples(forms.cpu(), _quadratic(W, W, over).cpu())


def _completed(
    A: Operator, inside: Tensor, samples: _Samples, deflated: int, apart: float = math.inf
) -> Estimate:
    """The trace from its terms ``inside`` (q,) on the ``deflated`` vectors, and samples of the
    rest.

    apart: no two eigenvalues of the rest differ by more. With their Frobenius norm it says how many
    of them must share it, and forms of many are less skewed than of one.
    """
    left, mean = A.shape[0] - deflated, float(samples.forms.mean())
    square = float(samples.squares.mean()) - mean**2
    value = float(inside.sum()) + left * mean
    rounding = float(torch.finfo(A.dtype).eps) * float(
        inside.abs().sum() + left * samples.forms.abs().mean()
    )
    size = max((left * max(square, 0.0)) ** 0.5, rounding)
    return form_mean(value, size, len(samples.forms), rank=(size / apart) ** 2)


def _exact(A: Operator, progress: Progress) -> Estimate:
    n = A.shape[0]
    unit = spread(A).own(torch.eye(n, dtype=A.dtype, device=A.device)).T
    value = float(_quadratic(unit, _products(A, unit, 0), ranks(A)).sum())
    progress("trace", n, n)
    return exact(value, n)


def _products(A: Operator, rows: Tensor, spent: int, *, fine: bool = True) -> Tensor:
    """H times each row, as rows."""
    out = (reference(A, rows.T).to(A.dtype) if fine and is_coarse(A) else A @ rows.T).T
    finite = torch.isfinite(ranks(A).total(out.sum(1, dtype=torch.float64)))
    if not bool(finite.all()):
        raise bad_product(spent + 1 + int(finite.int().argmin()))
    return out


def _quadratic(V: Tensor, W: Tensor, over: Ranks) -> Tensor:
    """v·w row by row, float64."""
    if not len(V):
        return torch.zeros(0, dtype=torch.float64, device=V.device)
    return torch.stack([dots(v[None], w, over)[0] for v, w in zip(V, W, strict=True)])


def _orthonormal(Y: Tensor, over: Ranks) -> Tensor:
    """Orthonormal rows that span those of Y, which it overwrites; a row that depends on the others
    is left out.
    """
    size, kept = float(torch.stack([norm(y, over) for y in Y]).max()), 0
    for y in Y:
        _, w = orthogonalise(y, Y[:kept], over)
        length = norm(w, over)
        if float(length) > 100 * torch.finfo(Y.dtype).eps * size:
            w = w / length.to(w.dtype)
            _, w = orthogonalise(w, Y[:kept], over)
            Y[kept] = w / norm(w, over).to(w.dtype)
            kept += 1
    return Y[:kept]


def _complement(z: Tensor, Q: Tensor, over: Ranks) -> Tensor:
    _, z = orthogonalise(z, Q, over)
    return z


def _unit(z: Tensor, over: Ranks) -> Tensor:
    return z / norm(z, over).to(z.dtype)
