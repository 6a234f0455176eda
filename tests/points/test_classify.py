"""Verdicts on points whose nature is known in closed form, by both routes and in both dtypes, and on networks against dense spectra."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import KINDS, plain_loss, problem
from torch import Tensor, nn

import landscape as ls
from landscape.points.higher import higher_order

ROUTES = pytest.mark.parametrize("method", ["dense", "lanczos"])


def peano(x: Tensor) -> Tensor:
    return (x[..., 1] - 2 * x[..., 0] ** 2) * (x[..., 1] - x[..., 0] ** 2)


def ring(x: Tensor) -> Tensor:
    return (x.square().sum(-1) - 1) ** 2


X, Y = (lambda x: x[..., 0]), (lambda x: x[..., 1])
CIRCLE = [math.cos(1), math.sin(1)]
# name: (formula, point, kind, index, nullity, what the reasons say of higher order)
VERDICTS: dict[str, tuple[Callable[[Tensor], Tensor], list[float], str, int, int, str]] = {
    "bowl": (lambda x: X(x) ** 2 + 3 * Y(x) ** 2, [0, 0], "minimum", 0, 0, ""),
    "dome": (lambda x: -(X(x) ** 2) - 3 * Y(x) ** 2, [0, 0], "maximum", 2, 0, ""),
    "saddle": (lambda x: X(x) ** 2 - Y(x) ** 2, [0, 0], "saddle", 1, 0, ""),
    "saddle with a null direction": (lambda x: X(x) ** 2 - Y(x) ** 2 + x[..., 2] ** 4, [0, 0, 0], "saddle", 1, 1, ""),
    "x^4": (lambda x: X(x) ** 4, [0], "plateau", 0, 1, "minimum to fourth order"),
    "-x^4": (lambda x: -(X(x) ** 4), [0], "plateau", 0, 1, "maximum to fourth order"),
    "x^3": (lambda x: X(x) ** 3, [0], "plateau", 0, 1, "no minimum and no maximum"),
    "x^4 - y^4": (lambda x: X(x) ** 4 - Y(x) ** 4, [0, 0], "plateau", 0, 2, "no minimum"),
    "x^4 + y^4": (lambda x: X(x) ** 4 + Y(x) ** 4, [0, 0], "plateau", 0, 2, "minimum to fourth order"),
    "monkey saddle": (lambda x: X(x) ** 3 - 3 * X(x) * Y(x) ** 2, [0, 0], "plateau", 0, 2, "no minimum and no maximum"),
    "x^2 + y^4": (lambda x: X(x) ** 2 + Y(x) ** 4, [0, 0], "degenerate", 0, 1, "minimum to fourth order"),
    "x^2 + y^3": (lambda x: X(x) ** 2 + Y(x) ** 3, [0, 0], "degenerate", 0, 1, "no minimum and no maximum"),
    "x^2 - y^4": (lambda x: X(x) ** 2 - Y(x) ** 4, [0, 0], "degenerate", 0, 1, "no minimum"),
    "-x^2 - y^4": (lambda x: -(X(x) ** 2) - Y(x) ** 4, [0, 0], "degenerate", 1, 1, "maximum to fourth order"),
    "-x^2 + y^4": (lambda x: -(X(x) ** 2) + Y(x) ** 4, [0, 0], "degenerate", 1, 1, "no maximum"),
    "Peano": (peano, [0, 0], "degenerate", 0, 1, "no minimum: to fourth order f changes as -0.25"),
    "ring of minima": (ring, CIRCLE, "degenerate", 0, 1, "flat to fourth order"),
    "sphere of minima": (ring, [5**-0.5] * 5, "degenerate", 0, 4, "flat to fourth order"),
    "crossed valleys": (lambda x: X(x) ** 2 * Y(x) ** 2, [1.5, 0], "degenerate", 0, 1, "flat to fourth order"),
    "constant": (lambda x: 0 * X(x) + 3, [1, 2], "plateau", 0, 2, "flat to fourth order"),
    "1e-9 (x^2 - y^2)": (lambda x: 1e-9 * (X(x) ** 2 - Y(x) ** 2), [0, 0], "saddle", 1, 0, ""),
    "1e6 + x^2 - y^2": (lambda x: 1e6 + X(x) ** 2 - Y(x) ** 2, [0, 0], "saddle", 1, 0, ""),
    "slope without curvature": (lambda x: 1e-9 * X(x) + 5, [1, 1], "not-stationary", 0, 2, ""),
    "slope along a valley": (lambda x: 1e-9 * X(x) + Y(x) ** 2, [0, 0], "not-stationary", 0, 1, ""),
    "slope of a bowl": (lambda x: X(x) ** 2 + Y(x) ** 2, [1e-3, 0], "not-stationary", 0, 0, ""),
    "slope of a saddle": (lambda x: X(x) ** 2 - Y(x) ** 2, [1, 1], "not-stationary", 1, 0, ""),
}  # fmt: skip


@ROUTES
@pytest.mark.parametrize("name", VERDICTS)
def test_known_points(name: str, method: str, dtype: torch.dtype, device: torch.device) -> None:
    formula, at, kind, index, nullity, higher = VERDICTS[name]
    f = ls.FunctionLandscape(formula, dim=len(at))
    point = ls.classify(f, torch.tensor(at, dtype=dtype, device=device), method)
    assert (point.kind, point.index, point.nullity) == (kind, index, nullity)
    assert point.index_bounds == (index, index)
    assert higher in " ".join(point.reasons)
    assert point.confidence == 1.0


@pytest.mark.parametrize(("a", "b"), [(1e-12, 0.0), (1e12, 0.0), (3.0, -7.0)])
@pytest.mark.parametrize("name", [k for k in VERDICTS if "slope" not in k])
def test_scale_changes_no_verdict(name: str, a: float, b: float) -> None:
    formula, at, kind, index, nullity, _ = VERDICTS[name]
    f = ls.FunctionLandscape(lambda x: a * formula(x) + b, dim=len(at))
    point = ls.classify(f, torch.tensor(at, dtype=torch.float64))
    assert (point.kind, point.index, point.nullity) == (kind, index, nullity)


def diagonal(values: Tensor) -> ls.FunctionLandscape:
    return ls.FunctionLandscape(lambda x: 0.5 * (values.to(x) * x * x).sum(-1), dim=len(values))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("low", "index", "nullity"),
    [
        ([-1e-3], 1, 0),
        ([-1e-3] * 3, 3, 0),
        ([-5.0] * 20, 20, 0),
        ([-2.0, -2.0 * (1 + 1e-6), -2.0 * (1 + 2e-6)], 3, 0),
        ([0.0] * 4, 0, 4),
        ([-1.0, 0.0, 0.0], 1, 2),
        ([], 0, 0),
    ],
    ids=["tiny", "tiny thrice", "twentyfold", "cluster", "zeros", "one and zeros", "none"],
)  # fmt: skip
def test_lanczos_counts_on_chosen_spectra(
    low: list[float], index: int, nullity: int, seed: int
) -> None:
    n = 4_000
    bulk = torch.linspace(1, 1e3, n - len(low), dtype=torch.float64)
    f = diagonal(torch.cat([torch.tensor(low, dtype=torch.float64), bulk]))
    point = ls.classify(f, torch.zeros(n, dtype=torch.float64), "lanczos", seed=seed)
    assert (point.index, point.nullity) == (index, nullity)
    assert point.confidence > 0.99
    assert point.kind == ("saddle" if index else "degenerate" if nullity else "minimum")
    exact = torch.cat([torch.tensor(sorted(low), dtype=torch.float64), bulk])
    k = point.pairs.smallest
    assert ((point.eigenvalues[:k] - exact[:k]).abs() <= point.pairs.bounds[:k]).all()


@pytest.mark.slow
def test_a_tiny_negative_value_in_twenty_thousand() -> None:
    n = 20_000
    values = torch.linspace(1, 1e3, n, dtype=torch.float64)
    values[7] = -1e-3
    point = ls.classify(diagonal(values), torch.zeros(n, dtype=torch.float64))
    assert (point.kind, point.index, point.method) == ("saddle", 1, "lanczos")


@pytest.mark.slow
def test_an_index_beyond_what_is_followed_is_bounded() -> None:
    values = torch.cat(
        [
            -torch.linspace(1, 2, 2_000, dtype=torch.float64),
            torch.linspace(1, 3, 2_000, dtype=torch.float64),
        ]
    )
    point = ls.classify(diagonal(values), torch.zeros(4_000, dtype=torch.float64))
    low, high = point.index_bounds
    assert point.kind == "saddle"
    assert point.index is None
    assert 20 <= low <= 2_000 <= high <= 3_980
    assert point.confidence == 1.0


def test_a_budget_too_small_is_inconclusive_not_a_guess() -> None:
    values = torch.logspace(-6, 0, 4_000, dtype=torch.float64)
    point = ls.classify(diagonal(values), torch.zeros(4_000, dtype=torch.float64), max_products=45)
    assert point.kind == "inconclusive"
    assert "raise max_products" in " ".join(point.reasons)
    assert point.index_bounds[0] == 0


CASES = [
    (kind, seed, dtype)
    for kind in KINDS
    for seed in range(8)
    for dtype in (torch.float64, torch.float32)
]


@pytest.fixture(scope="module")
def ratios() -> Any:
    found: list[float] = []
    yield found
    print(
        f"\n{len(found)} networks against dense float64 spectra: worst |error| / bound {max(found, default=0):.2f}"
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_networks_against_dense_spectra(kind: str, ratios: list[float]) -> None:
    """Every eigenvalue within its bound and the index equal: 8 seeds x 2 dtypes of each kind, dense and Lanczos by turns."""
    for seed in range(8):
        net = problem(kind, seed)
        objective, at = plain_loss(net)
        A = torch.autograd.functional.hessian(objective, at, vectorize=kind != "group-norm")
        truth = torch.linalg.eigvalsh(0.5 * (A + A.T))
        for dtype in (torch.float64, torch.float32):
            f = ls.ModelLandscape(
                net.model, net.loss, net.batches(7), l2=net.l2 or None, dtype=dtype
            )
            point = ls.classify(
                f,
                method="lanczos" if seed == 7 else "dense",
                largest=6,
                smallest=6,
                max_products=300,
            )
            k, values = point.pairs.smallest, point.eigenvalues
            expected = (
                truth
                if len(values) == len(truth)
                else torch.cat([truth[:k], truth[len(truth) - len(values) + k :]])
            )
            bounds = point.uncertainty if point.method == "dense" else point.pairs.bounds
            ratios.append(float(((values - expected).abs() / bounds).max()))
            assert ratios[-1] <= 1
            assert bounds.max() <= (1.1e-4 if seed == 7 else 1e-5) * truth.abs().max()
            epsilon = float(point.uncertainty.max())
            assert point.index_bounds[0] <= int((truth < 0).sum())
            assert point.index_bounds[1] >= int((truth < -epsilon).sum())
            if seed < 7:
                assert point.index == int((truth < -epsilon).sum())
            assert point.kind == "not-stationary"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "exact"}, "auto, dense or lanczos"),
        ({"largest": 0}, "at least 1"),
        ({"smallest": 0}, "at least 1"),
        ({"tol": 2.0}, "between 0 and 1"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ls.classify(diagonal(torch.ones(3)), torch.zeros(3), **options)


def test_not_finite_is_named() -> None:
    f = ls.FunctionLandscape(lambda x: x[..., 0].log(), dim=1)
    for at in (-1.0, 0.0):
        with pytest.raises(ls.NumericalError, match="not finite"):
            ls.classify(f, torch.tensor([at], dtype=torch.float64))


def spread(zeros: int, small: int, size: float, others: int) -> Tensor:
    """Zeros, one small eigenvalue repeated, and a spectrum from 1 to 2."""
    return torch.cat(
        [torch.zeros(zeros), torch.full((small,), size), torch.linspace(1, 2, others)]
    ).double()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_cluster_beside_zero_is_neither_zero_nor_negative(seed: int) -> None:
    values = spread(1, 12, 1e-6, 285)
    assert ls.eigsh(torch.diag(values), 10, 10, tol=1e-7, seed=seed).negative_at_least == 0
    point = ls.classify(
        diagonal(values), torch.zeros(298, dtype=torch.float64), "lanczos", seed=seed
    )
    assert (point.kind, point.index, point.nullity) == ("degenerate", 0, 1)


@pytest.mark.slow
def test_more_zeros_than_are_computed() -> None:
    flat = ls.classify(
        diagonal(spread(195, 0, 1.0, 5)), torch.zeros(200, dtype=torch.float64), "lanczos"
    )
    assert (flat.kind, flat.index, flat.nullity) == ("degenerate", 0, None)
    assert "how many eigenvalues are zero is not known" in " ".join(flat.reasons)
    some = ls.classify(
        diagonal(spread(15, 0, 1.0, 185)), torch.zeros(200, dtype=torch.float64), "lanczos"
    )
    assert (some.kind, some.index, some.nullity) == ("degenerate", 0, 15)
    none = ls.classify(diagonal(torch.zeros(200)), torch.zeros(200, dtype=torch.float64), "lanczos")
    assert (none.kind, none.index, none.nullity) == ("plateau", 0, 200)


def test_most_of_a_small_spectrum_negative() -> None:
    values = torch.cat([-torch.ones(30), torch.zeros(5), torch.ones(1)])
    point = ls.classify(diagonal(values), torch.zeros(36, dtype=torch.float64), "lanczos")
    assert (point.kind, point.index, point.nullity) == ("saddle", 30, 5)


def test_higher_order_is_not_told_from_half_a_null_space() -> None:
    f = ls.FunctionLandscape(lambda x: X(x) ** 2 + Y(x) ** 2 * x[..., 2], dim=3)
    H = ls.Hessian(f, torch.zeros(3, dtype=torch.float64))
    known = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
    assert "null directions beside those found" in higher_order(f, H, known, 1e-12, 1)[0]


def curved_valley(x: Tensor) -> Tensor:
    return (X(x) - torch.sin(Y(x))) ** 2


@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e150], ids="{:g}".format)
@pytest.mark.parametrize(
    ("formula", "point", "words"),
    [
        (curved_valley, [0.0, 0.0], "flat to fourth order"),
        (curved_valley, [0.0, 10 * math.pi], "flat to fourth order"),  # where x itself is rounded
        (lambda x: X(x) ** 2 * Y(x), [0.0, 1.0], "flat to fourth order"),
        (lambda x: (1 + Y(x) ** 2) * X(x) ** 2, [0.0, 3.0], "flat to fourth order"),
        (ring, [math.cos(1), math.sin(1)], "flat to fourth order"),
        (lambda x: X(x) ** 2 - (Y(x) - 3) ** 4, [0.0, 3.0], "no minimum"),
        (lambda x: X(x) ** 2 - 1e-3 * (Y(x) - 3) ** 3, [0.0, 3.0], "no minimum"),
    ],
    ids=["curved", "far", "wedge", "widening", "ring", "quartic", "cubic"],
)
def test_higher_order_in_any_coordinates(
    formula: Any, point: list[float], words: str, scale: float
) -> None:
    """What is zero is rounding in turned coordinates; none of it is a rise or fall."""
    for seed in range(5):
        Q = torch.linalg.qr(
            torch.randn(2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        )[0]

        def turned(x: Tensor, Q: Tensor = Q) -> Tensor:
            return scale * formula(x @ Q.T)

        found = ls.classify(
            ls.FunctionLandscape(turned, 2), Q.T @ torch.tensor(point, dtype=torch.float64)
        )
        assert found.kind == "degenerate"
        assert words in found.reasons[-1]


@pytest.mark.parametrize("products", [30, 2000])
def test_an_upper_bound_that_says_nothing_is_not_told(products: int) -> None:
    """Half the eigenvalues are negative: more than the ends of the spectrum can follow."""
    n = 400
    d = torch.cat([-torch.linspace(0.1, 3, n // 2), torch.linspace(0.1, 2, n // 2)]).double()
    f = ls.FunctionLandscape(lambda x: 0.5 * (d * x * x).sum(-1), dim=n)
    x = torch.zeros(n, dtype=torch.float64)
    point = ls.classify(f, x, method="lanczos", max_products=products)
    low, high = point.index_bounds
    assert low <= n // 2 <= high
    assert high - low > n / 10  # or this test shows nothing
    assert f"at least {low} of 400 eigenvalues are negative" in " ".join(point.reasons)
    assert f"SADDLE of index {low} or more" in str(point)
    assert str(high) not in str(point)


@pytest.mark.parametrize("l2", [None, {"*": 1e-3}, {"*": -1e-3}])
@pytest.mark.parametrize("loss", [F.cross_entropy, nn.MSELoss(), nn.SoftMarginLoss()])
def test_no_step_lowers_a_loss_below_what_it_can_reach(
    loss: Any, l2: dict[str, float] | None, dtype: torch.dtype
) -> None:
    """Far out a flat loss has a parabola without any bottom worth the name."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(dtype)
    for p in model.parameters():
        p.data *= 8
    target = torch.randint(0, 2, (12,)) if loss is F.cross_entropy else torch.randn(12, 2).to(dtype)
    f = ls.ModelLandscape(model, loss, [(torch.randn(12, 3).to(dtype), target)], l2=l2)
    point = ls.classify(f)
    bounded = not isinstance(loss, nn.SoftMarginLoss) and (l2 is None or l2["*"] > 0)
    H = ls.Hessian(f).dense().double()
    g = f.gradient(f.point()).double()
    w, V = torch.linalg.eigh(H)
    parabola = float(((V.T @ g).square() / (2 * w.abs().clamp(min=1e-300))).sum())
    if bounded:
        assert f.floor == 0
        assert point.predicted_decrease <= point.value
        assert ("it can fall" in point.reasons[0]) == (point.predicted_decrease == point.value)
        if parabola < 0.5 * point.value:
            assert point.predicted_decrease == pytest.approx(parabola, rel=0.02)
    else:
        assert f.floor == -math.inf
        assert "it can fall" not in point.reasons[0]


