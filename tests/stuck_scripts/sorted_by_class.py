"""The loss jumps at every class of my folder. (shuffle=False, and the data are sorted by class)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls

X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X / 16, dtype=torch.float32), torch.tensor(y)
order = y.argsort()
train_loader = DataLoader(TensorDataset(X[order], y[order]), batch_size=32)

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
f = ls.ModelLandscape(model, F.cross_entropy, [(X[:400], y[:400])])
with ls.Tracer(optimizer, f, every=10) as tracer:
    for epoch in range(6):
        for xb, yb in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(xb), yb).backward()
            optimizer.step()
