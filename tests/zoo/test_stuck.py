"""Every run that is stuck on purpose is stuck, by the cause it states.

The truth is computed here without the package: the loss of the flat parameters by ``functional_call`` over all the data, its gradient and
dense Hessian by autograd in float64, the activations by a plain walk through the layers. All three variants are checked.
"""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from landscape.zoo import stuck
from landscape.zoo.stuck import Point, Scene

VARIANTS = pytest.mark.parametrize("variant", range(stuck.VARIANTS))
SLOPES = {nn.Sigmoid: lambda y: y * (1 - y), nn.Tanh: lambda y: 1 - y * y}


def trained(name: str, variant: int) -> Scene:
    return stuck.get(name).build(variant, seed=10 + variant).train()


def loss_on(scene: Scene, batches: list[tuple[Tensor, Tensor]]) -> Callable[[Tensor], Tensor]:
    """Flat parameters (n,) -> the mean loss over equal batches."""
    model = scene.f.model
    shapes = {k: p.shape for k, p in model.named_parameters()}

    def f(flat: Tensor) -> Tensor:
        pieces = flat.split([shape.numel() for shape in shapes.values()])
        values = {k: piece.view(shapes[k]) for k, piece in zip(shapes, pieces, strict=True)}
        total = flat.new_zeros(())
        for x, y in batches:
            output = torch.func.functional_call(model, values, (x,))
            total = total + (output if isinstance(model, Point) else (output - y).square().mean())
        return total / len(batches)

    return f


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def derivatives(scene: Scene, at: Tensor | None = None) -> tuple[float, Tensor, Tensor]:
    """The loss over all the data, its gradient (n,) and Hessian (n, n); ``at`` the trained point unless said otherwise."""
    f = loss_on(scene, list(scene.f.batches))
    x = flat(scene.f.model) if at is None else at
    assert x.dtype == torch.float64
    x = x.clone().requires_grad_(True)
    value = f(x)
    (g,) = torch.autograd.grad(value, x)
    return value.item(), g, torch.autograd.functional.hessian(f, x.detach())


def activations(scene: Scene) -> list[tuple[type[nn.Module], Tensor]]:
    """Every activation's kind and output (all samples, units), first layer first."""
    h = torch.cat([x for x, _ in scene.f.batches])
    found = []
    assert isinstance(scene.f.model, nn.Sequential)
    for layer in scene.f.model:
        h = layer(h)
        if not isinstance(layer, nn.Linear):
            found.append((type(layer), h.detach()))
    return found


def rate(scene: Scene) -> float:
    return scene.optimizer.param_groups[0]["lr"]


# ---- they stay where they are ------------------------------------------------------------------------------------------


@pytest.mark.slow
@VARIANTS
@pytest.mark.parametrize("name", [n for n in stuck.names() if n != "noise-floor"])
def test_twenty_more_steps_gain_next_to_nothing(name: str, variant: int) -> None:
    scene = trained(name, variant)
    f = loss_on(scene, list(scene.f.batches))
    before = f(flat(scene.f.model)).item()
    for _ in itertools.islice(scene.loop(), 20):
        pass
    assert abs(f(flat(scene.f.model)).item() - before) < 1e-3 * max(abs(before), 1e-6)


# ---- each cause --------------------------------------------------------------------------------------------------------


@VARIANTS
def test_saturated(variant: int) -> None:
    scene = trained("saturated-sigmoids", variant)
    loss, g, _ = derivatives(scene)
    found = activations(scene)
    assert len(found) == len(stuck.HIDDEN[variant]) + 1
    for kind, y in found:
        assert SLOPES[kind](y).max() < 1e-3
    assert loss > 0.1
    assert g.norm() < 1e-8


@VARIANTS
def test_dead(variant: int) -> None:
    scene = trained("dead-relus", variant)
    found = activations(scene)
    assert len(found) == len(stuck.HIDDEN[variant])
    for kind, y in found:
        assert kind is nn.ReLU
        assert y.abs().max() == 0.0
    targets = torch.cat([y for _, y in scene.f.batches])
    loss, g, _ = derivatives(scene)
    assert loss == pytest.approx(targets.var(correction=0).item(), rel=1e-6)  # the best constant
    assert g.norm() < 1e-5


@VARIANTS
@pytest.mark.parametrize("name", ["zero-tanh", "deep-linear"])
def test_saddle(name: str, variant: int) -> None:
    """Clearly negative curvature, and the Newton step along it is a hundredth at most: the saddle is that near."""
    _, g, H = derivatives(trained(name, variant))
    values = torch.linalg.eigvalsh(H)
    assert values[0] < -0.1 * values.abs().max()
    assert g.norm() < 1e-2 * -values[0]


@VARIANTS
def test_learning_rate_decayed(variant: int) -> None:
    """All the steps still to come gain less than a thousandth; the first rate would have gained much."""
    scene = trained("rate-decayed", variant)
    loss, g, H = derivatives(scene)
    left = rate(scene) / (1 - 0.8)  # the sum of all rates to come
    assert left * (g @ g) < 1e-3 * loss
    assert left * torch.linalg.eigvalsh(H).abs().max() < 1e-3
    f, x = loss_on(scene, list(scene.f.batches)), flat(scene.f.model)
    for _ in range(200):
        x = x - 0.1 * torch.func.grad(f)(x)
    assert f(x) < 0.9 * loss


