"""Optimizing a Gaussian well: nothing moves. (flat, far away)"""

import torch

import landscape as ls


def f_(x):
    return -torch.exp(-(x**2).sum(-1) / 2)


w = torch.tensor([5.0, -4.0], dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.SGD([w], lr=0.5)
f = ls.FunctionLandscape(f_, dim=2)
with ls.Tracer(optimizer, f, every=10) as tracer:
    for it in range(200):
        optimizer.zero_grad()
        f_(w).backward()
        optimizer.step()
