"""Each check is shown a landscape that has the fault and one that has not."""

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import problem
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import landscape as ls
from landscape.points import checks
from landscape.points.checks import Status
from landscape.points.look import Look

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(24, 4, generator=GENERATOR), torch.randint(0, 3, (24,), generator=GENERATOR)
BATCHES = list(zip(X.split(6), Y.split(6), strict=True))


def found(
    model: nn.Module, loss: Any = F.cross_entropy, batches: Any = BATCHES, **options: Any
) -> dict[str, checks.Check]:
    f = ls.ModelLandscape(model, loss, batches, **options)
    return {c.name: c for c in ls.check(f, f.point())}


def test_a_smooth_net_passes_everything() -> None:
    result = found(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double())
    assert list(result) == [
        "finite",
        "data",
        "mean",
        "chain",
        "determinism",
        "kernels",
        "symmetry",
        "dropout",
        "batch-norm",
        "kinks",
    ]
    assert all(c.status is Status.OK for c in result.values())


@pytest.mark.parametrize("at", [0.0, 1e-9])
@pytest.mark.parametrize("name", ["abs", "relu", "huber corner"])
def test_kinks_of_formulas(name: str, at: float, dtype: torch.dtype) -> None:
    formula = {
        "abs": lambda x: x.abs().sum(-1),
        "relu": lambda x: x.relu().sum(-1),
        "huber corner": lambda x: (x * x.abs()).sum(-1),  # the second derivative jumps from -2 to 2
    }[name]
    x = torch.full((3,), at, dtype=dtype)
    assert checks.kinks(ls.FunctionLandscape(formula, 3), x).status is Status.WARNING
    assert checks.kinks(ls.FunctionLandscape(formula, 3), x + 2).status is Status.OK


@pytest.mark.parametrize(
    "formula",
    [
        lambda x: (x**4).sum(-1),
        lambda x: (x**3).sum(-1),
        lambda x: x.sin().prod(-1),
        lambda x: (5 * x).exp().sum(-1),
        lambda x: x.sum(-1),
    ],
)
def test_degenerate_points_of_smooth_formulas_are_no_kinks(
    formula: Any, dtype: torch.dtype
) -> None:
    for x in (torch.zeros(3, dtype=dtype), torch.tensor([0.1, -1.0, 0.5], dtype=dtype)):
        assert checks.kinks(ls.FunctionLandscape(formula, 3), x).status is Status.OK


def test_steps_and_gradients_of_something_else(dtype: torch.dtype) -> None:
    def step(x: Tensor) -> Tensor:
        return (x[..., 0] > 0).to(x.dtype) + 0 * x.sum(-1)

    class Straight(nn.Module):
        """Rounds on the way forward, not on the way back (Bengio et al. 2013)."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.layer(x)
            return h + (h.round() - h).detach()

    zero = torch.zeros(3, dtype=dtype)
    assert "step" in checks.kinks(ls.FunctionLandscape(step, 3), zero).message
    assert checks.kinks(ls.FunctionLandscape(step, 3), zero + 1).status is Status.OK
    torch.manual_seed(0)
    linear = found(Straight(), lambda output, target: output[:, 0].mean(), dtype=dtype)["kinks"]
    assert linear.status is Status.WARNING
    assert "gradient that is not its own" in linear.message


def test_kinks_of_networks() -> None:
    relu = nn.Sequential(
        nn.Linear(4, 1000), nn.ReLU(), nn.Linear(1000, 3)
    )  # 24,000 kinks: some are near whatever the weights
    assert found(relu)["kinks"].status is Status.WARNING
    assert "ReLU" in found(relu)["kinks"].message
    leaky = nn.Sequential(nn.Linear(4, 2), nn.LeakyReLU(), nn.Linear(2, 3)).double()
    with torch.no_grad():
        leaky.get_parameter("0.bias").add_(50)  # far from its kinks
    assert found(leaky)["kinks"].status is Status.NOTE


def test_dropout_active_and_inactive() -> None:
    model = nn.Sequential(nn.Linear(4, 50), nn.Dropout(0.5), nn.Tanh(), nn.Linear(50, 3))
    assert found(model)["dropout"].status is Status.OK
    result = found(model, mode="train", masks=3)
    assert result["dropout"].status is Status.NOTE
    assert "3 masks frozen by seed 0" in result["dropout"].message
    assert "another seed changes it" in result["determinism"].message


@pytest.mark.slow
def test_batch_norm_in_train_mode_and_after_dropout() -> None:
    plain = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))
    after = nn.Sequential(nn.Linear(4, 5), nn.Dropout(), nn.BatchNorm1d(5), nn.Linear(5, 3))
    assert found(plain)["batch-norm"].status is Status.OK
    assert found(plain, mode="train")["batch-norm"].status is Status.WARNING
    assert "variance shift" in found(after)["batch-norm"].message
    assert "jitter" in found(after, mode="train")["batch-norm"].message
    no_statistics = nn.Sequential(
        nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3)
    )
    assert found(no_statistics)["batch-norm"].status is Status.WARNING


class Noisy(nn.Module):
    """Draws from torch's generator (frozen by the landscape) or from a counter of its own (which nothing can freeze)."""

    def __init__(self, own: bool) -> None:
        super().__init__()
        self.linear, self.own, self.calls = nn.Linear(4, 3), own, itertools.count()

    def forward(self, x: Tensor) -> Tensor:
        noise = 0.01 * next(self.calls) * torch.arange(3) if self.own else 0.1 * torch.randn(3)
        shifted: Tensor = self.linear(x) + noise
        return shifted


