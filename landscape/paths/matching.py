"""Permutations, signs and scales of hidden units that bring one network close to another (Git
Re-Basin: Ainsworth, Hayase & Srinivasa 2023, ICLR, arXiv:2209.04836).

a, b: the tensors of two networks; P: a permutation, S: signs, D: positive scales of hidden units.
Scales go first: where they are free, what a unit reads is brought to norm 1 in a and in b. Matching
then takes the families in turn: the signed permutation that maximises sum <A, S P B> is a linear
assignment (scipy.optimize.linear_sum_assignment), until nothing changes. At the end b's units take
the norms that a's have: b becomes D_a^-1 S P D_b b, and a stays as it is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from landscape.landscapes.model import ModelLandscape
from landscape.paths.units import (
    Axis,
    Family,
    Junction,
    State,
    Unchanged,
    multiplied,
    permuted,
    reordered,
    units,
)

ROUNDS = 100  # over all families
SIGNED = 6  # junctions of one family whose signs are matched, of which every combination is tried
SETTLED = 1e-12  # a norm is 1

# Factors (size,) of each junction of each family.
Factors = tuple[tuple[Tensor, ...], ...]


@dataclass(frozen=True, eq=False)
class Alignment:
    """What is done to a network's units: scales, then orders, then signs and scales."""

    families: tuple[Family, ...]
    before: Factors
    orders: tuple[Tensor, ...]  # (size,) a family: unit order[i] comes into the place of unit i
    after: Factors

    @classmethod
    def identity(cls, families: Sequence[Family]) -> "Alignment":
        """Nothing moves."""
        orders = tuple(torch.arange(family.size, device="cpu") for family in families)
        return cls(tuple(families), _ones(families), orders, _ones(families))

    def of(self, tensors: State) -> State:
        """The tensors of the aligned network."""
        scaled = _multiplied(tensors, self.families, self.before)
        return _multiplied(permuted(scaled, self.families, self.orders), self.families, self.after)

    @property
    def orthogonal(self) -> "Alignment":
        """The permutations and signs of it."""
        signs = tuple(tuple(c.sign() for c in factors) for factors in self.after)
        return replace(self, before=_ones(self.families), after=signs)

    @property
    def moved(self) -> int:
        """Units whose place, sign or scale it changes."""
        count = 0
        for order, before, after in zip(self.orders, self.before, self.after, strict=True):
            changed = order != torch.arange(len(order), device="cpu")
            for first, last in zip(before, after, strict=True):
                changed |= (first[order] * last - 1).abs() > SETTLED
            count += int(changed.sum())
        return count


def aligned(f: ModelLandscape, a: State, b: State, families: Sequence[Family]) -> Alignment:
    """What brings b nearest to a and leaves f, evaluated at b, what it is to rounding.

    An alignment by permutations alone is tried beside the one with signs and scales, and the nearer
    end of the two is taken. Cost: up to four passes over the data.
    """
    unchanged = Unchanged.at(f, b)
    plain = [replace(family, junctions=()) for family in families]
    tried = [_with_scales(a, b, families)] if any(k.junctions for k in families) else []
    tried.append(_with_scales(a, b, plain))
    ends = [(alignment, alignment.of(b)) for alignment in tried]
    held = [(alignment, end) for alignment, end in ends if unchanged(end)]
    held.append((Alignment.identity(families), b))
    return min(
        held, key=lambda pair: sum(float((a[k] - t).norm()) ** 2 for k, t in pair[1].items())
    )[0]


def _ones(families: Sequence[Family]) -> Factors:
    return tuple(
        tuple(torch.ones(k.size, dtype=torch.float64, device="cpu") for _ in k.junctions)
        for k in families
    )


def _multiplied(tensors: State, families: Sequence[Family], factors: Factors) -> State:
    for family, each in zip(families, factors, strict=True):
        for junction, c in zip(family.junctions, each, strict=True):
            tensors = multiplied(tensors, junction, c)
    return tensors


