"""The loss decreases only in the 5th digit. (SGD with lr=1e-6)"""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls

digits = load_digits()
data = TensorDataset(
    torch.tensor(digits.images[:300], dtype=torch.float32)[:, None] / 16,
    torch.tensor(digits.target[:300]),
)
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1),
    nn.BatchNorm2d(8),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(4),
    nn.Flatten(),
    nn.Linear(128, 10),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
f = ls.ModelLandscape(model, criterion, DataLoader(data, batch_size=125))
with ls.Tracer(optimizer, f, every=20) as tracer:
    for epoch in range(6):
        for inputs, labels in DataLoader(data, batch_size=25, shuffle=True):
            optimizer.zero_grad()
            criterion(model(inputs), labels).backward()
            optimizer.step()
