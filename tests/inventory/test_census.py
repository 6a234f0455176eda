"""Every census against published or closed-form lists of stationary points."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from censuses import table
from torch import Tensor

import landscape as ls
from landscape.results.statistics import unseen as chao

# name in the zoo, its options, table of the truth, starts
TABLES: list[tuple[str, dict[str, Any], str, int]] = [
    ("himmelblau", {}, "himmelblau", 2000),
    ("beale", {}, "beale", 4000),
    *[("rosenbrock", {"dim": n}, f"rosenbrock_n{n}", 2000) for n in (2, 3, 4, 5, 6, 7)],
    *[("phi4-ring", {"sites": n, "coupling": j}, f"phi4_ring_n{n}_J{j}", 4000) for n in (3, 4, 5) for j in (0.1, 0.3, 0.8)],
    *[("phi4-ring", {"sites": 6, "coupling": j}, f"phi4_ring_n6_J{j}", 10_000) for j in (0.1, 0.3, 0.8)],
    *[("xy-ring", {"sites": n}, f"xy_ring_n{n}", 2000) for n in (3, 5, 6)],
    ("phase-retrieval", {"n": 2, "signal": (2.0, -1.0)}, "phase_retrieval_n2", 2000),
    ("lennard-jones", {"particles": 4}, "lennard_jones_4", 6000),
]  # fmt: skip


def formula(function: Any, *size: Any, dim: int = 2, domain: Any = None) -> ls.FunctionLandscape:
    return ls.FunctionLandscape(function, dim, domain or ls.Box(*(size or (-2, 2))))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "truth", "starts"), TABLES, ids=[t[2] for t in TABLES])
def test_a_census_finds_exactly_the_known_points(
    name: str, options: dict[str, Any], truth: str, starts: int
) -> None:
    known = table(truth)
    f = ls.zoo.formula(name, **options)
    census = ls.census(f, starts=starts)
    assert census.counts == {int(k): v for k, v in known["counts_by_index"].items()}
    assert len(census.points) == len(known["points"])
    assert census.degenerate == 0
    assert census.unseen.value < 1
    key = f.symmetry.invariants if f.symmetry else f.domain.embed if f.domain else lambda x: x
    points = torch.stack([p.x for p in census.points])
    for point in known["points"]:
        gap = (key(points) - key(torch.tensor(point["x"], dtype=torch.float64))).norm(dim=1)
        found = census.points[int(gap.argmin())]
        assert float(gap.min()) < 1e-8
        assert found.index == point["index"]
        assert found.value == pytest.approx(point["value"], rel=1e-9, abs=1e-9)
        assert found.kind == point["kind"]
        eigenvalues = torch.tensor(point["eigenvalues"], dtype=torch.float64)
        torch.testing.assert_close(
            found.eigenvalues, eigenvalues, rtol=1e-6, atol=1e-7 * float(eigenvalues.abs().max())
        )
    expected = known.get("euler", {}).get("expected")
    if expected is not None and census.euler_expected is not None:
        assert census.euler == census.euler_expected == expected


@pytest.mark.slow
@pytest.mark.parametrize("n", range(1, 8))
def test_styblinski_tang_has_three_to_the_n(n: int) -> None:
    census = ls.census(ls.zoo.load("styblinski-tang", dim=n), starts=10_000 if n == 7 else 4000)
    assert census.counts == {k: math.comb(n, k) * 2 ** (n - k) for k in range(n + 1)}
    assert census.euler == census.euler_expected == 1
    assert census.points[0].value == pytest.approx(
        -39.16616570377142 * n, rel=1e-12
    )  # Styblinski & Tang 1990


@pytest.mark.slow
def test_two_seeds_agree_and_every_search_is_accounted_for() -> None:
    f = ls.zoo.load("trigonometric", dim=3, degree=1, seed=3)
    one, two = (ls.census(f, starts=4000, seed=seed) for seed in (0, 1))
    assert one.counts == two.counts
    assert one.euler == one.euler_expected == 0
    for census in (one, two):
        assert (
            sum(p.hits for p in census.points) + sum(census.failures.values())
            == census.starts
            == 4000
        )


@pytest.mark.slow
def test_values_from_minus_200_to_15_with_exponentials() -> None:
    """Mueller & Brown 1979, Theor. Chim. Acta 53:75: three minima, two saddles, values as published."""
    A, a, b, c = (-200, -100, -170, 15), (-1, -1, -6.5, 0.7), (0, 0, 11, 0.6), (-10, -10, -6.5, 0.7)
    X, Y = (1, 0, -0.5, -1), (0, 0.5, 1.5, 1)

    def f(x: Tensor) -> Tensor:
        u, v = x[..., 0], x[..., 1]
        return torch.stack([
            A[i] * torch.exp(a[i] * (u - X[i]) ** 2 + b[i] * (u - X[i]) * (v - Y[i]) + c[i] * (v - Y[i]) ** 2) for i in range(4)
        ]).sum(0)  # fmt: skip

    census = ls.census(formula(f, (-1.5, -0.5), (1.2, 2.0)), starts=4000)
    assert census.counts == {0: 3, 1: 2}
    values = sorted(round(p.value, 4) for p in census.points)
    assert values == pytest.approx([-146.6995, -108.1667, -80.7678, -72.2489, -40.6648], abs=1e-4)
    assert census.euler == census.euler_expected == 1


@pytest.mark.slow
def test_values_from_3_to_a_million() -> None:
    """Goldstein & Price 1971, Math. Comp. 25:569: local minima of value 3, 30, 84 and 840."""

    def f(x: Tensor) -> Tensor:
        a, b = x[..., 0], x[..., 1]
        one = 1 + (a + b + 1) ** 2 * (19 - 14 * a + 3 * a**2 - 14 * b + 6 * a * b + 3 * b**2)
        return one * (
            30 + (2 * a - 3 * b) ** 2 * (18 - 32 * a + 12 * a**2 + 48 * b - 36 * a * b + 27 * b**2)
        )

    census = ls.census(formula(f), starts=4000)
    minima = [p.value for p in census.points if p.index == 0]
    assert minima == pytest.approx([3, 30, 84, 840], rel=1e-9)
    assert census.euler == census.euler_expected == 1


@pytest.mark.parametrize(("factor", "shift"), [(1e-9, 0.0), (1e9, 1e6), (1.0, 1e6), (1.0, -1.0)])
def test_scale_and_shift_of_the_values_change_nothing(factor: float, shift: float) -> None:
    census = ls.census(
        formula(lambda x: factor * ((x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2) + shift), starts=500
    )
    assert census.counts == {0: 2, 1: 1}


def test_coordinates_of_very_different_size() -> None:
    f = formula(
        lambda x: ((x[..., 0] / 1e3) ** 2 - 1) ** 2 + (1e3 * x[..., 1]) ** 2,
        (-2000, -0.002),
        (2000, 0.003),
    )
    census = ls.census(f, starts=500)
    assert census.counts == {0: 2, 1: 1}
    assert census.points[0].x[0].abs() == pytest.approx(1000, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "local"),
    [("monkey-saddle", "plateau", -2), ("x4-minus-y4", "plateau", -1), ("x4-plus-y4", "plateau", 1), ("minus-x4-y4", "plateau", 1),
     ("x2-plus-y3", "degenerate", 0), ("x2-plus-y4", "degenerate", 1), ("peano", "degenerate", -1)],
)  # fmt: skip
def test_degenerate_points_are_one_and_count_by_the_gradient_around_them(
    name: str, kind: str, local: int
) -> None:
    census = ls.census(ls.zoo.formula(name), starts=2000)
    assert len(census.points) == census.degenerate == 1
    assert census.counts == {}
    assert census.families == []
    assert census.points[0].kind == kind
    assert float(census.points[0].x.norm()) < 1e-4
    assert census.euler == census.euler_expected == local


def test_peanos_surface_is_no_minimum() -> None:
    (point,) = ls.census(ls.zoo.load("peano"), starts=2000).points
    assert any("no minimum" in reason for reason in point.reasons)


def ring(x: Tensor, centre: float = 0.0) -> Tensor:
    return (
        (x - torch.tensor([centre, 0.0], dtype=x.dtype, device=x.device)).square().sum(-1) - 1
    ) ** 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("f", "families", "isolated"),
    [
        (formula(ring), 1, {2: 1}),
        (formula(lambda x: ring(x, 2.0) * ring(x, -2.0), (-4, -4), (4, 4)), 2, {1: 1, 2: 2}),
        (formula(lambda x: x[..., 0] ** 2 * x[..., 1] ** 2), 1, {}),
        (formula(lambda x: 0 * x.sum(-1) + 1), 1, {}),
    ],
    ids=["ring of minima", "two rings", "crossed valleys", "constant"],
)
def test_a_continuous_family_is_one_point(
    f: ls.FunctionLandscape, families: int, isolated: dict[int, int]
) -> None:
    census = ls.census(f, starts=4000)
    assert len(census.families) == census.degenerate == families
    assert census.counts == isolated
    assert census.euler_expected is None
    for place in census.families:
        assert census.points[place].nullity
        assert census.points[place].hits > 50


@pytest.mark.slow
def test_the_circles_of_the_ring_of_four_spins() -> None:
    known = table("xy_ring_n4")
    census = ls.census(ls.zoo.load("xy-ring", sites=4), starts=4000)
    assert census.counts == {int(k): v for k, v in known["counts_by_index"].items()}
    (family,) = [
        census.points[i] for i in census.families
    ]  # three circles that meet: one connected set
    assert (family.index, family.nullity) == (1, 1)
    assert family.value == pytest.approx(4.0, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 4])
def test_the_saddles_of_phase_retrieval_are_a_sphere(n: int) -> None:
    """Besides the signal, its mirror image and 0 there is a sphere of dimension n - 2, of index 1 and nullity n - 2."""
    census = ls.census(ls.zoo.load("phase-retrieval", n=n), starts=2000)
    assert census.counts == {0: 2, n: 1}
    (family,) = [census.points[i] for i in census.families]
    assert (family.index, family.nullity) == (1, n - 2)


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_on_a_sphere_a_quadratic_form_has_its_eigenvectors(n: int) -> None:
    A = torch.randn(n, n, dtype=torch.float64)
    A = A + A.T
    census = ls.census(
        ls.FunctionLandscape(lambda x: 0.5 * ((x @ A) * x).sum(-1), n, ls.Sphere(1.0)), starts=1000
    )
    values = torch.linalg.eigvalsh(A)
    assert [p.value for p in census.points] == pytest.approx(
        np.repeat(0.5 * values.numpy(), 2), abs=1e-10
    )
    assert census.counts == dict.fromkeys(range(n), 2)
    assert census.euler == census.euler_expected == 2 * (n % 2)


@pytest.mark.slow
def test_lennard_jones_five_has_its_23_points() -> None:
    census = ls.census(ls.zoo.load("lennard-jones", particles=5))
    assert census.counts == {
        int(k): v for k, v in table("lennard_jones_5")["counts_by_index"].items()
    }


@pytest.mark.slow
def test_a_census_is_saved_loaded_and_extended(tmp_path: Path) -> None:
    f = ls.zoo.load("styblinski-tang", dim=4)
    few = ls.census(f, starts=60)
    few.save(tmp_path)
    loaded = ls.load(tmp_path)
    assert loaded.counts == few.counts
    assert [p.hits for p in loaded.points] == [p.hits for p in few.points]
    more = ls.census(f, starts=3000, known=loaded)
    assert more.starts == 3000
    assert ls.census(f, starts=3001, known=more).starts == 3001  # a round of one
    assert sum(more.counts.values()) == 81 > sum(few.counts.values())
    assert sum(p.hits for p in more.points) + sum(more.failures.values()) == 3000
    again = ls.census(f, starts=10, known=more)  # nothing left to do
    assert again.starts == 3000
    assert again.counts == more.counts


def test_the_unseen_are_estimated_on_average_and_within_the_interval() -> None:
    """200 kinds, equally likely, 300 draws: the number unseen is known in every trial."""
    generator = np.random.default_rng(0)
    errors, inside = [], 0
    for _ in range(200):
        seen = Counter(generator.integers(0, 200, 300).tolist())
        estimate, unseen = chao(list(seen.values())), 200 - len(seen)
        errors.append(estimate.value - unseen)
        inside += estimate.low <= unseen <= estimate.high
    assert abs(float(np.mean(errors))) < 0.1 * 200 * math.exp(-1.5)
    assert inside >= 180


def test_searches_that_meet_nan_are_counted() -> None:
    f = formula(lambda x: torch.sqrt(x[..., 0]) + 1 / x[..., 0] + x[..., 1] ** 2)
    census = ls.census(f, starts=1000)
    assert census.counts == {0: 1}
    assert census.points[0].x.tolist() == pytest.approx([4 ** (1 / 3), 0], abs=1e-10)
    assert census.failures["the value or a derivative was not finite"] > 400


def test_a_minimum_of_the_gradient_norm_is_named() -> None:
    census = ls.census(
        formula(lambda x: x[..., 0] ** 3 / 3 + x[..., 0] + x[..., 1] ** 2), starts=300
    )
    assert census.points == []
    assert sum(v for k, v in census.failures.items() if k.startswith("gradient-flat")) > 100


class OnceDifferentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square().sum(-1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * g[..., None]


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: (x[0] - 1) ** 2 + x[1] ** 2, ValueError, "a formula maps"),
        (lambda x: x.norm() * x[..., 0], ValueError, "not batched"),
        (lambda x: torch.sqrt(-1 - x.square().sum(-1)), ls.NumericalError, "not finite"),
        (OnceDifferentiable.apply, ls.NumericalError, "second derivative"),
        (lambda x: x.detach().square().sum(-1), ls.NumericalError, "detached"),
        (lambda x: (x > 0).sum(-1), ValueError, "floating-point"),
    ],
    ids=[
        "not batched",
        "rows mixed",
        "NaN everywhere",
        "no second derivative",
        "detached",
        "integer",
    ],
)
def test_bad_formulas_are_named(function: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        ls.census(formula(function), starts=100)
    assert "\n" not in str(caught.value)


def test_bad_arguments_are_named() -> None:
    f = formula(lambda x: x.square().sum(-1))
    with pytest.raises(ValueError, match="starts must be"):
        ls.census(f, starts=0)
    with pytest.raises(ValueError, match="method must be"):
        ls.census(f, method="bisect")
    with pytest.raises(ValueError, match="dimensions"):
        ls.census(f, known=ls.census(ls.zoo.load("styblinski-tang", dim=3), starts=10))
    wrong: Any = ls.ModelLandscape(
        torch.nn.Linear(1, 1), torch.nn.MSELoss(), [(torch.ones(2, 1), torch.ones(2, 1))]
    )
    with pytest.raises(TypeError, match="formula"):
        ls.census(wrong)


def test_a_census_promises_no_more_than_starts_can_say() -> None:
    """A well a thousandth as wide as its domain: the sum shows that it or its saddle is missing, or nothing does."""

    def function(x: torch.Tensor) -> torch.Tensor:
        a = x[..., 0]
        return (a**2 - 1) ** 2 - 0.2 * torch.exp(-(((a - 1.7) / 2e-3) ** 2) / 2)

    f = ls.FunctionLandscape(function, 1, domain=ls.Box(-3, 3))
    for seed in range(3):
        made = ls.census(f, 200, seed)
        found = len(made.points)
        assert found + made.unseen.low <= 5 <= found + made.unseen.high
        assert made.euler_expected is not None
        assert made.euler is not None
        missing = abs(made.euler_expected - made.euler)
        assert made.unseen.low == missing
        assert made.unseen.value >= missing
        assert 3 / 201 < made.unmet < 0.1
        assert any("INCOMPLETE" in reason for reason in made.reasons) == (missing > 0)


def test_a_census_of_another_landscape_is_not_extended() -> None:
    known = ls.census(formula(lambda x: (x**2).sum(-1) + 1), starts=20)
    with pytest.raises(ValueError, match="of another landscape"):
        ls.census(formula(lambda x: (x**2).sum(-1) + 2), starts=40, known=known)
    assert ls.census(formula(lambda x: (x**2).sum(-1) + 1), starts=40, known=known).starts == 40
    # all values are rounding, and another one in float32
    for kind in (torch.float32, torch.float64):
        f = ls.FunctionLandscape(lambda x: ((x - 0.1) ** 2).sum(-1), 2, ls.Box(-1, 1), dtype=kind)
        assert ls.census(f, 40, known=ls.census(f, 20)).counts == {0: 1}


@pytest.mark.parametrize("starts", [1, 2, 20])
def test_few_starts_promise_little(starts: int) -> None:
    """Wells in four coordinates with 81 points: no share where it would be all, no number but the Euler sum's."""
    made = ls.census(
        ls.FunctionLandscape(lambda x: ((x**2 - 1) ** 2).sum(-1), 4, ls.Box(-2, 2)), starts
    )
    assert made.euler_expected == 1
    assert made.euler is not None
    assert made.unseen.low == abs(1 - made.euler) <= 81 - len(made.points)
    assert made.unmet == 1
    said = str(made)
    assert "1e+02 %" not in said
    assert "not known of so few" in said
    if made.unseen.low:
        assert f"{int(made.unseen.low)} points or more not found yet" in said
    assert any("too few to say" in reason for reason in made.reasons)