def _with_scales(a: State, b: State, families: Sequence[Family]) -> Alignment:
    """Norms brought to 1, units matched, and a's norms given to b's units."""
    ours, theirs = _norms(a, families), _norms(b, families)
    a = _multiplied(a, families, tuple(tuple(1 / n for n in each) for each in ours))
    before = tuple(tuple(1 / n for n in each) for each in theirs)
    orders, signs = _matched(a, _multiplied(b, families, before), families)
    after = tuple(
        tuple(s * n for s, n in zip(*pair, strict=True)) for pair in zip(signs, ours, strict=True)
    )
    return Alignment(tuple(families), before, tuple(orders), after)


def _norms(tensors: State, families: Sequence[Family]) -> Factors:
    """By what the units of each junction with free scales are divided until all that they read has
    norm 1: exact after a round a layer, since only earlier layers change what a unit reads. Ones
    where it does not come to rest.
    """
    norms = [list(each) for each in _ones(families)]
    for _ in range(ROUNDS):
        change = 0.0
        for k, family in enumerate(families):
            for i, junction in enumerate(family.junctions):
                if junction.scales:
                    norm = _norm(tensors, junction, family.size)
                    tensors = multiplied(tensors, junction, 1 / norm)
                    norms[k][i] = norms[k][i] * norm
                    change = max(change, float((norm - 1).abs().max()))
        if change < SETTLED:
            return tuple(map(tuple, norms))
    return _ones(families)


def _norm(tensors: State, junction: Junction, size: int) -> Tensor:
    """The norm (size,) of what the first module that writes there has for each unit; where that is
    0 one over the norm of what reads it, or 1. Best a module that does not read the units too, as a
    recurrent layer does.
    """
    read = {axis.name for axis, power in junction.axes if power < 0}
    written = [axis for axis, power in junction.axes if power == 1]
    written = [axis for axis in written if axis.name not in read] or written
    norm = _length(tensors, written, size)
    reads = _length(tensors, [axis for axis, power in junction.axes if power == -1], size)
    return torch.where(norm > 0, norm, torch.where(reads > 0, 1 / reads, 1.0))


def _length(tensors: State, axes: Sequence[Axis], size: int) -> Tensor:
    """The norm (size,) of what the module of the first of these axes has for each unit."""
    module = axes[0].name.rpartition(".")[0]
    first = [axis for axis in axes if axis.name.rpartition(".")[0] == module]
    entries = torch.cat([units(tensors[x.name], x, size) for x in first], dim=1)
    length: Tensor = entries.norm(dim=1).cpu()
    return length


