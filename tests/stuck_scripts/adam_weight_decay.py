"""The same with Adam: loss is log(3) exactly. (Adam(weight_decay=1))"""

import torch
import torch.nn as nn
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale

import landscape as ls

X, y = load_wine(return_X_y=True)
X, y = torch.tensor(scale(X), dtype=torch.float32), torch.tensor(y)
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3, weight_decay=1)
f = ls.ModelLandscape(net, criterion, [(X, y)])
with ls.Tracer(optimizer, f, every=30) as tracer:
    for epoch in range(80):
        for i in torch.randperm(len(X)).split(30):
            optimizer.zero_grad()
            criterion(net(X[i]), y[i]).backward()
            optimizer.step()
