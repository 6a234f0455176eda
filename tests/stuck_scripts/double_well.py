"""Ends in the higher of two valleys. (a local minimum)"""

import torch

import landscape as ls


def f_(x):
    return ((x**2 - 1) ** 2 + 0.3 * x).sum(-1)


w = torch.tensor([0.6, 1.4], dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.SGD([w], lr=0.02, momentum=0.9)
f = ls.FunctionLandscape(f_, dim=2)
with ls.Tracer(optimizer, f, every=20) as tracer:
    for it in range(400):
        optimizer.zero_grad()
        f_(w).backward()
        optimizer.step()
