"""Ten layers with N(0, 0.01) weights: gradients are zero. (vanishing)"""

import torch
import torch.nn as nn
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale

import landscape as ls

X, y = load_wine(return_X_y=True)
X, y = torch.tensor(scale(X), dtype=torch.float32), torch.tensor(y)
torch.manual_seed(0)
layers = [nn.Linear(13, 24), nn.ReLU()]
for _ in range(8):
    layers += [nn.Linear(24, 24), nn.ReLU()]
model = nn.Sequential(*layers, nn.Linear(24, 3))
for m in model:
    if isinstance(m, nn.Linear):
        nn.init.normal_(m.weight, 0, 0.05)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
f = ls.ModelLandscape(model, criterion, [(X, y)])

with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(200):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        loss.backward()
        optimizer.step()
