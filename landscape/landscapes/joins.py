"""What batches count in a mean that no known way of counting explains, solved from their losses
together.

A mean over something has L(b) = S(b) / m(b), so that two batches a and b in one have the loss
(m_a L_a + m_b L_b) / (m_a + m_b): a third loss tells m_a / m_b. What is solved from pairs is held
against other pairs and against whole batches; where samples are coupled these disagree.
"""

import sys
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from landscape.landscapes import batches as batching
from landscape.landscapes.batches import Batch
from landscape.landscapes.means import Judge

EPS = sys.float_info.epsilon
FEWEST = 3  # batches that are solved as they are; two are halved
DOUBT = 1e-10  # what rounding may leave open of a count, relative to it
# Of what losses differ by: what a right count may miss by. A function of a mean misses by more, of
# the order of their relative differences squared.
MISSED = 1e-9
LARGEST = 10_000  # denominators up to this make a ratio of counts one of whole numbers


def solved(judge: Judge, batches: Sequence[Batch]) -> list[float] | None:
    """What each batch counts, up to a factor; None where no counts explain their losses.

    Args:
        judge: the loss of a batch, in double precision.
        batches: at least two.

    Raises:
        Exception: what the loss of a part, or of batches joined, raises; TypeError where batches
            cannot be joined.

    Cost: the losses of some eight batches, and where these tell of counts those of all the data
        four to five times.
    """
    if len(batches) > FEWEST and solved(judge, batches[:FEWEST]) is None:
        return None
    return _Solve(judge, _groups(batches)).counts(batches)


def _groups(batches: Sequence[Batch]) -> list[list[Batch]]:
    """The parts of each batch."""
    if len(batches) >= FEWEST:
        return [[batch] for batch in batches]
    return [batching.pieces(batch, 2) for batch in batches]


class _Solve:
    """Counts of parts of batches in the unit of the first one's."""

    def __init__(self, judge: Judge, groups: Sequence[Sequence[Batch]]) -> None:
        self.judge, self.groups = judge, groups
        self.parts = [part for group in groups for part in group]
        self.kept: list[Batch] = []  # a judge may know batches by their identity
        self.losses = [judge(part, None) for part in self.parts]
        self.size = max(map(abs, self.losses))
        self.spread = max(self.losses) - min(self.losses)

    def counts(self, batches: Sequence[Batch]) -> list[float] | None:
        """Of the batches; None where they explain not all that was measured."""
        ratios = [1.0, *map(self._ratio, range(1, len(self.parts)))]
        if not all(ratios):
            return None
        places = range(len(ratios))
        for own in [*pairwise(places[1:]), places[:3]]:
            if not self._explained(ratios, own, self._joined(*own)):
                return None
        found, first = [], 0
        for batch, group in zip(batches, self.groups, strict=True):
            own = places[first : first + len(group)]
            if len(own) > 1 and not self._explained(ratios, own, self.judge(batch, None)):
                return None
            found.append(sum(ratios[i] for i in own))
            first += len(group)
        return found

    def _joined(self, *places: int) -> float:
        self.kept.append(batching.joined([self.parts[i] for i in places]))
        return self.judge(self.kept[-1], None)

    def _ratio(self, i: int) -> float:
        """What part i counts over what the first one counts; 0 where rounding hides it, or nothing
        explains the loss of both.
        """
        both = self._joined(0, i)
        up, down = self.losses[0] - both, both - self.losses[i]
        if up * down <= 0:
            return 0.0
        doubt = 4 * EPS * self.size * (1 / abs(up) + 1 / abs(down))
        if doubt > DOUBT:
            return 0.0
        ratio = up / down
        whole = float(Fraction(ratio).limit_denominator(LARGEST))
        return whole if abs(whole - ratio) <= doubt * ratio else ratio

    def _explained(self, ratios: Sequence[float], places: Sequence[int], loss: float) -> bool:
        count = sum(ratios[i] for i in places)
        mean = sum(ratios[i] * self.losses[i] for i in places) / count
        return abs(mean - loss) <= MISSED * self.spread + 16 * EPS * self.size
