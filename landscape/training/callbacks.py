"""A Tracer for loops that are not one's own: PyTorch Lightning's and the Hugging Face Trainer's.

    tracing = ls.training.lightning_callback(f, every=10)
    trainer = lightning.Trainer(callbacks=[tracing])

Neither package is imported before its function is called. The tracer is entered when training
starts, around the optimisers that the trainer has made by then, and left when it ends or fails.
"""

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Protocol, TypedDict, Unpack

import torch
from torch import nn

from landscape.landscapes.model import ModelLandscape
from landscape.training.logs import Log
from landscape.training.trace import Trace
from landscape.training.tracer import Tracer

Made = ModelLandscape | Callable[..., ModelLandscape]


class Options(TypedDict, total=False):
    """What a ``Tracer`` can be told besides."""

    share: float
    evaluate: int
    curvature: int
    rounds: int
    last_look: bool
    folder: str | os.PathLike[str] | None
    resume: bool
    log: Log | None
    live: bool


class Trainer(Protocol):
    """What is asked of a ``lightning.Trainer``."""

    optimizers: list[torch.optim.Optimizer]


class TracingCallback(Protocol):
    """A callback of a trainer that traces it."""

    @property
    def result(self) -> Trace:
        """The trace, after training; during it what has been seen so far."""
        ...


class _Traced:
    """What both callbacks do."""

    def __init__(self, f: Made, every: int | None, options: Options) -> None:
        self.f, self.every, self.options = f, every, options
        self.tracer: Tracer | None = None
        self.entered = False
        self.failure = ""

    @property
    def result(self) -> Trace:
        if self.failure:
            raise RuntimeError(f"the training was not traced: {self.failure}")
        if self.tracer is None:
            raise RuntimeError("nothing is traced yet: the trainer has not started.")
        return self.tracer.result

    def begin(self, model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> None:
        """Trace from here; what is wrong with it must not end the training, and is told."""
        try:
            f = self.f(model) if callable(self.f) else self.f
            self.tracer = Tracer(optimizers, f, self.every, **self.options)
            self.tracer.__enter__()
            self.entered = True
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
            with suppress(Exception):  # where warnings are errors
                warnings.warn(f"the training is not traced: {self.failure}", stacklevel=3)

    def end(self, error: BaseException | None = None) -> None:
        if self.tracer is not None and self.entered:
            self.entered = False
            self.tracer.__exit__(type(error) if error is not None else None, error, None)


class _LightningHooks(_Traced):
    """Hooks of ``lightning.pytorch.Callback``."""

    def on_train_start(self, trainer: Trainer, pl_module: nn.Module) -> None:
        self.begin(pl_module, list(trainer.optimizers))

    def on_train_end(self, trainer: object, pl_module: nn.Module) -> None:
        self.end()

    def on_exception(self, trainer: object, pl_module: nn.Module, exception: BaseException) -> None:
        self.end(exception)


class _HuggingFaceHooks(_Traced):
    """Hooks of ``transformers.TrainerCallback``."""

    def on_train_begin(
        self,
        args: object,
        state: object,
        control: object,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        **parts: object,
    ) -> None:
        self.begin(model, [optimizer])

    def on_train_end(self, args: object, state: object, control: object, **parts: object) -> None:
        self.end()


def lightning_callback(
    f: Made, every: int | None = None, **options: Unpack[Options]
) -> TracingCallback:
    """A callback that traces ``lightning.Trainer.fit``.

    Args:
        f: the landscape of the module that is trained, over a fixed subset of the data; or a
            function that makes it of the module, called when training starts, when the module is on
            its device.
        every: optimiser steps from one record to the next; None: as many as ``share`` allows.
        options: others of ``Tracer``.

    Raises:
        ImportError: neither ``lightning`` nor ``pytorch_lightning`` is installed.
    """
    base = _base("Callback", "lightning.pytorch", "pytorch_lightning")
    callback: TracingCallback = type("LightningTracer", (_LightningHooks, base), {})(
        f, every, options
    )
    return callback


def huggingface_callback(
    f: Made, every: int | None = None, **options: Unpack[Options]
) -> TracingCallback:
    """A callback that traces ``transformers.Trainer.train``.

    Args:
        f: the landscape of the model that is trained: ``ls.ModelLandscape(model, None, batches)``
            with batches that are dicts, labels included; or a function that makes it of the model,
            called when training starts, when the model is on its device.
        every, options: as in ``lightning_callback``.

    Raises:
        ImportError: ``transformers`` is not installed.
    """
    base = _base("TrainerCallback", "transformers")
    callback: TracingCallback = type("HuggingFaceTracer", (_HuggingFaceHooks, base), {})(
        f, every, options
    )
    return callback


def _base(name: str, *modules: str) -> type:
    """The class ``name`` of the first of these modules that is installed."""
    for module in modules:
        try:
            found: type = getattr(import_module(module), name)
        except ModuleNotFoundError:
            continue
        return found
    package = modules[0].partition(".")[0]
    raise ImportError(f"{package} is not installed: pip install 'torch-landscape[integrations]'.")
