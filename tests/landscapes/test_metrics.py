"""What is measured in a cell against plain loops: metrics, BatchNorm's statistics, lines, interrupted surfaces."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from landscape.landscapes.metrics import accuracy, fresh_statistics
from landscape.surfaces.connection import connection_plane


def _net(
    dtype: torch.dtype, device: torch.device, *, norm: bool = False, conv: bool = False
) -> ls.ModelLandscape:
    generator = torch.Generator().manual_seed(3)
    layers: list[nn.Module] = (
        [nn.Conv2d(1, 4, 2), nn.Flatten()] if conv else [nn.Flatten(), nn.Linear(9, 16)]
    )
    layers += [nn.BatchNorm1d(16)] if norm else []
    model = nn.Sequential(*layers, nn.Tanh(), nn.Linear(16, 3)).to(device, dtype)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64) * 0.5)
    inputs = torch.randn(11, 1, 3, 3, generator=generator, dtype=torch.float64).to(device, dtype)
    target = (torch.arange(11) % 3).to(device)
    return ls.ModelLandscape(
        model,
        nn.CrossEntropyLoss(),
        [(inputs[:7], target[:7]), (inputs[7:], target[7:])],
        l2={"*": 0.01},
    )


def margin(output: Tensor, target: Tensor) -> Tensor:
    right = output.gather(1, target[:, None])[:, 0]
    return (right - output.logsumexp(1)).mean()


@pytest.mark.parametrize("conv", [False, True], ids=["vmap", "one by one"])
def test_metrics_of_a_model_are_means_over_all_samples(
    dtype: torch.dtype, device: torch.device, conv: bool
) -> None:
    f = _net(dtype, device, conv=conv)
    x = f.point()
    s = ls.surface(f, x, resolution=3, metrics=["accuracy", "gradient-norm", margin])
    inputs, target = (torch.cat(parts) for parts in zip(*f.batches, strict=True))
    model = copy.deepcopy(f.model)
    for i in range(3):
        for j in range(3):
            point = x + s.steps[i] * s.directions[0] + s.steps[j] * s.directions[1]
            nn.utils.vector_to_parameters(point, model.parameters())
            output = model(inputs)
            right = sum(int(o.argmax() == t) for o, t in zip(output, target, strict=True))
            assert float(s.metrics["accuracy"][i, j]) == pytest.approx(right / 11, rel=1e-6)
            torch.testing.assert_close(s.metrics["margin"][i, j], margin(output, target).detach())
            torch.testing.assert_close(s.metrics["gradient-norm"][i, j], f.gradient(point).norm())
            torch.testing.assert_close(s.values[i, j], f.value(point))


def test_one_output_is_right_by_its_sign() -> None:
    output = torch.tensor([[0.3], [-2.0], [0.1], [-0.1]])
    assert float(accuracy(output, torch.tensor([[1.0], [0], [0], [1]]))) == 0.5
    assert float(accuracy(output[:, 0], torch.tensor([1, -1, 1, 1]))) == 0.75


def test_classes_are_the_second_dimension_or_the_last_where_the_target_says_so() -> None:
    scores = torch.randn(4, 5, 3)
    truth = torch.randint(0, 3, (4, 5))
    right = sum(int(scores[i, j].argmax() == truth[i, j]) for i in range(4) for j in range(5)) / 20
    assert float(accuracy(scores, truth)) == pytest.approx(right)
    assert float(accuracy(scores.movedim(-1, 1), truth)) == pytest.approx(right)
    chances = nn.functional.one_hot(truth, 3).float().movedim(-1, 1)
    assert float(accuracy(scores.movedim(-1, 1), chances)) == pytest.approx(right)
    assert (
        float(accuracy(torch.tensor([0.3, -2.0, 0.1, -0.1]), torch.tensor([1.0, 0, 0, 1]))) == 0.5
    )


def test_metrics_that_are_none_are_named() -> None:
    f = _net(torch.float64, torch.device("cpu"))
    loss = f.loss
    assert loss is not None
    hidden = ls.ModelLandscape(
        f.model, lambda model, batch: loss(model(batch[0]), batch[1]), f.batches
    )
    for landscape, metrics, named in (
        (f, {"loss": margin}, "called .loss."),
        (f, [3], "callable"),
        (f, {"words": lambda output, target: "many"}, "words gave a str"),
        (hidden, ["accuracy"], "metrics need"),
    ):
        with pytest.raises(ValueError, match=named):
            ls.surface(landscape, f.point(), resolution=2, metrics=metrics)  # type: ignore[arg-type]
    s = ls.surface(f, f.point(), resolution=2, metrics=margin)  # type: ignore[arg-type]
    assert list(s.metrics) == ["margin"]


def test_metrics_of_a_formula_are_functions_of_points() -> None:
    f, x = ls.FunctionLandscape(lambda x: x.square().sum(-1), 2), torch.ones(2, dtype=torch.float64)
    s = ls.surface(
        f, x, resolution=3, metrics={"first": lambda x: x[..., 0], "slope": "gradient-norm"}
    )
    u, v = s.directions
    torch.testing.assert_close(s.metrics["first"][2, 0], (x + u - v)[0])
    torch.testing.assert_close(s.metrics["slope"], 2 * s.values.sqrt())
    for wrong in (["accuracy"], ["acuracy"], {"sum": lambda x: x}):
        with pytest.raises(ValueError, match=r"accuracy|metric"):
            ls.surface(f, x, resolution=3, metrics=wrong)


def test_statistics_are_measured_anew(device: torch.device) -> None:
    f = _net(torch.float64, device, norm=True)
    x = f.point()
    before = {k: v.clone() for k, v in f.model.state_dict().items()}
    s = ls.surface(f, x, resolution=3, batch_statistics=True)
    plain = ls.surface(f, x, s.directions, None, resolution=3)
    for i, j in ((0, 0), (1, 1), (2, 1)):
        point = x + s.steps[i] * s.directions[0] + s.steps[j] * s.directions[1]
        hidden = [nn.functional.linear(a.flatten(1), *_parts(f, point)) for a, _ in f.batches]
        mean = sum(len(h) * h.mean(0) for h in hidden) / 11
        var = sum(len(h) * h.var(0) for h in hidden) / 11
        model = copy.deepcopy(f.model)
        nn.utils.vector_to_parameters(point, model.parameters())
        model.get_buffer("2.running_mean").copy_(torch.as_tensor(mean))
        model.get_buffer("2.running_var").copy_(torch.as_tensor(var))
        truth = ls.ModelLandscape(model, f.loss, f.batches, l2=f.l2).value(point)
        torch.testing.assert_close(s.values[i, j], truth)
        assert abs(float(plain.values[i, j] - truth)) > 1e-3
    assert all(torch.equal(v, before[k]) for k, v in f.model.state_dict().items())
    with fresh_statistics(f, x):
        assert f.statistics
    assert not f.statistics
    assert not any(m._forward_pre_hooks for m in f.model.modules())
    for model_without in (_net(torch.float64, device), ls.zoo.load("himmelblau")):
        with pytest.raises(ValueError, match="BatchNorm"):
            ls.surface(
                model_without,
                torch.zeros(model_without.dim, dtype=torch.float64, device=device),
                normalize=None,
                batch_statistics=True,
            )


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(9, 9), nn.BatchNorm1d(9), nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(input=self.first(x.flatten(1)))
        return self.last(self.norm(torch.tanh(h)))


def test_a_layer_used_twice_has_the_mean_of_both_uses() -> None:
    f = _net(torch.float64, torch.device("cpu"))
    torch.manual_seed(5)
    f = ls.ModelLandscape(Twice().double(), f.loss, f.batches)
    x = f.point()
    model = copy.deepcopy(f.model)
    means, variances = [], []
    for inputs, _ in f.batches:
        h = model.get_submodule("first")(inputs.flatten(1))
        for values in (h, torch.tanh((h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt())):
            means.append(len(h) * values.mean(0))
            variances.append(len(h) * values.var(0))
    with fresh_statistics(f, x):
        torch.testing.assert_close(f.statistics["norm.running_mean"], sum(means) / 22)
        torch.testing.assert_close(f.statistics["norm.running_var"], sum(variances) / 22)
    inputs, target = f.batches[0]
    single = ls.ModelLandscape(f.model, f.loss, [(inputs, target), (inputs[:1], target[:1])])
    with pytest.raises(ls.LoadingError, match="batch 1 has one value a channel at norm"):
        ls.surface(single, x, resolution=2, batch_statistics=True)


def _parts(f: ls.ModelLandscape, x: Tensor) -> Iterator[Tensor]:
    yield x[f.layout["1.weight"]].reshape(16, 9)
    yield x[f.layout["1.bias"]]


def test_a_line_is_a_row_of_the_plane(dtype: torch.dtype, device: torch.device) -> None:
    f = _net(dtype, device)
    x = f.point()
    plane = ls.surface(f, x, resolution=5, seed=4)
    line = ls.surface(f, x, ls.surfaces.plane(f, x, dimensions=1, seed=4), resolution=5, seed=4)
    assert line.values.shape == (5,)
    torch.testing.assert_close(line.values, plane.values[:, 2])
    a, b = x, x.flip(0)
    between = ls.surface(f, a, b - a, None, span=(0.0, 1.0), resolution=3)
    torch.testing.assert_close(between.values, f.value(torch.stack([a, (a + b) / 2, b])))
    with pytest.raises(ValueError, match="span"):
        ls.surface(f, a, b - a, span=(1.0, 0.0))


@pytest.mark.slow
def test_an_interrupted_surface_goes_on_where_it_stopped() -> None:
    calls = 0

    def counted(x: Tensor) -> Tensor:
        nonlocal calls
        calls += x[..., 0].numel()
        if 100 <= calls < 1000:
            raise KeyboardInterrupt
        return x.square().sum(-1).exp()

    # 2^17 coordinates of which few count, so that few points are evaluated at once
    f, n = ls.FunctionLandscape(counted, 2**17), 2**17
    x = torch.zeros(n, dtype=torch.float64)
    u, v = torch.zeros(2, n, dtype=torch.float64)
    u[0] = v[1] = 1.0
    kept: list[ls.surfaces.Surface] = []
    with pytest.raises(KeyboardInterrupt):
        ls.surface(f, x, (u, v), resolution=12, keep=kept.append)
    (partial,) = kept
    assert partial.done is not None
    assert not partial.complete
    finished = int(partial.done.sum())
    assert finished == 64  # one chunk of 2^26 / (2^17 * 8)
    assert bool(partial.values[~partial.done].isnan().all())
    calls = 1000
    whole = ls.surface(f, x, (u, v), resolution=12, known=partial)
    assert calls == 1000 + 144 - finished + 1
    assert whole.reused == 0  # what the interrupted computation has done is its own
    assert whole.complete
    torch.testing.assert_close(whole.values, ls.surface(f, x, (u, v), resolution=12).values)


def test_adams_moments_are_directions() -> None:
    f = _net(torch.float64, torch.device("cpu"))
    named = dict(f.model.named_parameters())
    optimizer = torch.optim.Adam(
        [named["3.weight"], named["1.weight"], named["1.bias"], named["3.bias"]],
        lr=1e-3,
        betas=(0.5, 0.9),
    )
    slopes = []
    for _ in range(2):
        g = f.gradient(f.point())
        slopes.append(g)
        for name, where in f.layout.items():
            named[name].grad = g[where].view_as(named[name]).clone()
        optimizer.step()
    mean = 0.5 * (0.5 * slopes[0]) + 0.5 * slopes[1]
    square = 0.9 * 0.1 * slopes[0].square() + 0.1 * slopes[1].square()
    u, v = ls.surfaces.plane(f, f.point(), "moments", None, optimizer=optimizer).directions
    torch.testing.assert_close(u, mean)
    torch.testing.assert_close(v, square)
    ordered = torch.optim.Adam(f.model.parameters())
    ordered.load_state_dict(
        {
            "state": {i: optimizer.state[p] for i, p in enumerate(f.model.parameters())},
            "param_groups": ordered.state_dict()["param_groups"],
        }
    )
    again, _ = ls.surfaces.plane(
        f, f.point(), "moments", None, optimizer=ordered.state_dict()
    ).directions
    torch.testing.assert_close(again, mean)
    others: tuple[Any, ...] = (
        torch.optim.Adam(f.model.parameters()),
        torch.optim.SGD(f.model.parameters()),
        {"state": {}},
    )
    for wrong in others:
        with pytest.raises(ValueError, match="optimiser"):
            ls.surfaces.plane(f, f.point(), "moments", optimizer=wrong)


def test_walks_lie_at_their_true_loss_with_the_gap_told() -> None:
    f = ls.FunctionLandscape(lambda x: x[..., 0] ** 2 + 2 * x[..., 1] ** 2 + 5 * x[..., 2] ** 2, 3)
    e = torch.eye(3, dtype=torch.float64)
    paths = {
        "in": torch.stack([e[0], e[1]]),
        "off": torch.tensor([[3.0, 0.0, 4.0]], dtype=torch.float64),
    }
    s = ls.surface(
        f, torch.zeros(3, dtype=torch.float64), (e[0], e[0] + e[1]), resolution=3, trajectory=paths
    )
    inside, off = s.walks["in"], s.walks["off"]
    torch.testing.assert_close(inside.where[1], torch.tensor([-1.0, 2**0.5], dtype=torch.float64))
    torch.testing.assert_close(inside.gap, torch.zeros(2, dtype=torch.float64))
    assert inside.lost == pytest.approx(0, abs=1e-20)
    assert float(off.outside) == pytest.approx(0.8)
    assert off.lost == pytest.approx(0.64)
    assert float(off.values) == pytest.approx(9 + 80)
    assert float(off.gap) == pytest.approx(80)
    assert s.trajectory is not None
    torch.testing.assert_close(s.trajectory, inside.where)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_a_point_at_the_centre_but_for_rounding_has_no_share_outside(
    dtype: torch.dtype, device: torch.device
) -> None:
    f = ls.FunctionLandscape(lambda x: x.square().sum(-1), 3)
    x = torch.tensor([0.1, 0.7, 0.3], dtype=dtype, device=device)
    e = torch.eye(3, dtype=dtype, device=device)
    numbers = torch.finfo(dtype)
    path = torch.stack(
        [x, x + numbers.eps * x, x + 64 * numbers.eps * e[2], x + 2 * e[2]]
    )  # two are really off
    walk = ls.surface(f, x, (e[0], e[1]), None, resolution=2, trajectory={"out": path}).walks["out"]
    torch.testing.assert_close(
        walk.outside, torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=dtype, device=device)
    )


@pytest.mark.slow
def test_the_planes_share_of_trace_and_norm_has_an_error_that_holds() -> None:
    n = 300
    scale = torch.linspace(-1, 4, n, dtype=torch.float64)
    f = ls.FunctionLandscape(lambda x: 0.5 * (scale * x.square()).sum(-1), n)
    e = torch.eye(n, dtype=torch.float64)
    picture = ls.surface(
        f, torch.zeros(n, dtype=torch.float64), (e[-1], e[-1] + e[0]), resolution=3
    )
    truth = (3.0 / float(scale.sum()), 17.0 / float(scale.square().sum()))
    off = []
    for seed in range(20):
        check = ls.surfaces.check_picture(f, picture, ends=2, probes=20, seed=seed)
        for share, true in zip((check.trace_share, check.frobenius_share), truth, strict=True):
            off.append((share.value - true) / share.error)
            assert share.error < 0.15 * true  # and is not uselessly wide
    assert 0.4 < float(torch.tensor(off).square().mean()) < 2.5
    assert check.agrees
    exact = ls.surfaces.check_picture(f, picture, probes=n)
    assert exact.trace_share.value == pytest.approx(truth[0])
    assert exact.frobenius_share.error == 0.0


@pytest.mark.usefixtures("_steps_are_counted_at_home")
@pytest.mark.slow
def test_every_tensor_has_a_device(dtype: torch.dtype) -> None:
    f = _net(dtype, torch.device("cpu"), norm=True)
    x = f.point()
    path = torch.stack([x, 0.9 * x, 0.8 * x + 0.1 * x.flip(0)])
    torch.set_default_device("meta")
    try:
        s = ls.surface(
            f,
            x,
            resolution=3,
            metrics=["accuracy", "gradient-norm"],
            batch_statistics=True,
            trajectory=path,
            spectra=1,
        )
        ls.surface(f, x, "pca", resolution=3, trajectory=path, known=None)
        ls.surface(
            f,
            x,
            s.directions,
            None,
            resolution=5,
            known=ls.surface(f, x, s.directions, None, resolution=3),
        )
        check = ls.surfaces.check_picture(f, s, probes=4)
        made = ls.paths.connect(f, x, path[2], steps=2, resolution=3)
        connection_plane(f, made, 3)
        ls.paths.profile(f, path, 4)
    finally:
        torch.set_default_device("cpu")
    for tensor in (
        s.values,
        s.metrics["accuracy"],
        s.walks["trajectory"].gap,
        check.measured,
        made.curve.values,
    ):
        assert tensor.device.type == "cpu"
        assert bool(tensor.isfinite().all())
