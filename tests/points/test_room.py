"""The room of an optimiser's rate, against torch's own optimisers on quadratics and closed forms of linear regression."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn, optim

import landscape as ls
from landscape.points.look import Look
from landscape.points.room import critical_factor, noise_scales
from landscape.results.numbers import plain

Prepare = Callable[[optim.Optimizer, nn.Parameter], None]
N = 6
SPECTRA = {
    "spread": [0.1, 0.5, 1.0, 2.0, 5.0, 10.0],
    "one": [3.0] * N,
    "steep": [1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0],
    "flat": [0.0, 0.0, 0.0, 1.0, 1.0, 2.0],
    "saddle": [-1.0, -0.1, 0.5, 1.0, 3.0, 4.0],
}
HELD = 1 - 1e-16  # a second moment that does not change


def quadratic(name: str) -> tuple[Tensor, ls.FunctionLandscape]:
    """H with this spectrum in random directions, and x'Hx / 2."""
    generator = torch.Generator().manual_seed(len(name))
    Q = torch.linalg.qr(torch.randn(N, N, generator=generator, dtype=torch.float64))[0]
    H = Q @ torch.diag(torch.tensor(SPECTRA[name], dtype=torch.float64)) @ Q.T
    H = 0.5 * (H + H.T)
    return H, ls.FunctionLandscape(lambda x: 0.5 * ((x @ H) * x).sum(-1), dim=N)


V = torch.linspace(0.2, 3.0, N, dtype=torch.float64)


def second(**more: Any) -> Prepare:
    def prepare(optimizer: optim.Optimizer, x: nn.Parameter) -> None:
        optimizer.state[x] = {
            "step": torch.tensor(1e15),
            "exp_avg": torch.zeros_like(x),
            "exp_avg_sq": V.clone(),
            "square_avg": V.clone(),
            "grad_avg": torch.zeros_like(x),
            "momentum_buffer": torch.zeros_like(x),
            "sum": V.clone(),
            "exp_inf": V.sqrt(),
            "acc_delta": 0.01 * V.clone(),
            "mu_product": torch.tensor(0.0),
        } | more

    return prepare


def nothing(optimizer: optim.Optimizer, x: nn.Parameter) -> None:
    """SGD needs no state."""


HALVES = 3  # parameters in the first of two groups


LINEAR: dict[str, tuple[Callable[..., optim.Optimizer], Prepare]] = {
    "sgd": (lambda p: optim.SGD(p, lr=0.01), nothing),
    "decay": (lambda p: optim.SGD(p, lr=0.01, weight_decay=0.3), nothing),
    "momentum": (lambda p: optim.SGD(p, lr=0.01, momentum=0.9), nothing),
    "dampening": (lambda p: optim.SGD(p, lr=0.01, momentum=0.8, dampening=0.4), nothing),
    "nesterov": (
        lambda p: optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1),
        nothing,
    ),
    "rmsprop": (lambda p: optim.RMSprop(p, lr=0.01, alpha=HELD), second()),
    "rmsprop-momentum": (
        lambda p: optim.RMSprop(p, lr=0.01, alpha=HELD, momentum=0.7, centered=True),
        second(),
    ),
    "adam": (lambda p: optim.Adam(p, lr=0.01, betas=(0.9, HELD), weight_decay=0.1), second()),
    "adamw": (lambda p: optim.AdamW(p, lr=0.01, betas=(0.8, HELD), weight_decay=0.3), second()),
    "amsgrad": (
        lambda p: optim.Adam(p, lr=0.01, betas=(0.9, HELD), amsgrad=True),
        second(max_exp_avg_sq=2 * V),
    ),
    # what amsgrad has left behind says nothing once it is off
    "amsgrad-off": (
        lambda p: optim.Adam(p, lr=0.01, betas=(0.9, HELD)),
        second(max_exp_avg_sq=2 * V),
    ),
    "adagrad": (lambda p: optim.Adagrad(p, lr=0.01), second(step=torch.tensor(1.0))),
    "asgd": (lambda p: optim.ASGD(p, lr=0.01, lambd=0.3, weight_decay=0.2), nothing),
    "nadam": (lambda p: optim.NAdam(p, lr=0.01, betas=(0.9, HELD)), second()),
    "radam": (
        lambda p: optim.RAdam(p, lr=0.01, betas=(0.9, 1 - 1e-9)),
        second(step=torch.tensor(1e13)),
    ),
    "adamax": (
        lambda p: optim.Adamax(p, lr=0.01, betas=(0.9, HELD)),
        second(exp_inf=V.sqrt() + 1e-8),
    ),
    "adadelta": (lambda p: optim.Adadelta(p, lr=0.01, rho=HELD), second()),
}


