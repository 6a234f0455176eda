"""Training runs that are stuck on purpose, each by a cause known from how it is built.

Every run comes in three variants and takes any seed. ``build`` gives the run at its start,
``Scene.train`` follows it to where it is stuck, with torch's own optimisers, in float64 on the CPU,
about a second on one thread. Causes carry the names of a diagnosis: saddle, flat, saturated, dead,
vanishing, learning rate, noise, minimum. Where two are true at once, ``accepted`` holds both.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler

from landscape import specs
from landscape.landscapes.model import ModelLandscape

Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Scene:
    """A run ready to start: the landscape holds the model and the micro-batches that its loop draws
    from.
    """

    f: ModelLandscape
    optimizer: Optimizer
    schedule: LRScheduler | None
    steps: int
    seed: int

    def loop(self) -> Iterator[int]:
        """Train step by step, yielding the number of each step done; batches are drawn by
        ``seed``.
        """
        model, batches = self.f.model, list(self.f.batches)
        loss = self.f.loss
        assert loss is not None
        generator = torch.Generator("cpu").manual_seed(self.seed)
        for step in range(self.steps):
            x, y = batches[int(torch.randint(len(batches), (), generator=generator, device="cpu"))]
            self.optimizer.zero_grad()
            loss(model(x), y).backward()
            self.optimizer.step()
            if self.schedule is not None:
                self.schedule.step()
            yield step + 1

    def train(self) -> "Scene":
        """All the steps of the loop; the model is then stuck."""
        for _ in self.loop():
            pass
        return self


@dataclass(frozen=True)
class StuckRun:
    """One way of being stuck."""

    name: str
    cause: str  # the true one, named as in a diagnosis
    # names of probes known to work; "control" where none works, or nothing is to be done
    remedies: tuple[str, ...]
    source: str
    builder: Callable[[int, torch.Generator], Scene]  # (variant, draws) -> the run at its start
    also: tuple[str, ...] = ()  # names that are true of it too

    @property
    def accepted(self) -> tuple[str, ...]:
        """The causes that are right answers, the main one first."""
        return (self.cause, *self.also)

    def build(self, variant: int = 0, seed: int = 0) -> Scene:
        """The run at its start.

        Raises:
            ValueError: the variant is not 0, 1 or 2.
        """
        if variant not in range(VARIANTS):
            raise ValueError(f"{self.name} has variants 0 to {VARIANTS - 1}, got {variant}.")
        return self.builder(variant, torch.Generator("cpu").manual_seed(seed))


VARIANTS = 3


class Point(nn.Module):
    """A formula of one point (n,) as a model: its output is the value, whatever the input."""

    def __init__(self, start: Tensor, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.x = nn.Parameter(start.clone())
        self.formula = formula

    def forward(self, _: Tensor) -> Tensor:
        return self.formula(self.x)


def value_loss(output: Tensor, target: Tensor) -> Tensor:
    """The output itself."""
    return output


def names() -> list[str]:
    """The names that ``get`` knows."""
    return list(RUNS)


def get(name: str) -> StuckRun:
    """The stuck run of a name.

    Raises:
        ValueError: an unknown name.
    """
    if name not in RUNS:
        raise ValueError(
            f"no stuck run is called {name!r}.{specs.closest(name, RUNS)} They are: "
            f"{', '.join(RUNS)}."
        )
    return RUNS[name]


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")


def _net(
    sizes: list[int], act: Callable[[], nn.Module], generator: torch.Generator, last: bool = False
) -> nn.Sequential:
    """Linear layers, normal weights of variance 1 / inputs, zero biases; ``last``: an activation
    after the last one too.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        # made without values, so that the global generator is not moved
        layer = nn.Linear(inputs, outputs, device="meta", dtype=torch.float64).to_empty(
            device="cpu"
        )
        with torch.no_grad():
            layer.weight.copy_(_normal((outputs, inputs), generator) / math.sqrt(inputs))
            layer.bias.zero_()
        layers += [layer, act()]
    return nn.Sequential(*(layers if last else layers[:-1]))


def _linears(model: nn.Module) -> list[nn.Linear]:
    return [m for m in model.modules() if isinstance(m, nn.Linear)]


