"""What is said of eigenpairs, densities and solutions of linear systems."""

from collections.abc import Sequence

from landscape.linalg.lanczos import Certificate, Eigenpairs
from landscape.linalg.minres import Solution
from landscape.linalg.quadrature import SpectralDensity
from landscape.results.numbers import bound, plain, several, share
from landscape.results.words import Fact, Table, Words, columns, said

COLUMNS = ("eigenvalue", "bound", "residual")


def lower_end(pairs: Eigenpairs) -> int:
    """How many of the ascending pairs belong to the lower end; half where both make up
    the whole.
    """
    total = len(pairs.values)
    return total // 2 if total == len(pairs.vectors) else int(pairs.smallest)


@said.register
def eigenpairs(pairs: Eigenpairs, folder: str) -> Words:
    """Every eigenvalue with its bounds."""
    each = zip(pairs.values.tolist(), pairs.bounds.tolist(), pairs.residuals.tolist(), strict=True)
    rows = tuple((f"{value:.10g}", bound(limit), bound(rest)) for value, limit, rest in each)
    brief = f"{several(len(rows), 'eigenvalue')} of {several(len(pairs.vectors), 'dimension')}"
    parts: list[Fact | Table] = [
        Fact("eigenpairs", (f"{brief}, {several(pairs.products, 'product')}",)),
        Fact("confidence", (f"{100 * pairs.confidence:.4g} % that none is missed",)),
        Fact("stopped", (pairs.stop.value,)),
        Table(COLUMNS, rows),
    ]
    return Words(brief, parts)


@said.register
def certificate(result: Certificate, folder: str) -> Words:
    """Whether there is an eigenvalue below the level."""
    sure = f"no eigenvalue below the level was met, confidence {100 * result.confidence:.4g} %"
    text = sure if result.clear else "there is an eigenvalue below the level"
    return Words(text, [Fact("certificate", (text,)), _products(result.products)])


@said.register
def density(result: SpectralDensity, folder: str) -> Words:
    """How much of the spectrum lies where."""
    n, low, high = result.dimension, float(result.nodes[0]), float(result.nodes[-1])
    below = result.count(float("-inf"), -result.rounding)
    counted = f"about {share(below.value, n)}, {below.low:.0f} to {below.high:.0f} of {n:,}"
    probes = several(len(result.masses), "probe")
    exact = "the nodes are eigenvalues" if result.complete else "shares around nodes"
    parts = [
        Fact("density", (f"{several(len(result.nodes), 'node')} of {probes}: {exact}",)),
        Fact("range", (f"{plain(low)} to {plain(high)}",)),
        Fact("negative", (f"{counted} with 95 % confidence",)),
        _products(result.products),
    ]
    return Words(f"{several(len(result.nodes), 'node')}, {several(n, 'dimension')}", parts)


@said.register
def solution(result: Solution, folder: str) -> Words:
    """How well a system is solved, and why ``minres`` stopped."""
    parts = [
        Fact("solution", (several(len(result.x), "unknown"),)),
        Fact("residual", (plain(result.residual_norm),)),
        Fact("stopped", (result.stop.value,)),
        _products(result.products),
    ]
    state = "converged" if result.converged else "not converged"
    return Words(f"{state}, {several(len(result.x), 'unknown')}", parts)


@columns.register
def pairs(result: Eigenpairs) -> dict[str, Sequence[object]]:
    """One row an eigenvalue, ascending."""
    return {
        "value": result.values.tolist(),
        "bound": result.bounds.tolist(),
        "residual": result.residuals.tolist(),
    }


@columns.register
def _nodes(result: SpectralDensity) -> dict[str, Sequence[object]]:
    """One row a node."""
    return {
        "node": result.nodes.tolist(),
        "weight": result.weights.tolist(),
        "error": result.errors.tolist(),
    }


def _products(number: int) -> Fact:
    return Fact("products", (several(number, "Hessian-vector product"),))
