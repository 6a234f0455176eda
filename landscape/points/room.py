"""How much room the rate of an optimiser has at a point: by which factor it could grow and stay
stable.

x: (n,) the point, g: (n,) its gradient, H: (n, n). ``operators.updates`` gives r and d (n,) such
that the optimiser, its second moments held, is stable on the quadratic at x while every eigenvalue
of S = R H R + diag(d) is below 2. All of S is proportional to the rate: the room is 2 / lambda_max.
u: (n,) is the optimiser's own next update from x; f(x + c u) rises again at the critical factor c.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor
from torch.optim import Optimizer

from landscape.core import Landscape, Progress, silent
from landscape.errors import NumericalError
from landscape.landscapes import batches as batching
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.memory import eased
from landscape.landscapes.model import ModelLandscape
from landscape.linalg.lanczos import eigsh
from landscape.operators.limits import loss_noise
from landscape.operators.preconditioned import Preconditioned
from landscape.operators.updates import linear, moments, update
from landscape.points.crowds import NONE, Unseen, alone, beside, conservative
from landscape.points.look import Look
from landscape.results import Estimate, Result, provenance, result
from landscape.results.statistics import Spread, sampling_spread
from landscape.rng import generator

PASSES = 8  # forward passes of the critical factor
NARROW = 0.01  # its bracket is no wider than this, where the passes suffice
STEPS = 200  # of the optimiser, on a copy
ROOMY = 2.0  # a room beyond which another rate may be advised
TRIES = 5  # rates tried on a copy before one is advised, each half of the one before
NEAR = 30  # iterations towards the steepest step of a fixed length
STARTS = 16  # of them


@result("optimizer-room")
@dataclass(frozen=True, eq=False)
class Room(Result):
    """By which factor the rate could grow and stay stable at this point.

    ``value`` with [``low``, ``high``], 95 %: the solver's bound and the data's sampling error
    together, the latter from two micro-batches on. Below 1 the optimiser is unstable on the
    quadratic at this point.
    """

    optimizer: str  # its class
    rate: float  # of its first group that moves
    value: float
    low: float
    high: float
    # the largest curvature that the optimiser feels, of H divided by what its steps are divided by;
    # where groups differ, in units of the first group's rate
    sharpness: Estimate
    edge: float  # the sharpness at which its rate becomes unstable
    # the factor at which the loss rises again along the optimiser's own next update, by forward
    # passes: [low, high] holds it. NaN where rounding hides it
    critical: Estimate
    along: float  # the same by one product: -2 g'u / u'Hu
    # samples a step beyond which more of them save few steps: tr Sigma / |G|^2, 95 %; NaN with
    # fewer than two micro-batches
    noise_scale: Estimate
    preconditioned_noise_scale: Estimate  # the same, steps measured as the optimiser makes them
    # how much ``steps`` of its steps, one micro-batch each, lowered the loss on a copy
    gain: float
    steps: int
    # where the rate is unstable, or has room for more: by which factor to change it, within the
    # room, so that the steps lower the loss (by more than at its own rate), tried on a copy, and by
    # how much; NaN where none of those tried does
    advised: float = math.nan
    advised_gain: float = math.nan
    remarks: tuple[str, ...] = ()  # what the numbers rest on

    @property
    def stable(self) -> bool | None:
        """Whether the rate is stable here; None: the errors leave it open."""
        return True if self.low > 1 else False if self.high < 1 else None


class Felt(NamedTuple):
    """What the optimiser makes of H: R H R + diag(d), and the rate that it is measured by."""

    r: Tensor  # (n,) float64
    d: Tensor  # (n,) float64
    unit: float  # the first group's rate times its gain
    idle: Tensor  # (n,) bool: second moments no larger than eps, which then decides the step
    remarks: tuple[str, ...]


@owned()
def room(
    look: Look,
    optimizer: Optimizer,
    matrix: Tensor | None = None,
    *,
    error: float = 0.0,
    seed: int = 0,
    steps: int = STEPS,
    progress: Progress = silent,
) -> Room:
    """How far the rate of this optimiser is from its edge.

    Args:
        look: f at the point.
        optimizer: of f's parameters, or of the one tensor [x] of a formula; it is not stepped.
        matrix: H, where it was formed.
        error: how far an eigenvalue of ``matrix`` may be off.
        seed: of the Lanczos start.
        steps: of the optimiser, taken on a copy, whose gain is told.

    Raises:
        TypeError: no optimiser.
        ValueError: it moves no parameter of f, or is stable at no rate.

    Cost: some tens of products where H is not formed, 8 values, 2 gradients and ``steps`` gradients
    of a micro-batch, up to TRIES times as many more where another rate may be advised.
    """
    _require_descent(optimizer)
    places = _places(look.f, optimizer)
    rates = _rates(optimizer, places)
    if not max(rates) > 0:
        raise ValueError("the optimiser does not move: the rate of each of its groups is 0.")
    g = look.gradient.double()
    u = next_update(look.f, look.x, optimizer, places, g)
    curved = float(u @ (look.hessian @ u.to(look.x.dtype)).double())
    along = -2 * float(g @ u) / curved if curved > 0 else math.inf
    critical = critical_factor(look, u, along)
    scales = (_nowhere(), _nowhere())
    if linear(optimizer):
        felt = _felt(look, optimizer, places)
        value, sharpness, remarks = _linear_room(look, felt, matrix, error, seed)
        scales = noise_scales(look, felt.r.square())
        edge, remarks = 2 / felt.unit, (*felt.remarks, *remarks)
    else:
        value, sharpness, edge, remarks = _other_room(look, optimizer, places, along, critical)
        scales = noise_scales(look, torch.ones_like(g))
    if len(set(rates)) > 1:
        told = f"{min(rates):.4g} to {max(rates):.4g}"
        remarks += (f"the factor is for the rates of all groups alike, {told}",)
    progress("the optimiser's steps", 0, steps)

    def gain(factor: float) -> float:
        return _gain(look, optimizer, places, steps, factor)

    own = gain(1.0)
    advised, advised_gain = _advised(value, own, gain) if steps else (math.nan, math.nan)
    return Room(
        optimizer=type(optimizer).__name__,
        rate=next(rate for rate in rates if rate > 0),
        value=value.value,
        low=value.low,
        high=value.high,
        sharpness=sharpness,
        edge=edge,
        critical=critical,
        along=along,
        noise_scale=scales[0],
        preconditioned_noise_scale=scales[1],
        gain=own,
        steps=steps,
        advised=advised,
        advised_gain=advised_gain,
        remarks=remarks,
        provenance=provenance(look.f, look.x, seed, optimizer=type(optimizer).__name__),
    )


def _nowhere() -> Estimate:
    return Estimate(math.nan, math.nan, math.nan, math.nan)


def _require_descent(optimizer: Optimizer) -> None:
    name = type(optimizer).__name__
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be a torch.optim.Optimizer, got {name}.")
    if any(group.get("maximize") for group in optimizer.param_groups):
        raise ValueError(f"{name} has maximize=True: pass the landscape of the negative loss.")


def _places(f: Landscape, optimizer: Optimizer) -> dict[int, slice]:
    """id of each of the optimiser's parameters that f is a function of -> where it is in x."""
    moved = [p for group in optimizer.param_groups for p in group["params"]]
    if not f.layout:
        if len(moved) != 1 or moved[0].numel() != f.dim:
            raise ValueError(
                f"the optimiser of a formula moves one tensor [x] of {f.dim} entries: make it of "
                f"[x]."
            )
        return {id(moved[0]): slice(0, f.dim)}
    own = {id(p): f.layout[name] for name, p in f.parameters().items() if name in f.layout}
    found = {id(p): own[id(p)] for p in moved if id(p) in own}
    if not found:
        raise ValueError(
            f"the optimiser moves no parameter of {f.name}: make it of the model that f holds, not "
            f"of a copy."
        )
    return found