def _data(generator: torch.Generator, count: int = 32, inputs: int = 3) -> tuple[Tensor, Tensor]:
    """Inputs (count, inputs) and targets (count, 1), a sine of their sum, both of mean zero."""
    x = _normal((count, inputs), generator)
    x = x - x.mean(0)
    y = torch.sin(x.sum(1, keepdim=True))
    return x, y - y.mean()


def _scene(
    model: nn.Module,
    batches: Batches,
    lr: float,
    steps: int,
    generator: torch.Generator,
    gamma: float | None = None,
) -> Scene:
    loss = value_loss if isinstance(model, Point) else nn.functional.mse_loss
    optimizer = SGD(model.parameters(), lr=lr)
    schedule = None if gamma is None else ExponentialLR(optimizer, gamma)
    seed = int(torch.randint(2**31, (), generator=generator, device="cpu"))
    return Scene(ModelLandscape(model, loss, batches), optimizer, schedule, steps, seed)


def _formula(
    start: Tensor,
    formula: Callable[[Tensor], Tensor],
    lr: float,
    steps: int,
    generator: torch.Generator,
) -> Scene:
    empty = torch.zeros(1, 1, dtype=torch.float64, device="cpu")
    return _scene(Point(start, formula), [(empty, empty)], lr, steps, generator)


HIDDEN = ([8], [16], [8, 8])


def _saturated(variant: int, generator: torch.Generator) -> Scene:
    x, y = _data(generator)
    model = _net([3, *HIDDEN[variant], 1], nn.Sigmoid, generator, last=True)
    with torch.no_grad():
        for layer in _linears(model):
            layer.bias.fill_(30.0)  # every unit at 1, the output too, where targets are below 1/2
    return _scene(model, [(x, 0.2 + 0.1 * y)], 0.1, 60, generator)


def _dead(variant: int, generator: torch.Generator) -> Scene:
    x, y = _data(generator)
    model = _net([3, *HIDDEN[variant], 1], nn.ReLU, generator)
    with torch.no_grad():
        for layer in _linears(model)[:-1]:
            layer.bias.fill_(-100.0)
    return _scene(model, [(x, y)], 0.1, 60, generator)


def _zero_tanh(variant: int, generator: torch.Generator) -> Scene:
    x, y = _data(generator)
    model = _net([3, (4, 8, 16)[variant], 1], nn.Tanh, generator)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()  # one hidden layer: with more the Hessian of the zero net vanishes too
    return _scene(model, [(x, y + 0.3 * (x[:, :1] - x[:, :1].mean()))], 0.1, 60, generator)


def _decayed(variant: int, generator: torch.Generator) -> Scene:
    x, y = _data(generator)
    return _scene(
        _net([3, *HIDDEN[variant], 1], nn.Tanh, generator), [(x, y)], 0.1, 60, generator, gamma=0.8
    )


def _too_large(variant: int, generator: torch.Generator) -> Scene:
    n = (1, 3, 8)[variant]

    def formula(x: Tensor) -> Tensor:
        return (10 * x).cosh().log().sum()

    # curvature 100: stable below 0.02
    return _formula(0.1 * _normal((n,), generator), formula, 0.03, 200, generator)


def _vanishing(variant: int, generator: torch.Generator) -> Scene:
    x, y = _data(generator)
    depth, width = 4, (8, 16, 32)[variant]
    model = _net([3, *[width] * depth, 1], nn.Sigmoid, generator)
    # Once the mean is fitted, a layer's gradient is the product of all the OTHER layers' gains, so
    # equal layers have equal gradients
    # however small they are. Gains that fall towards the output give gradients that fall towards
    # the input; 4 undoes a sigmoid's slope.
    with torch.no_grad():
        for i, layer in enumerate(_linears(model)):
            layer.weight *= 4 * 10 ** (-3 * i / depth)
    return _scene(model, [(x, y)], 0.1, 200, generator)


def _away(n: int, distance: float, generator: torch.Generator) -> Tensor:
    v = _normal((n,), generator)
    start: Tensor = distance * v / v.norm()
    return start


def _well(variant: int, generator: torch.Generator) -> Scene:
    def formula(x: Tensor) -> Tensor:
        return -torch.exp(-0.5 * x.square().sum())

    return _formula(_away((2, 5, 20)[variant], 7.0, generator), formula, 0.1, 100, generator)


