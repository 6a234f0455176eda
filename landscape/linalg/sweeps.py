"""Sweeps, one Krylov space each, until a random start finds nothing more beyond the cut.

The cut is the innermost wanted value of an end; a probe is a sweep after all the wanted pairs are
locked. Its doubt is the probability that an eigenvalue tol ‖H‖ beyond the cut has hidden from its
start (Basis.missed). Of one value an end it does not matter how often it is repeated: there the
sweep that finds them goes on until its own start could have hidden nothing, and is the first probe.
"""

import numpy as np

from landscape.core import Progress
from landscape.linalg.krylov import Array, Basis, Ritz
from landscape.linalg.operand import granted, noise, rounded

# a probe stops when anything beyond the cut would have hidden from it with at most this probability
DOUBT = 1e-2


class Search:
    """Sweeps, one Krylov space each, until a probe finds nothing more."""

    def __init__(
        self, basis: Basis, largest: int, smallest: int, tol: float, budget: int, progress: Progress
    ) -> None:
        self.basis, self.largest, self.smallest, self.k = (
            basis,
            largest,
            smallest,
            largest + smallest,
        )
        self.tol, self.most, self.progress = tol, budget, progress
        # enough to have as many pairs as are wanted, however rough, whatever the time
        self.least = max(0, self.k - basis.locked) + 1
        self.longest = 20  # products of the longest sweep that found something
        self.confidence = 0.0
        self.single = False  # whether the sweep that finds the wanted pairs is a probe,
        self.found = 0  # and the products after which it had them

    @property
    def budget(self) -> int:
        """How many products may be spent in all, those of the residuals apart."""
        grant = self.basis.products + granted(self.basis.H) - self.basis.ahead
        return int(min(self.most, max(grant, self.least)))

    @property
    def margin(self) -> float:
        """tol ‖H‖, less the rounding of the scale."""
        return self.tol * (self.basis.scale - noise(self.basis.H, self.basis.scale))

    @property
    def goal(self) -> float:
        """What a residual may be: tol ‖H‖ less the rounding that the bounds will
        include, or half.
        """
        goal = self.tol * self.basis.scale * self.basis.aim
        return max(goal / 2, goal - 2.5 * noise(self.basis.H, self.basis.scale))

    def run(self, probes: int) -> bool:
        """Lock the wanted pairs; whether the budget sufficed."""
        basis, clean = self.basis, 0
        doubt = np.ones(2)
        self.single = probes > 0 and max(self.largest, self.smallest) == 1 and not basis.locked
        while True:
            if basis.locked == basis.n:
                self.confidence = 1.0
                return True
            if basis.locked >= self.k and clean == probes:
                asked = np.array([self.largest > 0, self.smallest > 0])
                self.confidence = max(0.0, 1.0 - float(doubt[asked].sum())) if probes else 0.0
                return True
            before = basis.products
            missed = self.sweep()
            if missed is None:
                return False
            if missed.size:
                clean, doubt = clean + 1, doubt * missed
            else:
                clean, doubt = 0, np.ones(2)
                self.longest = max(self.longest, basis.products - before)

    def sweep(self) -> Array | None:
        """One Krylov space.

        Returns:
            None: out of budget; empty: it locked new pairs, and others may repeat them; else the
                probabilities (2,) that its start hid something above the upper cut, below the
                lower one.
        """
        basis = self.basis
        before = basis.products
        if basis.products >= self.budget:
            return None
        basis.start()
        missed, pace, certain = np.ones(2), Pace(), Pace()
        steps, self.found = max(0, self.k - basis.locked) + 4, 0
        while True:
            basis.grow(max(1, min(steps, basis.room, self.budget - basis.products)))
            self.progress("eigenvalues", basis.products, None)
            ritz = basis.ritz()
            old, new = self.select(ritz)
            if self._spare_in_the_way(ritz, new):
                basis.lock(ritz, old, new[:0])
                basis.start()
                continue
            worst, goal = float(ritz.residuals[new].max(initial=0.0)), self.goal
            converged = worst <= goal and len(old) + len(new) == self.k
            if len(new) and (ritz.exhausted or converged):
                missed, settled = self.hidden(ritz, len(new), basis.products - before)
                if settled:
                    basis.lock(ritz, old, np.concatenate([new, self.spare(ritz, old, new)]))
                    return missed
                worst, goal, pace = float(missed.max()), DOUBT, certain
            if not len(new):
                missed, settled = self.missed(ritz, missed)
                worst, goal = float(missed.max()), DOUBT
                if settled or ritz.exhausted or basis.products - before >= self.longest:
                    self._end_probe()
                    return missed
            if basis.products >= self.budget:
                basis.lock(ritz, old, new)
                return None
            if not basis.room:
                basis.restart(ritz, self.keep(ritz, new), new)
            steps = pace.next(basis.products, worst, goal)

    def _end_probe(self) -> None:
        """Keep what a start that found nothing has seen."""
        self.basis.count_signs()
        if self.basis.locked == self.k:  # no spare ones
            self.basis.remember_last()

    def _spare_in_the_way(self, ritz: Ritz, new: Array) -> bool:
        """Whether spare vectors must go: new pairs may couple to them, or are close to a cut."""
        return self.basis.locked > self.k and bool(len(new) or self.crowded(ritz))

    def cuts(self) -> tuple[float, float, float, float]:
        """The innermost locked values from above and from below, and how far a Ritz value must pass
        each to count.
        """
        basis = self.basis
        if basis.locked < self.k:
            return -np.inf, np.inf, 0.0, 0.0
        order = np.argsort(basis.values)
        least = noise(basis.H, basis.scale)
        upper, lower = (
            order[-self.largest] if self.largest else order[-1],
            order[max(0, self.smallest - 1)],
        )
        return (
            float(basis.values[upper]),
            float(basis.values[lower]),
            max(least, float(basis.residuals[upper])),
            max(least, float(basis.residuals[lower])),
        )

    def wanted(self) -> Array:
        """Which of the locked pairs are wanted, as a mask."""
        rank = np.argsort(np.argsort(self.basis.values))
        return (rank < self.smallest) | (rank >= len(rank) - self.largest)

    def select(self, ritz: Ritz) -> tuple[Array, Array]:
        """The wanted pairs: indices among the locked ones, and among the Ritz pairs. A tie goes to
        the locked.
        """
        basis = self.basis
        _, _, above, below = self.cuts()
        held, total = basis.locked, basis.locked + len(ritz.theta)
        if total <= self.k:
            return np.arange(held), np.arange(len(ritz.theta))
        top = np.concatenate([basis.values, ritz.theta - above])
        bottom = np.concatenate([basis.values, ritz.theta + below])
        chosen = np.zeros(total, bool)
        chosen[np.argsort(-top, kind="stable")[: self.largest]] = True
        bottom[chosen] = np.inf
        chosen[np.argsort(bottom, kind="stable")[: self.smallest]] = True
        return np.flatnonzero(chosen[:held]), np.flatnonzero(chosen[held:])

    def spare(self, ritz: Ritz, old: Array, new: Array) -> Array:
        """Indices of further Ritz pairs to lock, converged or not, so that the probe has a wider
        gap to see across.

        With pairs of residual r_i and theta_i < x locked, H has nothing above x if PHP has nothing
        above x - sum r_i² / (x - theta_i): the Schur complement. Lock down to where this gains
        most.
        """
        if ritz.exhausted or len(old) + len(new) < self.k:
            return new[:0]
        found, room = [], self.basis.rows - self.k - 30
        rest = np.setdiff1d(np.arange(len(ritz.theta)), new)
        wanted = np.sort(np.concatenate([self.basis.values[old], ritz.theta[new]]))
        ends = (
            (self.largest, 1, wanted[-self.largest]),
            (self.smallest, -1, wanted[self.smallest - 1]),
        )
        for count, sign, cut in ends:
            if count and len(rest) > 1:
                order = rest[::-1] if sign > 0 else rest
                gaps = sign * (cut - ritz.theta[order]) + self.margin
                if gaps[0] > self.margin:
                    cost = np.cumsum(ritz.residuals[order] ** 2 / gaps)
                    gain = gaps - np.concatenate([[0.0], cost[:-1]])
                    found.append(order[: min(int(gain.argmax()), max(0, room // 2))])
        return np.unique(np.concatenate(found)) if found else new[:0]

    def keep(self, ritz: Ritz, new: Array) -> Array:
        """Indices of the Ritz pairs that survive a restart: the wanted, and a third of the others
        at the same ends.
        """
        m = len(ritz.theta)
        spare = (m - len(new)) // 3
        low = int((new < m / 2).sum()) if self.largest else len(new)
        high = len(new) - low
        share = self.smallest / self.k
        low, high = low + round(share * spare), high + spare - round(share * spare)
        if low + high >= m:  # leave room for a step
            low, high = (low, m - 1 - low) if low < m / 2 else (m - 1 - high, high)
        return np.concatenate([np.arange(low), np.arange(m - high, m)])

    def beyond(self) -> list[tuple[int, int, float, float]]:
        """For each end asked for: its number, its sign, and the points near and far (tol ‖H‖)
        beyond its cut.

        A probe must show that nothing is beyond them. They are moved inwards by what the spare
        vectors may hide, and by what a basis held narrow has lost.
        """
        upper, lower, above, below = self.cuts()
        basis, margin = self.basis, self.margin
        points = []
        for end, count, sign, cut, slack in (
            (0, self.largest, 1, upper, above),
            (1, self.smallest, -1, lower, below),
        ):
            if count:
                gaps = sign * (cut - basis.values)
                spare = (gaps > 0) & ~self.wanted()
                # see spare
                hidden = rounded(basis.H) + float(
                    (basis.residuals[spare] ** 2 / (gaps[spare] + max(slack, margin))).sum()
                )
                near, far = max(slack, 0.1 * margin) - hidden, max(slack, margin) - hidden
                points.append((end, sign, cut + sign * near, cut + sign * far))
        return points

    def hidden(self, ritz: Ritz, pairs: int, spent: int) -> tuple[Array, bool]:
        """As ``missed`` for the start that has found so many wanted pairs itself in the products
        spent; none where that is for a fresh one to say.
        """
        basis = self.basis
        own = self.single and pairs == self.k and not basis.restarted and basis.room > 0
        if not own or ritz.exhausted:
            return np.zeros(0), True
        self.found = self.found or spent
        far = self.margin - rounded(basis.H)
        ends = ritz.theta[-1] + far, ritz.theta[0] - far
        asked = self.largest > 0, self.smallest > 0
        missed = np.array([basis.missed(ritz, x) * a for x, a in zip(ends, asked, strict=True)])
        return missed, bool((missed <= DOUBT).all()) or spent >= self.found + max(20, self.found)

    def crowded(self, ritz: Ritz) -> bool:
        """Whether a Ritz value has come so close to a cut that spare vectors are in the way."""
        return any(
            sign * ritz.theta[-1 + end] >= sign * near for end, sign, near, _ in self.beyond()
        )

    def missed(self, ritz: Ritz, before: Array) -> tuple[Array, bool]:
        """Probabilities (2,) that an eigenvalue tol ‖H‖ beyond a cut has hidden; whether the probe
        has seen enough.
        """
        missed, settled = before, True
        for end, _, _, far in self.beyond():
            if not self.basis.restarted:
                missed[end] = self.basis.missed(ritz, far)
            settled &= bool(missed[end] <= DOUBT)
        return missed, settled


class Pace:
    """How many steps to take before the host looks again: half of what the last two looks
    predict.
    """

    def __init__(self) -> None:
        self.last: tuple[int, float] | None = None

    def next(self, done: int, now: float, goal: float) -> int:
        last, self.last = self.last, (done, now)
        if last is None or not 0 < now < last[1] or goal <= 0:
            return 1 + done // 50
        rate = np.log(last[1] / now) / (done - last[0])
        return int(np.clip(np.log(max(now / goal, 1.0)) / rate / 2, 1, 4 + done // 20))
