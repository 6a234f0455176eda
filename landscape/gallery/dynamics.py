"""How long training takes on plateaus and over barriers, and what noise leaves behind."""

import math

import torch
from torch import Tensor, nn

from landscape import theory, zoo
from landscape.core import Progress
from landscape.gallery import Computed, Match, exact, mean
from landscape.optimizers.escape import LeavesBall, escape
from landscape.optimizers.schedules import schedule_curve
from landscape.results import Estimate

STRENGTHS = (4.0, 2.0, 1.0, 0.5)
START = 1e-3


def saxe(progress: Progress) -> Computed:
    """Two layers on four modes: the time to half of each, SGD beside the closed form."""
    rate, steps = 0.002, 6_000
    S = torch.diag(torch.tensor(STRENGTHS, dtype=torch.float64, device="cpu"))
    eye = torch.eye(4, dtype=torch.float64, device="cpu")
    layers = [nn.Parameter(math.sqrt(START) * eye.clone()) for _ in range(2)]
    optimizer = torch.optim.SGD(layers, lr=rate)
    modes, losses = [], []
    for step in range(steps):
        if step % 200 == 0:
            progress("steps", step, steps)
        with torch.enable_grad():
            product = layers[1] @ layers[0]
            loss = 0.5 * (product - S).square().sum()
            for p, g in zip(layers, torch.autograd.grad(loss, layers), strict=True):
                p.grad = g
        modes.append(product.detach().diagonal().clone())
        losses.append(float(loss.detach()))
        optimizer.step()
    track = torch.stack(modes)
    times = [float((track[:, k] >= s / 2).int().argmax()) * rate for k, s in enumerate(STRENGTHS)]
    law = [theory.deep_linear_time(2, s, START) for s in STRENGTHS]
    t = rate * torch.arange(steps, dtype=torch.float64, device="cpu")
    curves = torch.stack([_sigmoid(t, s) for s in STRENGTHS], dim=1)
    keep = slice(None, None, 20)
    data = {
        "t": t[keep],
        "modes": track[keep],
        "theory": curves[keep],
        "loss": torch.tensor(losses, dtype=torch.float64, device="cpu")[keep],
        "strengths": torch.tensor(STRENGTHS, dtype=torch.float64, device="cpu"),
    }
    return data, [
        Match(
            f"time to half of the mode {s:g}",
            law[k],
            "Saxe et al. 2014: ln of the odds over 2 s",
            exact(times[k]),
            0.01 * law[k],
            "steps of a finite rate instead of the flow",
        )
        for k, s in enumerate(STRENGTHS)
    ]


def _sigmoid(t: Tensor, s: float) -> Tensor:
    e = torch.exp(2 * s * t)
    return s * e / (e - 1 + s / START)


def kramers(progress: Progress) -> Computed:
    """The mean time from one well to the other."""
    f = zoo.formula("double-well", dim=1)
    rate, runs = 0.02, 600
    at = torch.tensor([-1.0], dtype=torch.float64, device="cpu")
    rows, matches = [], []
    for k, T in enumerate((0.2, 0.14, 0.11)):
        progress("temperatures", k, 3)
        sigma = math.sqrt(2 * T / rate)
        limit = int(14 * theory.double_well_passage(T) / rate)
        study = escape(
            f,
            at,
            [f"sgd:lr={rate}"],
            runs,
            limit,
            0.0,
            LeavesBall(2.0),
            f"isotropic:{sigma!r}",
            seed=k,
        )
        (out,) = study.results.values()
        found = mean((rate * out.steps.double()).tolist())
        law = theory.double_well_passage(T)
        bare, better = theory.kramers(0.25, T, 2.0, -1.0, (-6.0, 0.0), (6.0, 6.0))
        rows.append((T, found.value, found.error, law, bare, better))
        matches.append(
            Match(
                f"mean time at T = {T}",
                law,
                "the exact quadrature, Gardiner 2004, chapter 5",
                found,
                0.03 * law,
                "steps of a finite rate instead of the diffusion",
            )
        )
    temperatures = torch.linspace(0.07, 0.25, 60, dtype=torch.float64, device="cpu")
    curves = [
        (
            theory.double_well_passage(v),
            *theory.kramers(0.25, v, 2.0, -1.0, (-6.0, 0.0), (6.0, 6.0)),
        )
        for v in temperatures.tolist()
    ]
    data = {
        "measured": torch.tensor(rows, dtype=torch.float64, device="cpu"),
        "T": temperatures,
        "curves": torch.tensor(curves, dtype=torch.float64, device="cpu"),
    }
    bare, better = theory.kramers(0.25, 0.02, 2.0, -1.0, (-6.0, 0.0), (6.0, 6.0))
    ratio = theory.double_well_passage(0.02) / bare
    return data, [
        *matches,
        Match(
            "exact time over Kramers' at T = 0.02",
            1.0,
            "Kramers 1940: the limit of low temperature",
            exact(ratio),
            0.05,
            "his formula is off by an order of T",
        ),
    ]


