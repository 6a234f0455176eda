"""The parts that a verdict is put together from: pairs of both ends, kinds by signs, steps of following, one look."""

from collections import Counter
from typing import Any

import pytest
import torch

import landscape as ls
from landscape.landscapes.kinds import kind
from landscape.points.look import Look
from landscape.points.steps import eigenvector_step


def test_finer_pairs_take_the_place_of_the_outermost() -> None:
    truth = torch.arange(-5.0, 95.0, dtype=torch.float64)
    A = torch.diag(truth)
    coarse = ls.eigsh(A, largest=3, smallest=4, tol=1e-2)
    finer = ls.eigsh(A, largest=1, smallest=2, tol=1e-9)
    joined = coarse.replaced(finer)
    assert (joined.smallest, joined.largest, len(joined.values)) == (4, 3, 7)
    assert joined.products == coarse.products + finer.products
    assert torch.equal(joined.lower.values[:2], finer.lower.values)
    assert torch.equal(joined.lower.values[2:], coarse.lower.values[2:])
    assert torch.equal(
        joined.upper.values, torch.cat([coarse.upper.values[:2], finer.upper.values])
    )
    wanted = torch.cat([truth[:4], truth[-3:]])
    assert bool(((joined.values - wanted).abs() <= joined.bounds).all())
    residuals = (A @ joined.vectors - joined.vectors * joined.values).norm(dim=0)
    assert bool((residuals <= joined.residuals).all())
    assert float(joined.residuals[0]) < 1e-6 * joined.scale


@pytest.mark.parametrize(
    ("signs", "name"),
    [
        ((0, 0, 3), "minimum"),
        ((3, 0, 0), "maximum"),
        ((1, 0, 2), "saddle"),
        ((1, 1, 1), "saddle"),
        ((0, 1, 2), "degenerate"),
        ((2, 1, 0), "degenerate"),
        ((0, 3, 0), "plateau"),
    ],
)
def test_kinds_by_signs(signs: tuple[int, int, int], name: str) -> None:
    assert kind(*signs) == name


def test_the_step_of_following_is_newtons_at_a_point_of_that_index() -> None:
    w = torch.tensor([-3.0, -1.0, 2.0, 5.0], dtype=torch.float64)
    c = torch.tensor([0.5, -1.0, 2.0, 0.1], dtype=torch.float64)
    up, idle = torch.tensor([True, True, False, False]), torch.zeros(4, dtype=torch.bool)
    step = eigenvector_step(c, w.abs(), up, idle)
    torch.testing.assert_close(step, -c / w)
    rows = eigenvector_step(*(torch.stack([v, v]) for v in (c, w.abs(), up, idle)))
    assert torch.equal(rows, torch.stack([step, step]))
    assert float(eigenvector_step(c, w.abs(), up, ~idle).abs().max()) == 0


class _Counted(ls.FunctionLandscape):
    """A formula that counts how often it is asked at each point."""

    asked: Counter[tuple[str, tuple[float, ...]]]

    def value(self, x: torch.Tensor) -> torch.Tensor:
        self.asked["value", tuple(x.flatten().tolist())] += 1
        return super().value(x)

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        self.asked["gradient", tuple(x.flatten().tolist())] += 1
        return super().gradient(x)


def _counted() -> Any:
    f = _Counted(lambda x: (x[..., 0] ** 2 - x[..., 1] ** 2) + x[..., 2] ** 4 + x.sum(-1), 3)
    f.asked = Counter()
    return f


def test_a_report_computes_the_gradient_of_its_point_once() -> None:
    f, x = _counted(), torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64)
    ls.analyze(f, x)
    assert f.asked["gradient", tuple(x.tolist())] == 1


def test_a_look_keeps_what_it_saw_when_the_callers_tensor_moves() -> None:
    f, x = _counted(), torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64)
    look = Look(f, x, "test")
    x += 1
    assert look.x.tolist() == [0.3, 0.2, 0.1]
    assert look.norm == pytest.approx(float(look.gradient.norm()))
    assert look.value == pytest.approx(0.09 - 0.04 + 1e-4 + 0.6)
    before = sum(f.asked.values())
    assert look.value == look.value
    assert torch.equal(look.gradient, look.gradient)
    assert sum(f.asked.values()) == before
