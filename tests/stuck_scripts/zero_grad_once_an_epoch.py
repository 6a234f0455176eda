"""Loss explodes within each epoch. (zero_grad() outside of the batch loop)"""

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
optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
f = ls.ModelLandscape(model, criterion, [(X, y)])
with ls.Tracer(optimizer, f, every=10) as tracer:
    for epoch in range(12):
        optimizer.zero_grad()
        for i in torch.randperm(len(X)).split(8):
            criterion(model(X[i]), y[i]).backward()
            optimizer.step()