def _rates(optimizer: Optimizer, places: Mapping[int, slice]) -> list[float]:
    """The rates of the groups with parameters of f."""
    return [
        float(group["lr"])
        for group in optimizer.param_groups
        if any(id(p) in places for p in group["params"])
    ]


def _felt(look: Look, optimizer: Optimizer, places: Mapping[int, slice]) -> Felt:
    """R and d of the optimiser's steps; parameters that it does not move have 0."""
    ours = [
        (group, p, places[id(p)])
        for group in optimizer.param_groups
        for p in group["params"]
        if id(p) in places
    ]
    bare = not all(moments(optimizer, p) for _, p, _ in ours)
    g = _sizes(look) if bare else look.gradient.double()
    square, d, unit, scaled = torch.zeros_like(g), torch.zeros_like(g), 0.0, False
    idle = torch.zeros_like(g, dtype=torch.bool)
    for group, p, where in ours:
        step = update(optimizer, group, p, g[where].view_as(p))
        unit, scaled = unit or float(group["lr"]) * step.gain, scaled or step.scale.ndim > 0
        mine = step.scale.to(g.device).expand(p.shape).reshape(-1) * step.gain
        square[where], d[where] = mine, mine * step.coupled + step.decay
        idle[where] = mine * group.get("eps", 0.0) > 0.5 * float(group["lr"]) * step.gain
    if unit <= 0:
        raise ValueError("the optimiser does not move: its gain is 0, as with a dampening of 1.")
    left = look.f.dim - sum(s.stop - s.start for s in places.values())
    return Felt(square.sqrt(), d, unit, idle, _rests(bare and scaled, left, look.f.dim))


