"""Noise-driven exits, barriers and plateaus: tables by other routes, simulated noise, torch's own steps."""

import json
import math
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy.integrate import quad

import landscape as ls
from landscape.theory.noise import marginal_step

TRUTH = Path(__file__).parents[1] / "truth" / "dynamics"
theory = ls.theory


def rows(name: str, part: str = "rows") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((TRUTH / f"{name}.json").read_text())[part]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", [r for r in rows("t2_noise_exit") if len(r["lam"]) == 1], ids=lambda r: str(r["id"])
)
def test_noise_driven_exit_in_one_direction(row):
    law = theory.noise_exit(row["lam"][0], lr=row["lr"], sigma=row["sigma"], radius=row["R"])
    assert law.returns
    assert law.mean == pytest.approx(row["exact_mean"], rel=1e-7)
    assert law.median == row["exact_median"]
    assert law.cdf[law.median] == pytest.approx(row["exact_cdf_at_median"], abs=1e-9)
    assert abs(law.mean - row["mc"]["mean"]) < 4 * row["mc"]["mean_se"]
    assert marginal_step(row["lam"][0], row["lr"], row["sigma"], row["R"]) == pytest.approx(
        row["marginal_t50"], rel=1e-9
    )


def test_noise_driven_exit_in_several_directions():
    row = rows("t2_noise_exit")[8]
    law = theory.noise_exit(-1.0, lr=row["lr"], sigma=row["sigma"], directions=5)
    assert not law.returns
    assert law.median == row["marginal_median_step"]
    assert law.mean == pytest.approx(row["mc"]["mean"], rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_noise_driven_exit_simulated(seed):
    rng = np.random.default_rng(seed)
    lam, lr, sigma, radius = (
        -(10 ** rng.uniform(-1, 0.5)),
        10 ** rng.uniform(-1.5, -0.7),
        10 ** rng.uniform(-1, 0.3),
        0.8,
    )
    law = theory.noise_exit(lam, lr=lr, sigma=sigma, radius=radius)
    x, times, t = np.zeros(20_000), np.zeros(20_000), 0
    while not times.all():
        x = x - lr * (lam * x + sigma * rng.standard_normal(len(x)))
        t += 1
        times[(np.abs(x) >= radius) & (times == 0)] = t
    assert abs(times.mean() - law.mean) < 4 * times.std() / math.sqrt(len(x))
    for share in (0.1, 0.5, 0.9):
        q = law.quantile(share)
        assert abs((times <= q).mean() - law.cdf[q]) < 4 * 0.5 / math.sqrt(len(x))


@pytest.mark.parametrize("row", rows("t6_kramers"), ids=lambda r: str(r["T"]))
def test_double_well(row):
    for name, target in (("to_saddle", 0.0), ("to_other_minimum", 1.0)):
        assert theory.double_well_passage(row["T"], target) == pytest.approx(
            row[name]["mfpt"], rel=1e-9
        )
    bare, corrected = theory.kramers(0.25, row["T"], 2.0, -1.0, (-6.0, 0.0), (6.0, 6.0))
    exact = row["to_other_minimum"]
    assert bare == pytest.approx(exact["kramers"], rel=1e-12)
    if row["T"] <= 0.1:  # what is left is of the next order
        assert (
            abs(corrected / exact["mfpt"] - 1) < 15 * row["T"] ** 2 < abs(bare / exact["mfpt"] - 1)
        )


def test_kramers_error_as_documented():
    exact = theory.double_well_passage(0.05)
    bare, corrected = theory.kramers(0.25, 0.05, 2.0, -1.0, (-6.0, 0.0), (6.0, 6.0))
    assert bare / exact == pytest.approx(0.90, abs=0.005)
    assert corrected / exact == pytest.approx(0.97, abs=0.005)


def test_passage_over_other_potentials():
    """A harmonic well by its own one-dimensional integral; a slope without walls on which the mean time is infinite."""
    T, b = 0.4, 1.3
    exact = quad(
        lambda y: (
            math.sqrt(math.pi / (2 * T))
            * math.exp(y * y / (2 * T))
            * (1 + math.erf(y / math.sqrt(2 * T)))
        ),
        0,
        b,
    )
    assert theory.mean_passage(lambda x: x**2 / 2, T, 0.0, b) == pytest.approx(exact[0], rel=1e-9)
    with pytest.raises(ValueError, match="does not grow to the left"):
        theory.mean_passage(lambda x: x, T, 0.0, 1.0)


def test_exponent_of_sgd():
    """ln tau is linear in B / lr, and the whole barrier is climbed at the minimum's curvature for path = 1."""
    a, b = (theory.sgd_escape_time(0.1, lr, 8, 2.0, -0.5, 1.0) for lr in (0.1, 0.05))
    assert math.log(b / a) == pytest.approx(2 * 8 * 0.1 / 2.0 * (1 / 0.05 - 1 / 0.1))
    assert theory.sgd_escape_time(0.0, 0.1, 8, 2.0, -0.5) == pytest.approx(2 * math.pi / 0.5)


@pytest.mark.parametrize(
    "row", rows("t5_linear_net"), ids=lambda r: f"{r['layers']}-{r['s']}-{r['u0']}"
)
def test_deep_linear_networks(row):
    time = theory.deep_linear_time(row["layers"], row["s"], row["u0"])
    assert time == pytest.approx(row["t_half_closed"], rel=1e-10)
    assert row["lr"] * row["gd_steps_torch"] == pytest.approx(time, rel=0.05)
    assert theory.deep_linear_time(row["layers"], row["s"], row["u0"], 0.99) == pytest.approx(
        row["t_99_closed"], rel=1e-9
    )


@pytest.mark.parametrize(("layers", "s", "u0"), [(1, 2.0, 1e-3), (2, 1.7, 1e-4), (4, 1.3, 1e-2)])
def test_plateau_of_a_deep_linear_network_in_torch(layers, s, u0):
    lr = 0.01
    p = torch.nn.Parameter(torch.full((layers,), u0 ** (1 / layers), dtype=torch.float64))
    optimizer = torch.optim.SGD([p], lr=lr)
    steps = 0
    while float(p.detach().prod()) < s / 2:
        optimizer.zero_grad()
        (0.5 * (s - p.prod()) ** 2).backward()
        optimizer.step()
        steps += 1
    assert steps * lr == pytest.approx(theory.deep_linear_time(layers, s, u0), rel=0.05)


@pytest.mark.parametrize(
    "row", rows("t8_plateaus", "sigmoid_neuron"), ids=lambda r: f"{r['w0']}-{r['lr']}"
)
def test_sigmoid_plateau(row):
    assert theory.sigmoid_time(row["w0"]) == pytest.approx(row["flow_time_w_ge_0"], rel=1e-12)
    half = 1 - math.sqrt(2 * row["f0"]) / math.sqrt(2)
    assert theory.sigmoid_time(row["w0"], math.log(half / (1 - half))) == pytest.approx(
        row["flow_time_half_loss"], rel=1e-10
    )


def exact_sigmoid(start: float, end: float) -> float:
    with mp.workdps(700):
        a, b = (
            -mp.exp(-w) + 3 * w + 3 * mp.exp(w) + mp.exp(2 * w) / 2
            for w in map(mp.mpf, (start, end))
        )
        return float(b - a)


def test_plateaus_at_their_ends() -> None:
    for start, end in ((-800, 0), (0, 800), (-math.inf, 0), (0, math.inf), (-710, 0), (0, 356)):
        assert theory.sigmoid_time(start, end) == math.inf
    assert theory.sigmoid_time(-7.0, -7.0) == 0.0
    # near ends: the integrand 1 / (p (1 - p)^2 p') times their distance
    p = 1 / (1 + math.exp(3))
    slope = 1 / (p * (1 - p) ** 2)
    near = -3.0 + 1e-9
    assert theory.sigmoid_time(-3.0, near) == pytest.approx((near + 3.0) * slope, rel=1e-8)
    # finite where a factor is not
    for start, end in ((-710, -709), (-709.9, -709.5), (0, 355), (-730, -729.9999999999999)):
        assert theory.sigmoid_time(start, end) == pytest.approx(
            exact_sigmoid(start, end), rel=1e-12
        )
    assert theory.gaussian_well_time(50.0, 40.0) == math.inf
    for start, end in (
        (37.7, 1.0),
        (1.0, 1e-300),
        (1 + 1e-15, 1.0),
        (3.0, 3 - 1e-12),
        (1e-3, 1e-9),
    ):
        with mp.workdps(700):
            exact = (mp.ei(mp.mpf(start) ** 2 / 2) - mp.ei(mp.mpf(end) ** 2 / 2)) / 2
        assert theory.gaussian_well_time(start, end) == pytest.approx(float(exact), rel=1e-12)
    assert theory.gaussian_well_time(50.0, 50.0) == 0.0


@pytest.mark.parametrize("width", [1e-3, 1e-5])
@pytest.mark.parametrize("at", [0.5, 0.123456, -0.3])
def test_a_narrow_barrier_is_not_missed(width: float, at: float) -> None:
    """V = x^2 / 2 + a hat of half-width w: of a narrow one only the integral of e^{+-V/T} - 1 counts."""
    T, height = 0.1, 0.6

    def hat(x):
        return height * np.maximum(0.0, 1 - np.abs(x - at) / width)

    base = theory.mean_passage(lambda x: x**2 / 2, T, 0.0, 1.0)
    found = theory.mean_passage(lambda x: x**2 / 2 + hat(x), T, 0.0, 1.0)
    named = theory.mean_passage(
        lambda x: x**2 / 2 + hat(x), T, 0.0, 1.0, points=[at - width, at, at + width]
    )
    assert found == pytest.approx(named, rel=1e-8)
    ratio = height / T
    above = 2 * width * (math.expm1(ratio) / ratio - 1)
    below = 2 * width * (-math.expm1(-ratio) / ratio - 1)
    mass, _ = quad(lambda z: math.exp(-(z**2) / 2 / T), -3, at, points=[0], epsabs=0)
    rise, _ = quad(lambda y: math.exp(y**2 / 2 / T), max(at, 0.0), 1, epsabs=0)
    there = math.exp(at**2 / 2 / T)
    shift = (above * there * mass * (at > 0) + below / there * rise) / T
    assert found - base == pytest.approx(shift, rel=0.02 if width < 1e-4 else 0.2)


def lines(xs: list[float], vs: list[float], T: float, start: float) -> float:
    """The mean time to the last of xs, with a wall at the first, V linear between: by 60 digits."""
    mass, total = mp.mpf(0), mp.mpf(0)
    for x0, x1, v0, v1 in zip(xs, xs[1:], vs, vs[1:], strict=False):
        w, e = mp.mpf(x1) - mp.mpf(x0), mp.exp(-mp.mpf(v0) / T)
        k = (mp.mpf(v1) - v0) / w / T
        up = w if k == 0 else mp.expm1(k * w) / k
        if x0 >= start:
            total += mass * up / e + (w * w / 2 if k == 0 else (up - w) / k)
        mass += e * (w if k == 0 else -mp.expm1(-k * w) / k)
    return float(total / T)


LINES: dict[str, tuple[list[float], list[float]]] = {
    "a narrow hat of 300 T": ([-1, 0, 0.5, 0.501, 0.502, 1], [0, 0, 0, 30, 0, 0]),
    "a ditch of 300 T": ([-1, 0, 0.5, 0.501, 0.502, 1], [0, 0, 0, -30, 0, 0]),
    "a ditch before the start": ([-1, -0.3, -0.299, -0.298, 0, 1], [0, 0, -30, 0, 0, 0]),
    "a barrier at the end": ([-1, 0, 0.999, 1], [0, 0, 0, 40]),
    "a barrier at the start": ([-1, 0, 0.001, 1], [0, 0, 40, 0]),
    "far down": ([-1, 0, 10], [0, 0, -3000]),
    "two wells": ([-1, 0, 0.2, 0.4, 0.6, 0.8, 1], [5, 0, 3, -2, 4, -3, 0]),
    "flat": ([0, 2], [0, 0]),
}


@pytest.mark.parametrize("named", [False, True], ids=["found", "named"])
@pytest.mark.parametrize("name", LINES)
def test_passage_over_straight_lines(name: str, named: bool) -> None:
    """A polynomial through V is none through e^{V / T}: steep lines are cut up too."""
    xs, vs = LINES[name]
    found = theory.mean_passage(
        lambda x: np.interp(x, xs, vs), 0.1, 0.0, xs[-1], left=xs[0], points=xs if named else ()
    )
    with mp.workdps(60):
        assert found == pytest.approx(lines(xs, vs, 0.1, 0.0), rel=1e-9)


def test_walls_tiny_ways_and_constant_potentials() -> None:
    T = 0.3

    def harmonic(x):
        return x**2 / 2

    def mass(y: float, wall: float) -> float:
        root = math.sqrt(2 * T)
        return math.sqrt(math.pi * T / 2) * (math.erf(y / root) - math.erf(wall / root))

    # a way so short that the well is a million times as wide
    assert theory.mean_passage(harmonic, T, 0.0, 1e-9) == pytest.approx(
        1e-9 * mass(0.0, -math.inf) / T, rel=1e-8
    )
    walled, _ = quad(lambda y: math.exp(y * y / 2 / T) * mass(y, -0.4), 0.2, 1, epsrel=1e-12)
    assert theory.mean_passage(
        lambda x: np.where(x < -0.4, np.inf, harmonic(x)), T, 0.2, 1.0
    ) == pytest.approx(walled / T, rel=1e-9)
    assert theory.mean_passage(lambda x: 0.0, T, 0.0, 2.0, left=0.0) == pytest.approx(2 / T)
    with pytest.raises(ValueError, match="left must be at most start"):
        theory.mean_passage(harmonic, T, 0.0, 1.0, left=0.5)


def test_a_rough_potential_is_refused() -> None:
    noise = np.random.default_rng(0)
    with pytest.raises(ValueError, match="rough on every scale"):
        theory.mean_passage(
            lambda x: x**2 + noise.normal(size=np.shape(x)), 0.1, 0.0, 1.0, left=-1.0
        )


@pytest.mark.parametrize(
    "row", rows("t8_plateaus", "gaussian_well"), ids=lambda r: f"{r['x0']}-{r['lr']}"
)
def test_gaussian_well_plateau(row):
    assert theory.gaussian_well_time(row["x0"]) == pytest.approx(row["flow_time_to_1"], rel=1e-12)


@pytest.mark.parametrize("row", rows("t4_octopus", "gd"), ids=lambda r: f"{r['L']:.3g}-{r['d']}")
def test_octopus(row):
    found = theory.octopus_exit(row["d"], row["L"], row["gamma"], row["tau"], row["eta"])
    assert found == row["T_2tau"]
    kappa = theory.octopus_growth(row["L"], row["gamma"], row["eta"])
    assert kappa == pytest.approx(row["per_saddle_growth_ratio_theory"], rel=1e-12)
    if row["d"] == 6:
        assert found[-1] / found[-2] == pytest.approx(kappa, rel=0.01)
    assert (
        theory.octopus_exit(
            row["d"], row["L"], row["gamma"], row["tau"], row["eta"], steps=found[0]
        )
        == found[:1]
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda: theory.noise_exit(1.0, lr=0.1, sigma=1.0),
        lambda: theory.noise_exit(-1.0, lr=1e-6, sigma=1.0),
        lambda: theory.kramers(0.25, 0.1, 2.0, 1.0),
        lambda: theory.deep_linear_time(2, 1.0, 0.7),
        lambda: theory.octopus_exit(3, 1.0, 2.0, 1.0, 0.1),
        lambda: theory.sigmoid_time(1.0),
        lambda: theory.gaussian_well_time(0.5),
        lambda: theory.mean_passage(lambda x: x**2, 0.1, 1.0, 1.0),
        lambda: theory.sgd_escape_time(0.1, 0.1, 8, 2.0, 0.5),
    ],
)
def test_wrong_input(call):
    with pytest.raises(ValueError, match=r"must|need|give"):
        call()
