"""Works and is done: logistic regression where inputs say little."""

import torch
import torch.nn as nn

import landscape as ls

torch.manual_seed(0)
X = torch.randn(500, 4)
y = (torch.rand(500, 1) < torch.sigmoid(0.7 * X[:, :1])).float()
model = nn.Linear(4, 1)
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-4)
f = ls.ModelLandscape(model, criterion, [(X, y)])

with ls.Tracer(optimizer, f, every=40) as tracer:
    for step in range(800):
        i = torch.randint(len(X), (100,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        loss.backward()
        optimizer.step()
