"""Works: a CNN on digits with Adam and a cosine schedule."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls

digits = load_digits()
X = torch.tensor(digits.images[:400], dtype=torch.float32)[:, None] / 16
y = torch.tensor(digits.target[:400])
data = TensorDataset(X, y)
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3),
    nn.BatchNorm2d(8),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Dropout(0.1),
    nn.Linear(72, 10),
)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=15)
f = ls.ModelLandscape(model, F.cross_entropy, DataLoader(data, batch_size=150))
with ls.Tracer(optimizer, f, every=50) as tracer:
    for epoch in range(15):
        model.train()
        for xb, yb in DataLoader(data, batch_size=30, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(xb), yb).backward()
            optimizer.step()
        scheduler.step()
