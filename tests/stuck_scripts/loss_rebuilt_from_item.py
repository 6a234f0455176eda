"""Training runs without errors but weights never change. (the loss is made anew from .item())"""

import torch
from sklearn.datasets import load_diabetes
from torch import nn, optim

import landscape as ls

data = load_diabetes()
X = torch.tensor(data.data * 20, dtype=torch.float32)
y = torch.tensor((data.target - data.target.mean()) / data.target.std(), dtype=torch.float32)
y = y.view(-1, 1)

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 1))
mse = nn.MSELoss()
opt = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
f = ls.ModelLandscape(net, mse, [(X, y)])


def train_step(xb, yb):
    opt.zero_grad()
    losses = [mse(net(xb), yb).item()]
    total = torch.tensor(sum(losses), requires_grad=True)
    total.backward()
    opt.step()
    return total.item()


with ls.Tracer(opt, f, every=10) as tracer:
    for it in range(120):
        idx = torch.randint(0, len(X), (64,))
        train_step(X[idx], y[idx])