def roots(
    make: Callable[..., optim.Optimizer], prepare: Prepare, H: Tensor, factor: float
) -> Tensor:
    """The roots of one step of torch's own optimiser as a matrix on (x, momentum), its rate times ``factor``.

    Its columns are what the step does to the unit vectors, so small that second moments stay as they are.
    """
    small = 1e-9
    unit = small * torch.eye(2 * N, dtype=torch.float64)
    x = nn.Parameter(unit[:, :N].clone())
    optimizer = make([x])
    prepare(optimizer, x)
    state = optimizer.state[x]
    for key, value in state.items():
        if value.ndim:
            state[key] = value.expand(2 * N, N).clone()
    momentum = next((k for k in ("exp_avg", "momentum_buffer") if k in state), "")
    if isinstance(optimizer, optim.RMSprop | optim.SGD):
        momentum = "momentum_buffer"
    if optimizer.param_groups[0].get("momentum", 1) == 0:
        momentum = ""
    if momentum:
        state[momentum] = unit[:, N:].clone()
    optimizer.param_groups[0]["lr"] *= factor
    x.grad = x.detach() @ H
    optimizer.step()
    after = [x.detach(), state[momentum] if momentum else torch.zeros_like(x)]
    return torch.linalg.eigvals(torch.cat(after, dim=1).T / small)


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_torchs_own_optimisers_begin_to_diverge_at_the_predicted_rate(
    name: str, spectrum: str
) -> None:
    """Within 1e-3 of the rate: below, no root of torch's own step is left of -1; above, one is."""
    H, f = quadratic(spectrum)
    make, prepare = LINEAR[name]
    x = nn.Parameter(torch.full((N,), 1e-9, dtype=torch.float64))
    optimizer = make([x])
    prepare(optimizer, x)
    room = ls.points.room(Look(f, x.detach(), "test"), optimizer, f_matrix(f, x), steps=0)
    assert room.low <= room.value <= room.high < 1.001 * room.value
    below, above = (roots(make, prepare, H, share * room.value) for share in (0.999, 1.001))
    assert float(above.real.min()) < -1
    if spectrum == "saddle":  # the falling directions grow at every rate
        assert float(below.real.min()) > -1
    else:
        assert float(below.abs().max()) <= 1 + 1e-7


def f_matrix(f: ls.FunctionLandscape, x: Tensor) -> Tensor:
    return ls.Hessian(f, x.detach()).dense()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nesterov", "adam"])
def test_a_long_run_diverges_above_the_room_and_not_below(name: str) -> None:
    H, f = quadratic("spread")
    make, prepare = LINEAR[name]

    def largest(factor: float) -> float:
        """The largest gradient met: Adam's second moments follow it in the end, and stop it."""
        x = nn.Parameter(torch.full((N,), 1e-9, dtype=torch.float64))
        optimizer = make([x])
        prepare(optimizer, x)
        optimizer.param_groups[0]["lr"] *= factor
        sizes = []
        for _ in range(2000):
            x.grad = H @ x.detach()
            optimizer.step()
            sizes.append(float(x.grad.norm()))
        return max(sizes)

    x = nn.Parameter(torch.full((N,), 1e-9, dtype=torch.float64))
    optimizer = make([x])
    prepare(optimizer, x)
    room = ls.points.room(Look(f, x.detach(), "test"), optimizer, steps=0)
    assert largest(0.98 * room.value) < 1e-7 < 1e-5 < largest(1.02 * room.value)


