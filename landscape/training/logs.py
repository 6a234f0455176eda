"""The numbers of a tracer's records, handed on to where people look: TensorBoard, Weights & Biases,
MLflow, a trainer's logger, or any function.

No package is imported: a writer is known by the method that it has.
"""

import math
from collections.abc import Callable
from typing import Protocol

# A record's numbers that are told, as far as they are known.
TOLD = (
    *("loss", "gradient_norm", "update_norm", "batch_gradient_norm", "weight_norm"),
    *("learning_rate", "noise_trace", "largest", "smallest", "sharpness", "edge"),
)
Values = dict[str, float]
Write = Callable[[int, Values], None]


class ScalarWriter(Protocol):
    """A TensorBoard ``SummaryWriter``, or what looks like one."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object: ...


class MetricsLogger(Protocol):
    """``mlflow``, a logger of Lightning's, or what looks like one."""

    def log_metrics(self, metrics: Values, step: int) -> object: ...


class DictLogger(Protocol):
    """``wandb``, a run of it, or what looks like one."""

    def log(self, data: Values) -> object: ...


Log = ScalarWriter | MetricsLogger | DictLogger | Callable[[int, Values], object]


def writer(log: Log) -> Write:
    """A function of the step and a record's columns that hands on those of TOLD that are numbers.

    Raises:
        TypeError: ``log`` has none of the methods and is no function.
    """
    write = _written(log)

    def told(step: int, columns: Values) -> None:
        known = {k: columns[k] for k in TOLD if not math.isnan(columns[k])}
        write(step, {f"landscape/{k}": v for k, v in known.items()})

    return told


def _written(log: object) -> Write:
    if callable(scalar := getattr(log, "add_scalar", None)):

        def one_by_one(step: int, values: Values) -> None:
            for name, value in values.items():
                scalar(name, value, step)

        return one_by_one
    if callable(metrics := getattr(log, "log_metrics", None)):
        return lambda step, values: metrics(values, step=step)
    if callable(whole := getattr(log, "log", None)):
        # The step is one of the numbers: a step of one's own would move the user's count.
        return lambda step, values: whole({**values, "landscape/step": float(step)})
    if callable(log):
        return lambda step, values: log(step, values)
    raise TypeError(
        f"log must have add_scalar (TensorBoard), log_metrics (MLflow) or log (Weights & Biases), "
        f"or be a function of a step and a dict, got {type(log).__name__}."
    )
