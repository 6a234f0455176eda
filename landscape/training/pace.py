"""Which steps a tracer records: every k-th, or as many as fit into a share of the run's time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import torch

LEAST = 10  # steps from one record to the next, at least, where time decides
AHEAD = 2  # so many steps before a record the loop is looked at
STEP = 0.01  # seconds: a step counts for at least so much of the run's time
RUN = 2.0  # seconds: and a run that has just begun for so much, so that short ones are seen too
CURVED = 0.25  # of the share, what the curvature may take


class Ledger:
    """Seconds of a tracer's own work, and of the loop without it.

    device: what is waited for around the tracer's work, so that its seconds are its own; None:
    nothing.
    """

    def __init__(
        self, device: torch.device | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        self.device = device if device is not None and device.type == "cuda" else None
        self.clock = time.perf_counter if clock is None else clock
        self.own = self.curvature = 0.0  # seconds of all the tracer's work, and of this part
        self._begun = self.clock()
        self._inside = False

    def begin(self) -> None:
        """The loop begins now."""
        self._begun, self.own, self.curvature = self.clock(), 0.0, 0.0

    @property
    def loop(self) -> float:
        """Seconds of the loop so far."""
        return self.clock() - self._begun - self.own

    @contextmanager
    def work(self) -> Iterator[None]:
        """Within, the tracer is at work."""
        if self._inside:
            yield
            return
        begun, self._inside = self._now(), True
        try:
            yield
        finally:
            self._inside = False
            self.own += self._now() - begun

    @contextmanager
    def curving(self) -> Iterator[None]:
        """Within, it is at work on the curvature."""
        begun = self._now()
        try:
            yield
        finally:
            self.curvature += self._now() - begun

    def _now(self) -> float:
        if self.device is not None:
            with suppress(Exception):  # a failure of the device is the loop's own to tell
                torch.cuda.synchronize(self.device)
        return self.clock()


class Pace(Protocol):
    """When records are made, and what of them."""

    def due(self, step: int) -> bool:
        """Whether this step is recorded."""
        ...

    def near(self, step: int) -> bool:
        """Asked after every step: whether the next record is at most AHEAD steps away."""
        ...

    def evaluates(self, step: int) -> bool:
        """Whether f is evaluated there."""
        ...

    def curves(self, step: int) -> bool:
        """Whether the curvature is refreshed there."""
        ...

    def whole(self, step: int) -> bool:
        """Whether a record made there needs no completion, should the run end with it."""
        ...

    def made(self, step: int) -> None:
        """The record of this step is made."""
        ...

    def begin(self, step: int) -> None:
        """The loop begins, at this step."""
        ...

    def end(self) -> None:
        """The run has ended: what comes is its last record."""
        ...


class Every:
    """Every k-th step; at every so many-th of these f is evaluated, and the curvature refreshed."""

    def __init__(self, every: int, evaluate: int, curvature: int) -> None:
        self.every, self.evaluate, self.curvature = every, evaluate, curvature

    def due(self, step: int) -> bool:
        return step % self.every == 0

    def near(self, step: int) -> bool:
        return self.every - step % self.every <= AHEAD

    def evaluates(self, step: int) -> bool:
        return step // self.every % self.evaluate == 0

    def curves(self, step: int) -> bool:
        return self.curvature > 0 and step // self.every % self.curvature == 0

    def whole(self, step: int) -> bool:
        return self.evaluates(step)

    def made(self, step: int) -> None: ...

    def begin(self, step: int) -> None: ...

    def end(self) -> None: ...


class Share:
    """As often as fits into a share of the loop's time, at most every LEAST-th step.

    A part of the share is for the curvature, where it is wanted, and the rest for all else. A
    record is made when it will still fit in, if it costs what the one before did; what those before
    the loop cost tells when the first within it is. At steps 10, 20, 40 and so on one is made
    anyway, without f where that does not fit: the loop is looked at then.
    """

    def __init__(self, share: float, ledger: Ledger, evaluate: int, curvature: int) -> None:
        self.share, self.ledger = share, ledger
        self.evaluate, self.curvature = evaluate, curvature
        self._next = self._last = self._first = 0  # steps
        self._records = 0
        self._seen = True  # whether f is evaluated at the next record
        self._curved = curvature > 0  # and the curvature refreshed
        self._paid = (0.0, 0.0)  # when the last record had been made: all else, curvature
        self._cost = [0.0, 0.0]  # of the last record, and of the last curvature

    def due(self, step: int) -> bool:
        return step == self._next

    def near(self, step: int) -> bool:
        if self._next <= step and step - self._last >= LEAST - AHEAD:
            self._seen, curved = self._fit(step)
            if self._seen or step + AHEAD - self._first >= 2 * (self._last - self._first):
                self._next = step + AHEAD
                self._curved = self._seen and curved and self._asked(self.curvature)
        return self._next > step

    def evaluates(self, step: int) -> bool:
        return self._seen and self._asked(self.evaluate)

    def curves(self, step: int) -> bool:
        return self._curved

    def whole(self, step: int) -> bool:
        return self.evaluates(step) and (self._curved or self.curvature == 0)

    def begin(self, step: int) -> None:
        self.made(step)
        self.ledger.begin()
        self._first, self._records, self._paid = step, 1, (0.0, 0.0)

    def made(self, step: int) -> None:
        paid = self._spent()
        for i in range(2):
            if paid[i] > self._paid[i] and self._seen:
                self._cost[i] = paid[i] - self._paid[i]
        self._paid, self._last, self._next, self._curved = paid, step, step, False
        self._records += self._seen

    def end(self) -> None:
        self._records, self._seen, self._curved = 0, True, self.curvature > 0

    def _asked(self, of: int) -> bool:
        """Whether the next record is a so many-th."""
        return of > 0 and self._records % of == 0

    def _spent(self) -> tuple[float, float]:
        return self.ledger.own - self.ledger.curvature, self.ledger.curvature

    def _fit(self, step: int) -> tuple[bool, bool]:
        """Whether a record fits into its part of the share now, and one of the curvature."""
        seconds = max(self.ledger.loop, STEP * (step - self._first))
        if 2 * (step - self._last) >= self._last - self._first:  # what is lent is spread
            seconds = max(seconds, RUN)
        part = CURVED if self.curvature else 0.0
        (plain, curved), (next_plain, next_curved) = self._spent(), self._cost
        return (
            plain + next_plain <= (1 - part) * self.share * seconds,
            curved + next_curved <= part * self.share * seconds,
        )