def model(rows: int = 60, sizes: tuple[int, ...] = (10,) * 6) -> tuple[nn.Linear, Any, Any]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
    y = x @ torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)[:, None]
    y = y + 0.5 * torch.randn(rows, 1, generator=generator, dtype=torch.float64)
    net = nn.Linear(4, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(net.weight, 0.1)
    return net, x, y


def test_groups_of_different_rates_against_the_matrix_of_the_step() -> None:
    """The step's own matrix on (x, momentum), block by block, has spectral radius 1 at the room."""
    net = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 1, bias=False)).double()
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = x.sum(1, keepdim=True)
    f = ls.ModelLandscape(net, nn.functional.mse_loss, [(x, y)])
    groups = [
        {"params": net[0].parameters(), "lr": 0.02, "momentum": 0.9},
        {"params": net[1].parameters(), "lr": 0.1, "momentum": 0.3, "weight_decay": 0.2},
    ]
    optimizer = optim.SGD(groups, lr=0.1)
    room = ls.analyze(f, optimizer=optimizer).room
    assert room is not None
    assert "the data's sampling error is not known" in room.remarks[0]  # of one batch
    H = ls.Hessian(f).dense()
    lr = torch.tensor([0.02] * 6 + [0.1] * 2, dtype=torch.float64)
    m = torch.tensor([0.9] * 6 + [0.3] * 2, dtype=torch.float64)
    A = H + torch.diag(torch.tensor([0.0] * 6 + [0.2] * 2, dtype=torch.float64))
    values = torch.linalg.eigvalsh(A)
    assert float(values[0]) < 0 < float(values[-1])  # a real network, off its minima

    def most_negative_root(factor: float) -> float:
        step = torch.diag(factor * lr)
        top = torch.cat([torch.eye(8, dtype=torch.float64) - step @ A, -step @ torch.diag(m)], 1)
        matrix = torch.cat([top, torch.cat([A, torch.diag(m)], 1)])
        return float(torch.linalg.eigvals(matrix).real.min())

    assert most_negative_root(0.999 * room.value) > -1 > most_negative_root(1.001 * room.value)
    assert any("all groups alike, 0.02 to 0.1" in line for line in room.remarks)
    groups[0]["lr"] = 0.0  # a frozen group is not the one whose rate is told
    frozen = ls.points.room(Look(f, None, "test"), optim.SGD(groups, lr=0.1), steps=0)
    assert frozen.rate == 0.1


@pytest.mark.slow
def test_the_interval_is_that_of_other_data() -> None:
    """The sharpness of half the data sets lies in the interval of another: 95 % are meant."""
    inside, sets = 0, 20
    truth = 0.01 / 2 * 2 * 2.25  # of mse, 2 E x x', the steepest of variance 1.5^2
    for seed in range(sets):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(200, 2, generator=generator, dtype=torch.float64)
        x = x * torch.tensor([1.5, 0.5], dtype=torch.float64)
        net = nn.Linear(2, 1, bias=False, dtype=torch.float64)
        f = ls.ModelLandscape(net, nn.functional.mse_loss, [(a, a[:, :1]) for a in x.split(20)])
        room = ls.points.room(Look(f, None, "test"), optim.SGD(net.parameters(), lr=0.01), steps=0)
        inside += room.low <= 1 / truth <= room.high
    assert stats.binom.cdf(inside, sets, 0.95) > 0.005


