"""Formulas against tables of their stationary points that were computed by other means (tests/truth/landscapes)."""

import math
from typing import Any, get_args

import pytest
import torch
from censuses import TRUTH, table
from torch import Tensor

import landscape as ls
from landscape.landscapes.domains import Space
from landscape.zoo.clusters import Cluster
from landscape.zoo.known import KnownLandscape

TEXTBOOK = [
    "monkey-saddle", "peano", "x4-minus-y4", "x4-plus-y4", "minus-x4-y4", "x2-plus-y3", "x2-plus-y4", "cubic-inflection",
]  # fmt: skip
# file: (name, options)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name.replace("-", "_"): (name, {}) for name in (*TEXTBOOK, "himmelblau", "beale")},
    "valley_x2y2": ("crossed-valleys", {}),
    "styblinski_tang": ("styblinski-tang", {"dim": 1}),
    "rastrigin": ("rastrigin", {"dim": 1}),
    **{f"rosenbrock_n{n}": ("rosenbrock", {"dim": n}) for n in range(2, 8)},
    **{f"xy_ring_n{n}": ("xy-ring", {"sites": n}) for n in range(3, 7)},
    **{
        f"phi4_ring_n{n}_J{J}": ("phi4-ring", {"sites": n, "coupling": J})
        for n in range(3, 7)
        for J in (0.1, 0.3, 0.8)
    },
    **{f"lennard_jones_{n}": ("lennard-jones", {"particles": n}) for n in range(3, 8)},
}
LISTED = [
    file
    for file in CASES
    if file not in ("valley_x2y2", "xy_ring_n4", *(f"lennard_jones_{n}" for n in (5, 6, 7)))
]
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("quadratic", {}), ("strict-saddle", {"dim": 5, "negative": 2, "condition": 100.0}), ("styblinski-tang", {"dim": 4}),
    ("rastrigin", {"dim": 3}), ("rosenbrock", {"dim": 9}), ("xy-ring", {"sites": 8}), ("lennard-jones", {"particles": 13}),
    ("trigonometric", {"dim": 3}), ("p-spin", {"spins": 6, "order": 2}), ("p-spin", {"spins": 5, "order": 4}),
]  # fmt: skip
LOADED = [*CASES.values(), *OTHERS]


def load(name: str, options: dict[str, Any]) -> KnownLandscape:
    f = ls.zoo.load(name, **options)
    assert isinstance(f, KnownLandscape)
    return f


def rows(points: list[dict[str, Any]]) -> Tensor:
    return torch.tensor([p["x"] for p in points], dtype=torch.float64)


def starts(f: KnownLandscape, count: int = 6) -> Tensor:
    return (f.domain or Space()).sample(count, f.dim, torch.Generator().manual_seed(1))


