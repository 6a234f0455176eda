"""What the end of a traced run says before a cause is named; ``rules`` says how it is compared.

N: the steps of the run. r: the length of a step over the length of the gradient that the optimiser
was given. g, H: gradient and Hessian of f. The late part is the last LATE of the records.
"""

import math
from functools import cached_property
from typing import NamedTuple

import torch
from scipy.stats import linregress
from torch import Tensor

from landscape.training.trace import Trace

# The share of a run that is judged.
LATE = 0.25
# Weights by root mean square, and gradients by the run's largest, up to these are next to zero.
ZERO, SMALL = 1e-4, 1e-3
# A run still falls while its late part loses this share of the loss from one half to the other.
FALLING = 0.1


class Modules(NamedTuple):
    """The modules of a model in order, as a run moved them."""

    names: list[str]
    # The largest norm of each module's gradient.
    sizes: list[float]
    # How far the first module was moved at most, over its norm.
    moved: float


class Tail:
    """The end of a run, by quantities that need no unit: a ratio, or a share of ``unit``.

    trace: at least two records, f evaluated at each.
    """

    def __init__(self, trace: Trace) -> None:
        m = len(trace.steps)
        self.trace = trace
        self.late = slice(max(0, min(m - 4, int(m * (1 - LATE)))), m)

    # ---- steps and rates ----

    @cached_property
    def steps(self) -> int:
        """N."""
        return int(self.trace.steps[-1] - self.trace.steps[0])

    @cached_property
    def span(self) -> int:
        """Steps of the late part."""
        return int(self.trace.steps[-1] - self.trace.steps[self.late.start])

    @cached_property
    def rates(self) -> Tensor:
        """r at every record (m,); where it was not measured the last one known, or the rate set."""
        rates = self.trace.effective_rate
        known = rates.isfinite() & (self.trace.update_norm > 0)
        recent = bool(known[-3:].any())
        return torch.where(
            known, rates, float(rates[known][-1]) if recent else self.trace.learning_rate
        )

    @property
    def rate(self) -> float:
        """r at the end."""
        return float(self.rates[-1])

    @cached_property
    def best_rate(self) -> float:
        """The largest r of the run."""
        return float(self.rates.max())

    @cached_property
    def decayed(self) -> float:
        """The rate set at the end over the largest of the run."""
        rate, best = float(self.trace.learning_rate[-1]), float(self.trace.learning_rate.max())
        return rate / best if best > 0 else 1.0

    @cached_property
    def room(self) -> float:
        """The optimiser's edge of stability over the sharpness it feels; NaN if not measured."""
        sharp = float(self.trace.sharpness[-1])
        return float(self.trace.edge[-1] / self.trace.sharpness[-1]) if sharp > 0 else math.nan

    @cached_property
    def adaptive(self) -> bool:
        """Whether the optimiser scales its steps, as Adam and its like do."""
        return bool(self.trace.second_moment_norm.isfinite().any())

    @cached_property
    def stride(self) -> float:
        """The length of a late step over that of the weights, the median one; NaN if unknown."""
        strides = (self.trace.update_norm / self.trace.weight_norm)[self.late]
        strides = strides[strides.isfinite()]
        return float(strides.median()) if len(strides) else math.nan

    @property
    def rounding(self) -> float:
        """The relative rounding of the coarsest weights that are moved; 0 if unknown."""
        return 0.0 if self.trace.loop is None else self.trace.loop.rounding

    @cached_property
    def grown(self) -> float:
        """The norm of the weights over that at the start; NaN where they started at zero."""
        norms = self.trace.weight_norm
        return float(norms[-1] / norms[0]) if bool(norms[0] > 0) else math.nan

    @cached_property
    def moved(self) -> float:
        """How far the run has gone from its start, over the norm of the weights there."""
        start = float(self.trace.weight_norm[0])
        return float(self.trace.from_start[-1]) / start if start > 0 else math.inf

    @property
    def small_at_first(self) -> bool:
        """Whether the weights were next to zero at the start, by root mean square."""
        return float(self.trace.weight_norm[0]) <= ZERO * math.sqrt(len(self.trace.x))

    # ---- the loss ----

    @cached_property
    def loss(self) -> float:
        """f at the end."""
        return float(self.trace.loss[-1])

    @cached_property
    def first(self) -> float:
        """f at the start."""
        return float(self.trace.loss[0])

    @cached_property
    def unit(self) -> float:
        """What shares of the loss are shares of: its size, or its fall over the run if larger.

        Above what a constant prediction costs its size is no measure, and that cost is taken.
        """
        size = abs(self.loss)
        if self.constant > 0:
            size = min(size, self.constant)
        return max(self.first - float(self.trace.loss.min()), size, 1e-300)

    @cached_property
    def fall(self) -> float:
        """How far f fell from the first half of the late part to the second."""
        losses = self.trace.loss[self.late]
        if len(losses) < 6:
            return float(losses[0]) - float(losses[-1])
        middle = (len(losses) + 1) // 2
        return float(losses[:middle].mean()) - float(losses[middle:].mean())

    @cached_property
    def constant(self) -> float:
        """What a constant prediction costs; NaN where it is not known."""
        return math.nan if self.trace.reading is None else self.trace.reading.constant

    @cached_property
    def progress(self) -> float:
        """The share of the loss of a constant prediction that is gone, below 0 where f is above
        it; NaN where that loss is not known.
        """
        reading = self.trace.reading
        if reading is None or not abs(self.constant) > 0 or not math.isfinite(reading.loss):
            return math.nan
        return (self.constant - reading.loss) / abs(self.constant)

    @cached_property
    def fallen(self) -> float:
        """The share of the loss of a constant prediction that is gone, or of the first loss where
        that is not known.
        """
        if not math.isnan(self.progress):
            return max(self.progress, 0.0)
        if not self.first > self.loss or self.first == 0:
            return 0.0
        return (self.first - self.loss) / abs(self.first)

    @property
    def falling(self) -> bool:
        """Whether the late part, or the last half by a straight line that is certain to fall, loses
        a good part of the loss, and some of the run's fall.
        """
        return any(
            fall > FALLING * abs(self.loss) and fall > 1e-3 * self.unit
            for fall in (self.fall, self._slope_of_half())
        )

    def _slope_of_half(self) -> float:
        """How far a straight line through the last half of the records falls; 0 where the losses do
        not tell its sign with probability 0.995.
        """
        losses = self.trace.loss[len(self.trace.loss) // 2 :]
        if len(losses) < 4 or not bool(losses.isfinite().all()):
            return 0.0
        steps = self.trace.steps[-len(losses) :].double()
        line = linregress(steps.tolist(), losses.tolist(), alternative="less")
        return -line.slope * float(steps[-1] - steps[0]) if line.pvalue < 0.005 else 0.0

    @property
    def risen(self) -> float:
        """How far f is above its start, over ``unit``."""
        return (self.loss - self.first) / self.unit

    @cached_property
    def peak(self) -> float:
        """How far f has been above its start, over ``unit``."""
        return (float(self.trace.loss.max()) - self.first) / self.unit

    # ---- gradients and steps against the loss ----

    @cached_property
    def gradient(self) -> float:
        """|g| at the end."""
        return float(self.trace.gradient_norm[-1])

    @cached_property
    def promised(self) -> float:
        """The fall that gradients promised: late steps times the late mean of r |g|^2, or of what
        steps of that length can gain at most, |dx| |g|, where gradients given were cut short.
        """
        own = self.trace.gradient_norm
        most = (self.trace.update_norm * own).nan_to_num(math.inf, posinf=math.inf)
        return self.span * float(torch.minimum(self.rates * own.square(), most)[self.late].mean())

    @cached_property
    def efficiency(self) -> float:
        """The fall that came, over the one promised; NaN where that is below rounding."""
        rounding = 10 * torch.finfo(self.trace.x.dtype).eps * abs(self.loss)
        return self.fall / self.promised if self.promised > max(rounding, 0.0) else math.nan

    @cached_property
    def noise(self) -> float:
        """The squared norm of the gradients given, over |g|^2: means of the late part."""
        own = self.trace.gradient_norm.square()[self.late].mean()
        given = self.trace.batch_gradient_norm.square()[self.late]
        return float(given[given.isfinite()].mean() / own) if bool(own > 0) else math.nan

    @cached_property
    def floor(self) -> float:
        """r tr(Sigma) / 4 over ``unit``: the loss that noise keeps up in a quadratic bowl."""
        return max(self.noise - 1, 0.0) * self.promised / max(self.span, 1) / 4 / self.unit

    @cached_property
    def swing(self) -> float:
        """r |g|^2 / 2 over ``unit``: the most loss that directions with r lambda > 1 keep up."""
        return self.promised / max(self.span, 1) / 2 / self.unit

    # ---- curvature ----

    @cached_property
    def lowest(self) -> float:
        """The smallest eigenvalue of H."""
        last = self.trace.last
        return float(self.trace.smallest[-1] if last is None else last.eigenvalues[0])

    @cached_property
    def doubt(self) -> float:
        """The uncertainty of ``lowest``."""
        last = self.trace.last
        return float(self.trace.smallest_bound[-1] if last is None else last.uncertainty[0])

    @cached_property
    def scale(self) -> float:
        """|H|, the larger of the two ends in size."""
        last = self.trace.last
        top = float(self.trace.largest[-1] if last is None else last.eigenvalues[-1])
        return max(abs(self.lowest), abs(top))

    @cached_property
    def along(self) -> float:
        """|g'Hg| / g'g."""
        return abs(float(self.trace.rayleigh[-1]))

    @cached_property
    def gain(self) -> float:
        """What a Newton step would gain, over ``unit``; NaN without a last look."""
        if self.trace.last is None:
            return math.nan
        square = float(self.trace.gradient_norm.square()[-1])
        least = math.inf if square > 0 else 0.0
        if self.scale > 0:
            least = square / (2 * self.scale)
        return max(self.trace.last.predicted_decrease, least) / self.unit

    @cached_property
    def drift(self) -> float:
        """How much ln |lowest Ritz value| changed over the late part."""
        ratio = float(self.trace.smallest[-1] / self.trace.smallest[self.late.start])
        return abs(math.log(ratio)) if ratio > 0 else 0.0

    @cached_property
    def reach(self) -> float:
        """How much it would change over a Newton step; a true saddle's curvature stays."""
        path = float(self.trace.travelled[-1] - self.trace.travelled[self.late.start])
        newton = self.gradient / abs(self.lowest) if self.lowest != 0 else 0.0
        return self.drift * newton / path if path > 0 else 0.0

    # ---- units and layers ----

    @cached_property
    def saturated(self) -> tuple[float, str]:
        """The largest share of saturated outputs in an activation, and that activation."""
        return self._worst(self.trace.saturated)

    @cached_property
    def dead(self) -> tuple[float, str]:
        """The largest share of dead units in an activation, and that activation."""
        return self._worst(self.trace.dead)

    @cached_property
    def dead_at_first(self) -> float:
        """The largest share of dead units at the start."""
        shares = self._hidden(self.trace.dead)[0]
        return float(shares.nan_to_num(0.0).max()) if len(shares) else 0.0

    @cached_property
    def saturated_at_first(self) -> float:
        """The largest share of saturated outputs at the start."""
        shares = self._hidden(self.trace.saturated)[0]
        return float(shares.nan_to_num(0.0).max()) if len(shares) else 0.0

    def _hidden(self, shares: Tensor) -> Tensor:
        """The activations without one that makes the outputs: those may be as sure as they like."""
        reading, kinds = self.trace.reading, self.trace.activations
        makes = reading is not None and kinds and kinds[-1].endswith(f" {reading.last}")
        return shares[:, :-1] if makes else shares

    @cached_property
    def broken(self) -> float:
        """The share of an activation's units that died in the run, or of its outputs that became
        saturated, the larger.
        """
        return max(
            self.dead[0] - self.dead_at_first, self.saturated[0] - self.saturated_at_first, 0.0
        )

    @cached_property
    def cut_off(self) -> list[str]:
        """Parameter tensors whose gradient was exactly zero at every record, where others' was not,
        and the layers are neither zero nor dead nor saturated.
        """
        sizes = self.trace.layer_gradient
        sizes = sizes[sizes.isfinite().all(1)]
        if not len(sizes) or not bool((sizes > 0).any()) or self.zeros:
            return []
        if max(self.dead[0], self.saturated[0]) > 0.5:
            return []
        none = (sizes == 0).all(0).tolist()
        return [k for k, still in zip(self.trace.layers, none, strict=True) if still]

    def _worst(self, shares: Tensor) -> tuple[float, str]:
        last = self._hidden(shares)[-1].nan_to_num(-1.0)
        if not len(last) or float(last.max()) <= 0:
            return 0.0, ""
        return float(last.max()), self.trace.activations[int(last.argmax())]

    @cached_property
    def modules(self) -> Modules:
        """The modules with parameters, in order."""
        trace, columns = self.trace, dict[str, list[int]]()
        for i, name in enumerate(trace.layers):
            columns.setdefault(name.rpartition(".")[0] or name, []).append(i)
        sizes = [float(trace.layer_gradient[:, i].norm(dim=1).max()) for i in columns.values()]
        first = next(iter(columns.values()), [])
        updates = trace.layer_update[:, first].norm(dim=1)
        weight = float(trace.layer_weight[-1, first].norm())
        moved = self.steps * float(updates[updates.isfinite()].mean())
        return Modules(list(columns), sizes, moved / weight if weight > 0 else math.inf)

    @cached_property
    def zeros(self) -> list[str]:
        """Parameter tensors that are zero, as are their gradients; or next to it, beside
        the other layers' gradients in the run, or where all of them together move f by nothing.
        """
        ends = self.trace.layer_weight[-1], self.trace.layer_gradient[-1]
        sizes = self.trace.loop.sizes if self.trace.loop else [1] * len(self.trace.layers)
        gradients = self.trace.layer_gradient[self.trace.layer_gradient.isfinite()]
        least = SMALL * float(gradients.max()) if len(gradients) else 0.0
        if self.gradient * float(self.trace.weight_norm[-1]) <= SMALL**2 * self.unit:
            least = math.inf
        return [
            k
            for k, w, g, n in zip(self.trace.layers, *ends, sizes, strict=True)
            if w <= ZERO * math.sqrt(n) and g <= least
        ]
