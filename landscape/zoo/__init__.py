"""Landscapes under a name, each built by one module a family, imported when it is asked for."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from landscape import specs
from landscape.model import ModelLandscape
from landscape.zoo.known import KnownLandscape


@dataclass(frozen=True)
class _Entry:
    module: str
    function: str
    text: str  # one line for a list


_ENTRIES = {
    "digits-mlp": _Entry("digits", "mlp", "tanh network, 1,200 parameters, trained to a minimum on handwritten digits"),
    "digits-cnn": _Entry("digits", "cnn", "convolutions with BatchNorm and ReLU, 3,742 parameters, on the same digits"),
    "pnet": _Entry("faces", "pnet", "P-Net of the MTCNN face detector, 6,632 parameters, on 200 images, half of faces"),
    "rnet": _Entry("faces", "rnet", "R-Net of the MTCNN face detector, 100,178 parameters, on the same images"),
    "g2p": _Entry("words", "g2p", "GRUs from spelling to sound, 834,890 parameters, on 512 English words"),
    "deep-linear": _Entry(
        "linear", "deep_linear", "linear network on its singular values, every saddle in closed form"
    ),
    "factorisation": _Entry("linear", "factorisation", "symmetric matrix as U U', every saddle in closed form"),
    "phase-retrieval": _Entry("phase", "phase_retrieval", "a signal from squared projections, infinitely many of them"),
    "xor-net": _Entry("nets", "xor_net", "two or more hidden units on XOR, three stationary points known"),
    "student-teacher": _Entry(
        "nets", "student_teacher", "ReLU student of an orthonormal ReLU teacher, Gaussian inputs"
    ),
}


def names() -> list[str]:
    """The names that ``load`` knows."""
    return list(_ENTRIES)


def describe(name: str) -> str:
    """One line about a landscape.

    Raises:
        ValueError: an unknown name.
    """
    return _entry(name).text


def options(name: str) -> dict[str, Any]:
    """The options of ``load(name, ...)`` and their defaults.

    Raises:
        ValueError: an unknown name.
    """
    return {k: p.default for k, p in inspect.signature(_builder(name)).parameters.items()}


def load(name: str, **chosen: Any) -> ModelLandscape | KnownLandscape:
    """The landscape of a name: a model with its loss, data and weight decay, or a formula with what is known of it.

    Raises:
        ValueError: an unknown name or option, or an option value out of range.
        LoadingError: a package that it needs is not installed; the message says which extra brings it.
    """
    known = options(name)
    for option in chosen:
        if option not in known:
            raise ValueError(
                f"{name} has no option {option!r}.{specs.closest(option, known)} "
                f"Its options: {', '.join(known) or 'none'}."
            )
    return _builder(name)(**chosen)


def _entry(name: str) -> _Entry:
    if name not in _ENTRIES:
        raise ValueError(f"no landscape {name!r}.{specs.closest(name, _ENTRIES)} Known: {', '.join(_ENTRIES)}.")
    return _ENTRIES[name]


def _builder(name: str) -> Callable[..., ModelLandscape | KnownLandscape]:
    entry = _entry(name)
    builder: Callable[..., ModelLandscape | KnownLandscape] = getattr(
        importlib.import_module(f"landscape.zoo.{entry.module}"), entry.function
    )
    return builder
