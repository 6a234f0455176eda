"""CNN with RMSprop gives the same class for all. (lr=0.5)"""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits

import landscape as ls

X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X[:400] / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(y[:400])
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 10)
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.RMSprop(model.parameters(), lr=0.5)
f = ls.ModelLandscape(model, criterion, list(zip(X.split(100), y.split(100))))

with ls.Tracer(optimizer, f, every=30) as tracer:
    for step in range(200):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        loss.backward()
        optimizer.step()
