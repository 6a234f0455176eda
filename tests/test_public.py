"""The public surface: one short list, typed for editors; names that have moved say where to; mistakes get one sentence."""

import doctest
import io
import subprocess
import sys
import warnings
from importlib import import_module
from inspect import ismodule
from typing import Any

import pytest
import torch
from torch import nn

import landscape as ls

BOWL = ls.FunctionLandscape(lambda x: (x**2).sum(-1), 2, name="bowl")
ORIGIN = torch.zeros(2, dtype=torch.float64)
PUBLIC: list[str] = vars(ls)["__all__"]
PLACES: dict[str, str] = vars(ls)["_PLACES"]
wrong: Any = ls  # to be called with what no type allows


def test_the_list_is_short_and_every_name_is_there_and_told() -> None:
    assert len(PUBLIC) <= 40
    for name in PUBLIC:
        assert (getattr(ls, name).__doc__ or "").strip(), name
        assert name in (ls.__doc__ or ""), f"help(landscape) leaves {name} out"


def test_importing_it_imports_neither_torch_nor_matplotlib() -> None:
    code = "import sys, landscape; sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(PLACES))
def test_a_name_that_has_moved_works_and_says_where_it_is(name: str) -> None:
    place = f"landscape.{PLACES[name]}"
    with pytest.warns(DeprecationWarning, match=rf"landscape\.{name} is {place}\.{name} now"):
        found = getattr(ls, name)
    assert found is getattr(import_module(place), name)


def test_the_warning_points_at_the_users_line() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        _ = ls.Study  # type: ignore[attr-defined]
    assert seen[0].filename == __file__


MISTAKES = {
    "a number for noise": (
        lambda: wrong.escape(BOWL, [0.0, 0.0], ["sgd:lr=0.1"], noise=0.01),
        TypeError,
        "noise is written on one line, 'name:value', got 0.01",
    ),
    "a module for a landscape": (
        lambda: wrong.analyze(nn.Linear(2, 1)),
        TypeError,
        "ls.ModelLandscape(model, loss",
    ),
    "its Hessian": (
        lambda: wrong.Hessian(nn.Linear(2, 1)),
        TypeError,
        "ls.ModelLandscape(model, loss, batches)",
    ),
    "a function for a landscape": (
        lambda: wrong.classify(lambda x: x, ORIGIN),
        TypeError,
        "ls.FunctionLandscape(",
    ),
    "a landscape for an operator": (lambda: wrong.eigsh(BOWL), TypeError, "pass ls.Hessian(f"),
    "a landscape's trace": (lambda: wrong.trace(BOWL), TypeError, "pass ls.Hessian(f"),
    "an operator for a landscape": (
        lambda: wrong.analyze(ls.Hessian(BOWL, ORIGIN)),
        TypeError,
        "needs a landscape",
    ),
    "half a pair": (
        lambda: wrong.eigsh(ls.Hessian(BOWL, ORIGIN), largest=2.5),
        ValueError,
        "largest must be a whole",
    ),
    "half a start": (
        lambda: wrong.census(BOWL, starts=10.5),
        ValueError,
        "starts must be a whole number",
    ),
    "half a run": (
        lambda: wrong.escape(BOWL, ORIGIN, ["sgd:lr=0.1"], runs=2.5),
        ValueError,
        "runs must be a whole",
    ),
    "no point for a formula": (
        lambda: ls.Hessian(BOWL),
        ValueError,
        "formula, which has no current point",
    ),
    "words for a point": (
        lambda: wrong.classify(BOWL, "origin"),
        ValueError,
        "a list of 2 numbers",
    ),
    "a point too long": (
        lambda: ls.classify(BOWL, [0.0, 0.0, 0.0]),
        ValueError,
        "must have shape (2,), got (3,)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_sentence_that_says_what_to_do(mistake: str) -> None:
    call, error, words = MISTAKES[mistake]
    with pytest.raises(error) as told:
        call()
    assert words in str(told.value)
    assert "\n" not in str(told.value)


LONG = ("FallsBelow", "LeavesBall", "compare", "diagnose", "escape")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in LONG else [])
        for name in sorted(n for n in PUBLIC if not ismodule(getattr(ls, n)))
    ],
)
def test_the_example_of_a_public_name_shows_what_it_prints(name: str) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_ONLY_FIRST_FAILURE)
    found = doctest.DocTestFinder(recurse=False).find(getattr(ls, name), name, globs={})
    assert [len(test.examples) > 1 for test in found] == [True], f"{name} has no example"
    told = io.StringIO()
    runner.run(found[0], out=told.write)
    assert runner.failures == 0, told.getvalue()


def test_a_list_of_numbers_is_a_point() -> None:
    assert ls.classify(BOWL, [0.0, 0.0]).kind == "minimum"
    assert torch.equal(ls.Hessian(BOWL, [0.0, 0.0]).dense(), 2 * torch.eye(2, dtype=torch.float64))
    assert ls.find_stationary(BOWL, [0.3, 0.4]).kind == "minimum"
    well = ls.FunctionLandscape(lambda x: (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, 2)
    path = ls.minimum_energy_path(well, [-1.0, 0.0], [1.0, 0.0])
    assert path.values.max() == pytest.approx(1.0, abs=1e-6)
    curve = ls.paths.connect(well, [-1.0, 0.0], [1.0, 0.0], steps=5)
    assert curve.straight_barrier == pytest.approx(1.0, abs=1e-3)
    assert ls.surface(well, [0.0, 0.0], resolution=3).values.shape == (3, 3)
    assert ls.spectral_density(ls.Hessian(well, [1.0, 0.0])).nodes.max() == pytest.approx(8.0)
