"""Gradient accumulation over 32 batches makes it unstable. (the loss is not divided by 32)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls

X, y = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(X[:640] / 16, dtype=torch.float32), torch.tensor(y[:640]))
loader = DataLoader(data, batch_size=10, shuffle=True)
accumulation_steps = 32

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
f = ls.ModelLandscape(model, F.cross_entropy, DataLoader(data, batch_size=160))
with ls.Tracer(optimizer, f, every=4) as tracer:
    for epoch in range(18):
        for i, (xb, yb) in enumerate(loader):
            loss = F.cross_entropy(model(xb), yb)
            loss.backward()
            if (i + 1) % accumulation_steps == 0:
                optimizer.step()
                optimizer.zero_grad()
