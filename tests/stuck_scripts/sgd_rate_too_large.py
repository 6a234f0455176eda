"""Loss oscillates and does not go down. (SGD, lr=5 on a regression)"""

import torch
import torch.nn as nn
from sklearn.datasets import load_diabetes

import landscape as ls

data = load_diabetes()
X = torch.tensor(data.data * 21, dtype=torch.float32)
y = torch.tensor((data.target - 152) / 77, dtype=torch.float32)[:, None]

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
f = ls.ModelLandscape(model, criterion, [(X, y)])
with ls.Tracer(optimizer, f, every=20) as tracer:
    for epoch in range(40):
        for i in torch.randperm(len(X)).split(64):
            optimizer.zero_grad()
            loss = criterion(model(X[i]), y[i])
            loss.backward()
            optimizer.step()
