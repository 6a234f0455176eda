"""Validation is random. (the batch is drawn before the loop)"""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits

import landscape as ls

X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X[:600] / 16, dtype=torch.float32), torch.tensor(y[:600])
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
f = ls.ModelLandscape(model, criterion, list(zip(X.split(150), y.split(150))))
i = torch.randperm(len(X))[:16]
xb, yb = X[i], y[i]
with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(200):
        optimizer.zero_grad()
        criterion(model(xb), yb).backward()
        optimizer.step()
