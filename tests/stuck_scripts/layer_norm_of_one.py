"""Regression predicts the same number for everything. (LayerNorm over the one output)"""

import torch
import torch.nn as nn
from sklearn.datasets import load_diabetes
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls

X, y = load_diabetes(return_X_y=True)
X = torch.tensor((X - X.mean(0)) / X.std(0), dtype=torch.float32)
y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)[:, None]


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.norm1 = nn.Linear(10, 32), nn.LayerNorm(32)
        self.fc2, self.norm2 = nn.Linear(32, 1), nn.LayerNorm(1)

    def forward(self, x):
        x = torch.relu(self.norm1(self.fc1(x)))
        return self.norm2(self.fc2(x))


torch.manual_seed(0)
model = Regressor()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
criterion = nn.MSELoss()
f = ls.ModelLandscape(model, criterion, [(X, y)])
loader = DataLoader(TensorDataset(X, y), batch_size=32, shuffle=True)
with ls.Tracer(optimizer, f, every=10) as tracer:
    for epoch in range(20):
        for xb, yb in loader:
            optimizer.zero_grad()
            criterion(model(xb), yb).backward()
            optimizer.step()
