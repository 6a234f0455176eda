"""Control: rows of the weights are put back to a largest norm after every step."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

import landscape as ls

X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X[:640] / 16, dtype=torch.float32), torch.tensor(y[:640])

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
f = ls.ModelLandscape(model, F.cross_entropy, [(X[:320], y[:320])])
with ls.Tracer(optimizer, f, every=10) as tracer:
    for epoch in range(12):
        for i in torch.randperm(640).split(40):
            optimizer.zero_grad()
            F.cross_entropy(model(X[i]), y[i]).backward()
            optimizer.step()
            with torch.no_grad():
                for layer in (model[0], model[2]):
                    layer.weight.copy_(layer.weight.renorm(2, 0, 2.0))
