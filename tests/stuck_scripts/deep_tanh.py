"""Deep tanh net with small init does not train. (vanishing gradients, std=0.02 over 12 layers)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale

import landscape as ls

X, y = load_wine(return_X_y=True)
X, y = torch.tensor(scale(X), dtype=torch.float32), torch.tensor(y)
torch.manual_seed(0)
layers = [nn.Linear(13, 20), nn.Tanh()]
for _ in range(10):
    layers += [nn.Linear(20, 20), nn.Tanh()]
model = nn.Sequential(*layers, nn.Linear(20, 3))
for m in model:
    if isinstance(m, nn.Linear):
        nn.init.normal_(m.weight, std=0.02)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
f = ls.ModelLandscape(model, F.cross_entropy, [(X, y)])
with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(200):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        F.cross_entropy(model(X[i]), y[i]).backward()
        optimizer.step()