def _rests(bare: bool, left: int, dim: int) -> tuple[str, ...]:
    """What R and d rest on that is not the optimiser's own."""
    remarks = []
    if bare:
        remarks.append(
            "the optimiser has gathered no second moments yet: those of its first step, by the "
            "mean square of the micro-batches' gradients at this point, stand in for them (pass "
            "its state)"
        )
    if left:
        remarks.append(f"the optimiser does not move {left:,} of {dim:,} parameters")
    return tuple(remarks)


def _sizes(look: Look) -> Tensor:
    """The root mean square (n,) of the micro-batches' gradients, at which second moments settle."""
    return eased(look.f, look.x, lambda: _root_mean_square(look))


def _root_mean_square(look: Look) -> Tensor:
    f, g = look.f, look.gradient.double()
    rest = sum((part for _, part in _gradients(f, look.x, data=False)), torch.zeros_like(g))
    square = torch.zeros_like(g)
    for share, part in _gradients(f, look.x, data=True):
        square += share * (part / share + rest).square()
    return square.sqrt() if f.samples else g.abs()


def _linear_room(
    look: Look, felt: Felt, matrix: Tensor | None, error: float, seed: int
) -> tuple[Estimate, Estimate, tuple[str, ...]]:
    """The room and the sharpness felt, with the solver's bound and the data's sampling error."""
    top, v, bound, unseen = _top(look, felt.r, felt.d, matrix, error, seed)
    along = (felt.r * v).to(look.x.dtype)[:, None]
    sampling = sampling_spread(*look.hessian.quadratic_forms(along), look.f.samples)
    room, sharpness = felt_sharpness(top, bound, sampling, felt.unit, unseen)
    remarks: tuple[str, ...] = ()
    if look.f.samples and not sampling.freedom:
        remarks = (
            "with one micro-batch the data's sampling error is not known: the interval is the "
            "solver's alone, for these very data",
        )
    if float(v[felt.idle].square().sum()) > 0.5:
        moving = ~felt.idle
        rest = _top(look, felt.r * moving, felt.d * moving, matrix, error, seed)[0]
        remarks += (
            f"that edge is of {int(felt.idle.sum()):,} parameters whose gradients are no larger "
            f"than eps, and which hardly move: without them the room is {_room(rest):.4g}",
        )
    return room, sharpness, remarks


def felt_sharpness(
    top: float, bound: float, sampling: Spread, unit: float, unseen: Unseen = NONE
) -> tuple[Estimate, Estimate]:
    """The room, and the sharpness in units of the first group's rate, of the largest eigenvalue
    that steps feel: the solver's ``bound`` and the data's sampling error together, which reaches
    over the other eigenvalues that are as near.
    """
    value, known = (torch.tensor([a], dtype=torch.float64, device="cpu") for a in (top, bound))
    sampling = conservative(value, known, sampling, unseen)
    spread = float(sampling.errors)
    reach = bound + (sampling.reach * spread if sampling.freedom else 0.0)
    room = Estimate(_room(top), math.nan, _room(top + reach), _room(top - reach))
    low, high = ((top + sign * reach) / unit for sign in (-1, 1))
    return room, Estimate(top / unit, spread / unit, low, high)


