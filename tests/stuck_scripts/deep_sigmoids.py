"""20 layers do not train, 2 layers do. (sigmoids, vanishing gradients)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

import landscape as ls

X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X[:400] / 16, dtype=torch.float32), torch.tensor(y[:400])


class Deep(nn.Module):
    def __init__(self, depth=20):
        super().__init__()
        self.first = nn.Linear(64, 16)
        self.hidden = nn.ModuleList([nn.Linear(16, 16) for _ in range(depth - 2)])
        self.last = nn.Linear(16, 10)

    def forward(self, x):
        x = torch.sigmoid(self.first(x))
        for layer in self.hidden:
            x = torch.sigmoid(layer(x))
        return self.last(x)


torch.manual_seed(0)
model = Deep()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
f = ls.ModelLandscape(model, F.cross_entropy, [(X, y)])
with ls.Tracer(optimizer, f, every=15) as tracer:
    for epoch in range(15):
        for i in torch.randperm(len(X)).split(40):
            optimizer.zero_grad()
            F.cross_entropy(model(X[i]), y[i]).backward()
            optimizer.step()
