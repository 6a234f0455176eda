"""The line of a running loop on a terminal."""

import io

import pytest
import torch

import landscape as ls


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def run(live: bool, steps: int = 30) -> ls.training.Trace:
    """Gradient descent on x^2 / 2 - y^2 / 2, next to its saddle."""
    f = ls.FunctionLandscape(lambda x: 0.5 * (x[..., 0] ** 2 - x[..., 1] ** 2), dim=2)
    w = torch.tensor([1.0, 1e-6], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.5)
    with ls.Tracer(optimizer, f, every=5, last_look=False, live=live) as tracer:
        for _ in range(steps):
            optimizer.zero_grad()
            f.value(w).backward()
            optimizer.step()
    return tracer.result


def test_each_record_is_written_over_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    trace = run(live=True)
    start, *shown = stream.getvalue().split("\r\x1b[K")
    assert start == ""
    assert shown[0] == "step 0  loss 0.5  curvature 1  edge 4"
    assert len(shown) == len(trace.steps) == 7
    assert shown[-1].endswith("\n")
    assert all("\n" not in line for line in shown[:-1])
    for line, step, loss in zip(shown, trace.steps, trace.loss, strict=True):
        assert line.startswith(f"step {int(step)}  loss ")
        assert float(line.split()[3]) == pytest.approx(float(loss), rel=1e-3, abs=1e-12)
    assert shown[1].endswith("  descent")
    assert shown[-1].strip().endswith(f"  {trace.phases[-1].name}")
    assert trace.notes == ()


def test_the_line_is_no_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", "20")
    run(live=True)
    assert max(len(line.strip("\n")) for line in stream.getvalue().split("\r\x1b[K")) == 19


@pytest.mark.parametrize(("live", "stream"), [(True, io.StringIO), (False, Terminal)])
def test_otherwise_nothing_is_shown(
    live: bool, stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = stream()
    monkeypatch.setattr("sys.stderr", held)
    run(live)
    assert held.getvalue() == ""


def test_a_stream_that_breaks_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)

    def broken(text: str) -> int:
        raise OSError("the terminal is gone")

    monkeypatch.setattr(stream, "write", broken)
    with pytest.warns(UserWarning, match="the live line failed: OSError"):
        trace = run(live=True)
    assert trace.steps.tolist() == [0, 5, 10, 15, 20, 25, 30]