def _top(
    look: Look, r: Tensor, d: Tensor, matrix: Tensor | None, error: float, seed: int
) -> tuple[float, Tensor, float, Unseen]:
    """The largest eigenvalue of R H R + diag(d), its vector (n,), how far it may be off, and what
    is known of the others.
    """
    if matrix is None:
        S = Preconditioned(look.hessian, r, d)
        seen = eigsh(S, largest=1, smallest=0, tol=1e-4, seed=seed)
        v = seen.vectors[:, -1].double()
        return float(seen.values[-1]), v, float(seen.bounds[-1]), beside(seen)
    A = r[:, None] * matrix.double() * r + torch.diag(d)
    values, vectors = torch.linalg.eigh(0.5 * (A + A.T))
    v, size = vectors[:, -1], float(values.abs().max())
    rounding = 4 * len(v) ** 0.5 * torch.finfo(torch.float64).eps * size
    off = error * float((r * v).square().sum()) + rounding
    return float(values[-1]), v, off, alone(values[:-1])


def _room(sharpness: float) -> float:
    return 2 / sharpness if sharpness > 0 else math.inf


# ---- the optimiser's own next update -------------------------------------------------------------


class Copy:
    """A copy of an optimiser and of its parameters, standing at x; it moves without the user's."""

    def __init__(self, optimizer: Optimizer, places: Mapping[int, slice], x: Tensor) -> None:
        moved = [p for group in optimizer.param_groups for p in group["params"]]
        self.optimizer = copy.deepcopy(optimizer)
        ours = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.parts: list[tuple[slice, Tensor]] = []
        self.x = x.clone()
        for options in (self.optimizer.defaults, *self.optimizer.param_groups):
            if "differentiable" in options:
                options["differentiable"] = False  # the same step, of which nothing is recorded
        with torch.no_grad():
            for theirs, p in zip(moved, ours, strict=True):
                where = places.get(id(theirs))
                p.grad = None
                if where is not None:
                    p.copy_(x[where].view_as(p))
                    self.parts.append((where, p))

    def point(self) -> Tensor:
        """Where the copy stands."""
        x = self.x.clone()
        for where, p in self.parts:
            x[where] = p.detach().reshape(-1).to(x)
        return x

    def step(self, g: Tensor) -> None:
        """One step on the gradient g (n,)."""
        for where, p in self.parts:
            p.grad = g[where].view_as(p).to(p)
        self.optimizer.step()


def next_update(
    f: Landscape, x: Tensor, optimizer: Optimizer, places: Mapping[int, slice], g: Tensor
) -> Tensor:
    """What the optimiser's next step on the gradient g adds to x: (n,), float64."""
    ours = Copy(optimizer, places, x)
    before = ours.point()  # of the parameters' own precision
    try:
        ours.step(g)
    except (RuntimeError, TypeError, AssertionError) as error:
        line = str(error).splitlines()[0]
        raise ValueError(
            f"{type(optimizer).__name__} cannot take a step on one gradient ({line}): it has no "
            f"room to tell."
        ) from error
    return ours.point().double() - before.double()


def critical_factor(look: Look, u: Tensor, guess: float = 1.0) -> Estimate:
    """The smallest c > 0 with f(x + c u) = f(x), after which the loss along u is higher than here.

    u: (n,) an update. Bracketed by [low, high] to 1 % where 8 forward passes suffice; 0 where the
    loss rises along u at once, NaN where f's rounding hides the difference.
    Source: critical sharpness is 2 over this rate, arXiv:2601.16979.
    """
    f, x, start = look.f, look.x, look.value
    slope = float(look.gradient.double() @ u)
    if slope >= 0:
        return Estimate(0.0, math.nan, 0.0, 0.0)
    noise = loss_noise(start, f.rounding(x))

    def rise(c: float) -> float:
        """(f(x + c u) - f(x)) / c: the slope at 0, 0 at the critical factor."""
        value = float(f.value((x.double() + c * u).to(x.dtype)))
        return (value - start) / c if math.isfinite(value) else math.inf

    found = _crossing(rise, slope, guess if 0 < guess < math.inf else 1.0)
    if -slope * found.value < 4 * noise:
        return _nowhere()
    return found


