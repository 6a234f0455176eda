"""Regression predicts the mean everywhere. (targets of shape (N,), outputs of shape (N, 1))"""

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls

torch.manual_seed(0)
x = torch.rand(400, 3) * 2 - 1
y = torch.sin(3 * x[:, 0]) + x[:, 1] ** 2
model = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))


def loss_function(prediction, target):
    return torch.mean((prediction - target) ** 2)


optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
loader = DataLoader(TensorDataset(x, y), batch_size=40, shuffle=True)
f = ls.ModelLandscape(model, loss_function, [(x, y)])
with ls.Tracer(optimizer, f, every=20) as tracer:
    for epoch in range(25):
        for xb, yb in loader:
            optimizer.zero_grad()
            loss = loss_function(model(xb), yb)
            loss.backward()
            optimizer.step()
