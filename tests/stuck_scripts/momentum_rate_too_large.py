"""Wine classifier: loss around 5 and noisy. (lr=2 with momentum 0.9, tanh)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale

import landscape as ls

X, y = load_wine(return_X_y=True)
X, y = torch.tensor(scale(X), dtype=torch.float32), torch.tensor(y)
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(13, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 3))
opt = torch.optim.SGD(net.parameters(), lr=2.0, momentum=0.9)
f = ls.ModelLandscape(net, nn.CrossEntropyLoss(), [(X, y)])
with ls.Tracer(opt, f, every=10) as tracer:
    for epoch in range(25):
        for i in torch.randperm(len(X)).split(32):
            opt.zero_grad()
            F.cross_entropy(net(X[i]), y[i]).backward()
            opt.step()