def _crossing(rise: Callable[[float], float], slope: float, guess: float) -> Estimate:
    """Where a function that is ``slope`` < 0 at 0 becomes positive: a secant within a bracket."""
    low, below, high, above, c = 0.0, slope, math.inf, math.inf, guess
    for _ in range(PASSES):
        y = rise(c)
        low, below, high, above = (c, y, high, above) if y < 0 else (low, below, c, y)
        if high <= low * (1 + NARROW):
            break
        if high == math.inf:
            steep = (below - slope) / low
            root = low - below / steep if steep > 0 else math.inf
            c = min(max(root * (1 + NARROW / 3), 1.05 * low), 10 * low)
        else:
            share = below / (below - above) if above < math.inf else 0.5
            root = low + share * (high - low)
            # a little beyond the root, on the side of the farther end, to close the bracket
            nudge = NARROW / 3 * (1 if root - low < high - root else -1)
            c = min(max(root * (1 - nudge), low + 0.02 * (high - low)), high - 0.02 * (high - low))
    if high == math.inf:
        return Estimate(math.inf, math.nan, low, math.inf)
    share = below / (below - above) if above < math.inf else 0.5
    return Estimate(low + share * (high - low), math.nan, low, high)


def _gain(
    look: Look, optimizer: Optimizer, places: Mapping[int, slice], steps: int, factor: float
) -> float:
    """How much the loss falls over some steps of a copy at its rate times a factor, one micro-batch
    each; NaN where a step is not finite.
    """
    if not steps:
        return math.nan
    ours = Copy(optimizer, places, look.x)
    for group in ours.optimizer.param_groups:
        group["lr"] = group["lr"] * factor
    try:
        for number in range(steps):
            ours.step(_batch_gradient(look.f, ours.point(), number))
        return look.value - float(look.f.value(ours.point()))
    except NumericalError:
        return math.nan


def _advised(room: Estimate, own: float, gain: Callable[[float], float]) -> tuple[float, float]:
    """The factor for the rate that is best advised, and what steps gain there; NaN: none.

    The room is that of the quadratic here: curvature grows on the way, and second moments that are
    held here move. So a rate is tried before it is advised.
    """
    lower, higher = room.high < 1, ROOMY < room.low < math.inf
    factors = [room.low * 0.5**k for k in range(TRIES)] if lower or higher else []
    for factor in factors:
        if lower or factor > 1:
            found = gain(factor)
            if found > max(0.0, 0.0 if math.isnan(own) else own):
                return factor, found
    return math.nan, math.nan


def _batch_gradient(f: Landscape, x: Tensor, number: int) -> Tensor:
    """The gradient of one micro-batch, in turn; a formula's own."""
    if not isinstance(f, ModelLandscape):
        return f.gradient(x)
    kept = list(f.batches)
    batch = batching.move(kept[number % len(kept)], f.device, f.dtype)

    def compute() -> Tensor:
        y, total = x.clone().requires_grad_(True), torch.zeros_like(x)
        with f.evaluation(), torch.enable_grad():
            for part in f.batch_parts(batch):
                total += torch.autograd.grad(part(y), y)[0]
        return total

    return eased(f, x, compute)


# ---- steps that do not shrink with the gradient --------------------------------------------------


