"""Hidden units all the same. (every weight starts at the same constant)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

import landscape as ls

X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X[:600] / 16, dtype=torch.float32), torch.tensor(y[:600])

model = nn.Sequential(nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, 10))
for m in model:
    if isinstance(m, nn.Linear):
        nn.init.constant_(m.weight, 0.01)
        nn.init.zeros_(m.bias)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
f = ls.ModelLandscape(model, F.cross_entropy, list(zip(X.split(150), y.split(150))))
torch.manual_seed(0)
with ls.Tracer(optimizer, f, every=30) as tracer:
    for step in range(450):
        i = torch.randint(600, (64,))
        optimizer.zero_grad()
        F.cross_entropy(model(X[i]), y[i]).backward()
        optimizer.step()
