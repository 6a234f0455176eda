"""From many starts to the set of distinct stationary points, with what is known of its
completeness.

A census is made in rounds of searches (``batched.py``). Every third round starts anywhere in the
domain; the others aim: they recombine known points, start near them, on lines through two of them,
along the escape directions of saddles, and at the indices that are rare so far. A round is a
function of the seed, its number and what is known so far.

Points nearer than ``tolerance`` (in units of the domain's size) are one, also those that a declared
symmetry relates. A degenerate point and its neighbours of the same value are one continuous family
when what lies between them is stationary too.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape import rng
from landscape.core import Progress, silent
from landscape.errors import NumericalError
from landscape.inventory import topology
from landscape.inventory.collection import Collection
from landscape.inventory.tree import Tree
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.domains import Box, Space
from landscape.landscapes.formula import FunctionLandscape, require_formula
from landscape.landscapes.grid import Grid
from landscape.points.classify import StationaryPoint, classify
from landscape.points.look import Look
from landscape.points.many import STATIONARY, End, search
from landscape.progress import watched
from landscape.ranks import ALONE
from landscape.results import Estimate, Result, journal, provenance, result
from landscape.results.statistics import unmet, unseen
from landscape.specs import whole

ROUND = 2000  # starts a round,
MANY, MOST = 100_000, 2**18  # an eighth of those so far where they are many, up to this
# Starts searched together at least, on one rank, and parts of a round's searches by one method:
# what a block finds does not hang on other blocks.
BLOCK, DEALT = 500, 4
SAME = 1e-4  # of usual values: what rounding and other hardware may change of stored ones
KEEP = 30.0  # seconds of work that may be lost
METHODS = ("minimise", "newton", "follow")
SHARES = (0.65, 0.25, 0.1)  # of the searches of a round
NOT_CONFIRMED = "reached, but the verdict there is not-stationary"


@result("census")
@dataclass(frozen=True, eq=False)
class Census(Result):
    """The distinct stationary points that were found and how complete the list is."""

    dim: int
    # ascending by value; a continuous family is one point, a representative
    points: list[StationaryPoint]
    families: list[int]  # positions in points of those that stand for a continuous family
    starts: int  # how many searches were made
    failures: dict[str, int]  # reason -> how many searches ended so
    euler: (
        int | None
        # sum of (-1)^index over the nondegenerate points, in one or two dimensions also of isolated
        # degenerate ones
    )
    euler_expected: int | None  # what the domain demands; None where it is not known
    euler_reason: str  # where euler_expected comes from
    # Points not yet found: a lower estimate (Chao1, and what the Euler sum shows to be missing).
    # [low, high]: from the latter to infinity, since nothing bounds the number of rare points.
    unseen: Estimate
    tolerance: float  # points nearer than this, in units of the domain's size, are one
    reasons: list[str]  # what the list's completeness rests on, in words
    seed: int
    rounds: int  # how many rounds were made; the next one has this number
    # of what a picture shows, per coordinate; empty: all of R^n
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    picture: Grid | None = None  # values for a figure, by ``picture``; n = 1 and 2 only
    tree: Tree | None = None  # which minima are joined at which level, by ``disconnectivity``

    @property
    def unmet(self) -> float:
        """The share of starts that lead, all together, to points not found: at most this (95 %).

        The starts are such as were made here, aimed ones among them.
        """
        return unmet([p.hits for p in self.points], self.starts)

    @property
    def counts(self) -> dict[int, int]:
        """How many nondegenerate points of each index."""
        indices = [p.index for p in self.points if p.nullity == 0 and p.index is not None]
        return {k: indices.count(k) for k in sorted(set(indices))}

    @property
    def degenerate(self) -> int:
        """How many points, families among them, have a zero eigenvalue and stand in no count."""
        return sum(p.nullity != 0 for p in self.points)


@owned()
@watched
def census(
    f: FunctionLandscape,
    starts: int = 10_000,
    seed: int = 0,
    *,
    tolerance: float = 1e-6,
    method: str = "auto",
    known: Census | None = None,
    device: torch.device | str = "cpu",
    keep: Callable[[Census], None] | None = None,
    progress: Progress = silent,
) -> Census:
    """Find the stationary points of every index in the domain of f.

    Args:
        f: a formula of few variables: a search holds n^2 numbers.
        starts: how many searches, those of ``known`` included.
        seed: of all starts.
        tolerance: points nearer than this, in units of the domain's size, are one.
        method: "minimise", "newton" or "follow" (see ``batched.py``) for every search; "auto" mixes
            the three.
        known: a census of f, which is extended.
        device: where the searches run, in float64; the points come back to the CPU.
        keep: called with the census so far after a round of searches, at most every 30 s: pass it
            as ``known`` to go on from there.
        progress: told the searches done.

    Raises:
        TypeError: f is not a formula.
        ValueError: starts below 1, an unknown method, a census of another landscape.
        NumericalError: f has no second derivative, or is finite nowhere.

    Cost: n + 1 products a step of a search, 10 to 30 steps each; n products for the verdict on each
    point found. Completeness is reported, never claimed: the Euler sum against what the domain
    demands, and the share of starts that can lead to points which none has met (``unmet``).

    Examples:
        >>> import landscape as ls
        >>> torus = ls.Torus(6.283185307179586)
        >>> f = ls.FunctionLandscape(lambda x: x.cos().sum(-1), 2, domain=torus)
        >>> found = ls.census(f, starts=200)
        >>> found.counts
        {0: 1, 1: 2, 2: 1}
    """
    _require(f, starts, method, known)
    _require_formula(f)
    _require_same(f, known)
    f, ranks = f.over(ALONE), f.ranks
    collection = Collection(f, tolerance)
    state = journal.State(f"census {seed} {tolerance} {method} {journal.identity(f)}")
    failures, done, rounds = _begun(collection, known, ranks.lead(state.find), starts)

    def so_far() -> Census:
        return _report(f, collection, failures, done, rounds, tolerance, seed, progress)

    kept = time.monotonic()
    while done < starts:
        count = min(ROUND if done < MANY else min(done // 8, MOST), starts - done)
        generator = torch.Generator(device="cpu").manual_seed(_child(seed, rounds))
        searches = _blocks(_searches(collection, count, rounds, method, generator))
        with journal.paused():
            for found, ends in ranks.deal([partial(_found, f, device, *one) for one in searches]):
                collection.add(found)
                failures.update(_reason(end) for end in ends.tolist() if end != STATIONARY)
        done, rounds = done + count, rounds + 1
        progress("searches", done, starts)
        due = time.monotonic() - kept > KEEP
        if keep is not None and done < starts and ranks.agreed(due):
            state.keep([done, rounds, dict(failures), collection.state()])
            keep(so_far())
            kept = time.monotonic()
    if not len(collection.x) and failures[End.NONFINITE.value] == done:
        raise NumericalError(
            f"{f.name} or its derivatives are not finite at any of {done} starts in its domain."
        )
    return so_far()


def _begun(
    collection: Collection, known: Census | None, kept: Any, starts: int
) -> tuple[Counter[str], int, int]:
    """The failures, searches and rounds so far; what they have met goes into the collection.

    kept: where an interrupted census stood to the bit, which goes before what it has told.
    """
    least = 0 if known is None else known.starts
    if kept is not None and least <= kept[0] <= starts:
        done, rounds, failures, found = kept
        collection.go_on(found)
        return Counter(failures), done, rounds
    if known is None:
        return Counter(), 0, 0
    collection.restore(known.points)
    return Counter(known.failures), known.starts, known.rounds


def _report(
    f: FunctionLandscape,
    collection: Collection,
    failures: Counter[str],
    done: int,
    rounds: int,
    tolerance: float,
    seed: int,
    progress: Progress,
) -> Census:
    """What is known after ``done`` searches: verdicts, Euler sum, what may be missing."""
    points, families, refused = _verdicts(f, collection, progress)
    euler, expected, why = _euler(f, points, families, tolerance)
    low, high = _view(f)
    return Census(
        dim=f.dim,
        points=points,
        families=families,
        starts=done,
        failures=dict(sorted((failures + Counter({NOT_CONFIRMED: refused})).items())),
        euler=euler,
        euler_expected=expected,
        euler_reason=why,
        unseen=unseen([p.hits for p in points], 0 if expected is None else abs(expected - euler)),
        tolerance=tolerance,
        reasons=_completeness(points, euler, expected, why, done),
        seed=seed,
        rounds=rounds,
        low=low,
        high=high,
        provenance=provenance(f, None, seed),
    )


def _require(f: FunctionLandscape, starts: int, method: str, known: Census | None) -> None:
    why = (
        f"a census needs a formula (FunctionLandscape), got {type(f).__name__}; for a model see "
        f"critical_points."
    )
    require_formula(f, why, FunctionLandscape, TypeError)
    whole(1, starts=starts)
    if method not in ("auto", *METHODS):
        raise ValueError(f"method must be auto, {', '.join(METHODS)}, got {method!r}.")
    if known is not None and known.dim != f.dim:
        raise ValueError(
            f"the census to extend is of {known.name} in {known.dim} dimensions, {f.name} has "
            f"{f.dim}."
        )


def _require_formula(f: FunctionLandscape) -> None:
    """Raise unless f is a differentiable function of each point alone, as far as a few random
    points show.
    """
    X = f.domain.sample(5, f.dim, torch.Generator(device="cpu").manual_seed(0), f.dtype)
    together, alone = f.value(X).detach(), torch.stack([f.value(x).detach() for x in X])
    if not torch.allclose(
        together,
        alone,
        rtol=1e-6,
        atol=1e-6 * float(alone.nan_to_num().abs().max()),
        equal_nan=True,
    ):
        raise ValueError(
            f"{f.name} is not batched: points give other values together than alone; index "
            "coordinates as x[..., i] and "
            "reduce over dim=-1."
        )
    varies = bool((alone[torch.isfinite(alone)].diff() != 0).any())
    with torch.enable_grad():
        if varies and not f.value(X.requires_grad_(True)).requires_grad:
            raise NumericalError(
                f"{f.name} is detached from x: compute with torch throughout, without .item() or "
                f".detach()."
            )


def _require_same(f: FunctionLandscape, known: Census | None) -> None:
    """Raise where a known census has values that f does not have at its points."""
    if known is None or not known.points:
        return
    X = torch.stack([p.x for p in known.points]).to(f.dtype)
    told = torch.tensor([p.value for p in known.points], dtype=torch.float64, device="cpu")
    around = f.domain.sample(99, f.dim, torch.Generator(device="cpu").manual_seed(0), f.dtype)
    usual = f.value(around).detach().double().abs().nanmedian()
    apart = (f.value(X).detach().cpu().double() - told).abs()
    if bool((apart > SAME * (told.abs() + told.abs().max() + usual)).any()):
        raise ValueError(
            f"the census to extend is of another landscape than {f.name}: values at its points "
            f"differ by up to {float(apart.max()):.2g}; pass known=None, or a census of this one."
        )


def _child(seed: int, number: int) -> int:
    """The seed of round ``number``."""
    return rng.number(np.random.SeedSequence([seed, number]))


def _searches(
    collection: Collection, count: int, number: int, method: str, generator: torch.Generator
) -> Iterator[tuple[Tensor, str, Tensor | None]]:
    """The starts of one round with the method of each and, for "follow", the index to aim at."""
    f = collection.f
    aims = number % 3 > 0 and len(collection.x) > 0
    if aims and method == "auto":
        X, index = collection.escapes(count // 5, generator)
        mixed = collection.recombined(3 * count // 5, generator)
        rest = collection.around(count - len(X) - len(mixed), generator)
        parts = [
            (X, "follow", index),
            (mixed, "minimise", None),
            (rest[::2], "minimise", None),
            (rest[1::2], "newton", None),
        ]
    else:
        X = (
            collection.around(count, generator)
            if aims
            else f.domain.sample(count, f.dim, generator)
        )
        index = collection.rare_indices(count, generator)
        ends = (
            torch.tensor(SHARES, dtype=torch.float32, device="cpu")
            .cumsum(0)
            .mul(count)
            .round()
            .int()
            .tolist()
        )
        slices = {name: slice(a, b) for name, a, b in zip(METHODS, [0, *ends], ends, strict=False)}
        slices = slices if method == "auto" else {method: slice(None)}
        parts = [(X[rows], name, index[rows]) for name, rows in slices.items()]
    yield from (part for part in parts if len(part[0]))


def _blocks(
    searches: Iterator[tuple[Tensor, str, Tensor | None]],
) -> Iterator[tuple[Tensor, str, Tensor | None]]:
    """Searches in blocks of ``BLOCK``, larger where a round is, whatever the number of ranks."""
    for X, how, index in searches:
        size = max(BLOCK, len(X) // DEALT)
        for i in range(0, len(X), size):
            yield X[i : i + size], how, None if index is None else index[i : i + size]


def _found(
    f: FunctionLandscape,
    device: torch.device | str,
    X: Tensor,
    how: str,
    index: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The stationary points that searches from X have found, and how each search ended."""
    found = search(f, X.to(device), how, index=None if index is None else index.to(device))
    return found.points[found.ends == STATIONARY].cpu(), found.ends.cpu()