def _easom(variant: int, generator: torch.Generator) -> Scene:
    def formula(x: Tensor) -> Tensor:
        value: Tensor = -x.cos().prod() * (-(x - math.pi).square().sum()).exp()
        return value

    start = math.pi + _away(2, (6.0, 8.0, 10.0)[variant], generator)
    return _formula(start, formula, 0.1, 100, generator)


def _deep_linear(variant: int, generator: torch.Generator) -> Scene:
    n = (2, 3, 4)[variant]
    target = torch.diag(torch.arange(n, 0, -1, dtype=torch.float64, device="cpu"))
    start = 1e-6 * _normal((2, n, n), generator)
    start[:, 0, 0] = math.sqrt(n)  # the strongest mode is learned, the others have not begun

    def formula(x: Tensor) -> Tensor:
        first, second = x.reshape(2, n, n).unbind()
        return 0.5 * (second @ first - target).square().sum()

    # ten times the rate is unstable: 2 / (2 n)
    return _formula(start.flatten(), formula, 0.2 / n, 20, generator)


def _valley(variant: int, generator: torch.Generator) -> Scene:
    n = (2, 4, 8)[variant]
    curvature = torch.ones(n, dtype=torch.float64, device="cpu")
    curvature[-1] = 1e-6
    start = _normal((n,), generator)
    start[-1] = 1000.0 + 10 * start[-1].abs()

    def formula(x: Tensor) -> Tensor:
        return 0.5 * (curvature * x * x).sum()

    return _formula(start, formula, 1.0, 100, generator)


def _noise(variant: int, generator: torch.Generator) -> Scene:
    inputs = (2, 4, 8)[variant]
    x = _normal((64, inputs), generator)
    y = x.sum(1, keepdim=True) + _normal((64, 1), generator)
    batches = [(x[i : i + 2], y[i : i + 2]) for i in range(0, 64, 2)]
    return _scene(_net([inputs, 1], nn.Identity, generator), batches, 0.1 / inputs, 400, generator)


def _converged(variant: int, generator: torch.Generator) -> Scene:
    inputs = (2, 4, 8)[variant]
    x = _normal((64, inputs), generator)
    y = x.sum(1, keepdim=True) + _normal((64, 1), generator)
    return _scene(_net([inputs, 1], nn.Identity, generator), [(x, y)], 0.2, 400, generator)


_GLOROT = "X. Glorot, Y. Bengio, AISTATS 2010"
_HERE = "constructed here"
_EIGEN = ("eigenvector +", "eigenvector -", "noise")
_RATES = ("rate x100", "rate x10", "adam:lr=0.01")
RUNS = {
    run.name: run
    for run in (
        StuckRun(
            "saturated-sigmoids",
            "saturated",
            ("rescale saturated units", *_EIGEN),
            _GLOROT,
            _saturated,
        ),
        StuckRun(
            "dead-relus",
            "dead",
            ("revive dead units",),
            "L. Lu et al. 2019, arXiv:1903.06733",
            _dead,
        ),
        StuckRun("zero-tanh", "saddle", (*_EIGEN, "fresh layers"), _HERE, _zero_tanh),
        StuckRun("rate-decayed", "learning rate", ("initial rate", *_RATES), _HERE, _decayed),
        StuckRun("rate-too-large", "learning rate", ("rate x0.1",), _HERE, _too_large),
        StuckRun(
            "deep-sigmoids", "vanishing", ("adam:lr=0.01",), f"{_GLOROT}; gains {_HERE}", _vanishing
        ),
        StuckRun("gaussian-well", "flat", ("control",), f"{_HERE}: f is -exp(-|x|^2 / 2)", _well),
        StuckRun("easom", "flat", ("control",), f"{_HERE}: cosines under exp(-|x - pi|^2)", _easom),
        StuckRun(
            "deep-linear",
            "saddle",
            (*_EIGEN,),
            "A. Saxe, J. McClelland, S. Ganguli 2013, arXiv:1312.6120",
            _deep_linear,
        ),
        StuckRun(
            "long-valley",
            "flat",
            _RATES,
            f"{_HERE}: condition 1e6",
            _valley,
            also=("learning rate",),
        ),
        StuckRun("noise-floor", "noise", ("full batch", "rate x0.1"), _HERE, _noise),
        StuckRun("converged", "minimum", ("control",), f"{_HERE}: least squares", _converged),
    )
}