@pytest.mark.slow
def test_the_noise_scale_of_linear_regression_in_closed_form() -> None:
    """With x ~ N(0, I) in d dimensions, e = w - w*: tr Sigma = 4 ((d + 1) |e|^2 + d s^2), |G|^2 = 4 |e|^2."""
    inside, sets, d = 0, 20, 5
    e = torch.tensor([0.6, -0.4, 0.2, 0.0, 0.1], dtype=torch.float64)
    size = float(e.square().sum())
    truth = ((d + 1) * size + d * 0.3**2) / size
    values = []
    for seed in range(sets):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(400, d, generator=generator, dtype=torch.float64)
        y = 0.3 * torch.randn(400, 1, generator=generator, dtype=torch.float64)
        net = nn.Linear(d, 1, bias=False, dtype=torch.float64)
        net.weight.data[:] = e
        batches = list(
            zip(x.split([15] * 20 + [25] * 4), y.split([15] * 20 + [25] * 4), strict=True)
        )
        f = ls.ModelLandscape(net, nn.functional.mse_loss, batches)
        raw, scaled = noise_scales(Look(f, None, "test"), torch.full((d,), 0.7))
        assert scaled.value == pytest.approx(raw.value)  # one number for all changes nothing
        inside += raw.low <= truth <= raw.high
        values.append(raw.value)
    assert stats.binom.cdf(inside, sets, 0.95) > 0.005
    assert sorted(values)[sets // 2] == pytest.approx(truth, rel=0.1)


def test_the_noise_scale_without_a_gradient_has_no_upper_end() -> None:
    net, x, y = model()
    w = torch.linalg.lstsq(x, y).solution
    net.weight.data[:] = w.T
    f = ls.ModelLandscape(
        net, nn.functional.mse_loss, list(zip(x.split(10), y.split(10), strict=True))
    )
    raw, _ = noise_scales(Look(f, None, "test"), torch.ones(4))
    assert raw.high == raw.value == math.inf
    assert raw.low >= 60


@pytest.mark.parametrize("make", [LINEAR[name][0] for name in ("sgd", "momentum", "adam")])
def test_the_critical_factor_against_the_parabola_along_the_update(make: Any) -> None:
    """f(x + c u) = f(x) at c = -2 g'u / u'Hu on a quadratic, in at most 8 values."""
    H, f = quadratic("spread")
    x = torch.linspace(-1, 2, N, dtype=torch.float64)
    optimizer = make([nn.Parameter(x.clone())])
    room = ls.analyze(f, x, optimizer=optimizer).room
    p = nn.Parameter(x.clone())
    again = make([p])
    p.grad = H @ x
    again.step()
    u = p.detach() - x
    truth = float(-2 * (H @ x) @ u / (u @ H @ u))
    assert room is not None
    assert room.along == pytest.approx(truth, rel=1e-9)
    assert room.critical.low <= truth * (1 + 1e-9)
    assert truth * (1 - 1e-9) <= room.critical.high <= 1.02 * room.critical.low


def test_the_critical_factor_of_a_curve_that_is_no_parabola() -> None:
    """cosh t - t: it falls from 0 and is back where cosh t - 1 = t, t = 1.6161375..., found from any first guess."""
    f = ls.FunctionLandscape(lambda x: torch.cosh(x[..., 0]) - x[..., 0], dim=1)
    look = Look(f, torch.zeros(1, dtype=torch.float64), "test")
    for guess in (0.01, 1.0, 30.0):
        found = critical_factor(look, torch.ones(1, dtype=torch.float64), guess)
        assert found.low <= 1.61613750 <= found.high
    uphill = critical_factor(look, -torch.ones(1, dtype=torch.float64))
    assert uphill.value == 0.0


class SignSGD(optim.Optimizer):
    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * p.grad.sign()


def test_sign_descent_says_where_it_hovers() -> None:
    """On sum a_i x_i^2 / 2 the steepest signed step has d'Hd = lr^2 sum a: found, and the loss then hovers."""
    a = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    f = ls.FunctionLandscape(lambda x: 0.5 * (a * x * x).sum(-1), dim=3)
    x = torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64)
    room = ls.analyze(f, x, optimizer=SignSGD([nn.Parameter(x.clone())], lr=0.1)).room
    assert room is not None
    assert room.sharpness.value == pytest.approx(7.0)
    assert room.along == pytest.approx(2 * float((a * x).abs().sum()) / (0.1 * 7.0))
    assert room.edge == pytest.approx(2 * float((a * x).abs().sum()) / 0.1)
    assert "do not shrink with the gradient" in room.remarks[0]


