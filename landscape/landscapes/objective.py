"""A model and its loss side by side, and the one rule of what is called with what.

- loss(output, target): the batch is a pair (input, target), or a mapping or an object that has its
  target under one of ``batches.TARGETS``; the rest of it is the input.
- loss(model, batch): the loss does everything. Which of the two a loss is, is tried with the first
  batch: first the one that the names or the annotation of its arguments suggest, then the other.
- no loss: model(**batch) gives the loss.

A model is called with one input as it is: a tensor, a namedtuple, a PackedSequence, an object. A
plain tuple or list is spread as positional arguments, a mapping by keyword, where ``forward`` takes
them so and does not say that its one argument is a mapping; else they are one argument. A
loss(output, target) sees the output as it is, or, where it cannot take that, its ``logits`` (or
``out``), as an attribute or under that key, or the only tensor of a tuple or a mapping. Of a
result, ``loss`` is the loss, as an attribute, under that key, or as a tuple's first entry.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_origin

from torch import Tensor, nn

from landscape.errors import LoadingError, memory_is_full
from landscape.landscapes import batches as batching
from landscape.landscapes.batches import Batch

MODELS = ("model", "net", "module", "network", "policy", "agent", "actor")
BATCHES = ("batch", "data", "rollout", "sample", "samples", "minibatch")
RULE = (
    "a model's output for loss(output, target) is a tensor, has .logits or a key 'logits', or is a "
    "tuple of one tensor; for anything else pass loss=lambda model, batch: ..."
)
CALLS = (
    "A model is called with the input of a batch (input, target), a tuple spread, a mapping by "
    "keyword where forward takes its keys; a loss as loss(output, target) or loss(model, batch)"
)


@dataclass
class Roads:
    """What was tried and found of how a model and its loss are called; None: not tried yet."""

    takes_model: bool | None  # whether the loss is a loss(model, batch)
    whole: bool | None = None  # whether the loss takes an output as it is, not its logits


class Objective(nn.Module):
    """The user's model and loss as one module, so that the tensors of both are found below it."""

    def __init__(self, model: nn.Module, loss: Callable[..., Any] | None) -> None:
        super().__init__()
        self.model = _bare(model)
        self.criterion = loss
        # in an object of its own: the attributes of modules are put back after an evaluation
        self.roads = Roads(True if loss is None else _takes_model(loss))

    @property
    def takes_model(self) -> bool | None:
        """Whether the loss is a loss(model, batch); None: not tried yet."""
        return self.roads.takes_model

    def forward(self, batch: Batch, output: Any = None, stage: str = "loss") -> Any:
        """The loss of a batch; with ``stage="output"`` what the loss sees of the model's output
        only, with ``"criterion"`` the loss of it.
        """
        if self.criterion is None:
            return scalar(_called(self.model, batch))
        if self.takes_model is None:
            self.roads.takes_model = self._tried(batch)
        if self.takes_model:
            return scalar(self.criterion(self.model, batch))
        inputs, target = batching.split(batch)
        if stage != "criterion":
            output = self._seen(_called(self.model, inputs), target)
            if stage == "output":
                return output
        return scalar(self.criterion(output, target))

    def _seen(self, output: Any, target: Any) -> Any:
        """What the loss sees of an output."""
        if isinstance(output, Tensor):
            return output
        if self.roads.whole is None:
            self.roads.whole = self._takes_whole(output, target)
        return output if self.roads.whole else _logits(output)

    def _takes_whole(self, output: Any, target: Any) -> bool:
        """Whether the loss takes an output that is no tensor as it is, or else its logits."""
        assert self.criterion is not None
        raised: Exception | None = None
        for seen in (output, _logits(output)):
            try:
                if isinstance(scalar(self.criterion(seen, target)), Tensor):
                    return seen is output
            except Exception as error:
                _pass_on(error)
                raised = raised or error
        raise LoadingError(
            f"the loss cannot take the model's output, {_kind(output)} ({raised}): {RULE}."
        ) from raised

    def _tried(self, batch: Batch) -> bool:
        """Whether the loss is a loss(model, batch), by what it does with a batch."""
        assert self.criterion is not None
        loss = self.criterion

        def by_output() -> Any:
            inputs, target = batching.split(batch)
            return loss(self._seen(_called(self.model, inputs), target), target)

        likely = _named_so(loss)
        for takes_model in (likely, not likely):
            try:
                found = scalar(loss(self.model, batch) if takes_model else by_output())
            except Exception as error:
                _pass_on(error)
                continue
            if isinstance(found, Tensor):
                return takes_model
        return likely or not _splits(batch)  # what it raises is raised again


def _pass_on(error: Exception) -> None:
    """Raise what is no sign of a wrong call: no memory, or a loss that calls autograd itself where
    nothing is recorded.
    """
    if memory_is_full(error) or "does not require grad" in str(error):
        raise error


def _splits(batch: Batch) -> bool:
    try:
        batching.split(batch)
    except ValueError:
        return False
    return True


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


def _logits(output: Any) -> Any:
    """What a loss(output, target) sees of an output that it cannot take as it is."""
    if isinstance(output, Mapping):
        named = [output[key] for key in ("logits", "out") if key in output]
        return named[0] if named else _only(output, list(output.values()))
    if type(output) in (tuple, list):
        return _only(output, list(output))
    return getattr(output, "logits", output)


def _only(output: Any, parts: list[Any]) -> Any:
    tensors = [part for part in parts if isinstance(part, Tensor)]
    return tensors[0] if len(tensors) == 1 else output


def _called(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return model(**inputs) if _takes(model, (), inputs) else model(inputs)
    if type(inputs) in (tuple, list):
        return model(*inputs) if _takes(model, inputs, {}) else model(inputs)
    return model(inputs)


def _takes(model: nn.Module, spread: Sequence[Any], named: Mapping[str, Any]) -> bool:
    """Whether ``forward`` takes these arguments; a mapping is one where it says so."""
    try:
        signature = inspect.signature(model.forward)
        signature.bind(*spread, **named)
    except TypeError:
        return False
    except ValueError:  # it tells no signature
        return True
    said = [parameter.annotation for parameter in signature.parameters.values()]
    return not (named and len(said) == 1 and _is_mapping(said[0]))


def _is_mapping(annotation: Any) -> bool:
    """Whether an annotation, which may be a string, is of a mapping."""
    if isinstance(annotation, str):
        return annotation.rpartition("typing.")[2].lower().startswith(("dict", "mapping"))
    kind = get_origin(annotation) or annotation
    return isinstance(kind, type) and issubclass(kind, Mapping)


def _takes_model(loss: Callable[..., Any]) -> bool | None:
    """Whether ``loss`` is loss(model, batch) for certain: torch's own are not, one whose first
    argument is annotated as a module is; None: to be tried.
    """
    function = loss.forward if isinstance(loss, nn.Module) else loss
    parameters = _parameters(loss)
    annotation = parameters[0].annotation if parameters else None
    if isinstance(annotation, type) and issubclass(annotation, nn.Module):
        return True
    own = getattr(function, "__module__", None) or ""
    return False if own.startswith(("torch.", "landscape.")) or not parameters else None


def _named_so(loss: Callable[..., Any]) -> bool:
    """Whether the names of a loss's arguments say loss(model, batch)."""
    names = [parameter.name for parameter in _parameters(loss)]
    first, second = ([*names, "", ""])[:2]
    return first in MODELS or second in BATCHES


def _parameters(loss: Callable[..., Any]) -> list[inspect.Parameter]:
    function = loss.forward if isinstance(loss, nn.Module) else loss
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin
        return []


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
