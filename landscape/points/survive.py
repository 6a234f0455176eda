"""What a change of the weights does to the loss: predicted from gradient and Hessian, and measured.

d: (n,) the change of one tensor or of all of them. Predicted: g'd + d'Hd / 2. How far that reaches
is asked of gradients at x ± d/2: they give the third and fourth derivative along d, whose terms of
the Taylor series are the prediction's error. Of kinks, which ReLU has, the gradient at x + d tells:
what one at t on the way (0 < t < 1) adds to the slope there, it adds (1 - t) / 2 times to the
change. Measured: f(x + d) - f(x), the change really made,
with its sampling error from the spread over micro-batches.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from landscape import specs
from landscape.core import Landscape, Progress, silent
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.memory import eased
from landscape.landscapes.model import ModelLandscape, require_model
from landscape.operators.limits import loss_noise
from landscape.points.look import Look
from landscape.results import Estimate, Result, provenance, result
from landscape.results.statistics import interval, sampling_spread
from landscape.rng import generator

PROBES = 16  # of the traces
SAFETY = 1.5  # times the terms of third and fourth order
MOST = 0.9  # of the loss is made by the layers that should stay as they are
KINDS = "int8, int4, int8:asymmetric, prune:0.5, prune:2:4, noise:0.01"


@result("weight-change")
@dataclass(frozen=True)
class Change:
    """A change of one tensor, or of all of them at once."""

    name: str
    parameters: int  # changed
    size: float  # |d|
    slope: float  # g'd
    curvature: float  # d'Hd / 2
    third: float  # the term of third order along d
    fourth: float
    # slope + curvature; low and high are the terms of third and fourth order and ``rest`` away
    predicted: Estimate
    measured: Estimate  # one standard error from the data; NaN with one micro-batch
    # mean diagonal entry of H in this tensor times |d|^2, HAWQ-V2's number (Dong et al. 2020,
    # NeurIPS), with the error that the probes of the trace leave
    hawq: Estimate
    # half of what the slope at x + d has beyond the fourth order: at most that comes of kinks; 0 in
    # results of earlier versions
    rest: float = 0.0

    @property
    def inside(self) -> bool:
        """Whether the measured change is where it was predicted."""
        reach = 1e-9 * abs(self.measured.value)  # rounding of what agrees to all digits
        return self.predicted.low - reach <= self.measured.value <= self.predicted.high + reach

    @property
    def holds(self) -> bool:
        """Whether second order can be trusted here: the measured change is where it was predicted,
        and the terms of third and fourth order and the rest are no larger than the prediction.
        """
        beyond = abs(self.third) + abs(self.fourth) + abs(self.rest)
        return self.inside and beyond <= max(abs(self.predicted.value), 1e-300)


@result("survival")
@dataclass(frozen=True, eq=False)
class Survival(Result):
    """What a change does, tensor by tensor and as a whole."""

    change: str
    parameters: int  # of the landscape
    samples: int
    loss: float  # before
    layers: tuple[Change, ...]  # the most harmful first, as measured
    whole: Change
    products: int

    @property
    def keep(self) -> tuple[str, ...]:
        """The tensors to leave as they are: the fewest that make nine tenths of what all of them,
        one at a time, add to the loss.
        """
        risen = [max(layer.measured.value, 0.0) for layer in self.layers]
        chosen, total = 0, 0.0
        while chosen < len(risen) and total < MOST * sum(risen):
            total += risen[chosen]
            chosen += 1
        return tuple(layer.name for layer in self.layers[:chosen])


@owned()
def survive(
    f: ModelLandscape,
    change: str | Tensor,
    at: Tensor | None = None,
    *,
    label: str = "",
    seed: int = 0,
    progress: Progress = silent,
) -> Survival:
    """Tell what quantisation, pruning, noise or another checkpoint does to the loss.

    Args:
        f: a model's landscape.
        change: "int8" or "int4": every weight of two axes or more rounded to a grid of its output
            channel, symmetric about zero, with ":asymmetric" from its least to its largest entry;
            "prune:0.5": that share of each weight, the smallest entries, set to zero; "prune:2:4":
            all but the 2 largest of every 4 along an output's inputs; "noise:0.01": normal numbers
            of that share of each weight's root mean square are added; or the change itself, (n,),
            towards a fine-tuned checkpoint say.
        at: the point (n,); None: the model's current parameters.
        label: what a change that is given as a tensor is called.
        seed: of the noise and of the probes.

    Raises:
        ValueError: an unknown change, or one that changes nothing.

    Cost: for each tensor and the whole one product, three gradients and one value; 16 products for
    the traces.
    """
    f = require_model(f, "survive needs a model's landscape.")
    look = Look(f, at, "survive")
    x = look.x
    delta = _delta(f, x, change, seed)
    parts = {k: s for k, s in f.layout.items() if bool((delta[s] != 0).any())}
    if not parts:
        raise ValueError(f"{label or change} changes no weight.")
    traces = _traces(look, parts, seed)
    before = by_batch(f, x)
    layers: list[Change] = []
    for name, where in parts.items():
        progress("layers", len(layers), len(parts) + 1)
        d = torch.zeros_like(delta)
        d[where] = delta[where]
        found = _change(look, name, d, before)
        mean = found.size**2 / (where.stop - where.start)
        value, error = (number * mean for number in traces[name])
        layers.append(replace(found, hawq=interval(value, error, PROBES - 1)))
    whole = _change(look, "all of them", delta, before)
    sums = [sum(getattr(layer.hawq, k) for layer in layers) for k in ("value", "low", "high")]
    spread = math.hypot(*(layer.hawq.error for layer in layers))
    told = label or (change if isinstance(change, str) else "the change given")
    return Survival(
        change=told,
        parameters=f.dim,
        samples=f.samples,
        loss=look.value,
        layers=tuple(sorted(layers, key=lambda layer: -layer.measured.value)),
        whole=replace(whole, hawq=Estimate(sums[0], spread, sums[1], sums[2])),
        products=look.hessian.products,
        provenance=provenance(f, x, seed, change=told),
    )


def _change(look: Look, name: str, d: Tensor, before: Tensor) -> Change:
    """The terms along d (n,), and what the change does."""
    f, x, g = look.f, look.x, look.gradient.double()
    wide = d.double()
    slope = float(g @ wide)
    form = float(wide @ (look.hessian @ d).double())
    ahead, back, end = (
        float(f.gradient((x.double() + s * wide).to(x.dtype)).double() @ wide)
        for s in (0.5, -0.5, 1.0)
    )
    # along t d the slope is slope + form t + T t^2 / 2 + Q t^3 / 6
    third = (ahead + back - 2 * slope) * 4 / 6  # T / 6; the next one is Q / 24
    fourth = (ahead - back) - form
    rest = (end - (slope + form + 3 * third + 4 * fourth)) / 2
    ours = require_model(f, "survive needs a model's landscape.")
    after = by_batch(ours, x + d)
    value = slope + form / 2
    noise = loss_noise(look.value, f.rounding(x))
    reach = SAFETY * (abs(third) + abs(fourth)) + abs(rest) + noise
    nothing = Estimate(math.nan, math.nan, math.nan, math.nan)
    return Change(
        name=name,
        parameters=int((d != 0).sum()),
        size=float(wide.norm()),
        slope=slope,
        curvature=form / 2,
        third=third,
        fourth=fourth,
        predicted=Estimate(value, math.nan, value - reach, value + reach),
        measured=paired(before, after, ours.weights.to(before.device), ours.samples),
        hawq=nothing,
        rest=rest,
    )


def paired(before: Tensor, after: Tensor, shares: Tensor, samples: int) -> Estimate:
    """The change of the loss, with its sampling error from the change in every micro-batch."""
    risen = after - before
    value, spread = float(risen.sum()), sampling_spread(risen[:, None], shares, samples)
    error = float(spread.errors)
    if not spread.freedom:
        return Estimate(value, math.nan, math.nan, math.nan)
    return Estimate(value, error, value - spread.reach * error, value + spread.reach * error)


def by_batch(f: ModelLandscape, x: Tensor) -> Tensor:
    """What every micro-batch adds to f at x: (B,) float64, the regularisers shared out. They sum to
    f(x).
    """
    return eased(f, x, lambda: _by_batch(f, x))


def _by_batch(f: ModelLandscape, x: Tensor) -> Tensor:
    values = torch.zeros(len(f.weights), dtype=torch.float64, device=f.device)
    rest = values.new_zeros(())
    with f.evaluation(), torch.no_grad():
        for term in f.terms():
            value = term.function(x).double()
            if term.batch is None:
                rest = rest + value
            else:
                values[term.batch] += value
    return values + f.weights.to(f.device) * rest


def _traces(look: Look, parts: dict[str, slice], seed: int) -> dict[str, tuple[float, float]]:
    """The trace of each tensor's own block and one standard error, by Hutchinson's method: of
    random signs z, z_l'(H z)_l has the block's trace for its mean.
    """
    draws = generator(seed)
    shape = (len(look.x), PROBES)
    signs = torch.randint(0, 2, shape, generator=draws, device="cpu").to(look.x) * 2 - 1
    product = signs.double() * (look.hessian @ signs).double()
    found = {}
    for name, where in parts.items():
        each = product[where].sum(0)
        found[name] = float(each.mean()), float(each.std() / math.sqrt(PROBES))
    return found


# ---- changes -------------------------------------------------------------------------------------


def _delta(f: Landscape, x: Tensor, change: str | Tensor, seed: int) -> Tensor:
    if isinstance(change, Tensor):
        if change.shape != x.shape:
            raise ValueError(
                f"a change has shape {tuple(x.shape)}, as a point has; got {tuple(change.shape)}."
            )
        return change.detach().to(x)
    made = _maker(change, seed)
    moved = x.clone()
    for name, where in f.layout.items():
        weight = x[where].view(f.shapes[name])
        if weight.ndim >= 2:
            moved[where] = made(weight).reshape(-1)
    return moved - x


def _maker(change: str, seed: int) -> Callable[[Tensor], Tensor]:
    """A change of a weight (out, ...) from its name."""
    given = specs.line(change, "a change")
    makers = {"int8": _rounding, "int4": _rounding, "prune": _pruning, "noise": _noise}
    try:
        return makers[given.name](change, given.text, seed)
    except (KeyError, ValueError):
        raise ValueError(f"no change is called {change!r}; there are {KINDS}.") from None


def _rounding(change: str, option: str, seed: int) -> Callable[[Tensor], Tensor]:
    asymmetric = {"": False, "symmetric": False, "asymmetric": True}[option]
    bits = int(change[3])
    return lambda w: rounded(w, bits, asymmetric=asymmetric)


def _pruning(change: str, option: str, seed: int) -> Callable[[Tensor], Tensor]:
    if ":" not in option:
        share = _between(float(option), 1.0)
        return lambda w: pruned(w, share)
    kept, group = (int(number) for number in option.split(":"))
    _between(kept, group)
    return lambda w: pruned_in_groups(w, kept, group)


def _noise(change: str, option: str, seed: int) -> Callable[[Tensor], Tensor]:
    return _noisy(_between(float(option), math.inf), seed)


def _between(number: float, most: float) -> float:
    if not 0 < number < most:
        raise ValueError(number)
    return number


def rounded(w: Tensor, bits: int, *, asymmetric: bool = False) -> Tensor:
    """A weight (out, ...) rounded to 2^bits levels, evenly spaced for each output channel.

    Symmetric: from -m to m, m the channel's largest magnitude, zero among them. Asymmetric: from
    the channel's least entry to its largest, zero among them.
    """
    rows = w.reshape(len(w), -1)
    if not asymmetric:
        most = 2 ** (bits - 1) - 1
        step = rows.abs().amax(1, keepdim=True) / most
        step = torch.where(step > 0, step, torch.ones_like(step))
        return ((rows / step).round().clamp(-most, most) * step).view_as(w)
    low, high = rows.amin(1, keepdim=True).clamp(max=0), rows.amax(1, keepdim=True).clamp(min=0)
    step = (high - low) / (2**bits - 1)
    step = torch.where(step > 0, step, torch.ones_like(step))
    zero = (-low / step).round()
    return (((rows / step).round() + zero).clamp(0, 2**bits - 1) - zero).mul(step).view_as(w)


def pruned(w: Tensor, share: float) -> Tensor:
    """A weight with that share of its entries, the smallest, set to zero."""
    flat = w.reshape(-1).clone()
    flat[flat.abs().argsort()[: round(share * len(flat))]] = 0
    return flat.view_as(w)


def pruned_in_groups(w: Tensor, kept: int, group: int) -> Tensor:
    """A weight (out, ...) with all but the ``kept`` largest of every ``group`` entries of an output
    set to zero; of a shorter group at the end, that share.
    """
    rows = w.reshape(len(w), -1)
    parts = []
    for part in torch.split(rows, group, dim=1):
        left = part.shape[1] - math.ceil(kept * part.shape[1] / group)
        least = part.abs().argsort(dim=1)[:, :left]
        parts.append(part.scatter(1, least, 0.0))
    return torch.cat(parts, dim=1).view_as(w)


def _noisy(share: float, seed: int) -> Callable[[Tensor], Tensor]:
    draws = generator(seed)

    def noisy(w: Tensor) -> Tensor:
        noise = torch.randn(w.shape, generator=draws, dtype=torch.float64, device="cpu").to(w)
        return w + share * w.square().mean().sqrt() * noise

    return noisy
