"""Formulas of users: what a domain on one line means, what is a formula, and what the first look at one finds."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import problem as net
from torch import Tensor

import landscape as ls
from landscape import loading
from landscape.core import Domain
from landscape.landscapes.domains import Space
from landscape.loading import formulas
from landscape.loading import point as points


@pytest.mark.parametrize(
    ("spec", "dim", "domain"),
    [
        ("space", 2, Space()),
        ("space:0.5", 2, Space(0.5)),
        ("box:-5,5", 3, ls.Box(-5.0, 5.0)),
        ("box: -1e-3 , +2.5 ", 1, ls.Box(-1e-3, 2.5)),
        ("box:-5,5;0,3", 2, ls.Box((-5.0, 0.0), (5.0, 3.0))),
        ("box:-pi,pi", 2, ls.Box(-math.pi, math.pi)),
        ("torus", 2, ls.Torus()),
        ("torus:6.283", 2, ls.Torus(6.283)),
        ("torus:2pi", 2, ls.Torus(2 * math.pi)),
        ("torus:2*pi;pi/2;1", 3, ls.Torus((2 * math.pi, math.pi / 2, 1.0))),
        ("sphere", 3, ls.Sphere()),
        ("sphere:2", 3, ls.Sphere(2.0)),
    ],
)
def test_a_domain_on_one_line(spec: str, dim: int, domain: Domain) -> None:
    assert formulas.domain(spec, dim) == domain


@pytest.mark.parametrize(
    "spec",
    ["", "cube:1,2", "box", "box:1", "box:2,1", "box:1,1", "box:0,1;0,1;0,1", "box:0,1;", "box:nan,1", "box:0,inf", "torus:-1",
     "torus:1,1", "torus:pi/0", "sphere:0", "sphere:1;1", "space:0", "space:1;2", "box:0;1"],
)  # fmt: skip
def test_a_domain_that_is_none(spec: str) -> None:
    with pytest.raises(ValueError, match="domain") as caught:
        formulas.domain(spec, 2)
    assert "\n" not in str(caught.value)


def one(x: Tensor) -> Tensor:
    raise NotImplementedError


def scaled(x: Tensor, a: float = 1.0) -> Tensor:
    raise NotImplementedError


def needs(x: Tensor, a: float) -> Tensor:
    raise NotImplementedError


def factory(a: float = 1.0) -> ls.FunctionLandscape:
    raise NotImplementedError


def bare() -> ls.FunctionLandscape:
    raise NotImplementedError


def sized(dim: int) -> ls.FunctionLandscape:
    raise NotImplementedError


def sized_formula(x: Tensor, dim: int) -> Tensor:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "settings", "dim", "formula"),
    [
        (one, {}, None, True),
        (one, {}, 2, True),
        (scaled, {}, None, True),
        (scaled, {"a": 2.0}, 2, True),
        (needs, {}, None, False),
        (needs, {"a": 2.0}, None, True),
        (factory, {}, None, False),
        (factory, {"a": 1.0}, None, False),
        (bare, {}, None, False),
        (bare, {}, 2, False),
        (sized, {"dim": 2}, None, False),
        (sized, {}, 2, False),
        (sized_formula, {}, 2, True),
        (torch.nn.Linear, {}, 2, False),
    ],
)
def test_a_formula_is_told_from_a_factory(
    function: Callable[..., object], settings: dict[str, object], dim: int | None, formula: bool
) -> None:
    assert formulas.is_formula(function, settings, dim) is formula


def quartic(x: Tensor) -> Tensor:
    return (x**4 - x**2).sum(-1)


@pytest.mark.parametrize(
    "domain", [None, ls.Box(-2, 2), ls.Sphere(), Space(1.0)], ids=["none", "box", "sphere", "space"]
)
@pytest.mark.parametrize("dim", [2, 4, 5])
def test_nothing_is_said_of_a_good_formula(
    domain: Domain | None, dim: int, dtype: torch.dtype
) -> None:
    assert formulas.probe(ls.FunctionLandscape(quartic, dim, domain, dtype), "here") == []


def test_the_share_of_holes_is_that_of_the_domain() -> None:
    f = ls.FunctionLandscape(lambda x: torch.log(x[..., 0] + 1) + x[..., 1] ** 2, 2, ls.Box(-2, 2))
    (note,) = formulas.probe(f, "here")
    share = float(note.partition("(")[2].partition(" %")[0])
    assert share == pytest.approx(
        25, abs=6
    )  # a quarter is below -1; 1,000 draws have a standard error of 1.4 %


def test_a_period_that_is_nearly_right_is_told() -> None:
    f = ls.FunctionLandscape(lambda x: torch.cos(x).sum(-1), 3, ls.Torus(6.283))
    (note,) = formulas.probe(f, "here")
    change = float(note.partition("changes by ")[2].partition(";")[0])
    assert 0 < change <= 2 * math.pi - 6.283
    assert formulas.probe(ls.FunctionLandscape(f.function, 3, ls.Torus()), "here") == []


def test_a_constant_is_told() -> None:
    (note,) = formulas.probe(ls.FunctionLandscape(lambda x: 0 * x.detach().sum(-1), 2), "here")
    assert "same value" in note


@pytest.mark.parametrize(
    ("function", "error", "match"),
    [
        (lambda x: torch.dot(x, x), ls.LoadingError, "batch"),
        (lambda x: (x**2).sum(-1).long(), ls.LoadingError, "int64"),
        (lambda x: (x**2).sum(-1) + torch.rand(()), ls.LoadingError, "two values"),
        (lambda x: (x**2).sum(-1) / x.shape[0], ls.LoadingError, "not batched"),
        (lambda x: (x.sqrt() * float("nan")).sum(-1), ls.NumericalError, "all 1,000"),
        (lambda x: torch.relu(x).sum(-1), ls.NumericalError, "second derivative"),
        (lambda x: (x.detach() ** 2 * x).sum(-1), ls.NumericalError, "second derivative"),
    ],
)
def test_what_is_wrong_with_a_formula_is_named(
    function: Callable[[Tensor], Tensor], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match) as caught:
        formulas.probe(ls.FunctionLandscape(function, 2, name="f"), "here")
    assert "\n" not in str(caught.value)


def test_the_first_look_leaves_the_random_state() -> None:
    before = torch.random.get_rng_state()
    with pytest.raises(ls.LoadingError):
        formulas.probe(ls.FunctionLandscape(lambda x: x.sum(-1) * torch.rand(()), 2), "here")
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_fingerprint_is_that_of_the_file_and_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "bowl.py"

    def mark(text: str, **options: object) -> str:
        file.write_text(text)
        chosen = loading.LandscapeOptions(f"{file}:bowl", **({"dim": 2} | options))  # type: ignore[arg-type]
        return loading.landscape(chosen).fingerprint

    text = "def bowl(x, a=1.0):\n    return a * (x ** 2).sum(-1)\n"
    marks = [
        mark(text), mark(text + "\n"), mark(text, dim=3), mark(text, settings={"a": 2.0}), mark(text, domain="box:-1,1"),
    ]  # fmt: skip
    assert len(set(marks)) == 5
    assert mark(text) == marks[0]


def test_a_model_comes_through_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "bowl.py").write_text(
        "import landscape as ls, torch\ndef problem():\n"
        "    return ls.ModelLandscape(torch.nn.Linear(2, 1), torch.nn.functional.mse_loss, [(torch.ones(3, 2), torch.ones(3, 1))])\n"
    )
    found = loading.landscape(loading.LandscapeOptions(str(tmp_path / "bowl.py")))
    assert isinstance(found.landscape, ls.ModelLandscape)
    assert (found.landscape.dim, found.fingerprint) == (3, "")


# ---- points


@pytest.fixture
def bowl() -> ls.FunctionLandscape:
    return ls.FunctionLandscape(quartic, 2, ls.Torus(2.0), name="bowl")


def test_points_as_written(bowl: ls.FunctionLandscape, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[0.5], [0.25]], dtype=np.float32))
    np.savez(tmp_path / "x.npz", anything=np.array([1, 0]))
    assert points.read("0.5,-0.5", bowl).tolist() == [0.5, 1.5]  # wrapped into the period
    assert points.read("pi/4, 1e-1", bowl).tolist() == [math.pi / 4, 0.1]
    assert points.read(str(tmp_path / "x.npy"), bowl).tolist() == [0.5, 0.25]
    assert points.read(str(tmp_path / "x.npz"), bowl).tolist() == [1.0, 0.0]
    assert points.read("1,1", bowl).dtype == torch.float64


def test_a_run_is_the_point_it_is_about(bowl: ls.FunctionLandscape, tmp_path: Path) -> None:
    ls.analyze(bowl, torch.tensor([0.5, 0.25], dtype=torch.float64)).save(tmp_path / "run")
    assert points.read(str(tmp_path / "run"), bowl).tolist() == [0.5, 0.25]
    with pytest.raises(ValueError, match=r"given in .*: 2"):
        points.read(str(tmp_path / "run"), ls.FunctionLandscape(quartic, 3))


def test_a_random_start_is_finite_and_its_seeds_own() -> None:
    f = ls.FunctionLandscape(lambda x: torch.log(x).sum(-1), 2, ls.Box(-1, 1))
    starts = [points.draw(f, seed).tolist() for seed in range(5)]
    assert all(min(x) > 0 for x in starts)
    assert len({tuple(x) for x in starts}) == 5
    assert points.draw(f, 0).tolist() == starts[0]


def test_a_checkpoint_is_a_point_and_the_model_stays(tmp_path: Path) -> None:
    model, loss, batch, l2 = net("batch-norm")
    f = ls.ModelLandscape(model, loss, [batch], l2=l2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.save(
        {k: v + 1 if v.is_floating_point() else v for k, v in before.items()}, tmp_path / "there.pt"
    )
    x = points.read(str(tmp_path / "there.pt"), f)
    assert torch.equal(x, f.point() + 1)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
