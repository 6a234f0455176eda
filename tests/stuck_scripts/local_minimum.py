"""Gradient descent ends at different values for different starts. (a local minimum)"""

import math

import torch

import landscape as ls


def rastrigin(x):
    return 10 * x.shape[-1] + (x**2 - 10 * torch.cos(2 * math.pi * x)).sum(-1)


x = torch.nn.Parameter(torch.tensor([3.2, -1.9, 2.1], dtype=torch.float64))
optimizer = torch.optim.Adam([x], lr=0.02)
f = ls.FunctionLandscape(rastrigin, dim=3)
with ls.Tracer(optimizer, f, every=25) as tracer:
    for step in range(500):
        optimizer.zero_grad()
        rastrigin(x).backward()
        optimizer.step()