@VARIANTS
def test_learning_rate_too_large(variant: int) -> None:
    """At the minimum, 0, the rate is past 2 / curvature, and a tenth of it is not; the run swings about it."""
    scene = trained("rate-too-large", variant)
    n = len(flat(scene.f.model))
    _, g, H = derivatives(scene, torch.zeros(n, dtype=torch.float64))
    values = torch.linalg.eigvalsh(H)
    assert g.abs().max() == 0.0
    assert values[0] > 0
    assert rate(scene) * values[0] > 2
    assert 0.1 * rate(scene) * values[-1] < 2
    loss, _, _ = derivatives(scene)
    assert loss > 0.1 * n
    before = flat(scene.f.model).clone()
    next(scene.loop())
    assert torch.allclose(flat(scene.f.model), -before, rtol=1e-6)


@VARIANTS
def test_vanishing(variant: int) -> None:
    """The first layer's gradient is orders below the last's although no unit is saturated."""
    scene = trained("deep-sigmoids", variant)
    f = loss_on(scene, list(scene.f.batches))
    x = flat(scene.f.model).requires_grad_(True)
    (g,) = torch.autograd.grad(f(x), x)
    sizes = [p.numel() for p in scene.f.model.parameters()]
    weights = [part.norm().item() for part in g.split(sizes)][::2]
    assert weights[0] < 5e-3 * weights[-1]
    assert weights == sorted(weights)
    for _, y in activations(scene):
        assert (y * (1 - y)).max() > 0.05


@VARIANTS
@pytest.mark.parametrize(("name", "centre"), [("gaussian-well", 0.0), ("easom", math.pi)])
def test_flat_far_from_a_well(name: str, centre: float, variant: int) -> None:
    """Gradient and Hessian are a millionth of their largest on the way to the well's bottom."""
    scene = trained(name, variant)
    x = flat(scene.f.model)
    way = [
        derivatives(scene, torch.lerp(x, torch.full_like(x, centre), t))
        for t in torch.linspace(0, 1, 41).tolist()
    ]
    slopes, curvatures = (
        [g.norm().item() for _, g, _ in way],
        [torch.linalg.matrix_norm(H, 2).item() for *_, H in way],
    )
    assert slopes[0] < 1e-6 * max(slopes)
    assert curvatures[0] < 1e-6 * max(curvatures)
    assert way[-1][0] == pytest.approx(-1.0)  # the bottom
    assert way[0][0] > -1e-6


@VARIANTS
def test_flat_valley(variant: int) -> None:
    """Along the valley slope and curvature are a hundred-thousandth of what they are across, and the bottom is far."""
    scene = trained("long-valley", variant)
    _, g, H = derivatives(scene)
    x, largest = flat(scene.f.model), torch.linalg.eigvalsh(H)[-1]
    assert g.norm() < 1e-5 * largest * x.norm()
    assert g @ H @ g < 1e-5 * largest * (g @ g)
    assert (
        rate(scene) * (g @ H @ g) / (g @ g) * scene.steps < 1e-3
    )  # so that the rate is a cause too
    assert x.norm() > 900


@pytest.mark.slow
@VARIANTS
def test_noise(variant: int) -> None:
    """Over the end of the run the gradient of all the data is well below the spread of the micro-batches' gradients, and the mean loss
    no longer falls."""
    scene = stuck.get("noise-floor").build(variant, seed=10 + variant)
    batches = list(scene.f.batches)
    parts = [loss_on(scene, [batch]) for batch in batches]
    whole, spread, losses = [], [], []
    for step in scene.loop():
        x = flat(scene.f.model)
        losses.append(loss_on(scene, batches)(x).item())
        if step > scene.steps // 2 and step % 10 == 0:
            gradients = torch.stack([torch.func.grad(part)(x) for part in parts])
            whole.append(gradients.mean(0).square().sum().item())
            spread.append((gradients - gradients.mean(0)).square().sum(1).mean().item())
    inputs = torch.cat([x for x, _ in batches])
    design = torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1)
    targets = torch.cat([y for _, y in batches])
    least = (design @ torch.linalg.lstsq(design, targets).solution - targets).square().mean().item()
    third, last = losses[200:300], losses[300:]
    assert math.sqrt(sum(whole) / sum(spread)) < 1 / 3
    assert sum(last) / len(last) > 1.02 * least  # above the least loss, and
    assert abs(sum(last) / len(last) - sum(third) / len(third)) < 0.1 * least  # at rest


@VARIANTS
def test_minimum(variant: int) -> None:
    loss, g, H = derivatives(trained("converged", variant))
    assert torch.linalg.eigvalsh(H)[0] > 0.1
    assert 0.5 * g @ torch.linalg.solve(H, g) < 1e-15 * loss  # what a Newton step would gain


# ---- the table ---------------------------------------------------------------------------------------------------------


def test_there_are_twelve_and_every_cause_is_there() -> None:
    runs = [stuck.get(name) for name in stuck.names()]
    assert len(runs) == 12
    assert {run.cause for run in runs} == {
        "saddle", "flat", "saturated", "dead", "vanishing", "learning rate", "noise", "minimum"
    }  # fmt: skip
    assert stuck.get("long-valley").accepted == ("flat", "learning rate")


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="easom"):
        stuck.get("eason")
    with pytest.raises(ValueError, match="variants 0 to 2"):
        stuck.get("easom").build(3)


@pytest.mark.slow
@pytest.mark.parametrize("name", stuck.names())
def test_a_seed_says_all(name: str) -> None:
    """Built and trained twice under one seed the runs agree bit for bit, whatever the default device; global draws are not moved."""
    state = torch.get_rng_state()
    first, other = (flat(stuck.get(name).build(1, seed).train().f.model) for seed in (5, 6))
    with torch.device("meta"):
        again = stuck.get(name).build(1, 5).train()
    assert torch.equal(flat(again.f.model), first)
    assert torch.equal(torch.get_rng_state(), state)
    if name != "zero-tanh":
        assert not torch.equal(other, first)
