"""Learns for a second and then stops. (StepLR of epochs is stepped in the batch loop)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls

X, y = load_digits(return_X_y=True)
train = TensorDataset(torch.tensor(X[:1000] / 16).float(), torch.tensor(y[:1000]))
loader = DataLoader(train, batch_size=32, shuffle=True)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.l1, self.l2, self.l3 = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.l1(x))
        return self.l3(torch.relu(self.l2(x)))


torch.manual_seed(5)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
scheduler = StepLR(optimizer, step_size=5, gamma=0.5)  # halve every 5 epochs

f = ls.ModelLandscape(net, F.cross_entropy, DataLoader(train, batch_size=250))
with ls.Tracer(optimizer, f, every=15) as tracer:
    for epoch in range(8):
        for data, target in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(data), target).backward()
            optimizer.step()
            scheduler.step()
