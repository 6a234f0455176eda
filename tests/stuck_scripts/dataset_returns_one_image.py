"""My Dataset works, the model does not learn. (__getitem__ gives image 0 for every index)"""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset

import landscape as ls


class Digits(Dataset):
    def __init__(self):
        digits = load_digits()
        self.images, self.labels = digits.images[:500], digits.target[:500]
        self.index = 0

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        image = torch.tensor(self.images[self.index] / 16.0, dtype=torch.float32)
        return image.unsqueeze(0), int(self.labels[i])


torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 10)
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
loader = DataLoader(Digits(), batch_size=25, shuffle=True)
f = ls.ModelLandscape(model, criterion, DataLoader(Digits(), batch_size=100))
with ls.Tracer(optimizer, f, every=10) as tracer:
    for epoch in range(6):
        for inputs, targets in loader:
            optimizer.zero_grad()
            outputs = model(inputs)
            loss = criterion(outputs, targets)
            loss.backward()
            optimizer.step()
