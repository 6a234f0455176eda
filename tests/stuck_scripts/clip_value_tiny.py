"""Slow training, no idea why. (clip_grad_value_ with 1e-6)"""

import torch
import torch.nn as nn
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

import landscape as ls

X, y = load_breast_cancer(return_X_y=True)
X, y = torch.tensor(scale(X), dtype=torch.float32), torch.tensor(y, dtype=torch.float32)[:, None]
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 1))
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
f = ls.ModelLandscape(model, criterion, [(X, y)])

with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(200):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        loss.backward()
        nn.utils.clip_grad_value_(model.parameters(), 1e-6)
        optimizer.step()
