"""Linear regression with gradient descent stops far from the solution. (an ill-conditioned valley)"""

import torch

import landscape as ls

torch.manual_seed(0)
scales = torch.logspace(0, -2.5, 10, dtype=torch.float64)
Q = torch.linalg.qr(torch.randn(10, 10, dtype=torch.float64))[0]
X = torch.randn(200, 10, dtype=torch.float64) * scales @ Q
X = X / X.std(0)
y = X @ torch.linalg.solve(X.T @ X, torch.randn(10, 1, dtype=torch.float64)) * 5

model = torch.nn.Linear(10, 1, dtype=torch.float64)
criterion = torch.nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
f = ls.ModelLandscape(model, criterion, [(X, y)])
with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(400):
        optimizer.zero_grad()
        loss = criterion(model(X), y)
        loss.backward()
        optimizer.step()
