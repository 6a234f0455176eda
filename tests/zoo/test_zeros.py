"""The saddles of networks at zero: closed spectra against automatic differentiation of torch's own modules."""

import pytest
import torch
from torch import nn

import landscape as ls
from landscape.zoo.zeros import _samples, spectrum

CASES = [((2.0, 1.0), 3, 3), ((1.5,), 1, 1), ((3.0, 2.0, 0.5), 4, 5)]


@pytest.mark.parametrize(("strengths", "hidden", "inputs"), CASES)
@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_the_saddle_at_zero(
    activation: str, strengths: tuple[float, ...], hidden: int, inputs: int
) -> None:
    f = ls.zoo.formula(
        f"{activation}-net", strengths=strengths, hidden=hidden, inputs=inputs, seed=3
    )
    (point,) = f.stationary_points()
    x, y = _samples(list(strengths), inputs, 3)
    act = nn.Tanh() if activation == "tanh" else nn.Sigmoid()
    net = nn.Sequential(
        nn.Linear(inputs, hidden, bias=False), act, nn.Linear(hidden, len(strengths), bias=False)
    ).double()
    g = ls.ModelLandscape(net, lambda o, t: 0.5 * (o - t).square().sum(1).mean(), [(x, y)])
    away = 0.3 * torch.randn(f.dim, dtype=torch.float64)
    torch.testing.assert_close(f.value(away), g.value(away))
    assert float(g.gradient(point.x).abs().max()) < 1e-14
    w = torch.linalg.eigvalsh(ls.Hessian(g, at=point.x).dense())
    torch.testing.assert_close(
        w, spectrum(activation, strengths, hidden, inputs), atol=1e-12, rtol=0
    )
    assert float(f.value(point.x)) == pytest.approx(point.value)
    verdict = ls.classify(f, point.x)
    assert (verdict.kind, verdict.index, verdict.nullity) == (
        point.kind,
        point.index,
        point.nullity,
    )
    assert point.index == hidden * len(strengths)


def test_options() -> None:
    with pytest.raises(ValueError, match="strengths must be positive"):
        ls.zoo.load("tanh-net", strengths=(1.0, 0.0))
    with pytest.raises(ValueError, match="inputs must be a whole number of at least 2"):
        ls.zoo.load("sigmoid-net", inputs=1)


def test_training_leaves_it() -> None:
    """From small weights: SGD's time to leave is that of the closed spectrum."""
    f = ls.zoo.load("tanh-net")
    study = ls.escape(
        f,
        torch.zeros(f.dim, dtype=torch.float64),
        ["sgd:lr=0.05"],
        20,
        1_000,
        1e-4,
        ls.LeavesBall(0.1),
    )
    found = study["sgd:lr=0.05"]
    assert found.theory.median == pytest.approx(found.median.value, abs=1)