class Lion(optim.Optimizer):
    """As in arXiv:2302.06675, algorithm 2."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            fast, slow = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p *= 1 - group["lr"] * group["weight_decay"]
                p -= group["lr"] * (fast * m + (1 - fast) * p.grad).sign()
                m.mul_(slow).add_(p.grad, alpha=1 - slow)


@pytest.mark.parametrize("make", [SignSGD, Lion])
@pytest.mark.parametrize("rate", [1e-3, 1e-2])
def test_steps_of_one_length_hover_where_they_are_told_to(make: Any, rate: float) -> None:
    """The sharpness is the largest over all 2^6 signs, and in the end |g|_1 stays about rate / 2 of it."""
    H, f = quadratic("spread")
    x = torch.linspace(-1, 2, N, dtype=torch.float64)
    p = nn.Parameter(x.clone())
    optimizer = make([p], lr=rate)
    room = ls.analyze(f, x, optimizer=optimizer).room
    assert room is not None
    assert f"{make.__name__} do not shrink with the gradient" in room.remarks[0]
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * N)
    assert room.sharpness.value == pytest.approx(float(((signs @ H) * signs).sum(1).max()))
    assert room.edge == pytest.approx(2 * float((H @ x).abs().sum()) / rate)
    told = room.sharpness.value * rate / 2
    sizes = []
    for _ in range(int(10 / rate)):
        p.grad = H @ p.detach()
        sizes.append(float(p.grad.abs().sum()))
        optimizer.step()
    hovering = sizes[len(sizes) // 2 :]
    assert min(sizes) < told
    assert 0.3 * told < sum(hovering) / len(hovering) < 1.5 * told
    assert max(hovering) < 3 * told < 0.1 * sizes[0]


@pytest.mark.skipif(not hasattr(optim, "Muon"), reason="this torch has no Muon")
def test_muon_is_measured_by_the_spectral_norm() -> None:
    """On |W|_F^2 / 2 a step of spectral norm lr has d'Hd = lr^2 r; torch's own polar factor is within a few tenths."""
    net = nn.Linear(4, 3, bias=False, dtype=torch.float64)
    x = torch.eye(4, dtype=torch.float64)
    f = ls.ModelLandscape(
        net, lambda out, target: 0.5 * out.square().sum(), [(x, x)], reduction="sum"
    )
    room = ls.analyze(f, optimizer=optim.Muon(net.parameters(), lr=0.01, weight_decay=0.0)).room
    assert room is not None
    assert room.sharpness.value == pytest.approx(3.0)


def test_the_users_optimiser_and_model_stay_as_they_are() -> None:
    net, x, y = model()
    f = ls.ModelLandscape(
        net, nn.functional.mse_loss, list(zip(x.split(10), y.split(10), strict=True))
    )
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x), y).backward()
        optimizer.step()
    before, state = f.point(), copy.deepcopy(optimizer.state_dict())
    report = ls.analyze(f, optimizer=optimizer)
    assert torch.equal(before, f.point())
    for key, value in state["state"][0].items():
        assert torch.equal(value, optimizer.state_dict()["state"][0][key]), key
    assert report.room is not None
    v = state["state"][0]["exp_avg_sq"] / (1 - 0.999**3)
    d = (v.sqrt() + 1e-8).rsqrt().reshape(-1)
    felt = torch.linalg.eigvalsh(d[:, None] * (2 * x.T @ x / 60) * d)[-1]
    assert report.room.sharpness.value == pytest.approx(float(felt), rel=1e-9)
    assert report.room.edge == pytest.approx(38 / 0.01)
    assert report.room.gain > 0
    assert "plain gradient descent" not in str(report)
    folder_words = str(report)
    assert "Adam at a rate of 0.01" in folder_words


def test_an_optimiser_that_may_be_differentiated_has_the_room_of_one_that_may_not() -> None:
    net, x, y = model()
    f = ls.ModelLandscape(net, nn.functional.mse_loss, [(x, y)])
    values = []
    for recorded in (False, True):
        optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9, differentiable=recorded)
        room = ls.points.room(Look(f, None, "test"), optimizer, steps=2)
        values.append((room.value, room.critical.value, room.gain))
        assert optimizer.param_groups[0]["differentiable"] is recorded
    assert values[0] == values[1]


def test_mistakes_are_named() -> None:
    net, x, y = model()
    f = ls.ModelLandscape(net, nn.functional.mse_loss, [(x, y)])
    other = nn.Linear(4, 1)
    with pytest.raises(ValueError, match="moves no parameter"):
        ls.analyze(f, optimizer=optim.SGD(other.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="stable at no rate"):
        ls.analyze(f, optimizer=optim.SGD(net.parameters(), lr=0.1, momentum=1.0))
    with pytest.raises(ValueError, match="maximize"):
        ls.analyze(f, optimizer=optim.SGD(net.parameters(), lr=0.1, maximize=True))
    with pytest.raises(ValueError, match="maximize"):  # whose steps follow no law known here
        ls.analyze(f, optimizer=optim.Rprop(net.parameters(), lr=0.1, maximize=True))
    with pytest.raises(ValueError, match="cannot take a step"):
        ls.analyze(f, optimizer=optim.Adam(net.parameters(), lr=0.1, capturable=True))
    with pytest.raises(TypeError, match=r"torch\.optim\.Optimizer"):
        ls.analyze(f, optimizer="sgd:lr=0.1")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("rate", [1e-3, 3.0])
def test_a_rate_is_advised_that_runs_of_its_own_confirm(rate: float) -> None:
    """A net from a random start, where curvature grows: the rate advised lowers the loss in steps of torch's own optimiser on the user's loop, by as much as is told, and no rate tried before it did."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 3, generator=generator, dtype=torch.float64)
    y = (2 * x[:, :1] * x[:, 1:2]).tanh()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    batches = list(zip(x.split(16), y.split(16), strict=True))

    def fall(rate: float) -> float:
        ours = copy.deepcopy(net)
        optimizer = optim.SGD(ours.parameters(), lr=rate, momentum=0.9)
        before = float(nn.functional.mse_loss(ours(x), y).detach())
        for number in range(200):
            optimizer.zero_grad()
            nn.functional.mse_loss(ours(batches[number % 4][0]), batches[number % 4][1]).backward()
            optimizer.step()
        return before - float(nn.functional.mse_loss(ours(x), y).detach())

    f = ls.ModelLandscape(net, nn.functional.mse_loss, batches)
    optimizer = optim.SGD(net.parameters(), lr=rate, momentum=0.9)
    room = ls.points.room(Look(f, None, "test"), optimizer)
    assert room.stable is (rate < 1)
    assert room.gain == pytest.approx(fall(rate), rel=1e-6, nan_ok=True)
    assert room.advised_gain == pytest.approx(fall(rate * room.advised), rel=1e-6)
    assert room.advised_gain > max(0.0, fall(rate) if rate < 1 else 0.0)
    halvings = round(math.log2(room.low / room.advised))
    for k in range(halvings):
        assert not fall(rate * room.low * 0.5**k) > max(0.0, fall(rate) if rate < 1 else 0.0)


