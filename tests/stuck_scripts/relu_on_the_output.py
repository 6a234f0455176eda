"""Regression never predicts negative values. (ReLU after the last layer)"""

import torch
import torch.nn as nn

import landscape as ls

torch.manual_seed(0)
X = torch.randn(300, 5)
y = (X[:, :1] + 0.5 * X[:, 1:2]) * 2
model = nn.Sequential(nn.Linear(5, 24), nn.ReLU(), nn.Linear(24, 1), nn.ReLU())
loss_fn = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
f = ls.ModelLandscape(model, loss_fn, [(X, y)])
with ls.Tracer(optimizer, f, every=20) as tracer:
    for t in range(300):
        i = torch.randint(300, (64,))
        loss = loss_fn(model(X[i]), y[i])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
