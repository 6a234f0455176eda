"""My EMA model trains, but the loss stays where it is. (the average is copied back every step)"""

import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

import landscape as ls

X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X[:640] / 16, dtype=torch.float32), torch.tensor(y[:640])

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
ema, decay = copy.deepcopy(model), 0.999
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
f = ls.ModelLandscape(model, F.cross_entropy, [(X[:320], y[:320])])


def update_ema():
    with torch.no_grad():
        for e, p in zip(ema.parameters(), model.parameters(), strict=True):
            e.mul_(decay).add_(p, alpha=1 - decay)


with ls.Tracer(optimizer, f, every=10) as tracer:
    for epoch in range(15):
        for i in torch.randperm(640).split(40):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X[i]), y[i])
            loss.backward()
            optimizer.step()
            update_ema()
            model.load_state_dict(ema.state_dict())  # evaluate with the average
