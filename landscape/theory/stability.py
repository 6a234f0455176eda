"""The largest curvature at which an optimiser's steps still shrink a quadratic: where full-batch
training settles.

SGD's steps are powers of the matrix of ``exits``; the first of its roots to leave the unit circle
as k grows is -1, where 1 + trace + determinant = 0. Training at that edge: Cohen et al. 2021, ICLR;
adaptive methods: Cohen et al. 2022, arXiv:2207.14484.
"""

import math

from landscape.theory.exits import require_options


def sgd_limit(
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> float:
    """The largest stable curvature lam of SGD: 2 / lr, (2 + 2 m) / lr with momentum m, infinite
    where nothing is too steep.

    Args:
        lr, momentum, dampening, nesterov, weight_decay: as of torch.optim.SGD, momentum below 1.
            Weight decay adds to lam.

    Raises:
        ValueError: an option that torch refuses, lr = 0, or momentum of 1 and more: then nothing
            shrinks.
    """
    require_options(lr, momentum, dampening, nesterov, weight_decay)
    if lr == 0 or momentum >= 1:
        raise ValueError(
            f"lr must be positive and momentum below 1, got lr={lr!r}, momentum={momentum!r}."
        )
    if nesterov:
        return (2 + 2 * momentum) / ((1 + 2 * momentum) * lr) - weight_decay
    share = 1 - dampening if momentum else 1.0
    if share <= 0:
        return math.inf if share == 0 else -weight_decay
    return (2 + 2 * momentum) / (share * lr) - weight_decay


def adam_limit(lr: float, beta1: float = 0.9, *, weight_decay: float = 0.0) -> float:
    """The largest stable eigenvalue of P^-1 H, P = sqrt(v) + eps the frozen preconditioner: 38 / lr
    at beta1 = 0.9.

    For Adam and AdamW; RMSprop has ``rmsprop_limit``. The first moment is an average, heavy ball
    with dampening = momentum.

    Holds once the average is full, after several times 1 / (1 - beta1) steps. Before, torch divides
    by 1 - beta1^t: the first step shrinks below 2 / lr only, and what lies between there and the
    limit first grows, from 0.9 of the limit by e^{2.8 / (1 - beta1)} or so, 10^12 at 0.9 and
    10^134 at 0.99, and then shrinks. Where v moves, training on a quadratic keeps between 0.75 and
    1.3 of the limit in nine steps of ten if v is slower than the average, beta2 > beta1, and some
    tens of 1 / (1 - beta2) steps have passed. With a faster v it settles elsewhere: at 0.002 of
    the limit with betas of (0.99, 0.9).

    Args:
        lr, beta1: as of torch.optim.Adam.
        weight_decay: AdamW's, which shrinks x by 1 - lr weight_decay a step beside the gradient's
            step and leaves (2 - lr weight_decay)(1 + beta1) / ((1 - beta1) lr). Adam's own goes
            into the gradient: the limit is then of P^-1 (H + weight_decay).

    Raises:
        ValueError: lr not positive, beta1 not in [0, 1), or lr weight_decay of 2 and more: then
            nothing shrinks.
    """
    if not 0 < lr < math.inf or not 0 <= beta1 < 1:
        raise ValueError(f"lr must be positive and beta1 in [0, 1), got {lr!r}, {beta1!r}.")
    if not 0 <= lr * weight_decay < 2:
        raise ValueError(f"lr weight_decay must be from 0 to below 2, got {lr * weight_decay!r}.")
    return (2 - lr * weight_decay) * (1 + beta1) / ((1 - beta1) * lr)


def rmsprop_limit(lr: float, momentum: float = 0.0) -> float:
    """The largest stable eigenvalue of P^-1 H for RMSprop, P = sqrt(v) + eps frozen: (2 + 2 m) /
    lr.

    Its momentum is a sum as SGD's, no average as Adam's, and nothing is divided in the first steps:
    it holds from the first step on. torch's weight decay goes into the gradient: the limit is then
    of P^-1 (H + weight_decay). As with Adam, v is to be slower than the momentum where it is not
    frozen.

    Args:
        lr, momentum: as of torch.optim.RMSprop, momentum below 1.

    Raises:
        ValueError: lr not positive, or momentum not in [0, 1): then nothing shrinks.
    """
    return sgd_limit(lr, momentum)
