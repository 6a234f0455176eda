"""Only the classifier learns. (torch.no_grad() around the body)"""

import torch
import torch.nn as nn

import landscape as ls


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3), nn.Tanh())
        self.head = nn.Linear(3, 1)

    def forward(self, x):
        with torch.no_grad():
            h = self.body(x)
        return self.head(h)


torch.manual_seed(0)
X = torch.randn(300, 8)
y = (X[:, :1] * X[:, 1:2]).sign() + X[:, 2:3]
model = Net()
criterion = nn.SmoothL1Loss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
f = ls.ModelLandscape(model, criterion, [(X, y)])

with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(200):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        loss.backward()
        optimizer.step()
