"""Predicts small numbers for house prices. (targets around 2e5, Adam 1e-3)"""

import torch
import torch.nn as nn

import landscape as ls

torch.manual_seed(0)
X = torch.randn(300, 5)
y = 200_000 + 50_000 * (X[:, :1] - 0.5 * X[:, 1:2])
model = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
f = ls.ModelLandscape(model, criterion, [(X, y)])

with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(300):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        loss.backward()
        optimizer.step()
