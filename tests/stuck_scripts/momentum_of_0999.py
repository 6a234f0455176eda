"""Loss goes down, up, down, up. (momentum=0.999)"""

import torch
import torch.nn as nn
from sklearn.datasets import load_diabetes

import landscape as ls

data = load_diabetes()
X = torch.tensor(data.data * 21, dtype=torch.float32)
y = torch.tensor((data.target - 152) / 77, dtype=torch.float32)[:, None]
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.999)
f = ls.ModelLandscape(model, criterion, [(X, y)])
with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(300):
        i = torch.randint(len(X), (64,))
        optimizer.zero_grad()
        criterion(model(X[i]), y[i]).backward()
        optimizer.step()
