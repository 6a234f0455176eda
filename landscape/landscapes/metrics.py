"""What is measured at many points at once: the value of f, and other metrics beside it.

X: (m, n), points. A metric of a model is a mean over all samples of a function of (output, target);
of a formula it is a function of points (..., n) -> (...). Small models are evaluated at many points
in one go by vmap, others one point after the other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from landscape import specs
from landscape.core import Landscape, OutputTerm
from landscape.errors import LoadingError
from landscape.landscapes import batches as batching
from landscape.landscapes.memory import eased
from landscape.landscapes.model import ModelLandscape

BUDGET = 2**26  # bytes of points evaluated at once
ALONE = (
    nn.modules.conv._ConvNd,
    nn.RNNBase,
    nn.MultiheadAttention,
)  # vmap makes these slower on a CPU, or refuses them
TOGETHER = (
    64  # points of a model in one vmap: more gains nothing, and each holds its own activations
)
NORMS = (nn.modules.batchnorm._BatchNorm,)

Metric = Callable[..., Any]
Cells = Callable[[Tensor], dict[str, Tensor]]


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """The share of right answers: the largest over the classes, or the sign of a single output.

    Classes are the second dimension, as torch's losses have it, or the last one where only then the
    target's shape fits.
    """
    if output.ndim > 2 and target.shape == output.shape[:-1] != output.shape[:1] + output.shape[2:]:
        output = output.movedim(-1, 1)
    if (
        target.is_floating_point()
        and target.shape == output.shape
        and output.ndim > 1
        and output.shape[1] > 1
    ):
        target = target.argmax(1)  # class probabilities
    if output.ndim > 1 and output.shape[1] > 1:
        return (output.argmax(1) == target).double().mean()
    middle = 0.5 if not bool((target < 0).any()) else 0.0
    guess, truth = output.reshape(-1) > 0, target.reshape(-1) > middle
    return (guess == truth).double().mean()


NAMED: dict[str, Metric] = {"accuracy": accuracy}
NAMES = ("loss", "gradient-norm", *NAMED)


def metrics(chosen: Iterable[str | Metric] | Mapping[str, str | Metric]) -> dict[str, str | Metric]:
    """Metrics by name. A callable is named after itself.

    Raises:
        ValueError: neither a callable nor a known name, two of one name, or one in the place of the
            loss.
    """
    if isinstance(chosen, str) or callable(chosen):
        chosen = [chosen]
    if isinstance(chosen, Mapping):
        named = list(chosen.items())
    else:
        named = [
            (m if isinstance(m, str) else getattr(m, "__name__", type(m).__name__), m)
            for m in chosen
        ]
    for _, m in named:
        if not callable(m) and m not in NAMES:
            raise ValueError(
                f"a metric is a callable or one of {', '.join(NAMES)}, got "
                f"{m!r}.{specs.closest(str(m), NAMES)}"
            )
    if len({name for name, _ in named}) < len(named):
        raise ValueError("two metrics have one name: pass a dict from names to metrics.")
    if any(name == "loss" and m != "loss" for name, m in named):
        raise ValueError(
            'a metric is called "loss", which are the values of f: pass a dict with another name '
            "for it."
        )
    return {name: m for name, m in named if m != "loss"}


def evaluator(
    f: Landscape, chosen: Mapping[str, str | Metric], *, batch_statistics: bool = False
) -> tuple[Cells, int]:
    """A function from points (m, n) to {"loss": (m,), metric: (m,), ...}, and the number of points
    to give it at once.

    Args:
        batch_statistics: BatchNorm's running statistics are measured anew at every point.

    Raises:
        ValueError: a metric or ``batch_statistics`` that f has no use for.
    """
    size = max(1, BUDGET // (f.dim * f.dtype.itemsize))
    if not isinstance(f, ModelLandscape):
        if batch_statistics:
            raise ValueError(
                "batch_statistics is about a model with BatchNorm, and this is a formula."
            )
        if named := [m for m in chosen.values() if isinstance(m, str) and m in NAMED]:
            raise ValueError(
                f"{named[0]} is about a model's output, and this is a formula: pass a function of "
                f"points."
            )
        return lambda X: _of_formula(f, X, chosen), size
    if batch_statistics and not normed(f):
        raise ValueError("batch_statistics: this model has no BatchNorm with running statistics.")
    if batch_statistics and f.mode == "train":
        raise ValueError(
            "batch_statistics: a landscape in train mode uses each batch's own statistics already."
        )
    model = _OfModel(f, chosen, batch_statistics)
    return model, min(size, TOGETHER)


def _of_formula(f: Landscape, X: Tensor, chosen: Mapping[str, str | Metric]) -> dict[str, Tensor]:
    found = {"loss": f.value(X).detach()}
    for name, metric in chosen.items():
        value = (
            _gradient_norm(f, X)
            if isinstance(metric, str)
            else _tensor(name, metric(X), X.device).detach()
        )
        if value.shape != X.shape[:-1]:
            raise ValueError(
                f"the metric {name} gave {tuple(value.shape)} for points {tuple(X.shape)}, not "
                f"{tuple(X.shape[:-1])}."
            )
        found[name] = value.to(X.dtype)
    return found


def _tensor(name: str, value: Any, device: torch.device) -> Tensor:
    try:
        return value if isinstance(value, Tensor) else torch.as_tensor(value, device=device)
    except (RuntimeError, TypeError, ValueError):
        raise ValueError(f"the metric {name} gave a {type(value).__name__}, not numbers.") from None


def _gradient_norm(f: Landscape, X: Tensor) -> Tensor:
    return f.gradient(X).detach().double().square().sum(-1).sqrt().to(X.dtype)


class _OfModel:
    """The cells of a model: all at once while vmap allows it."""

    def __init__(
        self, f: ModelLandscape, chosen: Mapping[str, str | Metric], batch_statistics: bool
    ) -> None:
        self.f, self.chosen, self.batch_statistics = f, chosen, batch_statistics
        self.rows = f.many()
        self.vectorised = not batch_statistics and not any(
            isinstance(m, ALONE) for m in f.model.modules()
        )

    def __call__(self, X: Tensor) -> dict[str, Tensor]:
        if self.batch_statistics:
            cells = []
            for x in X:
                with fresh_statistics(self.f, x):
                    cells.append(self._some(x[None]))
            return {name: torch.cat([cell[name] for cell in cells]) for name in cells[0]}
        return self._some(X)

    def _some(self, X: Tensor) -> dict[str, Tensor]:
        found = {"loss": self._values(X)}
        for name, metric in self.chosen.items():
            found[name] = (
                _gradient_norm(self.f, X)
                if isinstance(metric, str) and metric not in NAMED
                else eased(self.f, self.f.point(), partial(self._mean, X, name, metric))
            )
        return found

    def _values(self, X: Tensor) -> Tensor:
        if self.vectorised and len(X) > 1:
            found = self.rows.values(X)
            self.vectorised = self.rows.vectorised
            return found
        return self.f.value(X)

    def _mean(self, X: Tensor, name: str, metric: str | Metric) -> Tensor:
        """The mean over samples of a metric of (output, target)."""
        f, function = self.f, NAMED[metric] if isinstance(metric, str) else metric
        total, samples = torch.zeros(len(X), dtype=torch.float64, device=f.device), 0
        with f.evaluation(), torch.no_grad():
            for term in f.output_terms():
                count = batching.samples((term.target, term.target))
                for i, output in enumerate(self._outputs(term, X)):
                    value = _tensor(name, function(output, term.target), f.device)
                    if value.numel() != 1:
                        raise ValueError(
                            f"the metric {name} gave shape {tuple(value.shape)} for a batch: it is "
                            f"a mean, one number."
                        )
                    total[i] += count * value.detach().double().reshape(()).to(f.device)
                samples += count
        return (total / samples).to(f.dtype)

    def _outputs(self, term: OutputTerm, X: Tensor) -> Iterable[Tensor]:
        if self.vectorised and len(X) > 1:
            try:
                found: Tensor = vmap(term.output, randomness="same")(X)
                return found
            except (RuntimeError, LoadingError):
                self.vectorised = False
        return map(term.output, X)


def normed(f: ModelLandscape) -> dict[str, nn.modules.batchnorm._BatchNorm]:
    """The BatchNorm layers with running statistics, by name."""
    return {
        k: m
        for k, m in f.model.named_modules()
        if isinstance(m, NORMS) and m.track_running_stats and m.running_mean is not None
    }


def borrowed(f: Landscape) -> bool:
    """Whether points other than the model's own are evaluated with BatchNorm statistics of the
    model's own.
    """
    return isinstance(f, ModelLandscape) and f.mode != "train" and bool(normed(f))


@contextmanager
def fresh_statistics(f: ModelLandscape, x: Tensor) -> Iterator[None]:
    """Inside, f is evaluated with the BatchNorm statistics that all the data have at x (n,); the
    model's own stay as they are.

    As after training with averaged weights (Izmailov et al. 2018, UAI, section 3.2): layers
    normalise by each micro-batch's own statistics while means and unbiased variances are averaged
    over micro-batches by their samples. Other layers are in f's mode.
    """
    layers = normed(f)
    seen = dict.fromkeys(layers, 0)
    sums: dict[str, Tensor] = {}

    def keep(name: str, number: int, count: int) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            values = (
                (inputs[0] if inputs else named["input"])
                .detach()
                .transpose(0, 1)
                .flatten(1)
                .double()
            )
            if values.shape[1] < 2:
                raise LoadingError(
                    f"batch_statistics: batch {number} has one value a channel at {name}, and one "
                    f"has no variance: "
                    "use another batch size, or drop_last=True."
                )
            for part, value in (("running_mean", values.mean(1)), ("running_var", values.var(1))):
                sums[f"{name}.{part}"] = (
                    sums.get(f"{name}.{part}", torch.zeros_like(value)) + count * value
                )
            seen[name] += count  # a layer that a pass uses twice counts twice

        return hook

    before = f.statistics
    with f.evaluation(), torch.no_grad():
        for number, batch in enumerate(f.batches):
            count = batching.samples(batch)
            handles = [
                layer.register_forward_pre_hook(keep(name, number, count), with_kwargs=True)
                for name, layer in layers.items()
            ]
            try:
                for layer in layers.values():
                    layer.training = True
                f.batch_value(x, batching.move(batch, f.device, f.dtype))
            finally:
                for handle in handles:
                    handle.remove()
    try:
        f.statistics = before | {
            name: total / seen[name.rpartition(".")[0]] for name, total in sums.items()
        }
        yield
    finally:
        f.statistics = before
