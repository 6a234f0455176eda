"""Loss goes up and up. (the negative loss is minimised)"""

import torch
import torch.nn as nn
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale

import landscape as ls

X, y = load_wine(return_X_y=True)
X, y = torch.tensor(scale(X), dtype=torch.float32), torch.tensor(y)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(13, 16), nn.Tanh(), nn.Linear(16, 3))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
f = ls.ModelLandscape(model, criterion, [(X, y)])

with ls.Tracer(optimizer, f, every=10) as tracer:
    for step in range(150):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        (-loss).backward()
        optimizer.step()
