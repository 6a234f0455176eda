"""Adam does not converge on digits. (lr=1)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls

X, y = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(X[:800] / 16, dtype=torch.float32), torch.tensor(y[:800]))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 50)
        self.fc2 = nn.Linear(50, 30)
        self.fc3 = nn.Linear(30, 10)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


torch.manual_seed(1)
model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=1.0)
f = ls.ModelLandscape(model, F.cross_entropy, DataLoader(data, batch_size=200))
with ls.Tracer(optimizer, f, every=20) as tracer:
    for epoch in range(12):
        for xb, yb in DataLoader(data, batch_size=32, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(xb), yb).backward()
            optimizer.step()
