"""Adam stops learning after some batches. (ExponentialLR(0.9) each batch)"""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits

import landscape as ls

X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X[:600] / 16, dtype=torch.float32), torch.tensor(y[:600])
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
f = ls.ModelLandscape(model, criterion, list(zip(X.split(150), y.split(150))))

with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(300):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        loss.backward()
        optimizer.step()
        scheduler.step()
