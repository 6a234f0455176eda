"""The chain value -> gradient -> product at a point, tested link by link.

x: (n,) the point, u: (n,) a direction of length 1, half along the gradient and half random, and t a
step along it. A landscape is one function where f(x + t u) has the slope g'u, and the gradient g(x
+ t u) the slope H u. Both are taken by central differences in float64, whatever f's own dtype, at
three steps so small that a kink is crossed by few of them. Where the differences agree with each
other and not with what autograd says, the link is broken: something is detached, or a backward pass
of one's own gives another derivative. Kinks differ from that: they make the differences disagree
with each other. Of a model that float64 does not suit, the slope of f alone is tested. Before all
that the graph is looked through for parameters that the loss reads past the model.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from landscape import specs
from landscape.core import Landscape
from landscape.errors import LoadingError, NumericalError
from landscape.landscapes.memory import eased
from landscape.landscapes.model import ModelLandscape
from landscape.landscapes.placed import own_parameters, sharing
from landscape.operators.derivatives import functions, leaves, name_of
from landscape.points.look import Look

# In units of the longer one of |x| and 1; and a link is broken by more than this share of what it
# joins ...
STEPS = {torch.float64: (1e-5, 1e-6, 1e-7), torch.float32: (1e-2, 5e-3, 2e-3)}
SHARE = {torch.float64: 1e-4, torch.float32: 3e-2}
# ... and by more than so many times what the differences disagree by, rounding included.
TIMES = 8.0
# Products in two dtypes differ by more than this share of them ...
UNLIKE = 1e-3
# ... and values by more than so many times their rounding, where f is not one function in both.
OTHER = 30.0
# Rounding of anything where f has become very small, in units of eps times what it is elsewhere.
FLOOR = 4.0
# Rounding of a value and of a gradient, in units of eps times their sizes.
ULPS = 64.0
# Rounding of values above which steps are those of single precision.
COARSE = 1e-9
# Up to this noise is measured, by so many values within steps of these lengths, of whose slopes so
# many may be those of jumps.
SINGLE = 1e-6
WINDOWS = (1e-4, 3e-5)
SAMPLES = 9
JUMPS = 2
# By so many times its rounding a value may differ between two passes that sum in other orders.
PASSES = 1e3
# The test of a link along a direction (n,): its gap, and whether it is broken.
Link = Callable[[Look, Tensor], tuple[float, bool]]


@dataclass(frozen=True)
class Chain:
    """What the links show; gaps are shares of what they join."""

    value_gap: float  # between g'u and the slope of f; NaN: not tested
    gradient_gap: float  # between H u and the slope of g; NaN: not tested
    # "gradient", "product" or "": what is not the derivative of what stands before it; "held":
    # parameters are read past the model; "anew": forward makes them; "shared": two have one
    # storage; "recorded": the value is another one without gradients
    broken: str
    functions: tuple[str, ...]  # autograd Functions of the user's own in the graph, by name
    untested: str  # why it could not be tested, "" where it was
    where: str = ""  # the last module along whose own parameters the broken link is broken
    held: tuple[str, ...] = ()  # the parameters that are held, made anew or shared, by name
    recorded: tuple[float, float] = (0.0, 0.0)  # the first term with gradients, and without


def chain(look: Look, seed: int) -> Chain:
    """Test both links at a point.

    Cost: a gradient, a product and a value, and two more values and gradients where the first step
    shows that all is well, else up to six; all in float64. Where a link is broken as much again for
    each of log2(modules) tests that look for the module.
    """
    try:
        found = eased(look.f, look.x, lambda: _graph(look.f, look.x))
    except (LoadingError, NumericalError) as error:
        return _untested(str(error))
    if found.broken or found.untested:
        return found
    own = found.functions
    finer = _in_double(look)
    found = _tested(finer, seed, own)
    if found.broken or finer.x.dtype == look.x.dtype or finer.rebuilt.why:
        return found
    if found.untested or _differ(look, finer):
        return _in_own_dtype(look, seed, found)
    return _product_in_own_dtype(look, finer, seed, found)


def _product_in_own_dtype(look: Look, finer: Look, seed: int, found: Chain) -> Chain:
    """What a product of the look shows beside one in float64, where f has the same value in both: a
    kernel of one dtype may have a wrong second derivative. The link is broken where the gradient's
    slope in the look's own dtype is like the one in float64 and unlike the product.
    """
    u = _direction(finer.gradient, seed)
    here, there = (of.along(u.to(of.x)).double().to(u) for of in (look, finer))
    gap = float((here - there).norm())
    if look.rebuilt.why or not gap > UNLIKE * float(there.norm()):
        return found
    f, x, length = look.f, look.x, max(float(look.x.norm()), 1.0)
    for t in (step * length for step in STEPS[torch.float32][1:]):
        low, high = (f.gradient(x + (s * t * u).to(x)).detach().double() for s in (-1, 1))
        slope = (high - low).to(u) / (2 * t)
        if not TIMES * float((slope - there).norm()) < float((slope - here).norm()):
            return found
    share = gap / (gap + float(here.norm()))
    return replace(found, gradient_gap=share, broken="product")


def _in_own_dtype(look: Look, seed: int, found: Chain) -> Chain:
    """What the slope of f says where float64 is no test of it.

    Steps are so wide there that kinks would be taken for curvature: products are not looked at.
    """
    gap, broken = _value_link(look, _direction(look.gradient, seed), closely=True)
    if not broken and not found.untested:
        return found
    kind = "gradient" if broken else ""
    return Chain(gap, float("nan"), kind, found.functions, found.untested)


def _differ(look: Look, finer: Look) -> bool:
    """Whether f has another value in float64, beyond rounding: something may act in one dtype
    only.
    """
    here, there = look.value, finer.value
    return abs(here - there) > OTHER * look.f.rounding(look.x) * max(abs(here), abs(there))


def _untested(why: str) -> Chain:
    return Chain(float("nan"), float("nan"), "", (), why)


def _tested(look: Look, seed: int, own: tuple[str, ...]) -> Chain:
    """Both links, in the dtype of the look."""
    try:
        g = look.gradient
        u = _direction(g, seed)
        first = _value_link(look, u)
        if first[1]:
            where = _last_broken(look, _value_link, u)
            return Chain(first[0], float("nan"), "gradient", own, "", where)
        second = _product_link(look, u)
        if look.rebuilt.why:  # products are differences themselves
            return Chain(first[0], float("nan"), "", own, look.rebuilt.why)
        where = _last_broken(look, _product_link, u) if second[1] else ""
    except (LoadingError, NumericalError) as error:
        return _untested(str(error))
    except RuntimeError as error:
        if look.f.layout:
            raise
        return _untested(f"the formula has no value in {look.f.dtype} ({specs.one_line(error)})")
    return Chain(first[0], second[0], "product" if second[1] else "", own, "", where)


def _in_double(look: Look) -> Look:
    """The look in float64, on the host where its device has none."""
    f, x = look.f, look.x
    try:
        torch.zeros(1, dtype=torch.float64, device=x.device)
        x = x.double()
    except (TypeError, RuntimeError):  # Apple's
        x = x.cpu().double()
    f = f if f.dtype == torch.float64 else f.astype(torch.float64)
    if isinstance(f, ModelLandscape) and f.device != x.device:
        f = f.moved(x.device)
    same = f is look.f and x.dtype == look.x.dtype
    return look if same else Look(f, x, "check")


def _last_broken(look: Look, link: Link, u: Tensor) -> str:
    """The last module, in the order of ``named_parameters``, along whose own parameters a link is
    broken, by bisection; "" where the modules show no such order.

    A gradient is wrong for what lies before the fault and right for what lies behind it.
    """
    places: dict[str, list[slice]] = {}
    for name, where in look.f.layout.items():
        places.setdefault(name.rpartition(".")[0], []).append(where)
    names = list(places)

    def broken(i: int) -> bool:
        part = torch.zeros_like(u)
        for where in places[names[i]]:
            part[where] = u[where]
        size = float(part.norm())
        return bool(size) and link(look, part / size)[1]

    low, high = 0, len(names)
    if not names or not broken(0):
        return ""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if broken(middle) else (low, middle)
    return names[low]


def _direction(g: Tensor, seed: int) -> Tensor:
    generator = torch.Generator("cpu").manual_seed(seed)
    r = torch.randn(len(g), generator=generator, dtype=torch.float64, device="cpu").to(g.device)
    u = r / r.norm()
    g = g.double()
    size = float(g.norm())
    u = u + g / size if size > 0 and torch.isfinite(g).all() else u
    unit: Tensor = u / u.norm()
    return unit


def _arithmetic(look: Look) -> torch.dtype:
    """What the steps of the differences are chosen for: a model may compute in single precision
    inside, whatever the dtype of its parameters.
    """
    return torch.float32 if look.f.rounding(look.x) > COARSE else torch.float64


def _value_link(look: Look, u: Tensor, *, closely: bool = False) -> tuple[float, bool]:
    """Whether the gradient is the value's slope; ``closely``: in single precision within short
    steps too, where a staircase is none, though within wide ones it has the slope of what it
    follows.
    """
    f, x, length = look.f, look.x, max(float(look.x.norm()), 1.0)
    inside = _arithmetic(look)
    slope = float(look.gradient.double() @ u)
    told = torch.tensor(slope, dtype=torch.float64, device="cpu")
    middle = torch.tensor(look.value, dtype=torch.float64, device="cpu")
    values = _Sides(middle, told, SHARE[inside])
    for step in STEPS[inside]:
        if values.fit():
            break
        t = step * length
        low, high = (f.value(x + (s * t * u).to(x.dtype)).double().cpu() for s in (-1, 1))
        values.add(low, high, t, ULPS * f.rounding(x) * float(torch.maximum(low.abs(), high.abs())))
    least, broken = values.judged()
    if broken:
        least, broken = values.judged(FLOOR * f.rounding(x) * _usual(look, f.value))
    fits = values.fit() and not closely
    if broken or fits or inside == torch.float64 or f.rounding(x) > SINGLE:
        return least, broken
    return _slope_link(look, u)


def _slope_link(look: Look, u: Tensor) -> tuple[float, bool]:
    """The same within shorter steps, which cross fewer jumps and kinks, in single precision: by the
    slopes between neighbours of some values on both sides of x, whose spread is the noise. The link
    is broken where all of them but those that a jump may have spoilt are alike, and none is like
    the one told.
    """
    f, x, length = look.f, look.x, max(float(look.x.norm()), 1.0)
    told = float(look.gradient.double() @ u)
    gaps, broken = list[float](), list[bool]()
    for step in WINDOWS:
        places = step * length * torch.linspace(-1, 1, SAMPLES, dtype=torch.float64, device="cpu")
        values = [float(f.value(x + (t * u).to(x.dtype))) for t in places.tolist()]
        slopes = torch.tensor(values, dtype=torch.float64, device="cpu").diff() / places.diff()
        middle = float(slopes.median())
        alike = slopes[(slopes - middle).abs().argsort()[: len(slopes) - JUMPS]]
        low, high = float(alike.min()), float(alike.max())
        rounding = f.rounding(x) * abs(look.value) / float(places[1] - places[0])
        gap = abs(middle - told)
        gaps.append(gap / ((abs(told) + gap) or 1.0))
        clear_by = max(low - told, told - high)
        broken.append(clear_by > high - low + rounding and gaps[-1] > SHARE[torch.float32])
        if not broken[-1]:
            break
    if not all(broken):
        return gaps[-1], False
    least = f.rounding(x) * _usual(look, f.value) / float(places[1] - places[0])
    return gaps[-1], clear_by > least


def _product_link(look: Look, u: Tensor) -> tuple[float, bool]:
    f, x, length = look.f, look.x, max(float(look.x.norm()), 1.0)
    product = look.along(u)
    gradients = _Sides(look.gradient, product, SHARE[x.dtype])
    scale = float(product.norm()) * length
    for step in STEPS[x.dtype]:
        if gradients.fit():
            break
        t = step * length
        low, high = (f.gradient(x + s * t * u).detach() for s in (-1, 1))
        gradients.add(low, high, t, ULPS * f.rounding(x) * (float(high.norm()) + scale))
    found = gradients.judged()
    return gradients.judged(FLOOR * f.rounding(x) * _usual(look, f.gradient)) if found[1] else found


def _usual(look: Look, function: Callable[[Tensor], Tensor]) -> float:
    """The size that values or gradients have away from the point: what passes through the same
    arithmetic, and rounds as that does where f itself has become very small.
    """
    draws = torch.Generator("cpu").manual_seed(0)
    sizes = []
    for _ in range(2):
        r = torch.randn(len(look.x), generator=draws, dtype=torch.float64, device="cpu")
        length = max(float(look.x.norm()), 1.0) / float(r.norm())
        sizes.append(float(function(look.x + (length * r).to(look.x)).detach().double().norm()))
    return max(filter(math.isfinite, sizes), default=0.0)


class _Sides:
    """Differences of something on both sides of a point, at several steps, and the slope that
    autograd has told.
    """

    def __init__(self, middle: Tensor, told: Tensor, share: float) -> None:
        self.middle, self.scale, self.told, self.share = middle, float(told.norm()), told, share
        self.gaps: list[Tensor] = []  # between the slopes and the one told
        self.bends: list[float] = []  # between the slopes of both sides
        self.noises: list[float] = []
        self.steps: list[float] = []

    def add(self, low: Tensor, high: Tensor, t: float, rounding: float) -> None:
        self.gaps.append((high - low) / (2 * t) - self.told)
        self.bends.append(float(((high - self.middle) - (self.middle - low)).norm()) / t)
        self.noises.append(rounding / t)
        self.steps.append(t)

    def least(self) -> float:
        """The smallest gap, as a share of what it parts."""
        size = min(float(gap.norm()) for gap in self.gaps)
        return size / ((self.scale + size) or 1.0)

    def fit(self) -> bool:
        """Whether a step has shown the slope that was told."""
        return bool(self.gaps) and self.least() <= self.share

    def judged(self, floor: float = 0.0) -> tuple[float, bool]:
        """The smallest gap, and whether it breaks the link: at every step that rounding leaves
        clear the gap is the same, and there is no kink at the point, which would part the slopes of
        its sides. ``floor``: what anything that is joined may be off by.
        """
        least, sizes = self.least(), [float(gap.norm()) for gap in self.gaps]
        noises = [max(n, floor / t) for n, t in zip(self.noises, self.steps, strict=True)]
        seen = [i for i, size in enumerate(sizes) if size > TIMES * noises[i]]
        if len(seen) < 2 or least <= self.share:
            return least, False
        first, second = seen[:2]
        apart = float((self.gaps[first] - self.gaps[second]).norm())
        same = apart <= sizes[first] / TIMES + TIMES * noises[second]
        smooth = self.bends[second] <= sizes[second] / TIMES + TIMES * noises[second]
        return least, same and smooth


def _graph(f: Landscape, x: Tensor) -> Chain:
    """What the first term shows before anything is differentiated: the autograd Functions in its
    graph that are written in Python, the analysed parameters that it reaches themselves, not what
    stands in their place at x, and whether it has the same value where no gradient is recorded.
    """
    nan = float("nan")
    if isinstance(f, ModelLandscape) and (shared := sharing(f.parameters())):
        return Chain(nan, nan, "shared", (), "", held=shared)
    with f.evaluation(), torch.enable_grad():
        term = next(iter(f.terms()))
        value = term.function(x.clone().requires_grad_(True))
        own = tuple(dict.fromkeys(map(name_of, functions(value))))
        if not isinstance(f, ModelLandscape):
            return Chain(nan, nan, "", own, "")
        broken, named = _misread(f, value)
        if broken:
            return Chain(nan, nan, broken, own, "", held=named)
        again = float(term.function(x.clone().requires_grad_(True)).detach())
        with torch.no_grad():
            values = float(value.detach()), float(term.function(x.detach()))
    least = PASSES * f.rounding(x) * max(map(abs, values))
    if abs(again - values[0]) > least:
        return _untested("the loss differs between two passes at the same point")
    if abs(values[0] - values[1]) > least:
        return Chain(nan, nan, "recorded", own, "", recorded=values)
    return Chain(nan, nan, "", own, "")


def _misread(f: ModelLandscape, value: Tensor) -> tuple[str, tuple[str, ...]]:
    """How the graph of a value, just made, reaches parameters that do not follow the point, "held",
    "anew" or "", and their names.
    """
    read = {id(t) for t in leaves(value)}
    named = own_parameters(f.model)
    held = tuple(name for name in f.layout if id(named[name]) in read)
    known = {id(parameter) for parameter in named.values()}
    made = read - known
    anew = tuple(name for name, t in f.model.named_parameters() if id(t) in made)
    return ("held", held) if held else ("anew" if anew else "", anew)
