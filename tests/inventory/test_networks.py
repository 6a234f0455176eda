"""A census of a small network, each end checked by its own gradient and Hessian; of a formula, against its known points."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscape as ls
from landscape import zoo
from landscape.points.walk import Outcome


def network() -> ls.ModelLandscape:
    torch.manual_seed(2)
    x = torch.randn(30, 3, dtype=torch.float64)
    y = (x[:, 0] * x[:, 1] > 0).long()
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2, bias=False)).double()
    return ls.ModelLandscape(
        model, F.cross_entropy, [(x[:20], y[:20]), (x[20:], y[20:])], l2={"*": 0.02}
    )


@pytest.fixture(scope="module")
def census() -> ls.inventory.NetworkCensus:
    f = network()
    return ls.inventory.critical_points(
        f, ls.inventory.training_paths(f, runs=6, points=5, steps=100, seed=1), seed=1
    )


@pytest.mark.slow
def test_every_end_is_what_it_is_said_to_be(census: ls.inventory.NetworkCensus) -> None:
    f = network()
    start_norms = torch.tensor([float(f.gradient(x).norm()) for x in census.starts])
    assert census.gradient_scale == pytest.approx(float(start_norms.double().median()))
    assert len(census.outcomes) == len(census.points) == sum(census.counts.values())
    for i, x in enumerate(census.points):
        norm = float(f.gradient(x).norm())
        assert norm == pytest.approx(float(census.gradient_norms[i]), rel=1e-6, abs=1e-15)
        assert bool(census.stationary[i]) == (norm <= 1e-6 * census.gradient_scale)
        assert float(census.losses[i]) == pytest.approx(float(f.value(x)), rel=1e-12)
        assert float(census.distances[i]) == pytest.approx(
            float((x - census.starts[i]).norm()), rel=1e-9, abs=1e-12
        )
        values = torch.linalg.eigvalsh(ls.Hessian(f, x).dense())
        assert int(census.indices[i]) == int((values < -1e-12).sum())
        assert float(census.smallest[i]) == pytest.approx(float(values[0]), abs=1e-12)
    assert int(census.stationary.sum()) >= 15
    assert 2 <= census.distinct <= int(census.stationary.sum())
    assert torch.equal(census.fractions, census.indices.double() / f.dim)


@pytest.mark.slow
def test_flat_ends_are_data_and_count_for_nothing(census: ls.inventory.NetworkCensus) -> None:
    f = network()
    for i, outcome in enumerate(census.outcomes):
        if outcome is Outcome.GRADIENT_FLAT:
            x = census.points[i]
            g, H = f.gradient(x), ls.Hessian(f, x)
            assert float((H @ g).norm()) < 0.1 * float(g.norm())
    keep = census.stationary.numpy()
    truth = np.corrcoef(census.losses.numpy()[keep], census.fractions.numpy()[keep])[0, 1]
    assert census.correlation.value == pytest.approx(truth)
    assert census.correlation.low <= truth <= census.correlation.high
    assert 0 < census.correlation.error < 1


def test_a_formula_with_a_flat_point() -> None:
    """x + x^3/3 - c x has real stationary points only for c > 1: one of them is flat, the other not."""
    flat = ls.FunctionLandscape(lambda x: (x + x**3 / 3).sum(-1), 1)
    starts = torch.linspace(0.5, 2, 7, dtype=torch.float64)[:, None]
    found = ls.inventory.critical_points(flat, starts)
    assert found.counts == {"gradient_flat": 7}
    assert float(found.points.abs().max()) < 0.05
    assert np.isnan(found.correlation.value)
    wells = ls.FunctionLandscape(lambda x: ((x**2 - 1) ** 2).sum(-1) / 4, 2)
    grid = torch.tensor(list(itertools.product([-1.2, -0.1, 0.9], repeat=2)), dtype=torch.float64)
    ends = ls.inventory.critical_points(wells, grid)
    assert ends.counts == {"stationary": 9}
    truth = grid.sign() * (grid.abs() > 0.5)
    torch.testing.assert_close(ends.points, truth, atol=1e-9, rtol=0)
    assert ends.indices.tolist() == (truth == 0).sum(1).tolist()
    assert ends.distinct == 3  # two, one and no wells' bottoms
    assert ends.correlation.value == pytest.approx(1)


@pytest.mark.slow
def test_the_same_seed_gives_the_same(census: ls.inventory.NetworkCensus, tmp_path: Path) -> None:
    f = network()
    before = {k: v.clone() for k, v in f.model.state_dict().items()}
    state = torch.get_rng_state()
    paths = ls.inventory.training_paths(f, runs=6, points=5, steps=100, seed=1)
    again = ls.inventory.critical_points(f, paths[:2], seed=1)
    count = len(again.points)
    torch.testing.assert_close(again.points, census.points[:count], rtol=1e-6, atol=1e-8)
    assert torch.equal(torch.cat(paths), census.starts)
    assert again.runs.unique().tolist() == [0, 1]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in f.model.state_dict().items())
    loaded = ls.load(census.save(tmp_path / "census"))
    assert isinstance(loaded, ls.inventory.NetworkCensus)
    assert loaded.counts == census.counts
    assert torch.equal(loaded.points, census.points)


@pytest.mark.slow
def test_an_unfinished_census_goes_on_where_it_stopped(
    census: ls.inventory.NetworkCensus, tmp_path: Path
) -> None:
    """The first group's searches are taken over as they are; the rest is as it would have been."""
    f = network()
    paths = ls.inventory.training_paths(f, runs=14, points=5, steps=100, seed=1)
    whole = ls.inventory.critical_points(f, paths, seed=1)

    def stop(part: ls.inventory.NetworkCensus) -> None:
        part.save(tmp_path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ls.inventory.critical_points(f, paths, seed=1, keep=stop)
    part = ls.load(tmp_path)
    assert 0 < len(part.starts) < len(whole.starts)
    asked: list[int] = []
    rest = ls.inventory.critical_points(
        f, paths, seed=1, known=part, progress=lambda stage, done, total: asked.append(done)
    )
    assert asked[0] > len(part.starts)
    assert torch.equal(rest.points, whole.points)
    assert torch.equal(rest.runs, whole.runs)
    assert rest.outcomes == whole.outcomes
    assert (rest.hessians, rest.counts, rest.correlation) == (
        whole.hessians,
        whole.counts,
        whole.correlation,
    )
    with pytest.raises(ValueError, match="other starts"):
        ls.inventory.critical_points(f, paths[1:], seed=1, known=part)


@pytest.mark.slow
def test_paths_go_down(census: ls.inventory.NetworkCensus) -> None:
    for run in census.runs.unique():
        losses = census.start_losses[census.runs == run]
        assert float(losses[-1]) < float(losses[0])


@pytest.mark.slow
def test_the_network_of_the_zoo() -> None:
    f = zoo.load("digits-tiny", steps=0)
    assert (f.dim, f.samples, f.dtype) == (310, 100, torch.float64)
    assert not torch.equal(f.point(), zoo.load("digits-tiny", steps=0, seed=1).point())
    found = ls.inventory.critical_points(f, 0.02 * f.point()[None])
    assert found.counts == {"stationary": 1}  # the origin, where the hidden layer is dead
    assert float(found.losses[0]) == pytest.approx(np.log(10), abs=0.05)
    assert int(found.indices[0]) > 0


def test_bad_arguments_are_told_in_a_line() -> None:
    f = network()
    x = f.point()[None]
    for match, call in {
        "shape": lambda: ls.inventory.critical_points(f, x[0]),
        "at least one start": lambda: ls.inventory.critical_points(f, []),
        "tol must": lambda: ls.inventory.critical_points(f, x, tol=0.0),
        "iterations must": lambda: ls.inventory.critical_points(f, x, iterations=0),
        "on all of": lambda: ls.inventory.critical_points(
            ls.FunctionLandscape(lambda x: x.sum(-1), 2, ls.Torus()), torch.zeros(1, 2)
        ),
        "find_stationary": lambda: ls.inventory.critical_points(
            ls.FunctionLandscape(lambda x: x.sum(-1), 2_000), torch.zeros(1, 2_000)
        ),
        "must be sgd or adam": lambda: ls.inventory.training_paths(f, optimizers=["lion"]),
        "at least 1": lambda: ls.inventory.training_paths(f, runs=0),
    }.items():
        with pytest.raises(ValueError, match=match):
            call()
