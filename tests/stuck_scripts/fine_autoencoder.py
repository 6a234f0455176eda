"""Works: an autoencoder of digits, not yet at its end."""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits

import landscape as ls

X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X[:600] / 16, dtype=torch.float32), torch.tensor(y[:600])
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 64))
criterion = nn.MSELoss()
y = X
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
f = ls.ModelLandscape(model, criterion, list(zip(X.split(150), y.split(150))))

with ls.Tracer(optimizer, f, every=40) as tracer:
    for step in range(400):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        loss.backward()
        optimizer.step()
