"""Loss jumps and does not get better any more. (one sample a step, noisy targets)"""

import torch
import torch.nn as nn

import landscape as ls

torch.manual_seed(0)
X = torch.randn(500, 8)
y = X @ torch.randn(8, 1) + 1.5 * torch.randn(500, 1)
model = nn.Linear(8, 1)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
f = ls.ModelLandscape(model, criterion, [(X, y)])
with ls.Tracer(optimizer, f, every=50) as tracer:
    for epoch in range(2):
        for i in torch.randperm(500):
            optimizer.zero_grad()
            criterion(model(X[i : i + 1]), y[i : i + 1]).backward()
            optimizer.step()
