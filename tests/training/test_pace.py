"""How often a tracer records where time decides, by a clock that the test sets."""

from itertools import pairwise

import pytest
import torch

import landscape as ls
from landscape.training import pace
from landscape.training.pace import LEAST, Ledger, Share


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(
    step: float, record: float, curved: float, steps: int, share: float = 0.05
) -> tuple[list[int], list[int], float, float]:
    """Steps with a record, and with curvature; seconds of the tracer in the loop, and of the loop."""
    clock = Clock()
    ledger = Ledger(clock=clock)
    paced = Share(share, ledger, evaluate=1, curvature=1)

    def measure(at: int) -> None:
        with ledger.work():
            clock.now += record
            if paced.curves(at):
                curvatures.append(at)
                with ledger.work(), ledger.curving():  # one within the other is counted once
                    clock.now += curved

    records, curvatures, due = [0], list[int](), list[int]()
    measure(0)
    paced.made(0)
    measure(0)
    ledger.begin()
    paced.begin(0)
    for i in range(1, steps + 1):
        clock.now += step
        if paced.due(i):
            if paced.evaluates(i):
                measure(i)
                records.append(i)
            due.append(i)
            paced.made(i)
        paced.near(i)
    # a look at the loop is never further away than it has come so far
    assert all(b <= max(2 * a, LEAST) for a, b in pairwise([0, *due, steps]))
    return records, curvatures, ledger.own, ledger.loop


@pytest.mark.parametrize("step", [0.01, 0.02, 1.0])
@pytest.mark.parametrize("record", [1e-5, 0.01, 0.3])
def test_records_take_their_share_and_no_more(step: float, record: float) -> None:
    steps = 4000
    records, curvatures, own, loop = run(step, record, 5 * record, steps)
    assert loop == pytest.approx(steps * step)
    assert own <= 0.05 * loop
    assert own == pytest.approx(
        record * (len(records) - 1) + 5 * record * (len(curvatures) - 1), rel=1e-6
    )
    gaps = [b - a for a, b in pairwise(records)]
    assert min(gaps) >= LEAST
    # as many as that share allows, or as every LEAST-th step has
    most = min(steps / LEAST, 0.75 * 0.05 * loop / record)
    assert 0.9 * most - 1 <= len(records) - 1 <= most
    most = min(steps / LEAST, 0.25 * 0.05 * loop / (5 * record))
    assert 0.9 * most - 1 <= len(curvatures) - 1 <= most


def test_short_steps_count_as_ten_milliseconds() -> None:
    slow, fast = run(0.01, 0.004, 0.02, 1000), run(0.0005, 0.004, 0.02, 1000)
    assert fast[:2] == slow[:2]
    assert fast[2] <= 0.05 * 1000 * pace.STEP


def test_a_short_run_has_some_records_however_short() -> None:
    """Two seconds are lent, and spread: from one record to the next the gap grows."""
    records, _, own, _ = run(0.001, 0.01, 0.05, 75)
    assert 4 <= len(records) - 1 <= 7
    assert own <= 0.05 * pace.RUN
    gaps = [b - a for a, b in pairwise(records)]
    assert gaps == sorted(gaps)


def test_a_record_that_costs_more_is_followed_by_a_longer_wait() -> None:
    cheap, dear = run(0.01, 0.01, 0.0, 2000)[0], run(0.01, 0.1, 0.0, 2000)[0]
    assert len(cheap) > 5 * len(dear) > 5


def test_a_larger_share_records_more() -> None:
    assert len(run(0.01, 0.02, 0.1, 2000, 0.2)[0]) > 3 * len(run(0.01, 0.02, 0.1, 2000, 0.05)[0])


def traced(monkeypatch: pytest.MonkeyPatch, seconds: float, steps: int) -> ls.training.Trace:
    """A run under the defaults whose clock goes on by so much in each step, and by as much each time that f is evaluated."""
    clock = Clock()
    monkeypatch.setattr("landscape.training.pace.time.perf_counter", clock)

    def value(x: torch.Tensor) -> torch.Tensor:
        clock.now += seconds
        return 0.5 * (x**2).sum(-1)

    f = ls.FunctionLandscape(value, dim=2)
    w = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.01)
    with ls.Tracer(optimizer, f) as tracer:
        for _ in range(steps):
            optimizer.zero_grad()
            (0.5 * (w**2).sum()).backward()
            clock.now += seconds
            optimizer.step()
    monkeypatch.undo()
    return tracer.result


def test_by_default_a_tracer_keeps_to_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = traced(monkeypatch, 0.01, 1000)
    assert trace.every == 0
    assert "share of the run's time" in str(trace)
    assert trace.steps[[0, -1]].tolist() == [0, 1000]
    seen = trace.steps[trace.evaluated]
    # a record takes as long as a step: three quarters of 5 % are one in 27
    assert 30 < len(seen) <= 39
    curved = trace.steps[trace.largest.isfinite()].tolist()
    assert curved[0] == 0
    assert curved[-1] == 1000  # the last record has all
    assert len(curved) < len(trace.steps)
    loss = trace.loss[trace.evaluated]
    torch.testing.assert_close(loss, 2.5 * 0.99 ** (2 * seen.double()))
    assert trace.loop is not None
    assert trace.loop.seconds == pytest.approx(10.0)
    # a look before each in the loop, and one at the second step
    assert len(trace.loop.carried) == len(trace.steps) - 1


def test_slow_steps_are_recorded_every_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    clockless = traced(monkeypatch, 0.0, 60)
    assert clockless.steps.tolist() == [0, 10, 20, 30, 40, 50, 60]


def test_shares_out_of_range_are_refused() -> None:
    w = torch.ones(2, requires_grad=True)
    f = ls.FunctionLandscape(lambda x: (x**2).sum(-1), dim=2)
    with pytest.raises(ValueError, match="share must be above 0, got 0"):
        ls.Tracer(torch.optim.SGD([w], lr=0.1), f, share=0.0)
