"""Training got slow after model.bfloat16(). (steps are shorter than the weights are rounded)"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

import landscape as ls

X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X[:640] / 16).bfloat16(), torch.tensor(y[:640])

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).bfloat16()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
f = ls.ModelLandscape(model, F.cross_entropy, [(X[:320], y[:320])])
with ls.Tracer(optimizer, f, every=10) as tracer:
    for epoch in range(18):
        for i in torch.randperm(640).split(40):
            optimizer.zero_grad()
            F.cross_entropy(model(X[i]).float(), y[i]).backward()
            optimizer.step()
