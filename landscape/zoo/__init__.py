"""Landscapes under a name, each built by one module a family, imported when it is asked for."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_type_hints, overload

from landscape import specs
from landscape.landscapes.arithmetic import unset
from landscape.landscapes.formula import require_formula
from landscape.landscapes.model import ModelLandscape, require_model
from landscape.zoo.known import KnownLandscape

# The names of ``_ENTRIES`` by what ``load`` returns, for whoever reads types.
ModelName = Literal[
    "digits-mlp", "digits-cnn", "pnet", "rnet", "g2p", "digits-tiny"
]  # fmt: skip
FormulaName = Literal[
    "quadratic", "strict-saddle", "monkey-saddle", "x4-minus-y4", "x4-plus-y4", "minus-x4-y4",
    "x2-plus-y3", "x2-plus-y4", "cubic-inflection", "crossed-valleys", "peano", "himmelblau",
    "beale", "rosenbrock", "styblinski-tang", "rastrigin", "xy-ring", "phi4-ring",
    "lennard-jones", "trigonometric", "p-spin", "octopus", "double-well", "gaussian-well",
    "deep-linear", "factorisation", "phase-retrieval", "xor-net", "student-teacher", "tanh-net",
    "sigmoid-net",
]  # fmt: skip


@dataclass(frozen=True)
class _Entry:
    module: str
    function: str
    text: str  # one line for a list
    trained: bool = False  # whether it is trained whenever it is built


_ENTRIES = {
    "digits-mlp": _Entry(
        "digits",
        "mlp",
        "tanh network, 1,200 parameters, trained to a minimum on handwritten digits",
        trained=True,
    ),
    "digits-cnn": _Entry(
        "digits",
        "cnn",
        "convolutions with BatchNorm and ReLU, 3,742 parameters, on the same digits",
        trained=True,
    ),
    "pnet": _Entry(
        "faces",
        "pnet",
        "P-Net of the MTCNN face detector, 6,632 parameters, on 200 images, half of faces",
    ),
    "rnet": _Entry(
        "faces", "rnet", "R-Net of the MTCNN face detector, 100,178 parameters, on the same images"
    ),
    "g2p": _Entry(
        "words", "g2p", "GRUs from spelling to sound, 834,890 parameters, on 512 English words"
    ),
    "quadratic": _Entry("textbook", "quadratic", "the quadratic form of a symmetric matrix"),
    "strict-saddle": _Entry(
        "textbook", "strict_saddle", "quadratic that falls along some axes, rises along others"
    ),
    "monkey-saddle": _Entry(
        "textbook", "monkey_saddle", "x^3 - 3 x y^2: three valleys meet three ridges"
    ),
    "x4-minus-y4": _Entry("textbook", "x4_minus_y4", "a saddle of fourth order"),
    "x4-plus-y4": _Entry("textbook", "x4_plus_y4", "a minimum of fourth order"),
    "minus-x4-y4": _Entry("textbook", "minus_x4_y4", "a maximum of fourth order"),
    "x2-plus-y3": _Entry(
        "textbook", "x2_plus_y3", "looks like a minimum to second order and is none"
    ),
    "x2-plus-y4": _Entry(
        "textbook", "x2_plus_y4", "a minimum, flat to second order in one direction"
    ),
    "cubic-inflection": _Entry(
        "textbook", "cubic_inflection", "x^3: stationary, neither minimum nor maximum"
    ),
    "crossed-valleys": _Entry(
        "textbook", "crossed_valleys", "x^2 y^2: every point of both axes is a minimum"
    ),
    "peano": _Entry("textbook", "peano", "minimum along every straight line, and yet none"),
    "himmelblau": _Entry(
        "benchmarks", "himmelblau", "four minima, four saddles and a maximum in two variables"
    ),
    "beale": _Entry(
        "benchmarks", "beale", "a minimum in a flat valley and two saddles in two variables"
    ),
    "rosenbrock": _Entry(
        "benchmarks", "rosenbrock", "chain of curved valleys, two minima from dim 4 on"
    ),
    "styblinski-tang": _Entry(
        "benchmarks", "styblinski_tang", "double well per coordinate, 3^dim stationary points"
    ),
    "rastrigin": _Entry("benchmarks", "rastrigin", "bowl with ripples, 21^dim stationary points"),
    "xy-ring": _Entry("lattices", "xy_ring", "ring of planar spins on a torus"),
    "phi4-ring": _Entry("lattices", "phi4_ring", "ring of coupled double wells"),
    "lennard-jones": _Entry(
        "clusters", "lennard_jones", "cluster of atoms, up to motions and exchange of atoms"
    ),
    "trigonometric": _Entry("fields", "trigonometric", "random Gaussian field on a torus"),
    "p-spin": _Entry("fields", "p_spin", "spherical spin glass: a random form on a sphere"),
    "octopus": _Entry(
        "octopus", "octopus", "saddles in a row, exponentially slow for gradient descent"
    ),
    "double-well": _Entry(
        "wells", "double_well", "two minima and the barrier between them, in chosen coordinates"
    ),
    "gaussian-well": _Entry(
        "wells", "gaussian_well", "a minimum in a plateau on which gradients vanish"
    ),
    "deep-linear": _Entry(
        "linear",
        "deep_linear",
        "linear network on its singular values, every saddle in closed form",
    ),
    "factorisation": _Entry(
        "linear", "factorisation", "symmetric matrix as U U', every saddle in closed form"
    ),
    "phase-retrieval": _Entry(
        "phase", "phase_retrieval", "a signal from squared projections, infinitely many of them"
    ),
    "xor-net": _Entry(
        "nets", "xor_net", "two or more hidden units on XOR, three stationary points known"
    ),
    "student-teacher": _Entry(
        "nets", "student_teacher", "ReLU student of an orthonormal ReLU teacher, Gaussian inputs"
    ),
    "tanh-net": _Entry(
        "zeros", "tanh_net", "tanh network around its saddle at zero, index and nullity known"
    ),
    "sigmoid-net": _Entry(
        "zeros", "sigmoid_net", "sigmoid network around its saddle at zero, index and nullity known"
    ),
    "digits-tiny": _Entry(
        "digits",
        "tiny",
        "tanh network, 310 parameters, on 100 digits: for a census of its saddles",
        trained=True,
    ),
}


def names() -> list[str]:
    """The names that ``load`` knows."""
    return list(_ENTRIES)


def is_trained_here(name: str) -> bool:
    """Whether this is a built-in model that is trained whenever it is built, for seconds."""
    return name in _ENTRIES and _ENTRIES[name].trained


def describe(name: str) -> str:
    """One line about a landscape.

    Raises:
        ValueError: an unknown name.
    """
    return _entry(name).text


def is_formula(name: str) -> bool:
    """Whether a landscape is a formula with known stationary points; else it is a model.

    Raises:
        ValueError: an unknown name.
    """
    return get_type_hints(_builder(name))["return"] is KnownLandscape


def options(name: str) -> dict[str, object]:
    """The options of ``load(name, ...)`` and their defaults.

    Raises:
        ValueError: an unknown name.
    """
    return {k: p.default for k, p in inspect.signature(_builder(name)).parameters.items()}


@overload
def load(name: ModelName, **chosen: object) -> ModelLandscape: ...
@overload
def load(name: FormulaName, **chosen: object) -> KnownLandscape: ...
@overload
def load(name: str, **chosen: object) -> ModelLandscape | KnownLandscape: ...
def load(name: str, **chosen: object) -> ModelLandscape | KnownLandscape:
    """The landscape of a name: a model with its loss, data and weight decay, or a formula with what
    is known of it.

    Raises:
        ValueError: an unknown name or option, or an option value out of range.
        LoadingError: a package that it needs is not installed; the message says which extra brings
            it.
    """
    known = options(name)
    for option in chosen:
        if option not in known:
            raise ValueError(
                f"{name} has no option {option!r}.{specs.closest(option, known)} "
                f"Its options: {', '.join(known) or 'none'}."
            )
    with unset():
        return _builder(name)(**chosen)


def formula(name: str, **chosen: object) -> KnownLandscape:
    """``load`` of a formula.

    Raises:
        ValueError: as of ``load``, or the name is a model's.
    """
    return require_formula(
        load(name, **chosen), f"{name} is a model, not a formula.", KnownLandscape
    )


def model(name: str, **chosen: object) -> ModelLandscape:
    """``load`` of a model.

    Raises:
        ValueError, LoadingError: as of ``load``, or the name is a formula's.
    """
    return require_model(load(name, **chosen), f"{name} is a formula, not a model.")


def _entry(name: str) -> _Entry:
    if name not in _ENTRIES:
        raise ValueError(
            f"no landscape {name!r}.{specs.closest(name, _ENTRIES)} Known: {', '.join(_ENTRIES)}."
        )
    return _ENTRIES[name]


def _builder(name: str) -> Callable[..., ModelLandscape | KnownLandscape]:
    entry = _entry(name)
    builder: Callable[..., ModelLandscape | KnownLandscape] = getattr(
        importlib.import_module(f"landscape.zoo.{entry.module}"), entry.function
    )
    return builder
