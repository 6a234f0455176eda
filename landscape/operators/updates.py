"""What a step of a torch optimiser does with a gradient, its second moments held where they are.

Every step here is x <- (1 - decay) x - scale (p g + q m) with m <- beta m + g, g the gradient with
coupled weight decay added, scale one number or one for each entry. On a quadratic such a recursion
leaves the unit circle at -1, where a gradient that changes its sign every step is multiplied by
the gain p + q / (1 + beta); whatever the mixture of betas, it does so where the largest eigenvalue
of (scale gain)^½ (H + coupled) (scale gain)^½ + decay reaches 2. For z on the unit circle, z not
±1, the imaginary part of (z - 1 + decay) / (scale (p + q z / (z - beta))) has one sign for every
parameter, so that no other root can be there. First moments count as settled: their corrections
for the first steps are left out.

Source: Cohen et al. 2021, ICLR, for one rate; Cohen et al. 2022, arXiv:2207.14484, for held
preconditioners.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, optim
from torch.optim import Optimizer

Group = Mapping[str, Any]


@dataclass(frozen=True)
class Update:
    """One parameter tensor's step."""

    scale: Tensor  # the rate over what gradients are divided by, of the parameter's shape or ()
    gain: float  # p + q / (1 + beta)
    coupled: float = 0.0  # weight decay that is added to the gradient
    decay: float = 0.0  # rate times decoupled weight decay


def linear(optimizer: Optimizer) -> bool:
    """Whether the steps are of the form above, given the second moments."""
    return _rule(optimizer) is not None


def update(optimizer: Optimizer, group: Group, p: Tensor, gradient: Tensor) -> Update:
    """The step of one parameter.

    Args:
        optimizer: of torch's SGD, RMSprop, Adagrad, Adadelta, Adam, AdamW, Adamax, NAdam, RAdam,
            ASGD or a subclass.
        group: the group of its ``param_groups`` that p is in.
        p: the parameter.
        gradient: of p's shape, the size of a step's gradient; it stands in for second moments that
            are not there yet.

    Raises:
        ValueError: the steps of this optimiser are of another form, it climbs (``maximize``), or
            nothing shrinks under its momentum.
    """
    rule = _rule(optimizer)
    name = type(optimizer).__name__
    if rule is None:
        raise ValueError(f"the steps of {name} are not linear in the gradient.")
    if group.get("maximize"):
        raise ValueError(f"{name} has maximize=True: pass the landscape of the negative loss.")
    found = rule(group, _doubled(optimizer.state.get(p, {})), gradient.detach().double())
    if found.gain < 0 or max(_betas(group)) >= 1:
        raise ValueError(
            f"{name} is stable at no rate: its momentum must be below 1 and its dampening at most "
            f"1, got momentum={max(_betas(group)):g}, dampening={group.get('dampening', 0):g}."
        )
    return found


def moments(optimizer: Optimizer, p: Tensor) -> bool:
    """Whether the optimiser has gathered anything for p."""
    state = optimizer.state.get(p, {})
    return bool(state) and float(state.get("step", 1)) > 0


def _betas(group: Group) -> list[float]:
    beta = group["betas"][0] if "betas" in group else group.get("momentum", 0.0)
    return [float(beta), 0.0]


def _doubled(state: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v.detach().double() if isinstance(v, Tensor) else v for k, v in state.items()}


def _rate(group: Group) -> float:
    return float(group["lr"])


def _decay(group: Group) -> dict[str, float]:
    """The weight decay, as what it adds to the gradient or takes from x."""
    amount = float(group.get("weight_decay", 0.0))
    if group.get("decoupled_weight_decay"):
        return {"decay": _rate(group) * amount}
    return {"coupled": amount}


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, device="cpu")


def _sgd(group: Group, state: Group, g: Tensor) -> Update:
    m = float(group["momentum"])
    gain = (1 - float(group["dampening"])) / (1 + m) if m else 1.0
    if group["nesterov"]:
        gain = (1 + 2 * m) / (1 + m)
    return Update(_number(_rate(group)), gain, **_decay(group))


