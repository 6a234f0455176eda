"""Regression to numbers between 0 and 1: the loss is the same to the last digit. (clamp, and a bias of 2)"""

import torch
import torch.nn as nn
import torch.nn.functional as F

import landscape as ls

torch.manual_seed(4)
X = torch.randn(300, 6)
y = torch.sigmoid(X[:, :1] - X[:, 1:2])


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 1))
        nn.init.constant_(self.body[-1].bias, 2.5)

    def forward(self, x):
        return self.body(x).clamp(0, 1)


model = Model()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
f = ls.ModelLandscape(model, F.mse_loss, [(X, y)])
with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(200):
        i = torch.randint(300, (32,))
        optimizer.zero_grad()
        F.mse_loss(model(X[i]), y[i]).backward()
        optimizer.step()
