"""Recommender: U V^T does not move from zero. (factors start at 1e-6, a saddle)"""

import torch
from torch import nn

import landscape as ls

torch.manual_seed(0)
users, items, rank = 20, 15, 3
R = torch.randn(users, rank) @ torch.randn(rank, items) / rank**0.5
u = torch.arange(users).repeat_interleave(items)
v = torch.arange(items).repeat(users)
ratings = R[u, v]


class MF(nn.Module):
    def __init__(self):
        super().__init__()
        self.U = nn.Embedding(users, rank)
        self.V = nn.Embedding(items, rank)
        nn.init.normal_(self.U.weight, std=1e-6)
        nn.init.normal_(self.V.weight, std=1e-6)

    def forward(self, pairs):
        return (self.U(pairs[:, 0]) * self.V(pairs[:, 1])).sum(1)


pairs = torch.stack([u, v], 1)
model = MF()
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
f = ls.ModelLandscape(model, criterion, [(pairs, ratings)])
with ls.Tracer(optimizer, f, every=10) as tracer:
    for step in range(100):
        i = torch.randperm(len(pairs))[:100]
        optimizer.zero_grad()
        criterion(model(pairs[i]), ratings[i]).backward()
        optimizer.step()