@pytest.mark.parametrize(
    ("function", "domain", "counts", "expected"),
    [
        (lambda x: x.cos().sum(-1), ls.Torus(), {0: 1, 1: 4, 2: 6, 3: 4, 4: 1}, 0),
        (lambda x: (x**2 * torch.arange(1.0, 5.0).to(x)).sum(-1), ls.Sphere(2.0), dict.fromkeys(range(4), 2), 0),
        (lambda x: (x - 1).square().sum(-1), ls.Box(0, 1), {0: 1}, None),
        (lambda x: x.square().sum(-1), ls.Box(-1e-9, 1), {0: 1}, 1),
        (lambda x: -x.square().sum(-1), ls.Box(-1, 1), {4: 1}, 1),
        (lambda x: x.square().sum(-1), ls.Torus(4.0), {0: 1}, None),
    ],
    ids=["torus", "sphere", "corner of a box", "just inside", "maximum", "not periodic"],
)  # fmt: skip
def test_sums_in_four_dimensions_and_at_borders(
    function: Any, domain: Any, counts: dict[int, int], expected: int | None
) -> None:
    """Morse counts by hand; where the gradient is zero on a box's border its sum is not known."""
    made = ls.census(ls.FunctionLandscape(function, 4, domain), 400)
    assert made.counts == counts
    assert made.euler_expected == expected
    assert made.unseen.low == 0
