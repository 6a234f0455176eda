"""Works: a frozen body, and a head that is enough."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

import landscape as ls

X, y = load_breast_cancer(return_X_y=True)
X, y = torch.tensor(scale(X), dtype=torch.float32), torch.tensor(y)
torch.manual_seed(0)
body = nn.Sequential(nn.Linear(30, 64), nn.ReLU())
head = nn.Linear(64, 2)
body.requires_grad_(False)
model = nn.Sequential(body, head)
optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
f = ls.ModelLandscape(model, F.cross_entropy, [(X, y)])
with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(300):
        i = torch.randint(len(X), (50,))
        optimizer.zero_grad()
        F.cross_entropy(model(X[i]), y[i]).backward()
        optimizer.step()
