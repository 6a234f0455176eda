"""How adaptive optimisers leave a quadratic saddle whose falling directions are axes: step by step
as torch does it, and in the limit.

They divide by the size of past gradients, coordinate by coordinate: the way out is a length in
units of lr, whatever the curvature, as long as gradients are well above eps. That is along axes;
turned against them, a saddle mixes its directions and has no law but the rule itself. x: (R, n), a
run a row.
"""

import inspect
import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from landscape.specs import closest
from landscape.theory.exits import NEVER, Floats, Ints, _shaped, folds

BETAS = ("beta1", "beta2")
LAGS = 20  # walks that are longer than so many memories of Adam's first moment hide its lag

Step: TypeAlias = Callable[[Floats, Floats, int], Floats]  # (x, gradient, t from 1) -> x


def adaptive_exit(
    name: str,
    curvatures: ArrayLike,
    start: ArrayLike,
    radius: float = 1.0,
    *,
    steps: int = 10_000,
    within: Floats | None = None,
    **options: object,
) -> Ints:
    """The first step after which |x| > radius on 1/2 sum lam_i x_i^2 or 1/2 x'Hx, 0 at the start:
    (R,) int64, -1 beyond ``steps``.

    torch's rule in float64, about 20 microseconds a step.

    Args:
        name: adam, adamw, adamax, rmsprop, adagrad or rprop, in any case.
        curvatures: (n,) lam, along the axes; or (n, n) H, for a saddle that is turned against them.
        start: (R, n) or (n,) displacements from the saddle.
        radius: of the ball.
        steps: the last step looked at.
        within: (n, k) orthonormal columns: only the part of x in them counts.
        options: as of torch's class, with its defaults; those that are not here are refused.

    Raises:
        ValueError: an unknown name or option, or shapes that do not fit.
    """
    left = np.full(len(np.atleast_2d(np.asarray(start))), NEVER, np.int64)
    for t, D in enumerate(_distances(name, curvatures, start, within, steps, options)):
        left[(radius < D) & (left == NEVER)] = t
        if (left != NEVER).all():
            break
    return left


def adaptive_growth(
    name: str,
    curvatures: ArrayLike,
    start: ArrayLike,
    radius: float = 1.0,
    *,
    inner: float = 0.1,
    steps: int = 10_000,
    within: Floats | None = None,
    **options: object,
) -> Floats:
    """e-folds of |x| a step from the first one beyond ``inner`` times the radius to the first one
    beyond the radius: (R,).

    NaN where the second does not come within ``steps``, or not after the first. Arguments as of
    ``adaptive_exit``.

    Raises:
        ValueError: an unknown name or option, or shapes that do not fit.
    """
    return folds(_distances(name, curvatures, start, within, steps, options), radius, inner)


def _distances(
    name: str,
    curvatures: ArrayLike,
    start: ArrayLike,
    within: Floats | None,
    steps: int,
    options: dict[str, object],
) -> Iterator[Floats]:
    """|x| (R,) at the start and after every step."""
    H = np.asarray(curvatures, dtype=np.float64)
    turned = H.ndim == 2
    lam, x = _shaped(np.diagonal(H) if turned else H, start)
    if turned and H.shape != (len(lam), len(lam)):
        raise ValueError(f"curvatures must be (n,) or a square Hessian, got {H.shape}.")
    step = _rule(name, options)
    with np.errstate(all="ignore"):
        for t in range(steps + 1):
            seen = x if within is None else x @ within
            scale = np.maximum(np.abs(seen).max(1), 1e-300)
            yield scale * np.sqrt(np.square(seen / scale[:, None]).sum(1))
            if t < steps:
                x = step(x, x @ H if turned else lam * x, t + 1)


def adaptive_law(name: str, distance: float, lr: float, **options: float) -> tuple[float, str]:
    """Steps along one falling axis in the limit of small steps, and where that holds: |gradient| >>
    eps, |x_0| << distance.

    With n = distance / lr. Adam between its two memories: the root of the mean square of a linear
    growth is 1 / sqrt 3 of its end, so that steps are sqrt 3 lr long; the first moment's lag is
    left out. That is within 15 % for 20 / (1 - beta1) <= n <= 1 / (1 - beta2), and NaN elsewhere:
    a walk shorter than the lag takes up to 2.6 times as many steps, a longer one tends to n.
    Adagrad: x = lr sqrt(8 t). RMSprop likewise while it remembers all.

    Args:
        name: adam, adamw, adamax, rmsprop, adagrad or rprop.
        distance, lr: how far, and the learning rate.
        options: alpha of RMSprop, beta1 and beta2 of Adam, etaplus of Rprop, where not torch's
            defaults.

    Raises:
        ValueError: an unknown name or option.
    """
    known = {
        "adam": {"beta1": 0.9, "beta2": 0.999},
        "rmsprop": {"alpha": 0.99},
        "rprop": {"etaplus": 1.2},
        "adagrad": {},
        "adamax": {},
    }
    known["adamw"] = known["adam"]
    key = _known(name, known)
    for option in options:
        if option not in known[key]:
            raise ValueError(
                f"the law of {key} has no option {option!r}.{closest(option, known[key])}"
            )
    chosen = {**known[key], **options}
    n = distance / lr
    if key in ("adam", "adamw"):
        lag, memory = (_memory(chosen[beta]) for beta in BETAS)
        where = f"{lag:g} << n << {memory:g}"
        if LAGS * lag <= n * (1 + 1e-9) and n <= memory * (1 + 1e-9):
            return n / math.sqrt(3), where
        return math.nan, f"holds for {where} only, and n is {n:g}: see adaptive_exit"
    if key == "adagrad":
        return n * n / 8, "n >> 1"
    if key == "rmsprop":
        left = 1 - chosen["alpha"]
        return left * n * n / 8, f"1 << steps << {1 / left:g}"
    if key == "adamax":
        return n, "n >> 1 / (1 - beta1)"
    rate = chosen["etaplus"]
    return float(
        math.ceil(math.log1p((rate - 1) * n) / math.log(rate))
    ), "exact while steps are below their cap of 50"


