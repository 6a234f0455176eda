"""The encoder does not learn, only the head. (.detach() in forward)"""

import torch
import torch.nn as nn
import torch.nn.functional as F

import landscape as ls

torch.manual_seed(0)
X = torch.randn(400, 12)
y = (X[:, 0] * X[:, 1] > 0).long() + 2 * (X[:, 2] * X[:, 3] > 0).long()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 8), nn.ReLU())
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        features = self.encoder(x).detach()
        return self.head(features)


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
f = ls.ModelLandscape(model, F.cross_entropy, [(X, y)])
with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(300):
        i = torch.randint(400, (50,))
        optimizer.zero_grad()
        F.cross_entropy(model(X[i]), y[i]).backward()
        optimizer.step()
