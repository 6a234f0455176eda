"""I initialised with torch.randn and nothing happens. (sigmoids saturated by large weights)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

import landscape as ls

X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X[:600] / 16, dtype=torch.float32), torch.tensor(y[:600])


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(64, 40) * 30)
        self.w2 = nn.Parameter(torch.randn(40, 40) * 30)
        self.w3 = nn.Parameter(torch.randn(40, 10) * 0.1)

    def forward(self, x):
        h = torch.sigmoid(x @ self.w1)
        h = torch.sigmoid(h @ self.w2)
        return h @ self.w3 - 2


torch.manual_seed(0)
model = MLP()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
f = ls.ModelLandscape(model, F.cross_entropy, list(zip(X.split(150), y.split(150))))
with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(200):
        i = torch.randint(600, (32,))
        optimizer.zero_grad()
        F.cross_entropy(model(X[i]), y[i]).backward()
        optimizer.step()