def turned(x: Tensor, seed: int, mirror: bool = False) -> Tensor:
    """Clusters (..., 3 N) moved, rotated and with their atoms renamed."""
    generator = torch.Generator().manual_seed(seed)
    Q, R = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    Q = Q * R.diagonal().sign()
    Q = Q * (torch.linalg.det(Q).sign() * (-1 if mirror else 1))
    r = x.reshape(*x.shape[:-1], -1, 3)[
        ..., torch.randperm(x.shape[-1] // 3, generator=generator), :
    ]
    return (r @ Q.to(x) + torch.randn(3, generator=generator, dtype=torch.float64).to(x)).flatten(
        -2
    )


def test_every_table_is_used() -> None:
    formulas = {"deep_linear", "factorisation", "phase_retrieval", "quadratics"}
    assert {p.stem for p in TRUTH.glob("*.json") if not p.stem.startswith(tuple(formulas))} == set(
        CASES
    )


@pytest.mark.slow
@pytest.mark.parametrize("file", CASES)
def test_tables_hold(file: str) -> None:
    """Stationary, and with the value, the eigenvalues and the verdict of the table; of long tables every few verdicts."""
    f, points = load(*CASES[file]), table(file)["points"]
    X = rows(points)
    values = torch.tensor([p["value"] for p in points], dtype=torch.float64)
    bend = max(abs(v) for p in points for v in p["eigenvalues"])
    assert (
        f.gradient(X).abs() <= 1e-15 * max(bend, 1) * max(float(X.abs().max()), 1) * f.dim
    ).all()
    torch.testing.assert_close(f.value(X), values, rtol=1e-13, atol=1e-13)
    assert f.domain is None or f.domain.contains(X).all()
    for p, x in list(zip(points, X, strict=True))[:: 1 + len(points) // 100]:
        if file == "xy_ring_n4" and p["nullity"] == 3:
            continue  # the nearest float is no such point: its Hessian is cos(pi/2) = 6e-17 times an indefinite matrix
        point = ls.classify(f, x, method="dense")
        spectrum = torch.tensor(p["eigenvalues"], dtype=torch.float64)
        assert (point.index, point.nullity) == (p["index"], p.get("nullity", 0))
        assert point.kind == ("plateau" if point.nullity == len(spectrum) else p["kind"])
        torch.testing.assert_close(point.eigenvalues, spectrum, rtol=0, atol=2e-13 * max(bend, 1))
        assert (point.uncertainty <= 1e-10 * max(bend, 1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("file", LISTED)
def test_the_zoo_lists_the_table(file: str) -> None:
    f, body = load(*CASES[file]), table(file)
    found, points = f.stationary_points(), body["points"]
    assert len(found) == len(points)
    X, Y = torch.stack([p.x for p in found]), rows(points)
    if f.symmetry is not None:
        X, Y = f.symmetry.invariants(X), f.symmetry.invariants(Y)
    apart = (
        Y[None] - X[:, None]
        if f.symmetry is not None or f.domain is None
        else f.domain.difference(X[:, None], Y[None])
    )
    nearest = apart.norm(dim=-1).min(1)
    assert (nearest.values < 1e-8).all()
    assert sorted(nearest.indices.tolist()) == list(range(len(points)))
    for p, q in zip(found, (points[i] for i in nearest.indices), strict=True):
        assert p.x.dtype == torch.float64
        assert p.value == pytest.approx(q["value"], rel=1e-13, abs=1e-13)
        assert (p.index, p.nullity) == (q["index"], q.get("nullity", 0))
        assert p.kind == (q["kind"] if p.nullity < f.dim else "plateau")


@pytest.mark.slow
@pytest.mark.parametrize("file", CASES)
def test_counts_are_those_of_the_table(file: str) -> None:
    f, body = load(*CASES[file]), table(file)
    counts = {int(k): count for k, count in body["counts_by_index"].items()}
    if CASES[file][0] in TEXTBOOK:
        counts = {}  # the table counts the degenerate point too
    if file == "lennard_jones_6":
        counts = {0: 2, 1: 3}  # the rest of the table is a lower bound
    assert f.counts == counts
    assert f.complete == (file not in ("lennard_jones_6", "lennard_jones_7"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["styblinski-tang", "rastrigin"])
def test_products_are_counted_and_listed(name: str) -> None:
    for n, body in table(name.replace("-", "_"))["products"].items():
        f = load(name, {"dim": int(n)})
        assert f.counts == {int(k): count for k, count in body["counts_by_index"].items()}
        if body["total"] > 10_000:
            continue
        points = f.stationary_points()
        assert len(points) == body["total"]
        assert {k: sum(p.index == k for p in points) for k in f.counts} == f.counts
        assert float(f.gradient(torch.stack([p.x for p in points])).abs().max()) < 1e-12
    with pytest.raises(ValueError, match="more than the 100,000"):
        load(name, {"dim": 12}).stationary_points()


def test_quadratic_forms_of_the_table() -> None:
    for p in table("quadratics")["points"]:
        f = load("quadratic", {"matrix": p["matrix"]})
        (known,), point = f.stationary_points(), ls.classify(f, torch.zeros(4, dtype=torch.float64))
        assert (known.index, known.nullity, known.kind) == (p["index"], p["nullity"], p["kind"])
        assert (point.index, point.nullity, point.kind) == (p["index"], p["nullity"], p["kind"])
        torch.testing.assert_close(
            point.eigenvalues, torch.tensor(p["eigenvalues"], dtype=torch.float64)
        )


def test_a_singular_quadratic_form_is_degenerate() -> None:
    (point,) = load("quadratic", {"matrix": [[1, 1], [1, 1]]}).stationary_points()
    assert (point.index, point.nullity, point.kind) == (0, 1, "degenerate")


@pytest.mark.parametrize("condition", [1.0, 1e4])
@pytest.mark.parametrize("negative", [0, 1, 3, 6])
def test_strict_saddles_have_the_spectrum_asked_for(negative: int, condition: float) -> None:
    f = load("strict-saddle", {"dim": 6, "negative": negative, "condition": condition})
    (known,), point = f.stationary_points(), ls.classify(f, torch.zeros(6, dtype=torch.float64))
    assert point.index == known.index == negative
    assert point.kind == known.kind
    sizes = point.eigenvalues.abs()
    assert float(sizes.min()) == pytest.approx(1)
    assert float(sizes.max()) == pytest.approx(condition)
    assert float(f.value(torch.eye(6, dtype=torch.float64)[0])) < 0 or negative == 0


def test_crossed_valleys_are_families() -> None:
    points = load("crossed-valleys", {}).stationary_points()
    assert sorted(p.nullity for p in points) == [1, 1, 2]
    assert all(p.x.prod() == 0 for p in points)


@pytest.mark.parametrize("sites", [4, 8])
def test_circles_of_the_xy_ring(sites: int) -> None:
    """Half of the bonds a and half pi - a: a circle for each way to choose, up to exchange, and two points where they meet."""
    f = load("xy-ring", {"sites": sites})
    points = f.stationary_points()
    assert float(f.gradient(torch.stack([p.x for p in points])).abs().max()) < 1e-14
    circles = [p for p in points if p.nullity == 1]
    assert len(circles) == math.comb(sites, sites // 2) // 2
    assert sum(p.nullity == sites - 1 for p in points) == 2
    assert f.counts is not None
    assert len(points) == len(circles) + 2 + sum(f.counts.values())
    for p in circles[:5]:
        point = ls.classify(f, p.x)
        assert (point.index, point.nullity, point.kind) == (p.index, p.nullity, p.kind)


def test_xy_ring_counts_what_it_lists() -> None:
    for sites in (7, 9, 10):
        points = load("xy-ring", {"sites": sites}).stationary_points()
        f = load("xy-ring", {"sites": sites})
        assert f.counts is not None
        assert f.counts == {k: sum(p.index == k for p in points) for k in f.counts}
        assert len(points) == sum(f.counts.values())
        assert sum((-1) ** k * count for k, count in f.counts.items()) == 0  # the torus


@pytest.mark.slow
def test_phi4_ring_beyond_the_tables() -> None:
    assert (
        load("phi4-ring", {"sites": 5, "coupling": 0}).counts
        == load("styblinski-tang", {"dim": 5}).counts
    )
    f = load("phi4-ring", {"sites": 7, "coupling": 0.2})
    points = f.stationary_points()
    X = torch.stack([p.x for p in points])
    assert float(f.gradient(X).abs().max()) < 1e-13
    for image in (-X, X.roll(1, -1), X.flip(-1)):
        nearest = torch.cdist(X, image, compute_mode="donot_use_mm_for_euclid_dist").min(1).values
        assert (nearest < 1e-12).all()
    assert f.counts is not None
    assert sum((-1) ** k * count for k, count in f.counts.items()) == 1
    with pytest.raises(ValueError, match="some merge"):
        load("phi4-ring", {"sites": 4, "coupling": 0.4}).stationary_points()


@pytest.mark.parametrize(("name", "options"), LOADED, ids=str)
def test_rows_are_independent(
    name: str, options: dict[str, Any], dtype: torch.dtype, device: torch.device
) -> None:
    f = load(name, options)
    exact = starts(f)
    x = exact.to(device, dtype)
    value, gradient = f.value(x), f.gradient(x)
    assert (value.dtype, value.device.type) == (dtype, device.type)
    tolerance: dict[str, Any] = (
        {"rtol": 2e-3, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    )
    torch.testing.assert_close(value.cpu().double(), f.value(x.cpu().double()), **tolerance)
    torch.testing.assert_close(value, torch.stack([f.value(row) for row in x]), **tolerance)
    torch.testing.assert_close(gradient, torch.stack([f.gradient(row) for row in x]), **tolerance)
    torch.testing.assert_close(f.value(x.reshape(2, 3, -1)).flatten(), value, **tolerance)
    assert f.domain is None or f.domain.contains(x).all()


@pytest.mark.parametrize(("name", "options"), LOADED, ids=str)
def test_constants_go_where_the_point_is(name: str, options: dict[str, Any]) -> None:
    f = load(name, options)
    value = f.value(torch.empty(2, 3, f.dim, device="meta", dtype=torch.float32))
    assert (value.shape, value.dtype, value.device.type) == ((2, 3), torch.float32, "meta")


@pytest.mark.parametrize(("name", "options"), LOADED, ids=str)
def test_gradients_and_hessians_are_those_of_the_values(name: str, options: dict[str, Any]) -> None:
    f = load(name, options)
    x = starts(f, 1)[0]
    domain = f.domain or Space()
    v = torch.randn(f.dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    V = domain.normals(x)
    v = (v - V @ (V.T @ v)) / v.norm()
    up, down = (domain.chart(x) + h * v for h in (1e-5, -1e-5))
    slope = f.gradient(x) @ v
    bend = ls.Hessian(f, x) @ v
    norm = float(bend.norm())
    assert float(f.value(up) - f.value(down)) / 2e-5 == pytest.approx(
        float(slope), rel=1e-4, abs=1e-6 * (1 + norm)
    )
    second = (f.gradient(up) - f.gradient(down)) / 2e-5
    second = second - V @ (V.T @ second)
    torch.testing.assert_close(second, bend, rtol=1e-3, atol=1e-4 * (1 + norm))


# ---- clusters


@pytest.mark.parametrize("particles", [3, 4, 5, 6, 7])
def test_invariants_see_structures_and_nothing_else(particles: int) -> None:
    f = load("lennard-jones", {"particles": particles})
    x = rows(table(f"lennard_jones_{particles}")["points"])
    assert f.symmetry is not None
    same = f.symmetry.invariants(x)
    for seed, mirror in ((0, False), (1, True)):
        torch.testing.assert_close(
            f.symmetry.invariants(turned(x, seed, mirror)), same, rtol=0, atol=1e-13
        )
    assert float(torch.pdist(same, p=torch.inf).min()) > 0.05  # in units of sigma
    assert float(torch.pdist(f.symmetry.invariants(starts(f, 50)), p=torch.inf).min()) > 1e-4


@pytest.mark.parametrize("particles", [3, 4, 5, 6])
def test_rigid_motions_count_in_no_index(
    particles: int, dtype: torch.dtype, device: torch.device
) -> None:
    """In any position: all but the chain, which has one rotation less, have six."""
    f, points = (
        load("lennard-jones", {"particles": particles}),
        table(f"lennard_jones_{particles}")["points"],
    )
    chain = [p for p in points if p["zero_modes"] == 5]
    assert len(chain) == 1
    for p in [points[0], *chain]:
        x = turned(rows([p]), seed=3)[0].to(device, dtype)
        assert f.trivial_directions(x).shape == (f.dim, p["zero_modes"])
        point = ls.classify(f, x)
        assert (point.index, point.nullity, point.kind) == (p["index"], 0, p["kind"])
        assert len(point.eigenvalues) == f.dim - p["zero_modes"]


def test_clusters_flown_apart_are_no_points() -> None:
    f = load("lennard-jones", {"particles": 6})
    whole = starts(f, 4)
    apart = whole.clone()
    apart[:, :9] += 60.0  # two groups of three
    assert isinstance(f.domain, Cluster)
    assert f.domain.contains(whole).all()
    assert not f.domain.contains(apart).any()
    assert (
        float(f.gradient(torch.arange(18.0, dtype=torch.float64) * 60).norm()) < 1e-10
    )  # as stationary as any point
    assert not f.domain.contains(torch.full((18,), torch.nan))
    chain = torch.arange(6.0, dtype=torch.float64)[:, None] * torch.tensor(
        [1.9, 0.0, 0.0], dtype=torch.float64
    )
    assert f.domain.contains(chain.flatten())
    torch.testing.assert_close(
        f.domain.wrap(turned(whole, 0)).reshape(4, 6, 3).mean(1), torch.zeros(4, 3).double()
    )


@pytest.mark.parametrize("particles", [2, 7, 13, 38])
def test_starts_of_clusters_are_useful(particles: int) -> None:
    f = load("lennard-jones", {"particles": particles})
    x = starts(f, 40)
    assert f.domain.contains(x).all()
    assert float(f.value(x).max()) < 200 * particles  # no two atoms on top of each other
    assert torch.equal(x, starts(f, 40))
    flat = (x.reshape(40, -1, 3)[..., 2] == 0).all(-1)
    assert (
        particles == 2 or 8 < int(flat.sum()) < 32
    )  # half of them in a plane, where planar structures are found


# ---- random fields


@pytest.mark.parametrize(
    ("name", "options"), [("trigonometric", {"dim": 2}), ("p-spin", {"spins": 6})]
)
def test_fields_repeat_by_their_seed(name: str, options: dict[str, Any]) -> None:
    f, again, other = (load(name, options | {"seed": seed}) for seed in (4, 4, 5))
    x = starts(f)
    state = torch.get_rng_state()
    assert torch.equal(f.value(x), again.value(x))
    assert (f.value(x) - other.value(x)).abs().min() > 1e-3
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ValueError, match="take a census"):
        f.stationary_points()
    assert f.counts is None


def test_trigonometric_polynomials_have_their_period_and_variance() -> None:
    f = load("trigonometric", {"dim": 2, "degree": 2})
    x = starts(f)
    for turn in ([2 * math.pi, 0.0], [0.0, -4 * math.pi]):
        torch.testing.assert_close(
            f.value(x + torch.tensor(turn, dtype=torch.float64)), f.value(x), rtol=0, atol=1e-13
        )
    draws = torch.stack([load("trigonometric", {"seed": seed}).value(x) for seed in range(500)])
    assert (draws.square().mean(0) - 1).abs().max() < 4 * math.sqrt(2 / 500)
    near = torch.stack(
        [load("trigonometric", {"seed": seed}).value(x + 1.0) for seed in range(500)]
    )
    torch.testing.assert_close(
        (draws * near).mean(0), (draws * near).mean().expand(6), rtol=0, atol=0.2
    )  # stationary


def test_p_spin_is_the_form_that_it_says() -> None:
    f = load("p-spin", {"spins": 4, "order": 3, "seed": 7})
    J = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    x = starts(f)
    torch.testing.assert_close(f.value(x), torch.einsum("ijk,bi,bj,bk->b", J, x, x, x) / 4)
    torch.testing.assert_close(f.value(3 * x), f.value(x))  # on the sphere, wherever the point is
    assert float((f.gradient(x) * x).sum(-1).abs().max()) < 1e-13  # tangent
    draws = torch.stack(
        [load("p-spin", {"spins": 4, "seed": seed}).value(x) for seed in range(500)]
    )
    assert (draws.square().mean(0) / 4 - 1).abs().max() < 4 * math.sqrt(2 / 500)


def test_two_spin_points_are_eigenvectors() -> None:
    f = load("p-spin", {"spins": 5, "order": 2, "seed": 1})
    points = f.stationary_points()
    assert f.counts == dict.fromkeys(range(5), 2)
    for p in points:
        point = ls.classify(f, p.x)
        assert (point.index, point.nullity, point.kind) == (p.index, p.nullity, p.kind)
        assert point.value == pytest.approx(p.value)


# ---- names and options


def test_names_and_kinds() -> None:
    names = ls.zoo.names()
    assert all(ls.zoo.is_formula(name) for name, _ in LOADED)
    assert not any(ls.zoo.is_formula(name) for name in names[:5])
    for name in {name for name, _ in LOADED}:
        f = load(name, {})
        assert f.name == name
        assert all(
            text and "\n" not in text for text in (f.formula, f.source, ls.zoo.describe(name))
        )
    assert ls.zoo.load("styblinski-tang", dim=4).dim == 4


def test_types_know_which_names_are_formulas() -> None:
    assert list(get_args(ls.zoo.FormulaName)) == [n for n in ls.zoo.names() if ls.zoo.is_formula(n)]
    assert {*get_args(ls.zoo.ModelName), *get_args(ls.zoo.FormulaName)} == set(ls.zoo.names())


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("styblinski-tang", {"dim": 0}, "dim must be a whole number of at least 1, got 0"),
        ("rastrigin", {"dim": 2.5}, "dim must be a whole number of at least 1, got 2.5"),
        ("rosenbrock", {"dim": 1}, "dim must be a whole number of at least 2, got 1"),
        ("rosenbrock", {"sites": 1}, "rosenbrock has no option 'sites'"),
        (
            "strict-saddle",
            {"dim": 3, "negative": 4},
            "negative must be a whole number from 0 to 3, got 4",
        ),
        ("strict-saddle", {"condition": 0.5}, "condition must be a number of at least 1, got 0.5"),
        ("quadratic", {"matrix": [[1, 2], [3, 4]]}, "matrix must be symmetric"),
        ("quadratic", {"matrix": [[1, 2]]}, "matrix must be square"),
        ("quadratic", {"matrix": "abc"}, "matrix must be rows of numbers"),
        ("quadratic", {"matrix": [[math.nan]]}, "matrix must be square and finite"),
        ("xy-ring", {"sites": True}, "sites must be a whole number of at least 3, got True"),
        ("phi4-ring", {"coupling": -1}, "coupling must be a number of at least 0, got -1"),
        ("phi4-ring", {"coupling": math.inf}, "coupling must be a number"),
        (
            "lennard-jones",
            {"particles": 1},
            "particles must be a whole number of at least 2, got 1",
        ),
        ("trigonometric", {"degree": 0}, "degree must be a whole number"),
        ("trigonometric", {"dim": 20}, "too many waves"),
        ("p-spin", {"order": 1}, "order must be a whole number of at least 2"),
        ("p-spin", {"spins": 1000, "order": 3}, "too many couplings"),
        ("p-spin", {"spins": 10, "order": 10**9}, "too many couplings"),
    ],
)
def test_bad_options_are_named(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        ls.zoo.load(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options"), [("rosenbrock", {"dim": 8}), ("phi4-ring", {"sites": 9})]
)
def test_what_is_not_known_is_said(name: str, options: dict[str, Any]) -> None:
    f = load(name, options)
    assert f.counts is None
    with pytest.raises(ValueError, match="not known"):
        f.stationary_points()