def _memory(beta: float) -> float:
    return 1 / (1 - beta) if beta < 1 else math.inf


def _adam(
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Step:
    return _moments(lr, betas, eps, weight_decay, decoupled=False)


def _adamw(
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
) -> Step:
    return _moments(lr, betas, eps, weight_decay, decoupled=True)


def _moments(
    lr: float, betas: tuple[float, float], eps: float, weight_decay: float, decoupled: bool
) -> Step:
    """eps outside of the root, and after the correction of the second moment."""
    m, v = np.zeros(1), np.zeros(1)

    def step(x: Floats, g: Floats, t: int) -> Floats:
        nonlocal m, v
        x, g = (x * (1 - lr * weight_decay), g) if decoupled else (x, g + weight_decay * x)
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        root = np.sqrt(v) / math.sqrt(1 - betas[1] ** t) + eps
        return np.asarray(x - lr / (1 - betas[0] ** t) * m / root)

    return step


def _adamax(
    lr: float = 2e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Step:
    """eps on the gradient, inside the maximum."""
    m, u = np.zeros(1), np.zeros(1)

    def step(x: Floats, g: Floats, t: int) -> Floats:
        nonlocal m, u
        g = g + weight_decay * x
        m, u = betas[0] * m + (1 - betas[0]) * g, np.maximum(betas[1] * u, np.abs(g) + eps)
        return np.asarray(x - lr / (1 - betas[0] ** t) * m / u)

    return step


def _rmsprop(
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
) -> Step:
    """No correction of the first average, so that the first step is lr / sqrt(1 - alpha)."""
    v, mean, b = np.zeros(1), np.zeros(1), np.zeros(1)

    def step(x: Floats, g: Floats, t: int) -> Floats:
        nonlocal v, mean, b
        g = g + weight_decay * x
        v, mean = alpha * v + (1 - alpha) * g * g, alpha * mean + (1 - alpha) * g
        b = momentum * b + g / (np.sqrt(v - mean**2 if centered else v) + eps)
        return np.asarray(x - lr * b)

    return step


def _adagrad(
    lr: float = 1e-2,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
) -> Step:
    total = np.full(1, float(initial_accumulator_value))

    def step(x: Floats, g: Floats, t: int) -> Floats:
        nonlocal total
        g = g + weight_decay * x
        total = total + g * g
        return np.asarray(x - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(total) + eps))

    return step


def _rprop(
    lr: float = 1e-2,
    etas: tuple[float, float] = (0.5, 1.2),
    step_sizes: tuple[float, float] = (1e-6, 50.0),
) -> Step:
    """Signs only; after a change of sign the gradient counts as zero for one step."""
    size, before = np.full(1, float(lr)), np.zeros(1)

    def step(x: Floats, g: Floats, t: int) -> Floats:
        nonlocal size, before
        same = np.sign(g) * np.sign(before)
        size = np.clip(
            size * np.where(same > 0, etas[1], np.where(same < 0, etas[0], 1.0)), *step_sizes
        )
        before = np.where(same < 0, 0.0, g)
        return np.asarray(x - np.sign(before) * size)

    return step


RULES: dict[str, Callable[..., Step]] = {
    "adam": _adam,
    "adamw": _adamw,
    "adamax": _adamax,
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
    "rprop": _rprop,
}


def _rule(name: str, options: dict[str, object]) -> Step:
    rule = RULES[_known(name, RULES)]
    known = inspect.signature(rule).parameters
    for option in options:
        if option not in known:
            raise ValueError(
                f"no law for {name} with {option!r}.{closest(option, known)} Known: "
                f"{', '.join(known)}."
            )
    return rule(**options)


def _known(name: str, known: dict[str, Callable[..., Step]] | dict[str, dict[str, float]]) -> str:
    if name.lower() not in known:
        raise ValueError(
            f"no law for {name!r}.{closest(name.lower(), known)} Known: {', '.join(sorted(known))}."
        )
    return name.lower()