def test_random_losses_are_reported() -> None:
    counted = found(Noisy(own=True))["determinism"]
    assert counted.status is Status.BROKEN
    assert "between two evaluations" in counted.message
    frozen = found(Noisy(own=False))["determinism"]
    assert frozen.status is Status.WARNING
    assert "frozen here by seed 0" in frozen.message


def test_memory_that_runs_out_between_two_evaluations_is_no_chance() -> None:
    """Batches are summed in pieces from then on, and the last bits are others."""
    for seed in range(20):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
        look = Look(ls.ModelLandscape(model, F.cross_entropy, [(X, Y)]), None, "check")
        whole, f = look.value, look.f
        assert f.finer(look.x)
        if float(f.value(look.x)) != whole:
            break
    assert float(f.value(look.x)) != whole
    determinism = {c.name: c for c in ls.check(f, look=look)}["determinism"]
    assert determinism.status is Status.OK


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["attention", "fused-attention", "encoder", "gru", "lstm", "weight-norm"]
)
def test_switched_kernels_are_reported(kind: str) -> None:
    net = problem(kind)
    kernels = found(net.model, net.loss, net.batches(8))["kernels"]
    assert kernels.status is Status.NOTE
    assert any(word in kernels.message for word in ("SDPA", "cuDNN", "weight normalisation"))


def test_a_wrong_second_derivative_shows_as_asymmetry(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3))
    assert found(model)["symmetry"].status is Status.OK
    monkeypatch.setattr(
        "landscape.landscapes.kernels.replaced", lambda model: []
    )  # torch's own fused kernel
    wrong = found(model)
    assert wrong["symmetry"].status is Status.WARNING or wrong["kinks"].status is Status.WARNING


def test_not_finite_names_the_batch_or_the_parameter() -> None:
    bad = [(X[:6].clone(), Y[:6]) for _ in range(4)]
    bad[2][0][1, 2] = float("nan")
    with pytest.raises(ls.NumericalError, match="nan on batch 2 of 4"):
        found(nn.Linear(4, 3), batches=bad)
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
    model.get_parameter("1.bias").data[0] = float("inf")
    with pytest.raises(ls.NumericalError, match=r"parameter 1\.bias has 1 value"):
        found(model)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    model.get_buffer("1.running_mean")[0] = float("nan")
    with pytest.raises(ls.NumericalError, match=r"buffer 1\.running_mean"):
        found(model)
    model.get_buffer("1.running_mean")[0] = 0.0
    model.get_buffer("1.running_var")[0] = float("inf")
    with pytest.raises(ls.NumericalError, match=r"buffer 1\.running_var"):
        found(model)
    masked = nn.Linear(4, 3)
    masked.register_buffer(
        "causal", torch.full((3, 3), -torch.inf).triu(1)
    )  # as attention masks have it
    assert found(masked)["finite"].status is Status.OK
