"""The spectral density by stochastic Lanczos quadrature, and what it says for certain about counts.

A random unit vector z sees H as a measure of masses (z·u_i)² at the eigenvalues lambda_i; `steps`
products give T_p, whose Gauss rule has its first 2 steps - 1 moments. The mean over probes, again a
measure, is compressed to one Gauss rule with m nodes x_j, weights w_j by Lanczos in float64 on the
nodes of all probes; probe p's own masses on these common nodes follow from the same basis, exact
for its first m moments. Sources: Ubaru, Chen & Saad 2017, SIMAX 38:1075 (quadrature); Golub &
Meurant 2010, Matrices, Moments and Quadrature, ch. 6 (Gauss rules); Karlin & Studden 1966,
Tchebycheff Systems, ch. IV (Chebyshev-Markov-Stieltjes inequalities: the mass beyond a point, from
the moments alone).

Pairs (theta_i, v_i) that a search has found are counted one by one, and random vectors see P H P
alone, P the projection onto the complement of their v_i: an outlier costs no node and adds no
spread. R, the residuals r_i = H v_i - theta_i v_i, moves no eigenvalue by more than 2 / 3^½ |R|;
and below x lie as many as there are theta_i and eigenvalues of P H P - R (Theta - x)^-1 R', which
differs from P H P by sum |r_i|² / |theta_i - x| at most (Haynsworth 1968, LAA 1:73). The first
start z of the search is a probe already: its measure without its masses (z·v_i)² at theta_i is that
of P z under P H P. So is the last, which was orthogonal to all pairs of the search: those that are
not counted one by one have in its measure the mass that they have on average.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from scipy.optimize import brentq
from scipy.stats import chi2, kstwobign
from torch import Tensor

from landscape.core import Operator, Progress, silent
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.memory import DENSITY, fitting
from landscape.linalg.krylov import Array
from landscape.linalg.lanczos import Eigenpairs
from landscape.linalg.operand import (
    OnHost,
    as_operator,
    bad_product,
    finest,
    gaussian,
    held,
    may_leave,
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
# Residuals beside rounding, in units of |H|, up to which a pair is counted by itself: they move
# what is said of others near it.
KNOWN = 1e-4


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
    # (q,) which of the nodes are eigenvalues counted one by one; the Jacobi matrix and the spread
    # between probes are those of all others
    known: Tensor = field(
        default_factory=lambda: torch.zeros(0, dtype=torch.int64, device="cpu"), repr=False
    )
    # (c,) of the pairs that random vectors were kept orthogonal to: their values, and the norms of
    # what H makes of their vectors besides, in the units of H
    apart: Tensor = field(
        default_factory=lambda: torch.zeros(0, dtype=torch.float64, device="cpu"), repr=False
    )
    coupling: Tensor = field(
        default_factory=lambda: torch.zeros(0, dtype=torch.float64, device="cpu"), repr=False
    )

    def moment(self, k: int) -> Estimate:
        """The mean of lambda^k over the spectrum, k = 0, 1, ...; for k < m all of the error is the
        probes'.

        It is the mean of forms z'H^k z, whose spread follows from the moments k and 2k: [``low``,
        ``high``] is that of ``form_mean``, and where the nodes are all eigenvalues there are, no
        more than one of each demands and allows.
        """
        if k < 0:
            raise ValueError(f"k must be 0 or more, got {k}.")
        if len(self.known):
            share = len(self.known) / self.dimension
            rest = self.rest.moment(k)
            sure = float(self.nodes[self.known].pow(k).sum()) / self.dimension
            return _line(rest, 1 - share, sure, sure, self.products)
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
        off = self.rounding + self._moved
        doubt = k * off * float(self.nodes.abs().max()) ** max(k - 1, 0)
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
        left, right = self._doubt(lo), self._doubt(hi)
        if len(self.known):
            values = self.nodes[self.known]
            least = float(((values >= lo + left) & (values <= hi - right)).sum())
            most = float(((values >= lo - left) & (values <= hi + right)).sum())
            return _line(self.rest.count(lo, hi), 1.0, least, most, self.products)
        left_least, left_most = self._below(lo - left)[0], self._below(lo + left)[1]
        right_least, right_most = self._below(hi - right)[0], self._below(hi + right)[1]
        least = max(0.0, right_least - left_most)
        most = min(1.0, max(least, right_most - left_least))
        n, probes = self.dimension, len(self.masses)
        inside = ((self.nodes >= lo - left) & (self.nodes <= hi + right)).to(self.masses)
        error = float((self.masses @ inside).std()) * n / probes**0.5
        low = min(_fewest(n * (least - SUMS), n, probes), n * least - 1.96 * error)
        high = max(n - _fewest(n * (1 - most - SUMS), n, probes), n * most + 1.96 * error)
        value = n * min(1.0, float(self.weights @ inside) if self.complete else (least + most) / 2)
        return Estimate(
            value, error, min(max(0.0, low), value), max(min(float(n), high), value), self.products
        )

    def band(self, levels: Tensor | Sequence[float]) -> tuple[Tensor, Tensor]:
        """Between how many eigenvalues lie at or below each of the levels, for all levels at once
        with 95 % confidence; ``count`` is of one interval, and narrower.

        Around what the moments allow for certain lie as many as q random vectors may miss of n
        eigenvalues at any level: the masses up to a level, less their mean, are a random walk that
        is tied at both ends, whose largest size is Kolmogorov's (2 / (q (n + 2)))^½ (of two vectors
        these are the order statistics of n - 1 uniform numbers).

        Args:
            levels: (m,) in the units of H.

        Returns:
            (m,) least and (m,) most numbers, float64, on the CPU.
        """
        found = [self._band(float(x)) for x in torch.as_tensor(levels, device="cpu").flatten()]
        low, high = torch.tensor(found, dtype=torch.float64, device="cpu").reshape(-1, 2).T
        return low, high

    def _band(self, x: float) -> tuple[float, float]:
        doubt, n = self._doubt(x), self.dimension
        if len(self.known):
            low, high = self.rest._band(x)
            values = self.nodes[self.known]
            sure = [float((values <= x + side * doubt).sum()) for side in (-1, 1)]
            return low + sure[0], high + sure[1]
        walk = float(kstwobign.isf(0.05)) * (2 / (len(self.masses) * (n + 2))) ** 0.5
        least, most = self._below(x - doubt)[0], self._below(x + doubt)[1]
        return max(0.0, n * (least - walk)), min(float(n), n * (most + walk))

    def _doubt(self, x: float) -> float:
        """How far from x an eigenvalue may be for certain and be counted on the other side."""
        gaps = (self.apart - x).abs() - self.rounding
        beside = float((self.coupling.square() / gaps).sum()) if bool((gaps > 0).all()) else np.inf
        return self.rounding + min(beside, self._moved)

    @cached_property
    def _moved(self) -> float:
        """What keeping pairs apart moves an eigenvalue by at most."""
        # |[A B'; B 0]| is at most 2 / 3^½ times |[A; B]|
        return 2 / 3**0.5 * float(self.coupling.norm())

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
    def rest(self) -> "SpectralDensity":
        """The density of the eigenvalues that are not counted one by one; itself where none is."""
        if not len(self.known):
            return self
        left = self.dimension - len(self.known)
        others = torch.ones(len(self.nodes), dtype=torch.bool, device="cpu")
        others[self.known] = False
        scale = self.dimension / left
        return replace(
            self,
            nodes=self.nodes[others],
            weights=self.weights[others] * scale,
            errors=self.errors[others] * scale,
            masses=self.masses[:, others] * scale,
            dimension=left,
            known=self.known[:0],
        )

    @cached_property
    def _jacobi(self) -> tuple[Array, Array]:
        return self.diagonal.numpy(), self.offdiagonal.numpy()


def _line(x: Estimate, factor: float, least: float, most: float, products: int) -> Estimate:
    """factor x, and a number besides that lies between ``least`` and ``most``."""
    value = factor * x.value + (least + most) / 2
    low, high = factor * x.low + least, factor * x.high + most
    return Estimate(value, factor * x.error, min(low, value), max(high, value), products)


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
            V``; or a dense symmetric tensor.
        probes: independent random vectors, at least 2: one has no standard error.
        steps: products for each, at least 2 (n are enough): how finely the spectrum is resolved.
        seed: of generators made here; the global random state is neither read nor moved.
        known: pairs that ``eigsh`` found of the same operator: they are counted one by one, and
            each saves every probe a step, up to half of ``steps``. Where the seed is the same, too,
            the first and the last random start of ``eigsh`` are probes here, which cost nothing, if
            they took so many steps.

    Raises:
        ValueError: fewer than 2 probes or steps, or H is not square, of another dtype, or a tensor
            that is not symmetric.
        NumericalError: a product has a NaN or inf.

    Cost: ``probes`` x ``steps`` products, less with ``known`` (see ``probing``), side by side in
        blocks while their bases fit 32 MiB; else a basis of ``steps`` vectors. The standard error
        of a weight w is about sqrt(2 w / (n probes)).

    Examples:
        >>> import landscape as ls
        >>> f = ls.FunctionLandscape(lambda x: (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, dim=2)
        >>> density = ls.spectral_density(ls.Hessian(f, [1.0, 0.0]), probes=2)
        >>> [round(node, 12) for node in density.nodes.tolist()]
        [2.0, 8.0]
    """
    A = as_operator(H)
    n = A.shape[0]
    whole(2, probes=probes, steps=steps)
    plan = _Plan(A, known, steps, seed)
    steps, count = plan.steps, probes - len(plan.rules)
    # other vectors than those that the search began with
    seeds = np.random.SeedSequence(seed, spawn_key=(0, 1) if plan.scale else ())
    together = max(1, min(probes, held(A, DENSITY, MEMORY) // steps))
    rules = [*plan.rules, *_Probes(A, plan.L, steps, seeds, together).rules(count, progress)]
    scale = max([plan.scale, *(float(np.abs(rule.nodes).max()) for rule in rules)])
    rounding = noise(A, scale)
    a, b, nodes, masses, every = _common(rules, steps, rounding)
    weights, errors = masses.mean(0), masses.std(0, ddof=1) / np.sqrt(probes)
    counted = len(plan.values)
    # those counted one by one beside the shares of all others
    share, one = 1 - counted / n, np.full(counted, 1 / n)
    nodes = np.concatenate([plan.values, nodes])
    order = np.argsort(nodes, kind="stable")
    columns = np.concatenate([np.tile(one, (probes, 1)), share * masses], axis=1)
    return SpectralDensity(
        nodes=torch.from_numpy(nodes[order]),
        weights=torch.from_numpy(np.concatenate([one, share * weights])[order]),
        errors=torch.from_numpy(np.concatenate([0 * one, share * errors])[order]),
        masses=torch.from_numpy(columns[:, order]),
        diagonal=torch.from_numpy(a),
        offdiagonal=torch.from_numpy(b),
        dimension=n,
        products=count * steps,
        rounding=rounding,
        complete=every,
        known=torch.from_numpy(np.flatnonzero(order < counted)),
        apart=torch.from_numpy(plan.apart),
        coupling=torch.from_numpy(plan.coupling),
    )


def probing(H: Operator, probes: int, steps: int, known: Eigenpairs | None, seed: int) -> int:
    """How many products ``spectral_density`` will take with these arguments."""
    plan = _Plan(as_operator(H), known, steps, seed)
    return (probes - len(plan.rules)) * plan.steps


class _Rule(NamedTuple):
    """What a random vector sees: masses at nodes, whose sum is 1."""

    nodes: Array
    weights: Array
    residuals: Array  # of the nodes as Ritz values
    # whether its Krylov space is invariant: the nodes are eigenvalues
    invariant: bool


class _Plan:
    """What is known before the first product.

    values: (q,) eigenvalues counted one by one; scale: of the operator, 0 where there are none;
    rules: what was seen already of the others; apart, coupling: of the pairs that any probe is
    orthogonal to; steps: products of a probe.
    """

    def __init__(self, A: Operator, known: Eigenpairs | None, steps: int, seed: int) -> None:
        steps = min(steps, A.shape[0])
        chosen, self.rules = _reused(A, known, steps, seed)
        self.steps = _steps(steps, len(chosen))
        self.values, self.apart, self.coupling, self.scale = *np.zeros((3, 0)), 0.0
        self.A, self.pairs, self.chosen = A, known, chosen
        if known is not None and len(chosen):
            self.rules += _last_rule(A, known, chosen, seed, self.steps) if self.rules else []
            kept = np.arange(len(known.values)) if len(self.rules) > 1 else chosen
            self.scale, values = known.scale, known.values.numpy()
            self.values, self.apart = values[chosen], values[kept]
            self.coupling = _beside_rounding(A, known)[kept]

    @cached_property
    def L(self) -> Tensor:  # noqa: N802
        """The vectors (q, n) of the eigenvalues that are counted one by one."""
        A, pairs = self.A, self.pairs
        if pairs is None or not len(self.chosen):
            return torch.empty(0, spread(A).local, dtype=A.dtype, device=A.device)
        vectors = pairs.vectors[:, self.chosen].to(A.device, A.dtype)
        return spread(A).taken(vectors).T.contiguous()


def _steps(steps: int, counted: int) -> int:
    """Of a probe: a Gauss rule of all the spectrum has a node at each outlier."""
    return max(steps - counted, (steps + 1) // 2)


def _reused(
    A: Operator, known: Eigenpairs | None, steps: int, seed: int
) -> tuple[Array, list[_Rule]]:
    """Which pairs are counted one by one (q,), and the rule that the search's first start gives of
    all other eigenvalues, if the seed is its own and it took steps enough.
    """
    n = A.shape[0]
    if known is None or known.dimension != n or len(known.values) >= n - 1:
        return np.zeros(0, int), []
    values, reach = known.values.numpy(), known.residuals.numpy()
    small = _beside_rounding(A, known) <= KNOWN * known.scale
    chosen = np.flatnonzero(small & _apart(values, reach))
    if known.seed != seed or not len(known.diagonal):
        return chosen, []
    rule = _rule(A, known.diagonal.numpy(), known.offdiagonal.numpy(), n)
    seen, nodes = _matched(rule, values[chosen], reach[chosen])
    rest = np.setdiff1d(np.arange(len(rule.nodes)), nodes)
    if not len(rest) or not (rule.invariant or len(rest) >= _steps(steps, len(seen))):
        return chosen, []
    weights = rule.weights[rest] / rule.weights[rest].sum()
    kept = _Rule(rule.nodes[rest], weights, rule.residuals[rest], rule.invariant)
    return chosen[seen], [kept]


def _last_rule(A: Operator, known: Eigenpairs, chosen: Array, seed: int, steps: int) -> list[_Rule]:
    """What the search's last start sees of all eigenvalues but the chosen ones, if the seed is its
    own and it took so many steps.
    """
    if known.seed != seed or not len(known.last_diagonal):
        return []
    k, left = len(known.values), known.dimension - len(chosen)
    size = known.dimension - k
    rule = _rule(A, known.last_diagonal.numpy(), known.last_offdiagonal.numpy(), size)
    others = np.delete(known.values.numpy(), chosen)
    nodes = np.concatenate([others, rule.nodes])
    weights = np.concatenate([np.full(k - len(chosen), 1 / left), rule.weights])
    weights[len(others) :] *= 1 - len(others) / left
    order = np.argsort(nodes, kind="stable")
    residuals = np.concatenate([np.zeros(len(others)), rule.residuals])
    found = _Rule(nodes[order], weights[order], residuals[order], rule.invariant)
    return [found] if found.invariant or len(nodes) >= steps else []


def _beside_rounding(A: Operator, known: Eigenpairs) -> Array:
    """Residuals (k,) without what products are taken to be off by, which is in ``rounding``."""
    beside: Array = np.maximum(known.residuals.numpy() - noise(A, known.scale), 0.0)
    return beside


def _apart(values: Array, reach: Array) -> Array:
    """Which of the ascending values are isolated: their intervals touch no other one's."""
    free = values[1:] - reach[1:] > values[:-1] + reach[:-1]
    apart: Array = np.concatenate([[True], free]) & np.concatenate([free, [True]])
    return apart


def _matched(rule: _Rule, values: Array, reach: Array) -> tuple[Array, Array]:
    """Which of the values are nodes that the rule has found as surely, and their numbers."""
    near = np.abs(rule.nodes[None, :] - values[:, None]) <= reach[:, None]
    seen = np.flatnonzero(near.sum(1) == 1)
    nodes = near[seen].argmax(1)
    sure = rule.residuals[nodes] <= reach[seen]
    return seen[sure], nodes[sure]


class _Probes:
    """Random vectors that see A on the complement of the rows of L (q, n), ``together`` of them
    side by side; fewer where memory runs out, and then with their bases in the host's memory.
    """

    def __init__(
        self, A: Operator, L: Tensor, steps: int, seeds: np.random.SeedSequence, together: int
    ) -> None:
        self.A, self.L, self.steps, self.seeds, self.together = A, L, steps, seeds, together

    def rules(self, count: int, progress: Progress) -> list[_Rule]:
        """What ``count`` of them see."""
        found: list[_Rule] = []
        while len(found) < count:
            compute = partial(self._next, len(found), count, progress)
            alone = spread(self.A).ranks.count == 1  # else the other ranks wait in an exchange
            found += fitting(compute, self._give_way, self.A.device) if alone else compute()
        return found

    def _next(self, first: int, count: int, progress: Progress) -> list[_Rule]:
        side, steps = min(self.together, count - first), self.steps

        def tell(step: int) -> None:
            progress("density", first * steps + step * side, count * steps)

        seeds = copy.deepcopy(self.seeds)  # what a try that fails has drawn is drawn again
        rules = _gauss_rules(self.A, self.L, side, steps, seeds, first * steps, tell)
        self.seeds = seeds
        return rules

    def _give_way(self) -> bool:
        if self.together > 1:
            self.together = (self.together + 1) // 2
            return True
        if not may_leave(self.A):
            return False
        self.A, self.L = OnHost(self.A), self.L.cpu()
        return True


def _gauss_rules(
    A: Operator,
    L: Tensor,
    count: int,
    steps: int,
    seeds: np.random.SeedSequence,
    spent: int,
    tell: Callable[[int], None],
) -> list[_Rule]:
    """What ``count`` random vectors see of A on the complement of the rows of L (q, n); run side by
    side, read once.
    """
    tiny, lie = torch.finfo(A.dtype).tiny, spread(A)
    Q = torch.empty(count, steps + 1, lie.local, dtype=A.dtype, device=A.device)
    a, b = torch.zeros(2, count, steps, dtype=torch.float64, device=A.device)
    for p in range(count):
        (z,) = gaussian(1, seeds, A)
        _, z = orthogonalise(z, L, lie.ranks)
        Q[p, 0] = z / norm(z, lie.ranks).to(z.dtype)
    for j in range(steps):
        W = (A @ Q[:, j].T).T if count > 1 else (A @ Q[0, j])[None]
        for p in range(count):
            _, w = orthogonalise(W[p], L, lie.ranks)
            c, w = orthogonalise(w, Q[p, : j + 1], lie.ranks)
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
        rules.append(_rule(A, diagonals[p], betas[p], A.shape[0] - len(L)))
    return rules


def _rule(A: Operator, diagonal: Array, betas: Array, n: int) -> _Rule:
    """Of the tridiagonal matrix (m, m) of a starting vector in n dimensions, with the coupling to
    the next vector.
    """
    size = float(max(np.abs(diagonal).max(), betas.max()))
    flat = np.flatnonzero(betas <= finest(A, size))
    m = int(flat[0]) + 1 if flat.size else len(diagonal)
    nodes, S = eigh_tridiagonal(diagonal[:m], betas[: m - 1])
    return _Rule(nodes, S[0] ** 2, np.abs(betas[m - 1] * S[-1]), bool(flat.size) or m == n)


def _common(
    rules: list[_Rule], steps: int, rounding: float
) -> tuple[Array, Array, Array, Array, bool]:
    """Jacobi matrix (a, b) and nodes of the mean measure, each probe's masses (probes, m) on these
    nodes, and whether they are all the eigenvalues that any probe sees.
    """
    invariant = all(rule.invariant for rule in rules)
    x, masses = _joined(rules, rounding if invariant else 0.0)
    seen = masses.max(0) > 0  # squares may be below every float
    x, masses = x[seen], masses[:, seen]
    unit = 2.0 ** np.frexp(np.abs(x).max())[1]  # squares stay in range, and no bit changes
    x, rounding = x / unit, rounding / unit
    start = np.sqrt(masses.mean(0))
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
    shares = (np.stack(Q, 1) @ S) * S[0]
    every = invariant and (len(a) == len(x) or beta <= rounding)
    return unit * np.array(a), unit * np.array(b), unit * nodes, (masses / start) @ shares, every


def _joined(rules: list[_Rule], rounding: float) -> tuple[Array, Array]:
    """The nodes (m,) of all probes, ascending, those that only rounding holds apart made one, and
    each probe's masses (probes, m) there.
    """
    x = np.concatenate([rule.nodes for rule in rules])
    weights = np.concatenate([rule.weights for rule in rules])
    owner = np.repeat(np.arange(len(rules)), [len(rule.nodes) for rule in rules])
    order = np.argsort(x, kind="stable")
    x = x[order]
    group = np.concatenate([[0], np.cumsum(np.diff(x) > rounding)])
    masses = np.zeros((len(rules), group[-1] + 1))
    np.add.at(masses, (owner[order], group), weights[order])
    return np.bincount(group, x) / np.bincount(group), masses


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
