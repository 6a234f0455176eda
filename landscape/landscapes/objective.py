"""A model and its loss side by side, and the one rule of what is called with what.

- loss(output, target): the batch is a pair (input, target), or a mapping or an object that has its
target under one of
  ``batches.TARGETS``; the rest of it is the input.
- loss(model, batch): the loss does everything. A loss is taken for one of these by the names or the
annotation of its two
  arguments, or because the batch cannot be taken apart, or because loss(output, target) fails where
  this works.
- no loss: model(**batch) gives the loss.

A model is called with one input as it is: a tensor, a namedtuple, a PackedSequence, an object. A
plain tuple or list is spread as positional arguments. A mapping is spread by keyword where
``forward`` takes these names, else it is one argument. Of an output, ``logits`` (or ``out``) is
what a loss(output, target) sees, as an attribute or under that key, and the only tensor of a tuple;
of a result, ``loss`` is the loss, as an attribute, under that key, or as a tuple's first entry.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from landscape.errors import LoadingError
from landscape.landscapes import batches as batching
from landscape.landscapes.batches import Batch

MODELS = ("model", "net", "module", "network", "policy", "agent", "actor")
BATCHES = ("batch", "data", "rollout", "sample", "samples", "minibatch")
RULE = (
    "a model's output for loss(output, target) is a tensor, has .logits or a key 'logits', or is a "
    "tuple of one tensor; "
    "for anything else pass loss=lambda model, batch: ..."
)


class Objective(nn.Module):
    """The user's model and loss as one module, so that the tensors of both are found below it."""

    def __init__(self, model: nn.Module, loss: Callable[..., Any] | None) -> None:
        super().__init__()
        self.model = _bare(model)
        self.criterion = loss
        self.takes_model = True if loss is None else _takes_model(loss)  # None: to be tried

    def forward(self, batch: Batch, output: Any = None, stage: str = "loss") -> Any:
        """The loss of a batch; with ``stage="output"`` the model's output only, with
        ``"criterion"`` the loss of it.
        """
        if self.criterion is None:
            return scalar(
                self.model(**batch) if isinstance(batch, Mapping) else _called(self.model, batch)
            )
        if self.takes_model is None:
            self.takes_model = self._tried(batch)
        if self.takes_model:
            return scalar(self.criterion(self.model, batch))
        inputs, target = batching.split(batch)
        if stage != "criterion":
            output = _output(_called(self.model, inputs))
            if stage == "output":
                return output
        return self._judged(output, target)

    def _judged(self, output: Any, target: Any) -> Any:
        assert self.criterion is not None
        try:
            return scalar(self.criterion(output, target))
        except (TypeError, AttributeError) as error:
            if isinstance(output, Tensor):
                raise
            raise LoadingError(
                f"the loss cannot take the model's output, {_kind(output)} ({error}): {RULE}."
            ) from error

    def _tried(self, batch: Batch) -> bool:
        """Whether the loss is a loss(model, batch), by what it does with a batch."""
        assert self.criterion is not None
        try:
            inputs, target = batching.split(batch)
        except ValueError:
            return True
        try:
            self.criterion(_output(_called(self.model, inputs)), target)
        except (TypeError, AttributeError):
            try:
                return isinstance(scalar(self.criterion(self.model, batch)), Tensor)
            except Exception:  # the first error says more
                return False
        return False


def scalar(result: Any) -> Any:
    """The loss of what a loss function, or a model that computes its own, has returned."""
    if isinstance(result, Mapping) and "loss" in result:
        return result["loss"]
    if (
        isinstance(result, tuple)
        and result
        and isinstance(result[0], Tensor)
        and result[0].numel() == 1
    ):
        return result[0]
    return result if isinstance(result, Tensor) else getattr(result, "loss", result)


def _output(output: Any) -> Any:
    """What a loss(output, target) sees of what a model has returned."""
    if isinstance(output, Mapping):
        return next((output[key] for key in ("logits", "out") if key in output), output)
    if type(output) in (tuple, list) and len(output) == 1:
        return output[0]
    return output if isinstance(output, Tensor) else getattr(output, "logits", output)


def _called(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping) and _binds(model, inputs):
        return model(**inputs)
    return model(*inputs) if type(inputs) in (tuple, list) else model(inputs)


def _binds(model: nn.Module, inputs: Mapping[str, Any]) -> bool:
    """Whether ``forward`` takes the keys of a mapping as keywords."""
    try:
        inspect.signature(model.forward).bind(**inputs)
    except TypeError:
        return False
    except ValueError:  # it tells no signature
        return True
    return True


def _takes_model(loss: Callable[..., Any]) -> bool | None:
    """Whether ``loss`` is loss(model, batch) by its signature; None where that does not say."""
    function = loss.forward if isinstance(loss, nn.Module) else loss
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin
        return False
    names = [p.name for p in parameters]
    annotation = parameters[0].annotation if parameters else None
    module = isinstance(annotation, type) and issubclass(annotation, nn.Module)
    if (
        module
        or names[:1] in [[name] for name in MODELS]
        or names[1:2] in [[name] for name in BATCHES]
    ):
        return True
    return (
        False if getattr(function, "__module__", "").startswith(("torch.", "landscape.")) else None
    )


def _bare(model: nn.Module) -> nn.Module:
    """The model itself, without a wrapper that only spreads it over processes or devices."""
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    return model.module if isinstance(model, wrappers) else model


def _kind(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with the keys {', '.join(map(str, output))}"
    return f"a {type(output).__name__}" + (
        f" of {len(output)}" if isinstance(output, tuple | list) else ""
    )
