"""Train loss goes to zero, everything else is wrong. (next(iter(loader)) in the loop)"""

import torch
import torch.nn as nn
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls

X, y = load_breast_cancer(return_X_y=True)
dataset = TensorDataset(
    torch.tensor(scale(X), dtype=torch.float32), torch.tensor(y, dtype=torch.float32).unsqueeze(1)
)
loader = DataLoader(dataset, batch_size=8)

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(30, 40), nn.GELU(), nn.Linear(40, 1))
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)

f = ls.ModelLandscape(model, criterion, DataLoader(dataset, batch_size=256))
with ls.Tracer(optimizer, f, every=20) as tracer:
    for iteration in range(300):
        xb, yb = next(iter(loader))
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
