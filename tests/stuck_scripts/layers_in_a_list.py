"""More layers do not help. (layers in a plain Python list)"""

import torch
import torch.nn as nn

import landscape as ls


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(8, 24), nn.Linear(24, 3)]
        self.out = nn.Linear(3, 4)

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.out(x)


torch.manual_seed(0)
X = torch.randn(400, 8)
y = (X[:, 0] > 0).long() + 2 * (X[:, 1] * X[:, 2] > 0).long()
model = Net()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
f = ls.ModelLandscape(model, criterion, [(X, y)])

with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(200):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        loss.backward()
        optimizer.step()
