"""Loss is nan after some iterations. (SGD on diabetes, lr=0.5 and raw targets)"""

import torch
import torch.nn as nn
from sklearn.datasets import load_diabetes

import landscape as ls

data = load_diabetes()
X = torch.tensor(data.data * 21, dtype=torch.float32)
y = torch.tensor(data.target, dtype=torch.float32)[:, None]
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
f = ls.ModelLandscape(model, criterion, [(X, y)])

with ls.Tracer(optimizer, f, every=10) as tracer:
    for step in range(100):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        loss.backward()
        optimizer.step()
