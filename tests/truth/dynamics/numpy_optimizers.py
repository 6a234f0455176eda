"""The update rules of torch.optim in NumPy, written apart from this project: the reference that rows of ensembles are compared with.

Each class: step(x, g) -> new x, float64 arrays. t counts from 1. wd = weight_decay (L2: g <- g + wd x unless stated). Transcribed from
torch's source and checked against torch 2.14: at most 2.1e-14 apart over 200 steps of Rosenbrock's function for each of CASES.
"""

# ruff: noqa
import numpy as np


class SGD:  # b_1 = g (no dampening on first step); b_t = mu b + (1-damp) g; nesterov: d = g + mu b
    def __init__(s, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
        s.lr, s.mu, s.da, s.wd, s.ne, s.b = lr, momentum, dampening, weight_decay, nesterov, None

    def step(s, x, g):
        g = g + s.wd * x
        if s.mu != 0:
            s.b = g.copy() if s.b is None else s.mu * s.b + (1 - s.da) * g
            g = g + s.mu * s.b if s.ne else s.b
        return x - s.lr * g


class Adam:  # x -= lr/(1-b1^t) * m / ( sqrt(v)/sqrt(1-b2^t) + eps );  amsgrad: v -> running max of (uncorrected) v
    decoupled = False  # AdamW: x <- x(1 - lr wd) BEFORE the update, wd not added to g

    def __init__(s, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False):
        s.lr, (s.b1, s.b2), s.eps, s.wd, s.ams = lr, betas, eps, weight_decay, amsgrad
        s.t, s.m, s.v, s.vm = 0, 0.0, 0.0, 0.0

    def step(s, x, g):
        s.t += 1
        if s.wd:
            x, g = (x * (1 - s.lr * s.wd), g) if s.decoupled else (x, g + s.wd * x)
        s.m = s.b1 * s.m + (1 - s.b1) * g
        s.v = s.b2 * s.v + (1 - s.b2) * g * g
        v = s.v
        if s.ams:
            s.vm = np.maximum(s.vm, s.v)
            v = s.vm
        return x - s.lr / (1 - s.b1**s.t) * s.m / (np.sqrt(v) / np.sqrt(1 - s.b2**s.t) + s.eps)


class AdamW(Adam):  # torch default weight_decay of AdamW is 1e-2
    decoupled = True

    def __init__(s, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False):
        super().__init__(lr, betas, eps, weight_decay, amsgrad)


class NAdam:  # mu_t = b1(1 - 0.5*0.96^(t*psi)); P_t = prod mu ; denom = sqrt(v/(1-b2^t)) + eps
    def __init__(
        s,
        lr=2e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        momentum_decay=4e-3,
        decoupled_weight_decay=False,
    ):
        s.lr, (s.b1, s.b2), s.eps, s.wd, s.psi, s.dec = (
            lr,
            betas,
            eps,
            weight_decay,
            momentum_decay,
            decoupled_weight_decay,
        )
        s.t, s.m, s.v, s.P = 0, 0.0, 0.0, 1.0

    def step(s, x, g):
        s.t += 1
        if s.wd:
            x, g = (x * (1 - s.lr * s.wd), g) if s.dec else (x, g + s.wd * x)
        mu = s.b1 * (1 - 0.5 * 0.96 ** (s.t * s.psi))
        mun = s.b1 * (1 - 0.5 * 0.96 ** ((s.t + 1) * s.psi))
        s.P *= mu
        s.m = s.b1 * s.m + (1 - s.b1) * g
        s.v = s.b2 * s.v + (1 - s.b2) * g * g
        den = np.sqrt(s.v / (1 - s.b2**s.t)) + s.eps
        return x - s.lr * (1 - mu) / (1 - s.P) * g / den - s.lr * mun / (1 - s.P * mun) * s.m / den


class RAdam:  # rho_inf = 2/(1-b2)-1; rho_t = rho_inf - 2 t b2^t/(1-b2^t); rho_t<=5: x -= lr mhat (no denominator)
    def __init__(
        s, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False
    ):
        s.lr, (s.b1, s.b2), s.eps, s.wd, s.dec = (
            lr,
            betas,
            eps,
            weight_decay,
            decoupled_weight_decay,
        )
        s.t, s.m, s.v = 0, 0.0, 0.0

    def step(s, x, g):
        s.t += 1
        t = s.t
        if s.wd:
            x, g = (x * (1 - s.lr * s.wd), g) if s.dec else (x, g + s.wd * x)
        s.m = s.b1 * s.m + (1 - s.b1) * g
        s.v = s.b2 * s.v + (1 - s.b2) * g * g
        mh = s.m / (1 - s.b1**t)
        ri = 2 / (1 - s.b2) - 1
        rt = ri - 2 * t * s.b2**t / (1 - s.b2**t)
        if rt > 5.0:
            r = np.sqrt((rt - 4) * (rt - 2) * ri / ((ri - 4) * (ri - 2) * rt))
            return x - s.lr * mh * r * np.sqrt(1 - s.b2**t) / (
                np.sqrt(s.v) + s.eps
            )  # eps is added to the UNcorrected sqrt(v)
        return x - s.lr * mh


class Adamax:  # u = max(b2 u, |g|+eps); x -= lr/(1-b1^t) m/u
    def __init__(s, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        s.lr, (s.b1, s.b2), s.eps, s.wd = lr, betas, eps, weight_decay
        s.t, s.m, s.u = 0, 0.0, 0.0

    def step(s, x, g):
        s.t += 1
        g = g + s.wd * x
        s.m = s.b1 * s.m + (1 - s.b1) * g
        s.u = np.maximum(s.b2 * s.u, np.abs(g) + s.eps)
        return x - s.lr / (1 - s.b1**s.t) * s.m / s.u


class RMSprop:  # v = a v + (1-a) g^2; centered: v - gbar^2; denom = sqrt(.)+eps; momentum: b = mu b + g/denom; x -= lr b
    def __init__(s, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
        s.lr, s.a, s.eps, s.wd, s.mu, s.ce = lr, alpha, eps, weight_decay, momentum, centered
        s.v, s.ga, s.b = 0.0, 0.0, 0.0

    def step(s, x, g):
        g = g + s.wd * x
        s.v = s.a * s.v + (1 - s.a) * g * g
        v = s.v
        if s.ce:
            s.ga = s.a * s.ga + (1 - s.a) * g
            v = v - s.ga**2
        d = np.sqrt(v) + s.eps
        if s.mu > 0:
            s.b = s.mu * s.b + g / d
            return x - s.lr * s.b
        return x - s.lr * g / d


class Adagrad:  # S += g^2 ; clr = lr/(1+(t-1) lr_decay); x -= clr g/(sqrt(S)+eps)   (eps default 1e-10)
    def __init__(
        s, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10
    ):
        s.lr, s.ld, s.wd, s.S, s.eps, s.t = (
            lr,
            lr_decay,
            weight_decay,
            initial_accumulator_value,
            eps,
            0,
        )

    def step(s, x, g):
        s.t += 1
        g = g + s.wd * x
        s.S = s.S + g * g
        return x - s.lr / (1 + (s.t - 1) * s.ld) * g / (np.sqrt(s.S) + s.eps)


class Adadelta:  # v = rho v+(1-rho) g^2; d = sqrt(a+eps)/sqrt(v+eps) g; a = rho a+(1-rho) d^2; x -= lr d   (lr default 1)
    def __init__(s, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
        s.lr, s.rho, s.eps, s.wd, s.v, s.a = lr, rho, eps, weight_decay, 0.0, 0.0

    def step(s, x, g):
        g = g + s.wd * x
        s.v = s.rho * s.v + (1 - s.rho) * g * g
        d = np.sqrt(s.a + s.eps) / np.sqrt(s.v + s.eps) * g
        s.a = s.rho * s.a + (1 - s.rho) * d * d
        return x - s.lr * d


class Rprop:  # step sizes start at lr; *etaplus if g g_prev>0, *etaminus if <0 (then g:=0 this step), clamp; x -= sign(g) step
    def __init__(s, lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50)):
        s.lr, s.etas, s.lim, s.h, s.p = lr, etas, step_sizes, None, None

    def step(s, x, g):
        if s.h is None:
            s.h = np.full_like(x, s.lr)
            s.p = np.zeros_like(x)
        q = g * s.p
        f = np.where(q > 0, s.etas[1], np.where(q < 0, s.etas[0], 1.0))
        s.h = np.clip(s.h * f, *s.lim)
        g = np.where(q < 0, 0.0, g)
        s.p = g.copy()
        return x - np.sign(g) * s.h


class ASGD:  # x <- x(1-lambd*eta_t) - eta_t g ; eta_t = lr/(1+lambd*lr*(t-1))^alpha ; (the running average is not the iterate)
    def __init__(s, lr=1e-2, lambd=1e-4, alpha=0.75, weight_decay=0.0):
        s.lr, s.la, s.al, s.wd, s.t = lr, lambd, alpha, weight_decay, 0

    def step(s, x, g):
        g = g + s.wd * x
        eta = s.lr / (1 + s.la * s.lr * s.t) ** s.al
        s.t += 1
        return x * (1 - s.la * eta) - eta * g


CASES = [
    ("SGD", dict(lr=2e-4)),
    ("SGD", dict(lr=1e-4, momentum=0.9)),
    ("SGD", dict(lr=1e-4, momentum=0.9, nesterov=True, weight_decay=1e-2)),
    ("SGD", dict(lr=1e-4, momentum=0.9, dampening=0.5)),
    ("Adam", dict(lr=2e-2)),
    ("Adam", dict(lr=2e-2, amsgrad=True, weight_decay=0.01)),
    ("Adam", dict(lr=1e-2, betas=(0.5, 0.9), eps=1e-4)),
    ("AdamW", dict(lr=2e-2)),
    ("AdamW", dict(lr=2e-2, weight_decay=0.3, amsgrad=True)),
    ("NAdam", dict(lr=2e-2)),
    ("NAdam", dict(lr=2e-2, weight_decay=0.1, decoupled_weight_decay=True)),
    ("RAdam", dict(lr=1e-3)),
    ("RAdam", dict(lr=5e-4, betas=(0.9, 0.99), weight_decay=0.1, decoupled_weight_decay=True)),
    ("Adamax", dict(lr=2e-2)),
    ("Adamax", dict(lr=2e-2, weight_decay=0.1)),
    ("RMSprop", dict(lr=1e-2)),
    ("RMSprop", dict(lr=2e-3, centered=True, momentum=0.9)),
    ("RMSprop", dict(lr=1e-3, alpha=0.9, weight_decay=0.1)),
    ("Adagrad", dict(lr=0.3)),
    ("Adagrad", dict(lr=0.3, lr_decay=0.01, initial_accumulator_value=0.1, weight_decay=0.01)),
    ("Adadelta", dict()),
    ("Adadelta", dict(lr=3.0, rho=0.95, weight_decay=0.01)),
    ("Rprop", dict()),
    ("Rprop", dict(lr=0.1, etas=(0.4, 1.3))),
    ("ASGD", dict(lr=2e-4)),
    ("ASGD", dict(lr=2e-4, lambd=0.5, weight_decay=0.1)),
]


def rosen_grad(x):
    return np.array([-2 * (1 - x[0]) - 400 * x[0] * (x[1] - x[0] ** 2), 200 * (x[1] - x[0] ** 2)])
