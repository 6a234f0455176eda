"""Works: L-BFGS with its closure."""

import torch
import torch.nn as nn
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale

import landscape as ls

X, y = load_wine(return_X_y=True)
X, y = torch.tensor(scale(X), dtype=torch.float32), torch.tensor(y)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(13, 8), nn.Tanh(), nn.Linear(8, 3))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.3, max_iter=4)
f = ls.ModelLandscape(model, criterion, [(X, y)])


def closure():
    optimizer.zero_grad()
    loss = criterion(model(X), y)
    loss.backward()
    return loss


with ls.Tracer(optimizer, f, every=5) as tracer:
    for step in range(40):
        optimizer.step(closure)
