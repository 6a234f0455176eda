"""What an analysis takes: foretold from one gradient and one product, measured stage by stage, and
kept within the seconds that it may take.

Time is what a rank measures by itself, so that over ranks the first one's clock counts for all.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvNd

from landscape.core import Landscape
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.model import ModelLandscape
from landscape.linalg.reductions import norm
from landscape.operators.hessian import Hessian
from landscape.operators.limits import DENSE_VERDICT
from landscape.points.look import Look
from landscape.results import Result, provenance, result

# Products of a stage, where they do not follow from what is asked for: passes count as their share.
CHECKS, SLICES, TRACE, LAYER, ROOM = 12, 15, 12, 16, 60
# Of a whole product: what one of a layer's block takes, which goes no further down than the layer.
LIGHT = 0.4
# The product in float64, with a graph of its own, that measures residuals and rounding:
# convolutions take ten times as long there.
ROUNDING = 12
# Of a product that builds the graphs that are kept: what the next ones take.
KEPT = 0.6
# Steps of Lanczos beside two for each pair, seen on networks from 1e3 to 1e6 parameters.
SEARCH = 45
WIDE = 16  # vectors of a block that is timed
# Products below which a density or a trace says nothing.
LEAST_DENSITY, LEAST_TRACE = 20, 6


@result("analysis-stage")
@dataclass(frozen=True)
class Stage:
    """One part of an analysis and what it has taken."""

    name: str
    products: int
    seconds: float


class Clock:
    """The time of an analysis: what its stages took, and what is left of the seconds allowed.

    Args:
        seconds: allowed from now on; None: as many as it takes.
        H: the Hessian whose products are counted.
    """

    def __init__(self, seconds: float | None, H: Hessian) -> None:
        if seconds is not None and not 0 < seconds < math.inf:
            raise ValueError(f"budget must be a number of seconds above 0, got {seconds!r}.")
        self.limited = seconds is not None
        self.begun = time.perf_counter()
        self.end = self.begun + (math.inf if seconds is None else seconds)
        self.H, self.until = H, self.end
        self.stages: list[Stage] = []
        self.open: list[str] = []  # what was left out, and what it would take
        self.product = math.nan  # seconds of a product with what goes with it, as last measured

    @property
    def left(self) -> float:
        """Seconds left; infinite where nothing limits them."""
        return self.H.f.ranks.agreed(self.end - time.perf_counter()) if self.limited else math.inf

    @contextmanager
    def stage(self, name: str, share: float = 1.0, *, pace: bool = True) -> Iterator[None]:
        """Count the products and seconds of what is done inside, and grant it a ``share`` of the
        seconds left; ``pace``: whether its products are made one by one, and tell what the next
        ones take.
        """
        start, before, made = time.perf_counter(), self.H.products, self.H.made
        self.until = start + share * self.left
        self.H.granted = self.granting(self.H) if self.limited else None
        yield
        took, products = time.perf_counter() - start, self.H.products - before
        self.H.granted = None
        self.stages.append(Stage(name, products, took))
        made = self.H.made - made  # what an earlier run has made takes no time
        if self.limited and made > 0 and pace:
            self.product = self.H.f.ranks.agreed(took / made)

    def granting(self, H: Hessian) -> Callable[[], int]:
        """How many more products of H fit into the stage, asked again and again."""
        start, before = time.perf_counter(), H.made

        def granted() -> int:
            now, spent = time.perf_counter(), H.made - before
            each = (now - start) / spent if spent else self.product
            left = (self.until - now) / each if each > 0 else 1.0
            return int(H.f.ranks.agreed(max(left, 0.0)))

        return granted

    def fits(self, products: float) -> bool:
        """Whether there is time for so many products."""
        return not self.limited or products * self.product <= self.left

    def affordable(self, most: int, share: float = 1.0) -> int:
        """How many products there is time for, ``most`` at most."""
        return int(min(most, share * self.left / self.product)) if self.limited else most

    def leave_open(self, what: str, products: float) -> None:
        """Note what is left out."""
        self.open.append(f"{what} (about {seconds(products * self.product)} more)")


@result("analysis-forecast")
@dataclass(frozen=True)
class Forecast(Result):
    """What ``analyze`` will take, from one gradient and one product."""

    parameters: int
    gradient: float  # seconds of one
    # seconds of one after the first, in a block where the matrix is to be formed
    product: float
    first_product: float  # seconds of the first one, which may keep graphs for all others
    stages: tuple[Stage, ...]

    @property
    def products(self) -> int:
        """Of all stages."""
        return sum(stage.products for stage in self.stages)

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(stage.seconds for stage in self.stages)


@owned()
def forecast(
    f: Landscape,
    at: object = None,
    *,
    method: str = "auto",
    largest: int = 10,
    smallest: int = 10,
    probes: int = 3,
    steps: int = 50,
    layers: bool = True,
    seed: int = 0,
) -> Forecast:
    """What ``analyze`` with these options will take, before it starts.

    The number of products of a search is what networks of 1e3 to 1e6 parameters took, within a
    factor of 2; that of the other stages is exact, but for a density that a long search spares
    another probe.

    Raises:
        As ``analyze`` does before its first product.

    Cost: one gradient and two products, 17 where the matrix would be formed.
    """
    look = Look(f, at, "forecast")  # type: ignore[arg-type]  # it says what a point is
    _, gradient = timed(lambda: look.gradient)
    dense = method == "dense" or (method == "auto" and f.dim <= DENSE_VERDICT)
    V = sample(look, dense=dense)
    _, first = timed(lambda: look.hessian @ V[:, :1])
    _, block = timed(lambda: look.hessian @ V)
    product = block / V.shape[1]
    k = min(f.dim, largest + smallest)
    counts = {"checks": checking(f) if f.layout else 4}
    counts["ends"] = f.dim if dense else 2 * k + SEARCH
    counts["sampling errors"] = sampling_products(look.hessian, k, dense=dense)
    if not dense:
        # the search's first start is a probe, its last one may be, each pair saves every other one
        # a step, and probes are samples of the trace
        most = max(min(steps, f.dim) - k, (min(steps, f.dim) + 1) // 2)
        counts |= {"density": (probes - 1) * most, "trace": max(0, min(TRACE, f.dim) - probes)}
    if layers and isinstance(f, ModelLandscape) and not dense:
        counts["layers"] = LAYER * len(modules(f))
    counts["slices"] = SLICES
    each = {"layers": LIGHT * product}
    stages = tuple(Stage(k, count, count * each.get(k, product)) for k, count in counts.items())
    origin = provenance(f, look.x, seed)
    return Forecast(f.dim, gradient, product, first, stages, provenance=origin)


def checking(f: Landscape) -> int:
    """What the checks take, in products: they look at single precision from float64, where
    convolutions are slow.
    """
    modules = f.model.modules() if isinstance(f, ModelLandscape) else ()
    slow = f.dtype != torch.float64 and any(isinstance(m, _ConvNd) for m in modules)
    return (3 if slow else 1) * CHECKS


def sampling_products(H: Hessian, k: int, *, dense: bool) -> int:
    """How many products the sampling errors of k pairs take: none where there is one batch and so
    no error, or where the search's own products tell them.
    """
    told = not dense and H.f.ranks.count == 1 and H.method != "finite-difference"
    return 0 if told or len(H.batches) < 2 else k


def sample(look: Look, *, dense: bool) -> Tensor:
    """Vectors (n, m) whose product says what products take: one, or a block where the matrix may be
    formed block by block.
    """
    g = look.gradient / norm(look.gradient).clamp_min(1e-30).to(look.x.dtype)
    return g[:, None].expand(-1, min(WIDE, len(g)) if dense else 1)


def modules(f: ModelLandscape) -> dict[str, list[str]]:
    """The names of the parameters of each module, by the module's name."""
    names: dict[str, list[str]] = {}
    for name in f.layout:
        names.setdefault(name.rpartition(".")[0] or "(top)", []).append(name)
    return names


def timed(compute: Callable[[], object]) -> tuple[object, float]:
    """What is computed, and the seconds that it took."""
    start = time.perf_counter()
    found = compute()
    return found, time.perf_counter() - start


def seconds(number: float) -> str:
    """``0.25 s``, ``12 s``, ``3 min``, ``2.5 h``."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if number >= 1.5 * size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.2g} s" if number < 10 else f"{number:.0f} s"
