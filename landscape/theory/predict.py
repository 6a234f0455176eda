"""Which of the laws of exit applies to an optimiser at a saddle: the column "theory" beside
measured steps.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from landscape.results import Result, result
from landscape.theory.adaptive import RULES, adaptive_exit
from landscape.theory.exits import Floats, sgd_exit

SGD = ("lr", "momentum", "dampening", "nesterov", "weight_decay")


@result("exit-prediction")
@dataclasses.dataclass(frozen=True)
class Prediction(Result):
    """Exit steps, run by run, from the quadratic model of a saddle."""

    steps: list[int] | None  # -1: not within the limit; None: no law applies
    law: str  # which, or why none does

    @property
    def median(self) -> float | None:
        """Of all runs, the lower of two middle ones as Kaplan and Meier have it; infinite where
        half stay, None without a law.
        """
        if self.steps is None:
            return None
        steps = np.array(self.steps, dtype=np.float64)
        return float(np.sort(np.where(steps < 0, np.inf, steps))[(len(steps) - 1) // 2])


def predict_exit(
    optimizer: str,
    options: Mapping[str, object],
    curvatures: ArrayLike,
    start: ArrayLike,
    radius: float = 1.0,
    *,
    steps: int = 10_000,
    aligned: bool = False,
    noise: bool = False,
    within: Floats | None = None,
) -> Prediction:
    """Exit steps of a torch optimiser from the ball around a saddle, if a law is known for it.

    Args:
        optimizer: a class of torch.optim in any case.
        options: its options by their names in torch; "lr" need not be given where torch has a
            default.
        curvatures: (n,) eigenvalues of the Hessian; for adaptive methods also (n, n), the Hessian
            in the optimiser's own coordinates.
        start: (R, n) displacements, in the basis of its eigenvectors, or in the optimiser's own.
        radius: of the ball.
        steps: the last step looked at.
        aligned: whether these eigenvectors are the axes in the same order; adaptive methods have a
            law there only.
        noise: whether gradients are noisy; ``noise_exit`` has the law of that, from the point
            itself.
        within: (n, k) orthonormal columns, of which alone the ball is; for adaptive methods.

    Raises:
        ValueError: shapes that do not fit, or options that torch refuses.
    """
    name, chosen = optimizer.lower(), dict(options)
    if noise:
        return Prediction(None, "noisy gradients: see noise_exit")
    if name == "sgd":
        return _sgd(chosen, curvatures, start, radius, steps)
    if name not in RULES:
        return Prediction(None, f"no law for {optimizer}")
    turned = np.ndim(curvatures) == 2
    if not (aligned or turned):
        return Prediction(None, "not along axes: no law")
    try:
        found = adaptive_exit(name, curvatures, start, radius, steps=steps, within=within, **chosen)
    except ValueError as error:
        if "no law" not in str(error):
            raise
        return Prediction(None, str(error))
    return Prediction(
        found.tolist(), f"the rule itself on the quadratic{', turned against the axes' * turned}"
    )


def _sgd(
    options: dict[str, object], curvatures: ArrayLike, start: ArrayLike, radius: float, steps: int
) -> Prediction:
    if unknown := [option for option in options if option not in SGD and options[option]]:
        return Prediction(None, f"no law with {', '.join(unknown)}")
    numbers = [option for option in SGD if option != "nesterov"]
    given = {option: float(str(options.get(option, 0.0))) for option in numbers}
    given["lr"] = float(str(options.get("lr", 1e-3)))
    nesterov = bool(options.get("nesterov", False))
    found = sgd_exit(curvatures, start, radius, nesterov=nesterov, steps=steps, **given)
    return Prediction(found.tolist(), "exact recursion on the quadratic")