def _reason(end: int) -> str:
    return _ENDS[end].value


def _verdicts(
    f: FunctionLandscape, collection: Collection, progress: Progress
) -> tuple[list[StationaryPoint], list[int], int]:
    """A verdict for every distinct point, ascending by value; which are families; how many searches
    ended where the verdict is no.
    """
    members = collection.families()
    points, family, refused = [], [], 0
    for number, (row, hits, is_family) in enumerate(members):
        progress("verdicts", number, len(members))
        point = classify(
            f,
            None,
            "dense",
            look=Look(f, collection.x[row], "census"),
            radius=collection.radius,
            hessian_error=float(collection.changes[row]),
        )
        point = replace(point, hits=hits)
        if point.kind == "not-stationary":
            refused += hits
            continue
        points.append(point)
        family.append(is_family)
    order = sorted(range(len(points)), key=lambda i: points[i].value)
    return [points[i] for i in order], [new for new, i in enumerate(order) if family[i]], refused


def _euler(
    f: FunctionLandscape, points: list[StationaryPoint], families: list[int], tolerance: float
) -> tuple[int, int | None, str]:
    """The sum of the points' signs, what it should be, and why."""
    expected, why = topology.expected_sum(f)
    total = sum((-1) ** p.index for p in points if p.nullity == 0 and p.index is not None)
    if not topology.periodic(f):
        return total, None, "the formula does not have the period of its torus"
    if families:
        return total, None, "continuous families count in no sum"
    for point in points:
        if point.nullity:
            local = topology.local_index(
                f, point.x, 100 * tolerance * float(f.domain.size(f.dim).min())
            )
            if local is None:
                return total, None, "the index of a degenerate point is not known"
            total += local
    return total, expected, why


