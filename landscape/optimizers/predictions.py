"""What theory expects of the runs of a study: laws for the second-order model of f at the point,
where one applies, and why not where not.

H: (n, n) the Hessian at the point. x: displacements from it (R, n). Laws see the point's
curvatures, the optimiser's options and the starts, and neither f elsewhere nor torch.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape import specs, theory
from landscape.core import Landscape
from landscape.errors import LoadingError, NumericalError
from landscape.landscapes.domains import Sphere
from landscape.operators.hessian import Hessian
from landscape.results import result
from landscape.specs.grammar import Options
from landscape.specs.optimizers import Maker, Spec
from landscape.theory.exits import Floats
from landscape.theory.predict import SGD

DENSE = 400  # parameters up to which the Hessian is formed
WORK = 20_000  # rows times coordinates that are predicted
FOLDS = 30_000_000  # rows times coordinates times steps up to which growth is stepped
INNER = 0.1  # of the radius: growth is measured from there to the radius
ALIGNED = 1e-12  # size of off-diagonal entries, relative, that count as none


@result("escape-theory")
@dataclass(frozen=True, eq=False)
class Theory:
    """What a law says of the runs of one optimiser; ``law`` says which, or why there is none."""

    law: str
    conditions: str = ""  # what the law takes for granted, and how far it is so here
    steps: Tensor | None = None  # (m,) int64 of the first m runs, -1: not within the limit
    median: float | None = None  # steps, infinite where half of the runs stay
    rate: float | None = None  # exits a run and step, censored as the runs are
    # E-folds of the distance a step, from a tenth of the radius to the radius.
    growth: float | None = None


@dataclass(frozen=True, eq=False)
class Model:
    """f at second order around the point, as far as the event sees it."""

    H: Floats | None  # (n, n); None: too large, ``within`` is all there is
    within: Floats | None  # (n, k) orthonormal, what the event sees; None: everything
    # (k,) of H in what the event sees; None where that is not invariant under H.
    curvatures: Floats | None
    basis: Floats | None  # (n, k) their directions
    radius: float
    slope: float  # |g| at the point
    # Of the gradient at the ball's edge down the steepest fall, relative to the model's.
    misfit: float


def model(f: Landscape, at: Tensor, radius: float, within: Tensor | None) -> Model | str:
    """The second-order model, or why there is none.

    Cost: n gradients, or k where the event sees k directions of many.
    """
    if isinstance(f.domain, Sphere):
        return "no law on a sphere"
    if within is None and f.dim > DENSE:
        return f"no law: {f.dim:,} parameters and a ball around them all; give the event directions"
    Q = None if within is None else torch.linalg.qr(within.to(at)).Q
    try:
        return _model(f, at, radius, Q)
    except (NumericalError, LoadingError, RuntimeError, ValueError) as error:
        return f"no law: the Hessian cannot be had ({specs.one_line(error, 80)})"


def _model(f: Landscape, at: Tensor, radius: float, Q: Tensor | None) -> Model | str:
    operator = Hessian(f, at=at)
    H = _numpy(operator.dense()) if f.dim <= DENSE else None
    seen = None if Q is None else _numpy(Q)
    if Q is None or seen is None:
        assert H is not None
        HQ = small = H
    else:
        HQ = H @ seen if H is not None else _numpy(operator @ Q)
        small = seen.T @ HQ
    w, V = np.linalg.eigh((small + small.T) / 2)
    whole = seen is None or np.linalg.norm(HQ - seen @ small) <= 1e-6 * np.linalg.norm(HQ)
    basis = V if seen is None else seen @ V
    g = f.gradient(at).detach()
    misfit = math.nan
    if w[0] < 0:
        down = torch.from_numpy(basis[:, 0].copy()).to(at)
        misfit = _misfit(f, at, g, down, radius * float(w[0]), radius)
    return Model(
        H, seen, w if whole else None, basis if whole else None, radius, float(g.norm()), misfit
    )


def _misfit(
    f: Landscape, at: Tensor, g: Tensor, down: Tensor, slope: float, radius: float
) -> float:
    """How far the slope of f at the edge of the ball, along ``down``, is from the model's there, as
    a share of it; 0 where it is rounding.
    """
    edge = (f.gradient(at + radius * down) - g).detach() @ down
    misfit = abs(float(edge) / slope - 1)
    return 0.0 if misfit < 1e3 * torch.finfo(at.dtype).eps else misfit


def predict(
    make: Maker, starts: Tensor, model: Model | str, noise: str, schedule: str | None, limit: int
) -> Theory:
    """What theory says of runs from ``starts`` (R, n), displacements from the point."""
    if isinstance(model, str):
        return Theory(model)
    if not isinstance(make, Spec):
        return Theory("an optimiser of your own: no law")
    if make.groups:
        return Theory("no law with groups")
    if schedule is not None:
        return Theory("no law with a schedule")
    name, options = make.kind.__name__.lower(), dict(make.options)
    given = specs.line(noise, "noise")
    kind, text = given.name, given.text
    x = _numpy(starts)[: max(8, WORK // starts.shape[1])]
    if kind == "isotropic" and float(text) > 0:
        return _noisy(name, options, x, model, float(text), limit)
    growth = _growth(name, options, model)
    if kind in ("minibatch", "hessian", "perturbed"):
        return Theory(
            f"{kind} noise: no law but the mean's growth", _conditions(model), growth=growth
        )
    if fault := _not_stationary(x, model):
        return Theory(fault)
    return _quiet(name, options, x, model, limit, growth)


def _quiet(
    name: str, options: Options, x: Floats, model: Model, limit: int, growth: float | None
) -> Theory:
    """Runs on the full gradient, each by its own start."""
    law = _steps(name, options, x, model, limit)
    if law.steps is None:
        return Theory(law.law)
    steps = np.array(law.steps)
    if (steps < 0).all() and math.isnan(model.misfit):
        return Theory("no law: nothing falls in the second-order model")
    last = int(steps.max())
    growth = _crossing(name, options, x, model, last, growth) if last >= 0 else None
    seen = np.where(steps < 0, limit, steps)
    rate = float((steps >= 0).sum() / seen.sum()) if seen.sum() else None
    return Theory(law.law, _conditions(model), torch.from_numpy(steps), law.median, rate, growth)


def _steps(name: str, options: Options, x: Floats, model: Model, limit: int) -> theory.Prediction:
    if name == "sgd":
        if model.curvatures is None or model.basis is None:
            return theory.Prediction(None, "the directions of the event mix with others: no law")
        return theory.predict_exit(
            name, options, model.curvatures, x @ model.basis, model.radius, steps=limit
        )
    if model.H is None:
        return theory.Prediction(None, f"no law for {name} in so many parameters")
    return theory.predict_exit(
        name,
        options,
        _matrix(model.H),
        x,
        model.radius,
        steps=limit,
        within=model.within,
        aligned=True,
    )


def _matrix(H: Floats) -> Floats:
    """H, or its diagonal where that is all."""
    diagonal: Floats = np.diagonal(H)
    rest = np.abs(H - np.diag(diagonal)).max()
    return diagonal.copy() if rest <= ALIGNED * np.abs(H).max() else H


def _growth(name: str, options: Options, model: Model) -> float | None:
    """ln of SGD's factor a step along the steepest fall; None where there is no law."""
    if (
        name != "sgd"
        or model.curvatures is None
        or any(options[o] for o in options if o not in SGD)
    ):
        return None
    chosen = {k: float(str(options.get(k, 0.0))) for k in ("momentum", "dampening", "weight_decay")}
    factors = theory.sgd_growth(
        model.curvatures[:1],
        lr=float(str(options.get("lr", 1e-3))),
        nesterov=bool(options.get("nesterov")),
        **chosen,
    )
    return math.log(float(factors[0])) if model.curvatures[0] < 0 and factors[0] > 0 else None


