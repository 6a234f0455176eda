"""Works: gradient accumulation, divided as it should be."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale

import landscape as ls

X, y = load_wine(return_X_y=True)
X, y = torch.tensor(scale(X), dtype=torch.float32), torch.tensor(y)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
f = ls.ModelLandscape(model, F.cross_entropy, [(X, y)])
with ls.Tracer(optimizer, f, every=10) as tracer:
    for epoch in range(60):
        optimizer.zero_grad()
        for k, i in enumerate(torch.randperm(len(X)).split(22)):
            (F.cross_entropy(model(X[i]), y[i]) / 4).backward()
            if k % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
