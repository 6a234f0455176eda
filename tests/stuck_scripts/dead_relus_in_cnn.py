"""All outputs are equal. (biases of -10 before ReLU)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

import landscape as ls

digits = load_digits()
X = torch.tensor(digits.images[:500], dtype=torch.float32)[:, None] / 16
y = torch.tensor(digits.target[:500])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.fc1 = nn.Linear(8 * 3 * 3, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2).flatten(1)
        return self.fc2(F.relu(self.fc1(x)))


def init_weights(m):
    if isinstance(m, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(m.weight)
        m.bias.data.fill_(-10)


torch.manual_seed(0)
model = Net()
model.apply(init_weights)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
f = ls.ModelLandscape(model, F.cross_entropy, list(zip(X.split(125), y.split(125))))
with ls.Tracer(optimizer, f, every=15) as tracer:
    for step in range(150):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        F.cross_entropy(model(X[i]), y[i]).backward()
        optimizer.step()
