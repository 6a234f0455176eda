"""Ten outputs, MSELoss, loss stays near 8. (the class index is the target of all ten outputs)"""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits

import landscape as ls

X, y = load_digits(return_X_y=True)
X = torch.tensor(X[:700] / 16, dtype=torch.float32)
y = torch.tensor(y[:700], dtype=torch.float32).unsqueeze(1)

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 30), nn.Sigmoid(), nn.Linear(30, 10))
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
f = ls.ModelLandscape(model, criterion, [(X, y)])
with ls.Tracer(optimizer, f, every=20) as tracer:
    for epoch in range(20):
        for i in torch.randperm(len(X)).split(50):
            out = model(X[i])
            loss = criterion(out, y[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
