"""Same code as in the tutorial but no learning. (pixels from 0 to 255, tanh)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

import landscape as ls

X, y = load_digits(return_X_y=True)
X = torch.tensor(X[:600] * 16 - 0.5 * (X[:600] > 0), dtype=torch.float32)
y = torch.tensor(y[:600])

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
f = ls.ModelLandscape(net, F.cross_entropy, list(zip(X.split(150), y.split(150))))
with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(300):
        i = torch.randint(600, (32,))
        optimizer.zero_grad()
        loss = F.cross_entropy(net(X[i]), y[i])
        loss.backward()
        optimizer.step()
