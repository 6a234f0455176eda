"""Loss is constant, no error. (zero_grad() between backward() and step())"""

import torch
import torch.nn as nn
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls

X, y = load_breast_cancer(return_X_y=True)
data = TensorDataset(torch.tensor(scale(X), dtype=torch.float32), torch.tensor(y))
loader = DataLoader(data, batch_size=64, shuffle=True)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(30, 16), nn.LeakyReLU(), nn.Linear(16, 2))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters())


def train(epoch):
    model.train()
    for xb, yb in loader:
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()


f = ls.ModelLandscape(model, criterion, DataLoader(data, batch_size=200))
with ls.Tracer(optimizer, f, every=10) as tracer:
    for epoch in range(10):
        train(epoch)
