"""I set all weights to zero like in my logistic regression. (tanh net at zero)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

import landscape as ls

X, y = load_breast_cancer(return_X_y=True)
X, y = torch.tensor(scale(X), dtype=torch.float32), torch.tensor(y)

model = nn.Sequential(nn.Linear(30, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 2))
for p in model.parameters():
    nn.init.zeros_(p)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
f = ls.ModelLandscape(model, F.cross_entropy, [(X, y)])
torch.manual_seed(0)
with ls.Tracer(optimizer, f, every=20) as tracer:
    for epoch in range(20):
        for i in torch.randperm(len(X)).split(50):
            optimizer.zero_grad()
            F.cross_entropy(model(X[i]), y[i]).backward()
            optimizer.step()
