"""Works, and has only begun: thirty steps of an MLP on digits."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

import landscape as ls

X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X[:600] / 16, dtype=torch.float32), torch.tensor(y[:600])
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
f = ls.ModelLandscape(model, F.cross_entropy, list(zip(X.split(150), y.split(150))))
with ls.Tracer(optimizer, f, every=5) as tracer:
    for step in range(40):
        i = torch.randint(600, (32,))
        optimizer.zero_grad()
        F.cross_entropy(model(X[i]), y[i]).backward()
        optimizer.step()
