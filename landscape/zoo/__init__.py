"""Landscapes under a name, each built by one module a family, imported when it is asked for."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from landscape import specs
from landscape.model import ModelLandscape


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
    "digits-tiny": _Entry(
        "digits", "tiny", "tanh network, 297 parameters, on 100 digits of 4 x 4: for a census of its saddles"
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


def load(name: str, **chosen: Any) -> ModelLandscape:
    """The landscape of a name: its model, loss, data and weight decay.

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


def _builder(name: str) -> Callable[..., ModelLandscape]:
    entry = _entry(name)
    builder: Callable[..., ModelLandscape] = getattr(
        importlib.import_module(f"landscape.zoo.{entry.module}"), entry.function
    )
    return builder
