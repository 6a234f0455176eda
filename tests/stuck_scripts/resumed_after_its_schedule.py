"""I resumed from my checkpoint, and nothing changes any more. (the schedule had ended)"""

import io

import torch
import torch.nn as nn
from sklearn.datasets import load_wine
from torch.optim.lr_scheduler import LinearLR

import landscape as ls

torch.manual_seed(2)
wine = load_wine()
X = torch.tensor(wine.data, dtype=torch.float32)
X = (X - X.mean(0)) / X.std(0)
y = torch.tensor(wine.target)
model = nn.Sequential(nn.Linear(13, 20), nn.ReLU(), nn.Linear(20, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=50)
for _ in range(50):
    optimizer.step()
    scheduler.step()
kept = io.BytesIO()
torch.save({"optimizer": optimizer.state_dict()}, kept)
kept.seek(0)

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
optimizer.load_state_dict(torch.load(kept)["optimizer"])
loss_fn = nn.CrossEntropyLoss()
f = ls.ModelLandscape(model, loss_fn, [(X, y)])
with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(200):
        i = torch.randint(len(X), (16,))
        optimizer.zero_grad()
        loss_fn(model(X[i]), y[i]).backward()
        optimizer.step()
