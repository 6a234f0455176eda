"""A tracer never costs the run: whatever fails in it, the loop ends as without it, to the bit."""

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landscape as ls
from landscape.landscapes import states
from landscape.operators import hessian
from landscape.training import follow, loop, records, tracer


class BrokenError(Exception):
    """What is thrown."""


def broken(*args: object, **kwargs: object) -> object:
    raise BrokenError("made to fail")


def later(function: Callable[..., object], calls: int) -> Callable[..., object]:
    """The function, which fails from so many calls on."""
    count = [0]

    def some(*args: object, **kwargs: object) -> object:
        count[0] += 1
        return function(*args, **kwargs) if count[0] <= calls else broken()

    return some


# what fails, by owner and name, and from which call on
PLACES = {
    "a point": (follow.Followed, "point", 1),
    "the first point": (follow.Followed, "point", 0),
    "norms": (follow.Followed, "norms", 0),
    "scalars": (follow.Followed, "scalars", 0),
    "scalars, later": (follow.Followed, "scalars", 2),
    "the preconditioner": (follow.Followed, "preconditioner", 0),
    "groups": (follow.Followed, "unmoved", 0),
    "hooks": (loop.Watch, "open", 0),
    "hooks taken down": (loop.Watch, "close", 0),
    "what was seen": (loop.Watch, "seen", 0),
    "a gradient's size": (loop, "_size", 0),
    "a batch's mark": (loop, "_mark", 0),
    "what is before a step": (loop.Watch, "before", 0),
    "what is after it": (loop.Watch, "after", 0),
    "labels": (loop, "_labels", 0),
    "terms": (ls.ModelLandscape, "terms", 0),
    "terms, later": (ls.ModelLandscape, "terms", 3),
    "an evaluation": (ls.ModelLandscape, "evaluation", 1),
    "products": (hessian.Hessian, "__matmul__", 0),
    "an operator": (tracer, "Hessian", 0),
    "the spectrum": (tracer, "refresh", 0),
    "random states": (tracer, "undisturbed", 2),
    "the loader": (states, "_loader", 0),
    "the file": (tracer, "Records", 0),
    "a row": (records.Records, "add", 1),
    "a block": (records.Records, "flush", 0),
    "reading back": (records.Records, "read", 1),
    "closing": (records.Records, "close", 0),
    "the reading": (tracer, "read", 0),
    "the last look": (tracer, "classify", 0),
    "provenance": (tracer, "provenance", 0),
    "the optimiser's spec": (tracer, "spec_of", 0),
    "the log": (None, "", 0),
}


Traced = Callable[[torch.optim.Optimizer, ls.ModelLandscape], ls.Tracer | None]


def train(traced: Traced) -> tuple[Tensor, Tensor]:
    """Weights and random state after a loop with dropout."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x, y = torch.randn(32, 4), torch.randint(3, (32,))

    def steps() -> None:
        for i in range(6):
            optimizer.zero_grad()
            rows = slice(8 * (i % 4), 8 * (i % 4) + 8)
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()

    f = ls.ModelLandscape(model, F.cross_entropy, [(x[:16], y[:16]), (x[16:], y[16:])])
    entered = traced(optimizer, f)
    if entered is None:
        steps()
    else:
        with entered:
            steps()
    return torch.cat([p.detach().flatten() for p in model.parameters()]), torch.get_rng_state()


PLAIN: list[tuple[Tensor, Tensor]] = []


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.filterwarnings("ignore")
def test_what_fails_is_a_note(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not PLAIN:
        PLAIN.append(train(lambda optimizer, f: None))
    owner, name, calls = PLACES[place]
    kept: list[ls.Tracer] = []

    def traced(optimizer: torch.optim.Optimizer, f: ls.ModelLandscape) -> ls.Tracer:
        f.mean  # noqa: B018  # what building costs is the caller's own
        kept.append(ls.Tracer(optimizer, f, every=2, log=broken if owner is None else None))
        if owner is not None:
            monkeypatch.setattr(owner, name, later(getattr(owner, name), calls))
        return kept[0]

    weights, state = train(traced)
    assert torch.equal(weights, PLAIN[0][0])
    assert torch.equal(state, PLAIN[0][1])
    trace = kept[0].result
    assert isinstance(trace, ls.training.Trace)
    silent = ("a gradient's size", "a batch's mark", "labels")  # nothing is seen there, no more
    assert place in silent or any("made to fail" in note for note in trace.notes), trace.notes


def test_a_failure_is_a_warning_once() -> None:
    def traced(optimizer: torch.optim.Optimizer, f: ls.ModelLandscape) -> ls.Tracer:
        return ls.Tracer(optimizer, f, every=1, log=broken, last_look=False)

    with pytest.warns(UserWarning, match="the log failed: BrokenError: made to fail") as told:
        train(traced)
    assert sum("the log failed" in str(w.message) for w in told) == 1


def test_where_warnings_are_errors_the_note_must_do() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(lambda o, f: ls.Tracer(o, f, every=2, log=broken, last_look=False))
