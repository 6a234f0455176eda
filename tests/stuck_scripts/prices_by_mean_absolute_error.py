"""The mean absolute error stays at 220,000. (prices as they are, SGD)"""

import torch
import torch.nn as nn

import landscape as ls

torch.manual_seed(5)
X = torch.randn(400, 8)
y = 220_000 + 60_000 * torch.tanh(X[:, :1] + X[:, 3:4])
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
loss_fn = nn.L1Loss()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
f = ls.ModelLandscape(model, loss_fn, [(X, y)])
with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(300):
        i = torch.randint(400, (32,))
        optimizer.zero_grad()
        loss_fn(model(X[i]), y[i]).backward()
        optimizer.step()