SCHEDULES = {
    "constant": "ConstantLR:factor=1.0",
    "cosine": "CosineAnnealingLR:T_max=400",
    "step": "StepLR:step_size=100,gamma=0.3",
    "one cycle": "OneCycleLR:max_lr=0.5,total_steps=401",
    "1 / t": "LambdaLR:lr_lambda=1/(1+0.2*t)",
}


def schedules(progress: Progress) -> Computed:
    """E x^2 on x^2 / 2 with noise of variance one: V <- (1 - h)^2 V + h^2."""
    lr, steps, runs = 0.2, 400, 4_000
    generator = torch.Generator("cpu").manual_seed(0)
    rates, exactly, measured = {}, {}, {}
    for k, (name, spec) in enumerate(SCHEDULES.items()):
        progress("schedules", k, len(SCHEDULES))
        h = schedule_curve(spec, lr, steps)
        x = torch.full((runs,), 3.0, dtype=torch.float64, device="cpu")
        V, law, seen = 9.0, [9.0], [9.0]
        parameter = nn.Parameter(x)
        optimizer = torch.optim.SGD([parameter], lr=lr)
        for rate in h.tolist():
            optimizer.param_groups[0]["lr"] = rate
            noise = torch.randn(runs, generator=generator, dtype=torch.float64, device="cpu")
            parameter.grad = parameter.detach() + noise
            optimizer.step()
            V = (1 - rate) ** 2 * V + rate**2
            law.append(V)
            seen.append(float(parameter.detach().square().mean()))
        rates[name], exactly[name] = h, torch.tensor(law, dtype=torch.float64, device="cpu")
        measured[name] = torch.tensor(seen, dtype=torch.float64, device="cpu")
        if name == "constant":
            late = parameter.detach().square()
    found = mean(late.tolist())
    middle = float(rates["cosine"].mean())
    return {"rates": rates, "exact": exactly, "measured": measured}, [
        Match(
            "E x^2 that a constant rate of 0.2 leaves",
            lr / (2 - lr),
            "h sigma^2 / (lambda (2 - h lambda)); its limit of small h is that of Mandt et al. "
            "2017",
            found,
        ),
        Match(
            "mean rate of a cosine schedule in units of the first",
            0.5,
            "Loshchilov & Hutter 2017, ICLR, equation 5",
            exact(middle / lr),
            0.5 / steps + 1e-9,
            "a sum instead of an integral",
        ),
        Match(
            "ratio of E x^2 measured and exact at the end of 1 / t",
            1.0,
            "the recursion of moments",
            _ratio(measured["1 / t"][-1], exactly["1 / t"][-1], runs),
        ),
    ]


def _ratio(seen: Tensor, law: Tensor, runs: int) -> Estimate:
    value, error = float(seen / law), (2 / runs) ** 0.5  # x is normal
    return Estimate(value, error, value - 2 * error, value + 2 * error)
