"""Accuracy stays at chance. (the model was made again after the optimizer)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls

X, y = load_digits(return_X_y=True)
X = torch.tensor(X[:600], dtype=torch.float32) / 16
y = torch.tensor(y[:600])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x)))


torch.manual_seed(0)
device = torch.device("cpu")
model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
model = Net().to(device)
loader = DataLoader(TensorDataset(X, y), batch_size=50, shuffle=True)

f = ls.ModelLandscape(model, F.cross_entropy, DataLoader(TensorDataset(X, y), batch_size=200))
with ls.Tracer(optimizer, f, every=10) as tracer:
    for epoch in range(8):
        for xb, yb in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(xb.to(device)), yb.to(device))
            loss.backward()
            optimizer.step()
