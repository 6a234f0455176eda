"""Regression saturates at 1. (tanh after the last layer, targets up to 4)"""

import torch
import torch.nn as nn

import landscape as ls

torch.manual_seed(0)
X = torch.randn(300, 4)
y = (X.sum(1, keepdim=True) + 1) ** 2 / 4
model = nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 1), nn.Tanh())
criterion = nn.L1Loss()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
f = ls.ModelLandscape(model, criterion, [(X, y)])

with ls.Tracer(optimizer, f, every=30) as tracer:
    for step in range(300):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        loss.backward()
        optimizer.step()
