"""Loss stuck at 1.6 - 1.5 with cross entropy, what is wrong? (the CNN ends in softmax)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls

digits = load_digits()
X = torch.tensor(digits.images[:400], dtype=torch.float32)[:, None] / 16
y = torch.tensor(digits.target[:400])


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 2 * 2, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.softmax(self.fc(x.view(x.size(0), -1)), dim=1)


torch.manual_seed(0)
model = CNN()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
f = ls.ModelLandscape(model, criterion, list(zip(X.split(100), y.split(100))))
with ls.Tracer(optimizer, f, every=40) as tracer:
    for epoch in range(16):
        for xb, yb in DataLoader(TensorDataset(X, y), batch_size=40, shuffle=True):
            optimizer.zero_grad()
            loss = criterion(model(xb), yb)
            loss.backward()
            optimizer.step()