@pytest.mark.slow
def test_what_one_can_act_on_stands_first() -> None:
    net, x, y = model()
    f = ls.ModelLandscape(
        net, nn.functional.mse_loss, list(zip(x.split(10), y.split(10), strict=True))
    )

    def said(rate: float | None, momentum: float = 0.0) -> str:
        optimizer = None
        if rate is not None:
            optimizer = optim.SGD(net.parameters(), lr=rate, momentum=0.9 if momentum else 0.0)
            if momentum:
                along = f.gradient(f.point()).view_as(net.weight)
                optimizer.state[net.weight] = {"momentum_buffer": momentum * along}
        return " ".join(str(ls.analyze(f, layers=False, optimizer=optimizer)).split())

    # the loss of a linear regression falls by (w - w*)'H(w - w*) / 2, exactly
    best = torch.linalg.lstsq(x, y).solution
    lowest = float((x @ best - y).square().mean())
    fall = float(f.value(f.point())) - lowest
    alone = said(None)
    assert "none was named: --optimizer" in alone
    assert f"foretells a loss lower by {plain(fall)}" in alone
    assert alone.index("optimiser") < alone.index("curvature") < alone.index("verdict")
    assert "0 % of the directions curve down" in alone
    assert "it diverges, tried on a copy" in said(1e6)
    assert "the loss rises at once" in said(1e-3, -100.0)
    assert "the loss rises at once" not in said(1e-3, 100.0)
