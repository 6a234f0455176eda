"""Works: embeddings of words, binary labels, still at half of the way."""

import torch
import torch.nn as nn

import landscape as ls

torch.manual_seed(0)
X = torch.randint(30, (400, 8))
y = ((X < 10).sum(1) > (X > 19).sum(1)).float()[:, None]
model = nn.Sequential(nn.EmbeddingBag(30, 8), nn.Linear(8, 1))
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
f = ls.ModelLandscape(model, criterion, [(X, y)])

with ls.Tracer(optimizer, f, every=20) as tracer:
    for step in range(200):
        i = torch.randint(len(X), (32,))
        optimizer.zero_grad()
        loss = criterion(model(X[i]), y[i])
        loss.backward()
        optimizer.step()