def _root(group: Group, state: Group, g: Tensor) -> Tensor:
    """What Adam divides by: the root of its second moment, corrected for the first steps."""
    second: Tensor | None = state.get("max_exp_avg_sq" if group.get("amsgrad") else "exp_avg_sq")
    step = float(state.get("step", 0.0))
    if second is None or step == 0:
        return g.abs() + float(group["eps"])
    fresh = 1 - float(group["betas"][1]) ** step
    root: Tensor = (second / fresh).sqrt() + float(group["eps"])
    return root


def _averaged(group: Group) -> float:
    beta = float(group["betas"][0])
    return (1 - beta) / (1 + beta)


def _adam(group: Group, state: Group, g: Tensor) -> Update:
    return Update(_rate(group) / _root(group, state, g), _averaged(group), **_decay(group))


def _nadam(group: Group, state: Group, g: Tensor) -> Update:
    beta, step = float(group["betas"][0]), float(state.get("step", 0.0)) + 1
    now, after = (
        beta * (1 - 0.5 * 0.96 ** (t * float(group["momentum_decay"]))) for t in (step, step + 1)
    )
    gain = 1 - now + after * (1 - beta) / (1 + beta)
    return Update(_rate(group) / _root(group, state, g), gain, **_decay(group))


def _radam(group: Group, state: Group, g: Tensor) -> Update:
    """Rectified where the second moment's variance is tractable, else plain averaging."""
    beta, step = float(group["betas"][1]), max(float(state.get("step", 0.0)), 1.0)
    longest, fresh = 2 / (1 - beta) - 1, 1 - beta**step
    length = longest - 2 * step * beta**step / fresh
    scale = _number(_rate(group))
    if length > 5:
        of = [(a - 4) * (a - 2) / a for a in (length, longest)]
        rectified = (of[0] / of[1]) ** 0.5
        second = state.get("exp_avg_sq", g.square() * fresh)
        scale = _rate(group) * rectified * fresh**0.5 / (second.sqrt() + group["eps"])
    return Update(scale, _averaged(group), **_decay(group))


def _adamax(group: Group, state: Group, g: Tensor) -> Update:
    largest = state.get("exp_inf", g.abs() + group["eps"])
    return Update(_rate(group) / largest, _averaged(group), **_decay(group))


def _rmsprop(group: Group, state: Group, g: Tensor) -> Update:
    second = state.get("square_avg", (1 - float(group["alpha"])) * g.square())
    if group["centered"] and "grad_avg" in state:
        second = (second - state["grad_avg"].square()).clamp_min(0.0)
    gain = 1 / (1 + float(group["momentum"]))
    return Update(_rate(group) / (second.sqrt() + group["eps"]), gain, **_decay(group))


def _adagrad(group: Group, state: Group, g: Tensor) -> Update:
    step = float(state.get("step", 0.0))
    total = state.get("sum", torch.zeros_like(g))
    total = total + g.square() if step == 0 else total
    rate = _rate(group) / (1 + step * float(group["lr_decay"]))
    return Update(rate / (total.sqrt() + group["eps"]), 1.0, **_decay(group))


def _adadelta(group: Group, state: Group, g: Tensor) -> Update:
    eps = float(group["eps"])
    second = state.get("square_avg", (1 - float(group["rho"])) * g.square())
    moved = state.get("acc_delta", torch.zeros_like(g))
    scale = _rate(group) * (moved + eps).sqrt() / (second + eps).sqrt()
    return Update(scale, 1.0, **_decay(group))


def _asgd(group: Group, state: Group, g: Tensor) -> Update:
    eta = float(state.get("eta", _rate(group)))
    return Update(
        _number(eta),
        1.0,
        coupled=float(group["weight_decay"]),
        decay=eta * float(group["lambd"]),
    )


_RULES: dict[type[Optimizer], Callable[[Group, Group, Tensor], Update]] = {
    optim.SGD: _sgd,
    optim.Adam: _adam,  # AdamW is one of these
    optim.NAdam: _nadam,
    optim.RAdam: _radam,
    optim.Adamax: _adamax,
    optim.RMSprop: _rmsprop,
    optim.Adagrad: _adagrad,
    optim.Adadelta: _adadelta,
    optim.ASGD: _asgd,
}


def _rule(optimizer: Optimizer) -> Callable[[Group, Group, Tensor], Update] | None:
    found = (rule for kind, rule in _RULES.items() if isinstance(optimizer, kind))
    return next(found, None)