def _other_room(
    look: Look,
    optimizer: Optimizer,
    places: Mapping[int, slice],
    along: float,
    critical: Estimate,
) -> tuple[Estimate, Estimate, float, tuple[str, ...]]:
    """Room, sharpness, edge and what they rest on, of an optimiser that is not linear in g."""
    ball = _ball(optimizer, places, look.x)
    if ball is None:
        why = (
            f"the steps of {type(optimizer).__name__} follow no law known here: the room is the "
            "critical factor, measured along its next update"
        )
        return critical, _nowhere(), math.nan, (why,)
    sharpest, dual = _steepest(look, ball)
    least = 2 * dual / sharpest if sharpest > 0 else math.inf
    room = Estimate(along, math.nan, min(along, least), max(along, critical.high))
    rate = next((rate for rate in _rates(optimizer, places) if rate > 0), 0.0)
    sharpness = Estimate(sharpest / rate**2, math.nan, sharpest / rate**2, math.inf)
    why = (
        f"the steps of {type(optimizer).__name__} do not shrink with the gradient: at this rate "
        f"the loss falls until the gradient's {ball.dual} norm is "
        f"{sharpest / (2 * rate):.3g} or less (here {dual / rate:.3g}), and then hovers, up to a "
        "few times as far. Only a schedule brings it further; the sharpness is the generalized one "
        "of arXiv:2603.05002, from below"
    )
    return room, sharpness, 2 * dual / rate**2, (why,)


class Ball(NamedTuple):
    """The set of steps of one rate: a box of signs, or matrices of bounded spectral norm."""

    parts: list[tuple[slice, torch.Size, float]]  # where, shape, length
    spectral: bool

    @property
    def dual(self) -> str:
        """The norm of a gradient that tells how far such a step gets."""
        return "nuclear" if self.spectral else "1-"

    def steepest(self, g: Tensor) -> Tensor:
        """The step of the set with the largest inner product with g (n,)."""
        step = torch.zeros_like(g)
        for where, shape, length in self.parts:
            part = g[where]
            if self.spectral and len(shape) == 2:
                U, _, V = torch.linalg.svd(part.view(shape), full_matrices=False)
                step[where] = length * (U @ V).reshape(-1)
            else:
                step[where] = length * part.sign()
        return step


def _ball(optimizer: Optimizer, places: Mapping[int, slice], x: Tensor) -> Ball | None:
    """The steps of sign descent, Lion or Muon; None of any other optimiser."""
    name = type(optimizer).__name__.lower()
    spectral = "muon" in name
    if not spectral and "lion" not in name and "sign" not in name:
        return None
    parts = []
    for group in optimizer.param_groups:
        for p in group["params"]:
            if id(p) in places:
                longer = max(1.0, p.shape[0] / p.shape[1]) ** 0.5 if p.ndim == 2 else 1.0
                if group.get("adjust_lr_fn") == "match_rms_adamw":
                    longer = 0.2 * max(p.shape) ** 0.5
                length = float(group["lr"]) * (longer if spectral else 1.0)
                parts.append((places[id(p)], p.shape, length))
    return Ball(parts, spectral)


def _steepest(look: Look, ball: Ball) -> tuple[float, float]:
    """The largest d'Hd found over steps d of the ball, and the largest g'd.

    The first is a maximum of a convex function where H is positive: d <- the step most along H d
    never lowers it. It is no more than a local one, the best of several starts; the exact one is
    NP-hard.
    """
    H, g = look.hessian, look.gradient.double()
    draws = generator(0)
    more = torch.randn(len(g), STARTS - 1, generator=draws, dtype=torch.float64, device="cpu")
    steps = [ball.steepest(v) for v in (g, *more.to(g.device).T)]
    dual, best = float(g @ steps[0]), -math.inf
    for _ in range(NEAR):
        D = torch.stack(steps, dim=1)
        HD = (H @ D.to(H.dtype)).double()
        forms = (D * HD).sum(0)
        if float(forms.max()) <= best * (1 + 1e-9):
            break
        best = float(forms.max())
        steps = [ball.steepest(v) for v in HD.T]
    return best, dual


# ---- noise ---------------------------------------------------------------------------------------


