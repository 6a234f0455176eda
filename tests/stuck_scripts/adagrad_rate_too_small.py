"""The loss barely moves. (Adagrad at 1e-4)"""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits

import landscape as ls

torch.manual_seed(1)
digits = load_digits()
X = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adagrad(model.parameters(), lr=1e-4)
f = ls.ModelLandscape(model, criterion, [(X, y)])

with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(300):
        i = torch.randint(len(X), (64,))
        optimizer.zero_grad()
        criterion(model(X[i]), y[i]).backward()
        optimizer.step()