class _Matching:
    """Orders and signs of b's units, as they become better."""

    def __init__(self, a: State, b: State, families: Sequence[Family]) -> None:
        self.a, self.b, self.families = a, b, families
        self.orders = [torch.arange(k.size, device="cpu") for k in families]
        self.signs = [list(each) for each in _ones(families)]
        self.signed = [
            [i for i, junction in enumerate(k.junctions) if junction.signs][:SIGNED]
            for k in families
        ]

    @property
    def end(self) -> State:
        """b with its units moved."""
        moved = permuted(self.b, self.families, self.orders)
        return _multiplied(moved, self.families, tuple(map(tuple, self.signs)))

    def likeness(self) -> float:
        """sum <A, S P B>."""
        return sum(float((self.a[k] * t).sum()) for k, t in self.end.items())

    def assign(self, k: int, known: set[int]) -> bool:
        """Give family k its best order and signs, the others as they are; by tensors all of whose
        other families are ``known``. Returns whether anything changed.
        """
        family = self.families[k]
        axes = self._axes(k, known)
        if not axes:
            return False
        patterns = list(product((1.0, -1.0), repeat=len(self.signed[k])))
        scores = torch.stack([self._score(axis, k) for axis in axes]).cpu()
        signs = torch.tensor(
            [[self._sign(k, axis, p) for axis in axes] for p in patterns],
            dtype=torch.float64,
            device="cpu",
        )
        totals = torch.einsum("pa,aij->pij", signs, scores)
        score, best = totals.max(dim=0)
        order = torch.as_tensor(
            linear_sum_assignment(score.numpy(), maximize=True)[1], device="cpu"
        )
        rows = torch.arange(family.size, device="cpu")
        chosen = torch.tensor(patterns, dtype=torch.float64, device="cpu")[best[rows, order]]
        before = [self.orders[k], *self.signs[k]]
        self.orders[k] = order
        for column, i in enumerate(self.signed[k]):
            self.signs[k][i] = chosen[:, column]
        now = [self.orders[k], *self.signs[k]]
        return not all(map(torch.equal, before, now))

    def _axes(self, k: int, known: set[int]) -> list[Axis]:
        """The axes of family k whose tensors have nothing else, or what is ``known``. A tensor that
        has units of k on two axes says nothing until k is known.
        """
        axes = [x for x in self.families[k].axes if self._beside(x.name, k) <= known]
        sides = Counter(name for name, _ in {(axis.name, axis.dim) for axis in axes})
        return [x for x in axes if k in known or sides[x.name] == 1] or axes

    def _beside(self, name: str, k: int) -> set[int]:
        """The families other than k that have an axis of a tensor."""
        return {
            j
            for j, other in enumerate(self.families)
            if j != k and any(axis.name == name for axis in other.axes)
        }

    def witnesses(self, k: int, known: set[int]) -> int:
        """How many numbers say something about family k where only the ``known`` ones are fixed."""
        return sum(self.a[axis.name].numel() for axis in self._axes(k, known))

    def _score(self, axis: Axis, k: int) -> Tensor:
        """<a_i, b_j> of all pairs of units (size, size), as far as one tensor tells."""
        theirs = {axis.name: self.b[axis.name]}
        for j in self._beside(axis.name, k) | {k}:
            family = self.families[j]
            beside = [x for x in family.axes if x.name == axis.name and (j != k or x != axis)]
            for other in beside:
                theirs[axis.name] = reordered(theirs[axis.name], other, self.orders[j])
            for junction, signs in zip(family.junctions, self.signs[j], strict=True):
                here = tuple((x, p) for x, p in junction.axes if x in beside)
                theirs = multiplied(theirs, replace(junction, axes=here), signs)
        size = self.families[k].size
        return units(self.a[axis.name], axis, size) @ units(theirs[axis.name], axis, size).T

    def _sign(self, k: int, axis: Axis, pattern: Sequence[float]) -> float:
        """The sign that a tensor takes from those of the family's junctions."""
        sign = 1.0
        for i, s in zip(self.signed[k], pattern, strict=True):
            sign *= s ** sum(p for x, p in self.families[k].junctions[i].axes if x == axis)
        return sign


def _matched(
    a: State, b: State, families: Sequence[Family]
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Orders (size,) of b's units, one a family, and signs, one a junction, that bring b nearest.

    From two beginnings, and the better end of the two: b as it is; and family after family by what
    is fixed already, from the inputs on, which finds a copy exactly.
    """
    ends = [_Matching(a, b, families) for _ in range(2)]
    _grow(ends[1])
    for end in ends:
        _descend(end)
    best = max(ends, key=_Matching.likeness)
    return best.orders, best.signs


def _grow(matching: _Matching) -> None:
    """Orders found one family after the other, each by those that are known."""
    left, known = set(range(len(matching.families))), set[int]()
    while left:
        # first where most numbers speak; a bias alone says little
        k = max(sorted(left), key=lambda k: matching.witnesses(k, known))
        matching.assign(k, known)
        left.remove(k)
        known.add(k)


def _descend(matching: _Matching) -> None:
    """Assignment after assignment until none changes."""
    every = set(range(len(matching.families)))
    for _ in range(ROUNDS):
        changes = sum(matching.assign(k, every) for k in sorted(every))
        if not changes:
            break