def noise_scales(look: Look, weight: Tensor) -> tuple[Estimate, Estimate]:
    """The gradient noise scale tr(Sigma) / |G|^2, in samples, raw and in the metric of the steps.

    Args:
        look: f at the point.
        weight: (n,) what a step multiplies each entry of the gradient with.

    Sigma: the covariance of one sample's gradient, G the mean gradient of the distribution that the
    data are from. Over micro-batches of n_b samples, tr Sigma = sum n_b |g_b - g|^2 / (B - 1) and
    |G|^2 = |g|^2 - tr Sigma / N, both without bias; the interval is that of a jackknife over
    batches of the inverse, which is infinite nowhere. Steps with fewer samples than the noise scale
    are mostly noise; with more, few steps are saved.
    Source: McCandlish et al. 2018, arXiv:1812.06162, appendix A.1. Cost: one gradient.
    """
    return eased(look.f, look.x, lambda: _noise_scales(look, weight))


def _noise_scales(look: Look, weight: Tensor) -> tuple[Estimate, Estimate]:
    f, g = look.f, look.gradient.double()
    metrics = torch.stack([torch.ones_like(g), weight.double()])
    rest = sum((part for _, part in _gradients(f, look.x, data=False)), torch.zeros_like(g))
    shares, own, with_mean = [], [], []
    for share, part in _gradients(f, look.x, data=True):
        mine = part / share + rest
        shares.append(share)
        own.append(metrics @ mine.square())
        with_mean.append(metrics @ (mine * g))
    if len(shares) < 2:
        return _nowhere(), _nowhere()
    w = torch.tensor(shares, dtype=torch.float64, device=g.device)
    seen = Gram(w, torch.stack(own), torch.stack(with_mean), metrics @ g.square(), f.samples)
    return seen.scale(0), seen.scale(1)


def _gradients(f: Landscape, x: Tensor, *, data: bool) -> Iterator[tuple[float, Tensor]]:
    """Share and gradient (n,), float64, of every micro-batch as it stands in the sum; or of what
    does not come from data.
    """
    y = x.detach().clone().requires_grad_(True)
    with f.evaluation(), torch.enable_grad():
        terms = (term for term in f.terms() if (term.batch is not None) == data)
        for _, masks in groupby(terms, key=lambda term: term.batch):
            share, total = 0.0, torch.zeros_like(x, dtype=torch.float64)
            for term in masks:
                (part,) = torch.autograd.grad(term.function(y), y, allow_unused=True)
                share += term.share
                total += 0.0 if part is None else part.double()
            yield share, total


class Gram(NamedTuple):
    """Inner products of the batches' gradients, one column a metric."""

    shares: Tensor  # (B,)
    own: Tensor  # (B, 2) |g_b|^2
    with_mean: Tensor  # (B, 2) g_b'g
    whole: Tensor  # (2,) |g|^2
    samples: int

    def scale(self, k: int) -> Estimate:
        """The noise scale in one metric."""
        w, count = self.shares, len(self.shares)
        a, b, c = self.own[:, k], self.with_mean[:, k], self.whole[k]
        size = torch.tensor(float(self.samples), dtype=torch.float64, device=w.device)
        every = float(_inverse((w * a).sum(), c, size, count))
        kept = 1 - w
        # without batch b the mean is (g - w_b g_b) / (1 - w_b)
        means = (c - 2 * w * b + w.square() * a) / kept.square()
        squares = ((w * a).sum() - w * a) / kept
        left = _inverse(squares, means, self.samples * kept, count - 1)
        error = float(((count - 1) / count * (left - left.mean()).square().sum()).sqrt())
        reach = float(stats.t.ppf(0.975, count - 1)) * error
        reach = reach if math.isfinite(reach) else math.inf  # of two batches
        # where all the data do not tell G from 0, the scale is at least about their number
        low = min(_inverted(every + reach), float(self.samples) if every <= 0 else math.inf)
        return Estimate(_inverted(every), math.nan, low, _inverted(every - reach))


def _inverse(squares: Tensor, means: Tensor, samples: Tensor, count: int) -> Tensor:
    """|G|^2 / tr Sigma, where sum w_b |g_b|^2 is ``squares`` and |g|^2 ``means``; NaN where nothing
    is left of one batch.
    """
    trace = samples * (squares - means) / (count - 1) if count > 1 else squares * math.nan
    return (means - trace / samples) / trace.clamp_min(torch.finfo(trace.dtype).tiny)


def _inverted(value: float) -> float:
    return 1 / value if value > 0 else math.inf