def cone(x: Tensor) -> Tensor:
    """-0.01 r^4 along (0.37, 1), and above 0 along most directions."""
    r = X(x) ** 2 + Y(x) ** 2
    return (X(x) - 0.37 * Y(x)) ** 2 * r - 0.01 * r**2 + x[..., 2] ** 2


def spike(x: Tensor) -> Tensor:
    """r^4 - 1.05 (v'x)^4 of three null directions: falls in a cone of 12 degrees around v alone."""
    v = torch.tensor([1.0, 0.3, -0.7], dtype=x.dtype) / (1 + 0.09 + 0.49) ** 0.5
    return (x[..., :3] ** 2).sum(-1) ** 2 - 1.05 * (x[..., :3] @ v) ** 4 + x[..., 3] ** 2


HIGHER = {
    "a narrow cone": (cone, 3, "degenerate", "no minimum: to fourth order f changes as -0.01 t^4"),
    "a narrower one": (
        spike,
        4,
        "degenerate",
        "no minimum: to fourth order f changes as -0.05 t^4",
    ),
    "four at once": (
        lambda x: (x[..., :4] ** 4).sum(-1) + x[..., 4] ** 2,
        5,
        "degenerate",
        "minimum to fourth order: f changes as 0.25 t^4 or more along the",
    ),
    "-x^6 + y^2": (
        lambda x: Y(x) ** 2 - X(x) ** 6,
        2,
        "degenerate",
        "no minimum: by its values along the valley floor f changes as -1 t^6",
    ),
    "x^6 + y^2": (
        lambda x: Y(x) ** 2 + X(x) ** 6,
        2,
        "degenerate",
        "no order up to the fourth decides",
    ),
    "y^2": (
        lambda x: Y(x) ** 2 + 0 * X(x),
        2,
        "degenerate",
        "show no power of t beyond rounding",
    ),
    "-|x|^3 + y^2, whose derivatives at 0 are none": (
        lambda x: Y(x) ** 2 - X(x).abs() ** 3,
        2,
        "degenerate",
        "no minimum: by its values along the valley floor f changes as -1 t^3",
    ),
    "y^2 - x^4 where x > 0": (
        lambda x: Y(x) ** 2 - torch.relu(X(x)) ** 4,
        2,
        "degenerate",
        "no minimum: by its values along the valley floor f changes as -1 t^4",
    ),
    "|x|": (
        lambda x: x.abs().sum(-1),
        2,
        "inconclusive",
        "f has a kink here: along a null direction it changes as t^1",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HIGHER)
def test_higher_order_says_what_it_probed(name: str) -> None:
    function, dim, kind, said = HIGHER[name]
    point = ls.classify(ls.FunctionLandscape(function, dim), torch.zeros(dim, dtype=torch.float64))
    assert point.kind == kind
    assert said in point.reasons[-1]


@pytest.mark.slow
@pytest.mark.parametrize("weak", [1.0, 1e-3, 1e-5, 3e-6])
def test_a_curved_valley_along_a_weak_curvature_is_flat(weak: float) -> None:
    """(weak y - x^2)^2 / 2 is 0 along y = x^2 / weak: what fourth derivatives leave is rounding."""
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)).double())[
        0
    ]

    def valley(u: Tensor) -> Tensor:
        y = u @ turn
        beside = y[..., 2] ** 2 / 2 + y[..., 3] ** 2 + y[..., 4] ** 2 / 10
        return (weak * Y(y) - X(y) ** 2) ** 2 / 2 + beside

    at = torch.zeros(5, dtype=torch.float64)
    told = ls.classify(ls.FunctionLandscape(valley, 5), at)
    assert told.kind == "degenerate"
    assert "show no power of t beyond rounding" in told.reasons[-1]
    for sign, said in ((1, "minimum to fourth order"), (-1, "no minimum: to fourth order")):

        def beside(u: Tensor, sign: int = sign) -> Tensor:
            return valley(u) + sign * X(u @ turn) ** 4

        told = ls.classify(ls.FunctionLandscape(beside, 5), at)
        assert said in told.reasons[-1] or weak < 1e-4
        assert f"{sign:.3g} t^4" in told.reasons[-1] or weak < 1e-4


@pytest.mark.slow
def test_two_null_directions_are_minimised_exactly() -> None:
    """Quartic forms of two variables, whose least value on the circle a fine grid knows."""
    random = torch.Generator().manual_seed(3)
    s = torch.linspace(0, math.pi, 20_001, dtype=torch.float64)
    circle = torch.stack([s.cos(), s.sin()], -1)
    for _ in range(8):
        c = torch.randn(5, generator=random, dtype=torch.float64)

        def form(x: Tensor, c: Tensor = c) -> Tensor:
            return (
                sum(c[k] * X(x) ** k * Y(x) ** (4 - k) for k in range(5)) + 2 * (x**2).sum(-1) ** 2
            )

        least = float(form(circle).min())
        said = ls.classify(
            ls.FunctionLandscape(form, 2), torch.zeros(2, dtype=torch.float64)
        ).reasons[-1]
        if least > 0:
            assert f"minimum to fourth order: f changes as {least:.3g} t^4" in said
        else:
            assert f"f changes as {least:.3g} t^4" in said or "(2 null directions probed)" in said
