"""Deep linear net does not start. (weights of 1e-5, a saddle)"""

import torch
import torch.nn as nn

import landscape as ls

torch.manual_seed(0)
X = torch.randn(200, 6)
y = X @ torch.randn(6, 3)
model = nn.Sequential(*[nn.Linear(a, b, bias=False) for a, b in ((6, 8), (8, 8), (8, 3))])
for p in model.parameters():
    nn.init.normal_(p, std=1e-5)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
f = ls.ModelLandscape(model, criterion, [(X, y)])

with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(200):
        i = torch.randint(len(X), (64,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        loss.backward()
        optimizer.step()
