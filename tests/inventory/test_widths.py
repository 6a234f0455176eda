"""Index against loss by width: a law that is put in comes out, and points are those of the census of each network."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import landscape as ls
from landscape.inventory import widths

X = torch.linspace(-2, 2, 20, dtype=torch.float64)[:, None]


def net(width: int) -> ls.ModelLandscape:
    with torch.random.fork_rng():
        model = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1)).double()
    return ls.ModelLandscape(
        model, nn.functional.mse_loss, [(X, torch.sin(2 * X))], l2={"*": 0.003}
    )


@pytest.fixture(scope="module")
def study() -> ls.inventory.WidthStudy:
    return ls.inventory.index_by_width(net, [2, 3], runs=5, points=4, steps=100, seed=2)


@pytest.mark.parametrize("w", [-1.0, -0.9, -0.3, 0.0, 0.6, 1.0])
def test_the_level_of_a_fraction(w: float) -> None:
    assert widths.level(0.5 + (w * math.sqrt(1 - w * w) + math.asin(w)) / math.pi) == pytest.approx(
        w, abs=1e-9
    )


def test_a_law_that_is_put_in_comes_out() -> None:
    w = torch.linspace(-0.9, 0.2, 12, dtype=torch.float64)
    alpha = torch.tensor([ls.theory.index_fraction(float(v)) for v in w], dtype=torch.float64)
    losses = 3.0 + 0.7 * w
    never = torch.tensor(
        [0.0, 0.0], dtype=torch.float64
    )  # minima lie below the threshold, anywhere
    law = widths.fit(
        torch.cat([losses, never, losses[:1].repeat(50)]),
        torch.cat([alpha, never, alpha[:1].repeat(50)]),
    )
    assert law.centre == pytest.approx(3.0, abs=1e-4)
    assert law.spread == pytest.approx(0.7, abs=1e-4)
    assert law.explained == pytest.approx(1, abs=1e-6)
    assert law.fractions[0] == 0
    other = widths.fit(losses, alpha.flip(0) ** 3)
    assert other.spread < 0
    assert other.explained < 1 - 1e-4


def test_few_points_make_no_law() -> None:
    for size, fraction in ((4, 0.1), (9, 0.0)):
        law = widths.fit(
            torch.arange(size).double(), torch.full((size,), fraction, dtype=torch.float64)
        )
        assert math.isnan(law.spread)
        assert law.losses == []


@pytest.mark.slow
def test_points_are_those_of_the_census(study: ls.inventory.WidthStudy, tmp_path: Path) -> None:
    assert [n.width for n in study.networks] == [2, 3]
    assert [n.dim for n in study.networks] == [7, 10]
    f = net(3)
    census = ls.inventory.critical_points(
        f, ls.inventory.training_paths(f, runs=5, points=4, steps=100, seed=2), seed=2
    )
    found, keep = study.networks[1], census.stationary
    torch.testing.assert_close(found.losses, census.losses[keep])
    assert torch.equal(found.indices, census.indices[keep])
    assert found.searches == 20
    assert found.minimum_share.value == pytest.approx(
        float((census.indices[keep] == 0).double().mean())
    )
    assert found.minimum_share.low <= found.minimum_share.value < found.minimum_share.high
    again = ls.load(study.save(tmp_path))
    assert torch.equal(again.networks[1].losses, found.losses)
    assert again.networks[1].correlation == found.correlation


def module(width: int) -> Any:
    """What is no landscape."""
    return nn.Linear(1, width)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ls.inventory.index_by_width(net, []), ValueError, "at least one width"),
        (
            lambda: ls.inventory.index_by_width(module, [2]),
            TypeError,
            r"build\(2\) must give",
        ),
    ],
)
def test_faults_are_named(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
