"""Predicting house prices, loss is huge and stops. (features up to 1e4 as they are)"""

import torch
import torch.nn as nn

import landscape as ls

g = torch.Generator().manual_seed(4)
area = 5000 + 10000 * torch.rand(300, 1, generator=g)
year = 1900 + 120 * torch.rand(300, 1, generator=g)
rooms = torch.randint(1, 9, (300, 1), generator=g).float()
X = torch.cat([area, year, rooms], 1)
y = (area - 10000) / 3000 + (year - 1960) / 40 + 0.3 * rooms

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
f = ls.ModelLandscape(model, criterion, [(X, y)])
with ls.Tracer(optimizer, f, every=25) as tracer:
    for epoch in range(40):
        for i in torch.randperm(300).split(32):
            optimizer.zero_grad()
            loss = criterion(model(X[i]), y[i])
            loss.backward()
            optimizer.step()