def _crossing(
    name: str, options: Options, x: Floats, model: Model, last: int, growth: float | None
) -> float | None:
    """The median over runs of the e-folds a step that the law gives.

    growth: the limit, which stands in where that would take long.
    """
    if name == "sgd":
        if model.curvatures is None or model.basis is None:
            return growth
        if last * x.shape[0] * model.basis.shape[1] > FOLDS:
            return growth
        given = {k: v for k, v in options.items() if k in SGD}
        given |= {"lr": float(options.get("lr", 1e-3))}
        found = theory.sgd_folds(
            model.curvatures, x @ model.basis, model.radius, inner=INNER, steps=last, **given
        )
    else:
        assert model.H is not None
        found = theory.adaptive_growth(
            name,
            _matrix(model.H),
            x,
            model.radius,
            inner=INNER,
            steps=last,
            within=model.within,
            **options,
        )
    known = found[np.isfinite(found)]
    return float(np.median(known)) if len(known) else None


def _noisy(
    name: str, options: Options, x: Floats, model: Model, sigma: float, limit: int
) -> Theory:
    """SGD driven off the very point by isotropic noise."""
    if math.isnan(model.misfit):
        return Theory(
            "no law in noise where nothing falls: a barrier's height is not in the second-order "
            "model"
        )
    growth = _growth(name, options, model)
    if name != "sgd" or growth is None or any(options[o] for o in options if o != "lr"):
        return Theory(f"no law for {name} with these options in noise", growth=growth)
    if np.abs(x).max() > 0:
        return Theory(
            "no law in noise from a start beside the point", _conditions(model), growth=growth
        )
    assert model.curvatures is not None
    w, lr = model.curvatures, float(str(options.get("lr", 1e-3)))
    falling, rising = w[w < 0], w[w > 0]
    if not np.allclose(falling, falling[0], rtol=1e-6):
        return Theory(
            "no law in noise for falling curvatures that differ", _conditions(model), growth=growth
        )
    try:
        law = theory.noise_exit(
            float(falling[0]),
            lr=lr,
            sigma=sigma,
            radius=model.radius,
            directions=len(falling),
            steps=100_000,
        )
    except ValueError as error:
        return Theory(f"no law: {error}", growth=growth)
    return Theory(
        "noise-driven exit, " + ("exact" if law.returns else "returns left out"),
        _conditions(model) + _left_out(rising, lr, sigma, model.radius),
        median=float(law.median) if law.median <= limit else math.inf,
        rate=1 / law.mean,
        growth=growth,
    )


