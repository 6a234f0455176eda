"""The spectral density by stochastic Lanczos quadrature, and what it says for certain about counts.

A random unit vector z sees H as a measure of masses (z·u_i)² at the eigenvalues lambda_i; `steps`
products give T_p, whose Gauss rule has its first 2 steps - 1 moments. The mean over probes, again a
measure, is compressed to one Gauss rule with m nodes x_j, weights w_j by Lanczos in float64 on the
nodes of all probes; probe p's own masses on these common nodes follow from the same basis, exact
for its first m moments. Sources: Ubaru, Chen & Saad 2017, SIMAX 38:1075 (quadrature); Golub &
Meurant 2010, Matrices, Moments and Quadrature, ch. 6 (Gauss rules); Karlin & Studden 1966,
Tchebycheff Systems, ch. IV (Chebyshev-Markov-Stieltjes inequalities: the mass beyond a point, from
the moments alone).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from scipy.optimize import brentq
from scipy.stats import chi2
from torch import Tensor

from landscape.core import Operator, Progress, silent
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.memory import DENSITY
from landscape.linalg.krylov import Array
from landscape.linalg.lanczos import Eigenpairs
from landscape.linalg.operand import (
    as_operator,
    bad_product,
    finest,
    gaussian,
    held,
    noise,
    spread,
)
from landscape.linalg.reductions import norm, orthogonalise
from landscape.progress import watched
from landscape.results import Estimate, Result, result
from landscape.results.statistics import form_mean
from landscape.specs import whole

MEMORY = 2**25  # bytes of basis vectors held while probes run side by side
SUMS = 1e-12  # rounding of a sum of masses
# Nodes that are nearer than this, in units of the largest, may be copies of one eigenvalue.
COPIES = 1e-6


@result("spectral-density")
@dataclass(frozen=True, eq=False)
class SpectralDensity(Result):
    """The spectrum as point masses: a share ``weights[j]`` ± ``errors[j]`` of it lies around
    ``nodes[j]``.
    """

    nodes: Tensor  # (m,) ascending, float64, on the CPU
    weights: Tensor  # (m,) positive, sum 1
    errors: Tensor  # (m,) one standard error between probes
    # (probes, m) of each probe on the same nodes; their mean is weights; single ones may be
    # negative
    masses: Tensor
    diagonal: Tensor  # (m,) of the Jacobi matrix behind nodes and weights
    offdiagonal: Tensor  # (m - 1,)
    dimension: int  # n
    products: int
    rounding: float  # of an eigenvalue, in the units of H
    # every probe's space was invariant: the nodes are eigenvalues, none lies between them
    complete: bool

    def moment(self, k: int) -> Estimate:
        """The mean of lambda^k over the spectrum, k = 0, 1, ...; for k < m all of the error is the
        probes'.

        It is the mean of forms z'H^k z, whose spread follows from the moments k and 2k: [``low``,
        ``high``] is that of ``form_mean``, and where the nodes are all eigenvalues there are, no
        more than one of each demands and allows.
        """
        if k < 0:
            raise ValueError(f"k must be 0 or more, got {k}.")
        powers, n = self.nodes**k, self.dimension
        value, square = float(self.weights @ powers), float(self.weights @ powers.square())
        size = (max(square - value**2, 0.0) / n) ** 0.5
        fourth = float(self.weights @ (powers - value) ** 4) / n**3
        # How many equal eigenvalues are as unequal as these.
        rank = size**4 / fourth if fourth > 0 else 1.0
        found = form_mean(value, size, len(self.masses), self.products, rank=rank)
        if not self.complete:
            return found
        # One eigenvalue at least at every node that is no copy of another; all others at one end.
        near = COPIES * float(self.nodes.abs().max())
        apart = (self.nodes.diff(prepend=self.nodes[:1] - math.inf) > near) & (
            self.weights > SUMS / n
        )
        each, others = float(powers[apart].sum()) / n, max(1 - int(apart.sum()) / n, 0.0)
        doubt = k * self.rounding * float(self.nodes.abs().max()) ** max(k - 1, 0)
        least = each + others * float(powers.min()) - doubt
        most = each + others * float(powers.max()) + doubt
        low, value, high = (min(max(x, least), most) for x in (found.low, value, found.high))
        return replace(found, value=value, low=low, high=high)

    def count(self, lo: float, hi: float) -> Estimate:
        """How many eigenvalues lie in [lo, hi]; either may be infinite.

        Returns:
            ``value`` from the nodes, a node at an end counted half of what is uncertain there;
            ``error``, one standard error between probes. [``low``, ``high``] takes the least and
            the most mass that the moments allow in the interval (Chebyshev, Markov, Stieltjes), and
            around each what random vectors make of c eigenvalues with 95 % confidence: their mean
            mass is c/n times chi²(c probes) / (c probes), nearly, or wider where the probes spread
            more than that.
        """
        if not lo <= hi:
            raise ValueError(f"count needs lo <= hi, got lo={lo}, hi={hi}.")
        left_least, left_most = (
            self._below(lo - self.rounding)[0],
            self._below(lo + self.rounding)[1],
        )
        right_least, right_most = (
            self._below(hi - self.rounding)[0],
            self._below(hi + self.rounding)[1],
        )
        least = max(0.0, right_least - left_most)
        most = min(1.0, max(least, right_most - left_least))
        n, probes = self.dimension, len(self.masses)
        inside = ((self.nodes >= lo - self.rounding) & (self.nodes <= hi + self.rounding)).to(
            self.masses
        )
        error = float((self.masses @ inside).std()) * n / probes**0.5
        low = min(_fewest(n * (least - SUMS), n, probes), n * least - 1.96 * error)
        high = max(n - _fewest(n * (1 - most - SUMS), n, probes), n * most + 1.96 * error)
        value = n * min(1.0, float(self.weights @ inside) if self.complete else (least + most) / 2)
        return Estimate(
            value, error, min(max(0.0, low), value), max(min(float(n), high), value), self.products
        )

    def _below(self, x: float) -> tuple[float, float]:
        """The least mass in (-inf, x) and the most in (-inf, x], over all measures with these
        moments.

        Among them is one with an atom at x, of the greatest mass any of them has there: the Gauss
        rule whose last diagonal entry is moved until x is a node. What lies below the atom is the
        least, the atom included the most.
        """
        if np.isinf(x):
            return (0.0, 0.0) if x < 0 else (1.0, 1.0)
        a, b = self._jacobi
        if self.complete or len(a) == 1:
            nodes, weights = self.nodes.numpy(), self.weights.numpy()
            return float(weights[nodes < x].sum()), float(weights[nodes <= x].sum())
        unit = 2.0 ** np.frexp(np.abs(a).max() + b.max())[1]  # squares stay in range
        a, b, x = a / unit, b / unit, x / unit
        size = np.abs(a).max() + 2 * b.max()
        ratio = x - a[0]  # p_j+1(x) b_j / p_j(x)
        for j in range(1, len(a) - 1):
            ratio = x - a[j] - b[j - 1] ** 2 / (ratio or np.finfo(float).tiny)
        last = x - b[-1] ** 2 / (ratio or np.finfo(float).tiny)
        # a node at infinity has no mass
        moved = np.append(a[:-1], np.clip(last, -1e8 * size, 1e8 * size))
        nodes, S = eigh_tridiagonal(moved, b)
        atom = int(np.abs(nodes - x).argmin())
        mass = S[0] ** 2
        least = float(mass[:atom].sum())
        return least, least + float(mass[atom])

    @cached_property
    def _jacobi(self) -> tuple[Array, Array]:
        return self.diagonal.numpy(), self.offdiagonal.numpy()


@owned()
@watched
def spectral_density(
    H: Operator | Tensor,
    probes: int = 10,
    steps: int = 80,
    seed: int = 0,
    *,
    known: Eigenpairs | None = None,
    progress: Progress = silent,
) -> SpectralDensity:
    """Estimate the distribution of all eigenvalues of a symmetric operator.

    Args:
        H: shape (n, n), float32 or float64, any device: an operator, used as ``H @ v`` or ``H @
            V``; or a dense
        symmetric tensor. probes: independent random vectors, at least 2: one has no standard error.
        steps: products for each, at least 2 (n are enough): how finely the spectrum is resolved.
        seed: of generators made here; the global random state is neither read nor moved.
        known: pairs that ``eigsh`` found of the same operator with the same seed: its first random
            start is the first probe here, whose products are not made again.

    Raises:
        ValueError: fewer than 2 probes or steps, or H is not square, of another dtype, or a tensor
            that is not
        symmetric. NumericalError: a product has a NaN or inf.

    Cost: ``probes`` x ``steps`` products, those of one probe less with ``known``, side by side in
        blocks while their bases fit 32 MiB; else a basis of ``steps`` vectors. The standard error
        of a weight w is about sqrt(2 w / (n probes)).

    Examples:
        >>> import landscape as ls
        >>> f = ls.FunctionLandscape(lambda x: (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, dim=2)
        >>> density = ls.spectral_density(ls.Hessian(f, [1.0, 0.0]), probes=2)
        >>> density.nodes.tolist()
        [2.0, 8.0]
    """
    A = as_operator(H)
    n = A.shape[0]
    whole(2, probes=probes, steps=steps)
    steps = min(steps, n)
    seeds = np.random.SeedSequence(seed)
    together = max(1, min(probes, held(A, DENSITY, MEMORY) // steps))
    rules: list[tuple[Array, Array]] = []
    complete, scale = True, 0.0
    seen = _seen(A, known, steps, seed)
    for nodes, weights, invariant in seen:
        seeds.spawn(1)  # the start that these were seen from
        rules.append((nodes, weights))
        complete &= invariant
        scale = float(np.abs(nodes).max())
    for first in range(len(seen), probes, together):
        count = min(together, probes - first)

        def tell(step: int, first: int = first, count: int = count) -> None:
            progress("density", first * steps + step * count, probes * steps)

        for nodes, weights, invariant in _gauss_rules(A, count, steps, seeds, first * steps, tell):
            rules.append((nodes, weights))
            complete &= invariant
            scale = max(scale, float(np.abs(nodes).max()))
    rounding = noise(A, scale)
    a, b, nodes, masses = _common(rules, steps, rounding)
    weights = masses.mean(0)
    return SpectralDensity(
        nodes=torch.from_numpy(nodes),
        weights=torch.from_numpy(weights),
        errors=torch.from_numpy(masses.std(0, ddof=1) / np.sqrt(probes)),
        masses=torch.from_numpy(masses),
        diagonal=torch.from_numpy(a),
        offdiagonal=torch.from_numpy(b),
        dimension=n,
        products=(probes - len(seen)) * steps,
        rounding=rounding,
        complete=complete,
    )


def _gauss_rules(
    A: Operator,
    count: int,
    steps: int,
    seeds: np.random.SeedSequence,
    spent: int,
    tell: Callable[[int], None],
) -> list[tuple[Array, Array, bool]]:
    """The nodes and weights that ``count`` random vectors see, and whether that is all; run side by
    side, read once.
    """
    tiny, lie = torch.finfo(A.dtype).tiny, spread(A)
    Q = torch.empty(count, steps + 1, lie.local, dtype=A.dtype, device=A.device)
    a, b = torch.zeros(2, count, steps, dtype=torch.float64, device=A.device)
    for p in range(count):
        (z,) = gaussian(1, seeds, A)
        Q[p, 0] = z / norm(z, lie.ranks).to(z.dtype)
    for j in range(steps):
        W = (A @ Q[:, j].T).T if count > 1 else (A @ Q[0, j])[None]
        for p in range(count):
            c, w = orthogonalise(W[p], Q[p, : j + 1], lie.ranks)
            beta = norm(w, lie.ranks)
            a[p, j], b[p, j] = c[-1], beta
            torch.div(w, beta.clamp_min(tiny).to(w.dtype), out=Q[p, j + 1])
        tell(j + 1)
    diagonals, betas = a.cpu().numpy(), b.cpu().numpy()
    rules = []
    for p in range(count):
        fine = np.isfinite(diagonals[p]) & np.isfinite(betas[p])
        if not fine.all():
            raise bad_product(spent + int(np.argmin(fine)) * count + p + 1)
        rules.append(_rule(A, diagonals[p], betas[p]))
    return rules


def _rule(A: Operator, diagonal: Array, betas: Array) -> tuple[Array, Array, bool]:
    """Nodes and weights of a tridiagonal matrix (m, m) of the starting vector, and whether its
    Krylov space is invariant.
    """
    size = float(max(np.abs(diagonal).max(), betas.max()))
    flat = np.flatnonzero(betas <= finest(A, size))
    m = int(flat[0]) + 1 if flat.size else len(diagonal)
    nodes, S = eigh_tridiagonal(diagonal[:m], betas[: m - 1])
    return nodes, S[0] ** 2, bool(flat.size) or m == A.shape[0]


def _seen(
    A: Operator, known: Eigenpairs | None, steps: int, seed: int
) -> list[tuple[Array, Array, bool]]:
    """The rule that the first start of a search for the same seed saw, if it took steps enough."""
    if known is None or known.seed != seed or known.dimension != A.shape[0]:
        return []
    diagonal, betas = known.diagonal.numpy()[:steps], known.offdiagonal.numpy()[:steps]
    if not len(diagonal):
        return []
    rule = _rule(A, diagonal, betas)
    return [rule] if rule[2] or len(diagonal) == steps else []


def _common(
    rules: list[tuple[Array, Array]], steps: int, rounding: float
) -> tuple[Array, Array, Array, Array]:
    """Jacobi matrix (a, b) and nodes of the mean measure, and each probe's masses (probes, m) on
    these nodes.
    """
    P = len(rules)
    x = np.concatenate([nodes for nodes, _ in rules])
    unit = 2.0 ** np.frexp(np.abs(x).max())[1]  # squares stay in range, and no bit changes
    x, rounding = x / unit, rounding / unit
    start = np.sqrt(np.concatenate([weights for _, weights in rules]) / P)
    owner = np.repeat(np.arange(P), [len(nodes) for nodes, _ in rules])
    Q = [start / np.linalg.norm(start)]
    a: list[float] = []
    b: list[float] = []
    while True:
        w = x * Q[-1]
        a.append(float(Q[-1] @ w))
        for _ in range(2):
            w = w - np.stack(Q, 1) @ (np.stack(Q) @ w)
        beta = float(np.linalg.norm(w))
        if len(a) == min(steps, len(x)) or beta <= rounding:
            break
        b.append(beta)
        Q.append(w / beta)
    nodes, S = eigh_tridiagonal(np.array(a), np.array(b))
    S = S * np.where(S[0] < 0, -1.0, 1.0)
    # (nodes of all probes, m): what one gives to another
    shares = (np.stack(Q, 1) @ S) * start[:, None] * S[0]
    masses = np.zeros((P, len(nodes)))
    np.add.at(masses, owner, shares)
    return unit * np.array(a), unit * np.array(b), unit * nodes, P * masses


def _fewest(mass: float, n: int, probes: int) -> float:
    """The least number c of eigenvalues that shows n times this mean mass, or more, in at least 2.5
    % of draws.
    """
    if mass > n / 2:  # what is left over is the smaller number, and the better known
        rest = n - mass
        if chi2.cdf(probes * rest, probes) <= 0.025:  # not even one is left over
            return mass
        return n - float(
            brentq(lambda c: chi2.cdf(probes * rest, probes * c) - 0.025, rest, 9 + 9 * rest)
        )
    if (
        mass < 1e-9 or chi2.sf(probes * mass, probes * mass) <= 0.025
    ):  # far less than one eigenvalue
        return max(mass, 0.0)
    return float(brentq(lambda c: chi2.sf(probes * mass, probes * c) - 0.025, 1e-12, mass))
