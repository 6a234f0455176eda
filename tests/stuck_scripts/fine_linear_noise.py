"""Works and is done: linear regression on targets with a lot of noise."""

import torch
import torch.nn as nn

import landscape as ls

torch.manual_seed(0)
X = torch.randn(300, 6)
y = X @ torch.randn(6, 1) + 1.0 * torch.randn(300, 1)
model = nn.Linear(6, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
criterion = nn.MSELoss()
f = ls.ModelLandscape(model, criterion, [(X, y)])
with ls.Tracer(optimizer, f, every=30) as tracer:
    for epoch in range(60):
        for i in torch.randperm(300).split(50):
            optimizer.zero_grad()
            criterion(model(X[i]), y[i]).backward()
            optimizer.step()