def _view(f: FunctionLandscape) -> tuple[list[float], list[float]]:
    """What a picture of the domain shows."""
    if isinstance(f.domain, Box):
        low = torch.as_tensor(f.domain.low, dtype=torch.float64, device="cpu").expand(f.dim)
        return low.tolist(), (low + f.domain.size(f.dim)).tolist()
    if isinstance(f.domain, Space):
        return [], []
    return [0.0] * f.dim, f.domain.size(f.dim).tolist()


def _completeness(
    points: list[StationaryPoint], euler: int, expected: int | None, why: str, starts: int
) -> list[str]:
    """What the list's completeness rests on."""
    reasons = []
    if expected is None:
        reasons.append(f"no Euler check: {why}")
    elif euler == expected:
        reasons.append(f"the Euler sum is {euler}, as it must be ({why})")
    else:
        reasons.append(
            f"INCOMPLETE: the Euler sum is {euler} and must be {expected} ({why}): points are "
            f"missing, {abs(expected - euler)} at least"
        )
    hits = [p.hits for p in points]
    if hits.count(1):
        reasons.append(
            f"{hits.count(1)} of {len(hits)} points were met once: more starts will find more"
        )
    elif hits:
        reasons.append(f"every point was met at least {min(hits)} times")
    share = unmet(hits, starts)
    if share >= 1:
        reasons.append(
            f"{starts} starts are too few to say what share of them leads to points not met"
        )
    else:
        reasons.append(
            f"points that no start has met, if there are any, hold together less than {share:.2g} "
            f"of such starts (95 %); how many they are is not known"
        )
    return reasons


_ENDS = list(End)