def _left_out(rising: Floats, lr: float, sigma: float, radius: float) -> str:
    """How far noise carries runs along rising curvatures, which the law does not see."""
    if not len(rising):
        return ""
    contracted = 1 - (1 - lr * rising) ** 2
    spread = math.inf
    if (contracted > 0).all():
        spread = lr * sigma * math.sqrt(float((1 / contracted).sum()))
    return f"; noise along rising directions, {spread / radius:.2g} of the radius, is left out"


def _not_stationary(x: Floats, model: Model) -> str:
    """A complaint where the gradient at the point moves runs more than their starts do."""
    if model.curvatures is None or not len(x):
        return ""
    steep = float(np.abs(model.curvatures).max())
    size = float(np.median(np.linalg.norm(x, axis=1))) * steep
    drifts = model.slope > 0.05 * size + 1e-12 * steep * model.radius
    return (
        f"no law: the point is not stationary, its gradient is {model.slope:.2g}" if drifts else ""
    )


def _conditions(model: Model) -> str:
    if math.isnan(model.misfit):
        return "second-order model; nothing falls in it"
    if model.misfit == 0:
        return "f is quadratic"
    return f"second-order model: its slope at the ball's edge is off by {100 * model.misfit:.2g} %"


def _numpy(t: Tensor) -> Floats:
    array: Floats = t.detach().double().cpu().numpy()
    return array
