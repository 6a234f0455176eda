"""Minimising Rosenbrock with plain SGD takes forever. (the bent valley)"""

import torch

import landscape as ls


def rosenbrock(p):
    x, y = p[..., 0], p[..., 1]
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


p = torch.tensor([-1.5, 2.0], dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.SGD([p], lr=2e-4)
f = ls.FunctionLandscape(rosenbrock, dim=2)
with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(400):
        optimizer.zero_grad()
        loss = rosenbrock(p)
        loss.backward()
        optimizer.step()
